"""The training of `bench_finetune.py` as a plain MONAI script: the other side of its comparison.

CacheDataset, one transform after the other per image, DataLoader, one loop per fold. It trains what
`medssl finetune --schedule progressive` trains: a ResNet-18 and a linear head in batches of 32 at
the same peak rates, layers released in the same epochs, frozen ones in evaluation mode, changes of
the images as strong and as frequent. What is not part of the comparison is done in the way that
costs least: images are cached at the size of the input, once for all folds, and MONAI does not
track their metadata.

    python benchmarks/plain_finetune.py FOLDER --epochs 4 --workers 2

`FOLDER` holds PNGs and a `labels.csv` with the columns file, patient and label. Prints one JSON
line.
"""

import argparse
import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from monai.data import CacheDataset, DataLoader, set_track_meta
from monai.networks.nets import resnet18
from monai.utils import set_determinism
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn
from torch.utils.data import Subset

SIDE, BATCH, FOLDS, WARMUP, DROPOUT, DECAY = 64, 32, 5, 0.05, 0.1, 1e-4
TURN, AREA, CHANGE, NOISE, BLUR, SIGMA = math.radians(5), 0.8, 0.1, 0.05, 0.1, (0.3, 1.2)
RATES = {"head": 1e-3, "layer4": 5e-4, "layer3": 2.5e-4, "layer2": 1e-4}
RELEASED_AFTER = {"head": 0.0, "layer4": 0.1, "layer3": 0.3, "layer2": 0.6}  # share of the epochs
KEY = "image"

CACHED = (
    mt.LoadImaged(KEY, image_only=True, ensure_channel_first=True),
    mt.Resized(KEY, (SIDE, SIDE), mode="area"),
    mt.NormalizeIntensityd(KEY),
    mt.EnsureTyped(KEY, track_meta=False),
)
_SMALLEST = round(SIDE * AREA**0.5)
ONE_BY_ONE = (
    mt.RandRotated(KEY, TURN, prob=1.0, padding_mode="border"),
    mt.RandSpatialCropd(KEY, (_SMALLEST, _SMALLEST), (SIDE, SIDE), random_size=True),
    mt.Resized(KEY, (SIDE, SIDE), mode="bilinear"),
)
FUSED = (  # the same in one resampling
    mt.RandAffined(
        KEY,
        prob=1.0,
        rotate_range=TURN,
        scale_range=[(AREA**0.5 - 1, 0.0)] * 2,
        translate_range=(SIDE - _SMALLEST) / 2,
        padding_mode="border",
        cache_grid=True,
        spatial_size=(SIDE, SIDE),
    ),
)
INTENSITY = (
    mt.RandScaleIntensityd(KEY, CHANGE, prob=1.0),
    mt.RandShiftIntensityd(KEY, CHANGE, prob=1.0),
    mt.RandAdjustContrastd(KEY, prob=1.0, gamma=(math.exp(-CHANGE), math.exp(CHANGE))),
    mt.RandGaussianSmoothd(KEY, SIGMA, SIGMA, prob=BLUR),
    mt.RandGaussianNoised(KEY, prob=1.0, std=NOISE),
)
VIEWS = {"one_by_one": ONE_BY_ONE, "fused": FUSED}


class Model(nn.Module):
    """The encoder, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = resnet18(
            spatial_dims=2, n_input_channels=1, conv1_t_stride=2, feed_forward=False
        )
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(512, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B,)."""
        logits: torch.Tensor = self.head(self.encoder(images))
        return logits[:, 0]

    def parts(self) -> dict[str, nn.Module]:
        """Return what is ever released, by name."""
        return {name: getattr(self.encoder, name) for name in RATES if name != "head"} | {
            "head": self.head
        }

    def release(self, names: set[str]) -> None:
        """Train these parts and freeze all others, with the statistics of their norms."""
        self.eval().requires_grad_(requires_grad=False)
        for name in names:
            self.parts()[name].train().requires_grad_()


def factor(step: int, steps: int) -> float:
    """Return the share of the peak rate: a linear rise and half a cosine."""
    rise = round(WARMUP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(loader: DataLoader, epochs: int) -> Model:
    model, judge, steps = Model(), nn.BCEWithLogitsLoss(), epochs * len(loader)
    rates = [{"params": part.parameters(), "lr": RATES[n]} for n, part in model.parts().items()]
    optimizer = torch.optim.AdamW(rates, weight_decay=DECAY)
    moved = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, steps))
    for epoch in range(epochs):
        shares = RELEASED_AFTER.items()
        model.release({name for name, after in shares if epoch >= int(round(after * epochs, 9))})
        for batch in loader:
            judge(model(batch[KEY]), batch["label"].float()).backward()
            optimizer.step()
            optimizer.zero_grad()
            moved.step()
    return model


def score(model: Model, loader: DataLoader) -> np.ndarray:
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(batch[KEY]).sigmoid() for batch in loader]).numpy()


def views_cpu_s(loader: DataLoader) -> float:
    """Return the CPU seconds that the images of a step take, per image; in this process."""
    for _ in zip(range(2), loader, strict=False):
        pass
    begun = time.process_time()
    shown = sum(len(batch["label"]) for batch in loader)
    return (time.process_time() - begun) / shown


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--views", choices=VIEWS, default="one_by_one")
    parser.add_argument("--only-views", action="store_true")
    given = parser.parse_args()
    set_track_meta(False)
    set_determinism(0)
    with (given.folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    items = [{KEY: str(given.folder / r["file"]), "label": int(r["label"])} for r in rows]
    label = np.array([item["label"] for item in items])
    random = mt.Compose([*CACHED, *VIEWS[given.views], *INTENSITY])
    options: dict[str, Any] = {"progress": False, "num_workers": 1}
    shown = CacheDataset(items, random, **options)
    loading = {"num_workers": given.workers, "persistent_workers": given.workers > 0}
    if given.only_views:
        loader = DataLoader(shown, batch_size=BATCH, shuffle=True, drop_last=True)
        print(json.dumps({"views_cpu_s": views_cpu_s(loader)}))
        return
    plain = CacheDataset(items, mt.Compose(CACHED), **options)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    areas, trained_on = [], 0
    for learned, tested in folds.split(label, label, [r["patient"] for r in rows]):
        part = Subset(shown, learned.tolist())
        loader = DataLoader(part, batch_size=BATCH, shuffle=True, drop_last=True, **loading)
        model = train(loader, given.epochs)
        trained_on += given.epochs * len(loader) * BATCH
        found = score(model, DataLoader(Subset(plain, tested.tolist()), batch_size=4 * BATCH))
        areas.append(roc_auc_score(label[tested], found))
    print(json.dumps({"auroc": float(np.mean(areas)), "images": trained_on}))


if __name__ == "__main__":
    main()
