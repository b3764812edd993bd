"""What loading and views cost: a whole training step over the same step on a fixed batch.

Both are measured in turns in one process, so that a busy machine slows both. Bar: at most 1.10.
"""

import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from medssl.artifacts import archive, pixels, tables
from medssl.config.training import Intensity, Views
from medssl.data.batches import TrainingBatches
from medssl.data.store import ImageStore
from medssl.methods import vicreg
from medssl.models.encoders import resnet18
from medssl.training import optim, runtime

N_IMAGES, SIDE, IMAGE_SIZE, BATCH, ROUNDS = 512, 256, 64, 64, 7


def store(folder: Path) -> ImageStore:
    """Write random 8-bit images as one shard and open it."""
    rng = np.random.default_rng(0)
    pixels.write(folder, 0, rng.integers(0, 256, (N_IMAGES, 1, SIDE, SIDE)).astype(np.uint8))
    row = {"shard": 0, "rows": SIDE, "columns": SIDE, "slope": 1.0, "intercept": 0.0}
    table = tables.build([{**row, "row": i} for i in range(N_IMAGES)], archive.IMAGES)
    return ImageStore(folder, table)


def main() -> None:
    started = runtime.start("cpu", "32")
    method = vicreg.Method(resnet18.build(1, 2, resnet18.Config()), vicreg.Config())
    optimizer = optim.adamw({"all": optim.LayerGroup(modules=[method], lr=1e-3, weight_decay=1e-4)})
    module, optimizer = started.setup(method, optimizer)

    def step(views: list[torch.Tensor]) -> None:
        started.backward(module(views)["total"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with tempfile.TemporaryDirectory() as folder:
        batches = TrainingBatches(
            store(Path(folder)),
            device=started.device,
            intensity=Intensity(),
            views=Views(),
            image_size=IMAGE_SIZE,
            batch_size=BATCH,
            n_views=2,
            seed=0,
        )
        fixed = next(batches.epoch(0))[0]
        step(fixed)  # the first step of a shape is slow
        whole, bare = [], []
        for epoch in range(ROUNDS):
            begun = time.perf_counter()
            for views, _ in islice(batches.epoch(epoch), 3):
                step(views)
            middle = time.perf_counter()
            for _ in range(3):
                step(fixed)
            whole.append((middle - begun) / 3)
            bare.append((time.perf_counter() - middle) / 3)
    ratios = [a / b for a, b in zip(whole, bare, strict=True)]
    result = {
        "benchmark": "training_step",
        "ratio": round(statistics.median(ratios), 3),
        "bar": 1.10,
        "step_s": round(statistics.median(whole), 4),
        "images_per_s": round(BATCH / statistics.median(whole), 1),
        "encoder": "resnet18",
        "image_size": IMAGE_SIZE,
        "batch": BATCH,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
