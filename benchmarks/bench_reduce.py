"""Leader thinning of 64-bit hashes, one scope: CPU time, memory and growth. Bar: 20 k in 1 s.

What 250,000 hashes in one scope would take is extrapolated by the growth, not measured.
"""

import json
import math
import resource
import time

import numpy as np

from medssl.reduction import _leader, dhash

SIZES = (10_000, 20_000, 40_000)
JUDGED = SIZES.index(20_000)
GLOBAL = 250_000  # images of a large archive thinned as one scope


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
    growth = math.log(seconds[-1] / seconds[-2]) / math.log(SIZES[-1] / SIZES[-2])
    result = {
        "benchmark": "reduce_dhash",
        "n": SIZES[JUDGED],
        "cpu_s": round(seconds[JUDGED], 3),
        "bar": 1.0,
        "growth_exponent": round(growth, 2),
        "extrapolated_n": GLOBAL,
        "extrapolated_cpu_s": round(seconds[-1] * (GLOBAL / SIZES[-1]) ** growth),
        "kept": kept[JUDGED],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
