"""Batches of stored images, as training reads them, over decoding one PNG per image.

Bar: at least 20 times. The ratio of bare rows of the memory map is shown beside it, and that over a
Zarr array of one chunk per image where the package `zarr` is installed.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medssl.artifacts import archive, pixels, tables
from medssl.data.store import ImageStore

N_IMAGES, SIDE, BATCH, ROUNDS = 512, 256, 64, 9


def zarr_array(folder: Path, images: np.ndarray) -> Any:  # noqa: ANN401 - an optional package
    """Return the images as a Zarr array with one chunk each, None without the package."""
    try:
        import zarr
    except ImportError:
        return None
    array = zarr.create_array(
        str(folder), shape=images.shape, chunks=(1, *images.shape[1:]), dtype=images.dtype
    )
    array[:] = images
    return array


def main() -> None:
    rng = np.random.default_rng(0)
    # Smooth images: a PNG of noise would be slower still.
    coarse = rng.integers(0, 256, (N_IMAGES, 16, 16)).astype(np.uint8)
    images = [np.asarray(Image.fromarray(c).resize((SIDE, SIDE), 3)) for c in coarse]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels.write(folder, 0, (image[None] for image in images))
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{number}.png")
        row = {"shard": 0, "rows": SIDE, "columns": SIDE, "slope": 1.0, "intercept": 0.0}
        table = tables.build([{**row, "row": i} for i in range(N_IMAGES)], archive.IMAGES)
        store, memmap = ImageStore(folder, table), pixels.read(folder, 0)
        chunked = zarr_array(folder / "chunks", np.stack(images))
        gather, raw, decode, chunks = [], [], [], []
        for _ in range(ROUNDS):
            numbers = rng.permutation(N_IMAGES)[:BATCH]
            begun = time.perf_counter()
            store.gather(numbers)
            gathered = time.perf_counter()
            memmap[numbers]
            copied = time.perf_counter()
            for number in numbers:
                with Image.open(folder / f"{number}.png") as image:
                    np.asarray(image)
            decoded = time.perf_counter()
            if chunked is not None:
                chunked.oindex[numbers]
                chunks.append(time.perf_counter() - decoded)
            decode.append(decoded - copied)
            raw.append(copied - gathered)
            gather.append(gathered - begun)
    per_batch = {"gather": gather, "raw": raw, "png": decode}
    seconds = {what: statistics.median(values) for what, values in per_batch.items()}
    result = {
        "benchmark": "random_read",
        "ratio": round(seconds["png"] / seconds["gather"], 1),
        "bar": 20,
        "images_per_s": round(BATCH / seconds["gather"]),
        "ratio_raw_memmap": round(seconds["png"] / seconds["raw"], 1),
        "ratio_over_zarr": round(statistics.median(chunks) / seconds["gather"], 1)
        if chunks
        else None,
        "images_per_s_png": round(BATCH / seconds["png"]),
        "images_per_s_zarr": round(BATCH / statistics.median(chunks)) if chunks else None,
        "side": SIDE,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
