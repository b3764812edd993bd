"""Batches of stored images, as training reads them, over decoding one PNG per image.

Bar: at least 20 times. The ratio of bare rows of the memory map is shown beside it.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from medssl.artifacts import archive, pixels, tables
from medssl.data.store import ImageStore

N_IMAGES, SIDE, BATCH, ROUNDS = 512, 256, 64, 9


def main() -> None:
    rng = np.random.default_rng(0)
    # Smooth images: a PNG of noise would be slower still.
    coarse = rng.integers(0, 256, (N_IMAGES, 16, 16)).astype(np.uint8)
    images = [np.asarray(Image.fromarray(c).resize((SIDE, SIDE), 3)) for c in coarse]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels.write(folder, 0, (image[None] for image in images), N_IMAGES)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{number}.png")
        row = {"shard": 0, "rows": SIDE, "columns": SIDE, "slope": 1.0, "intercept": 0.0}
        table = tables.build([{**row, "row": i} for i in range(N_IMAGES)], archive.IMAGES)
        store, memmap = ImageStore(folder, table), pixels.read(folder, 0)
        gather, raw, decode = [], [], []
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
            decode.append(time.perf_counter() - copied)
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
        "side": SIDE,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
