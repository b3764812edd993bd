"""Leader thinning of 64-bit hashes, one scope: CPU time, memory and growth. Bar: 20 k in 1 s."""

import json
import math
import resource
import time

import numpy as np

from medssl.reduction import _leader, dhash

SIZES = (5_000, 10_000, 20_000)


def hashes(n: int) -> np.ndarray:
    """Return hashes of which about a third has a near-duplicate."""
    rng = np.random.default_rng(0)
    known = rng.integers(0, 2**63, size=(n, 1), dtype=np.uint64)
    copies = rng.integers(0, n, size=n // 3)
    known[: n // 3] = known[copies] ^ (np.uint64(1) << rng.integers(0, 63, (n // 3, 1), np.uint64))
    return known


def main() -> None:
    seconds, kept = [], []
    for n in SIZES:
        described = hashes(n)
        begun = time.process_time()
        kept.append(len(_leader.select(dhash, described, dhash.THRESHOLD, dhash.Config()).kept))
        seconds.append(time.process_time() - begun)
    growth = math.log(seconds[-1] / seconds[0]) / math.log(SIZES[-1] / SIZES[0])
    result = {
        "benchmark": "reduce_dhash",
        "n": SIZES[-1],
        "cpu_s": round(seconds[-1], 3),
        "bar": 1.0,
        "growth_exponent": round(growth, 2),
        "kept": kept[-1],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
