"""Leader thinning in one scope: time, memory and how both grow; and imagededup beside `reduce`.

Bars, in CPU seconds: 20,000 hashes in 1 and 250,000 in 180; 100,000 embeddings of 384 numbers in
60, with at most 1 GiB above the memory map. Every size runs in a process of its own, so that its
peak memory is its own; a million is extrapolated by the square of the size, not run.

`--imagededup PYTHON` names the interpreter of an environment with imagededup 0.3.3; without it
that part is null. Both sides start from files: PNGs there, an archive of the same PNGs here.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MIB = 2**20
MILLION = 1_000_000
HASHES, EMBEDDINGS = (20_000, 100_000, 250_000), (10_000, 50_000, 100_000)
IMAGES = (5_000, 10_000)  # in both programs
TAU = {"dhash": 1 - 6 / 64, "embedding": 0.95}
BARS = {"dhash_20k_cpu_s": 1, "dhash_250k_cpu_s": 180, "embedding_100k_cpu_s": 60}
BAR_MIB = 1024
DIMENSIONS, SPREAD = 384, 0.35  # noise of an image, as a share of its length: half are kept
SLICES, SIDE = 300, 128
RADIUS = 6  # bits
THEIRS = """
import json, sys, time
from torchvision import models
make = models.mobilenet_v3_small
models.mobilenet_v3_small = lambda *_, **__: make()  # else its weights are downloaded on import
from imagededup.methods import DHash
if __name__ == "__main__":
    hasher, begun = DHash(verbose=False), time.perf_counter()
    known = hasher.encode_images(image_dir=sys.argv[1])
    hashed = time.perf_counter()
    found = hasher.find_duplicates(encoding_map=known, max_distance_threshold=int(sys.argv[2]))
    print(json.dumps({
        "hash_s": hashed - begun, "compare_s": time.perf_counter() - hashed,
        "with_duplicates": sum(map(bool, found.values())),
    }))
"""


def with_copies(n: int) -> np.ndarray:
    """Return hashes of which a third is another one with a bit flipped."""
    rng = np.random.default_rng(0)
    known = rng.integers(0, 2**63, n, np.uint64)
    copies = known[rng.integers(0, n, n // 3)]
    known[: n // 3] = copies ^ (np.uint64(1) << rng.integers(0, 64, n // 3, np.uint64))
    return known


def with_series(n: int) -> np.ndarray:
    """Return hashes of which half are slices of series: from one to the next two bits flip."""
    rng = np.random.default_rng(1)
    known = rng.integers(0, 2**63, n, np.uint64)
    for start in range(0, n // 2, SLICES):
        flips = np.uint64(1) << rng.integers(0, 64, (SLICES - 1, 2), np.uint64)
        steps = np.bitwise_xor.accumulate(flips[:, 0] ^ flips[:, 1])
        known[start + 1 : start + SLICES] = known[start] ^ steps
    return known


def write_hashes(path: Path, known: np.ndarray) -> None:
    """Write hashes as the strategy describes images: the last number says blank."""
    np.save(path, np.stack([known, np.zeros_like(known)], axis=1))


def write_embeddings(path: Path, n: int) -> None:
    """Write unit vectors around n / 3 centres, in 64 directions that these share."""
    rng = np.random.default_rng(2)
    kinds = rng.normal(size=(64, DIMENSIONS)).astype(np.float32)
    centres = kinds[rng.integers(0, 64, n // 3)]
    centres += rng.normal(size=centres.shape).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, DIMENSIONS + 1))
    for start in range(0, n, 10_000):
        size = min(10_000, n - start)
        noise = rng.normal(size=(size, DIMENSIONS)) * rng.uniform(0, SPREAD, (size, 1))
        vectors = centres[rng.integers(0, n // 3, size)] + noise / math.sqrt(DIMENSIONS)
        rows[start : start + size, :-1] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows.flush()


def measure(name: str, path: Path) -> None:
    """Thin what is described in a file, and print how long it took; the work of a child."""
    from medssl import reduction
    from medssl.foundation import plugins
    from medssl.thinning import leader
    from medssl.thinning.metrics import Metric
    from medssl.thinning.scoping import Scope

    strategy = plugins.load(reduction, name)
    described = np.load(path, mmap_mode="r")
    metric = Metric(
        name=name,
        strategy=strategy,
        config=strategy.Config(),
        descriptors=described,
        tau=TAU[name],
    )
    begun, cpu = time.perf_counter(), time.process_time()
    thinned = leader.select((metric,), [Scope(np.arange(len(described)))])
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "n": len(described),
        "kept": len(thinned.kept),
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 3),
        "peak_mib_above_memmap": round(peak - described.nbytes / MIB),
    }
    print(json.dumps(result))


def grown(name: str, path: Path, sizes: tuple[int, ...], write: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what each size took, how that grows, and what a million would take at least."""
    rows = []
    for n in sizes:
        write(path, n)
        rows.append(run([sys.executable, __file__, "--child", name, path])[0])
    few, many = rows[-2:]
    exponent = math.log(many["cpu_s"] / few["cpu_s"]) / math.log(many["n"] / few["n"])
    return {
        "sizes": rows,
        "growth_exponent": round(exponent, 2),
        "extrapolated_1m_cpu_s": round(many["cpu_s"] * (MILLION / many["n"]) ** max(2, exponent)),
    }


def run(command: list[Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the JSON a command prints, and its time and the memory of its largest process."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([str(word) for word in command], stdout=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        said.seek(0)
        result = json.load(said)
    taken = {
        "wall_s": round(time.perf_counter() - begun, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }
    return result, taken


def images(n: int) -> Iterator[np.ndarray]:
    """Yield smooth images with noise, of which a third repeats another with other noise."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(20, 235, (n, 12, 12)).astype(np.uint8)
    coarse[: n // 3] = coarse[rng.integers(n // 3, n, n // 3)]
    for small in coarse:
        smooth = np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        yield np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def beside_imagededup(root: Path, n: int, python: str) -> dict[str, Any]:
    """Return what both take for the same images, and the ratios."""
    scans, archive, medssl = (
        root / f"png-{n}",
        root / f"archive-{n}",
        [sys.executable, "-m", "medssl"],
    )
    scans.mkdir()
    for number, image in enumerate(images(n)):
        Image.fromarray(image).save(scans / f"{number}.png")
    _, ingested = run([*medssl, "ingest", scans, "-o", archive, "--json"])
    by = ("--by", "dhash", "--threshold", TAU["dhash"], "--within", "archive")
    alone = ("--controls", 0, "--no-aliases", "--json")
    ours, our_cost = run([*medssl, "reduce", archive, *by, *alone, "-o", root / f"run-{n}"])
    theirs, their_cost = run([python, "-c", THEIRS, scans, RADIUS])
    mapped = sum(shard.stat().st_size for shard in (archive / "pixels").iterdir()) / MIB
    return {
        "images": n,
        "imagededup": {**theirs, **their_cost},
        "medssl": {
            "kept": ours["n_kept"],
            **our_cost,
            "of_it_mapped_mib": round(mapped),  # pixels of the archive, which the system may drop
            "ingest_before_s": ingested["wall_s"],
        },
        "ratio_cpu": round(their_cost["cpu_s"] / our_cost["cpu_s"], 2),
        "ratio_memory": round(their_cost["peak_mib"] / our_cost["peak_mib"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imagededup", metavar="PYTHON")
    parser.add_argument("--child", nargs=2, metavar=("STRATEGY", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        measure(given.child[0], Path(given.child[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["XDG_CONFIG_HOME"] = folder  # an institution's key is made there
        path = root / "descriptors.npy"
        copies, series = (
            grown("dhash", path, HASHES, lambda path, n, make=make: write_hashes(path, make(n)))
            for make in (with_copies, with_series)
        )
        embedding = grown("embedding", path, EMBEDDINGS, write_embeddings)
        beside = [beside_imagededup(root, n, given.imagededup) for n in IMAGES if given.imagededup]
    worst = {
        f"dhash_{n // 1000}k_cpu_s": max(one["sizes"][k]["cpu_s"] for one in (copies, series))
        for k, n in enumerate(HASHES)
        if n != 100_000  # for the growth only
    }
    last = embedding["sizes"][-1]
    result = {
        "benchmark": "reduce",
        **worst,
        "embedding_100k_cpu_s": last["cpu_s"],
        "embedding_100k_mib": last["peak_mib_above_memmap"],
        "bars": {**BARS, "embedding_100k_mib": BAR_MIB},
        "dhash_copies": copies,
        "dhash_series": series,
        "embedding": embedding,
        "beside_imagededup": beside or None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
