"""What a site model says about images it was not trained on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.artifacts import predictions
from medssl.data.cohort import Cohort
from medssl.data.inputs import Input
from medssl.models.site_model import SiteModel
from medssl.training.runtime import Runtime


def features(
    runtime: Runtime, model: SiteModel, archive: Path, table: pa.Table, given: Input
) -> Tensor:
    """Return what the head sees of each row of a table, shape (N, F), on the device."""
    return torch.cat(list(_features(runtime, model, archive, table, given)))


def scores(model: SiteModel, features: Tensor) -> NDArray[np.float64]:
    """Return probabilities or amounts, shape (N, columns of the task), of features (N, F)."""
    model.eval()
    with torch.inference_mode():
        found: NDArray[np.float64] = (
            model.predictions(model.judge(features).float()).cpu().double().numpy()
        )
    return found


def rows(
    part: Cohort,
    score: NDArray[np.float64],
    *,
    repeat: int,
    fold: int | None,
    seed: int | None,
    name: str,
) -> pa.Table:
    """Return one row per image and column of the task; see `artifacts/predictions.py`.

    Args:
        part: Rows that were judged, N of them.
        score: Shape (N, columns of the task).
        repeat: In which they were judged.
        fold: Whose model judged them; None: all together.
        seed: Of the training; None: of several.
        name: Of the part: test or inner.
    """
    task = part.task
    parts = []
    for k, column in enumerate(task.columns):
        if task.kind in ("multi_class", "ordinal"):
            label = (part.label[:, 0] == k).astype(np.float64)
        else:
            label = part.label[:, k]
        known = np.flatnonzero(np.isfinite(label))
        shown = part.table.take(known)
        n = len(known)
        parts.append(
            pa.table(
                {
                    "image_id": shown["image_id"],
                    "patient_key": shown["patient_key"],
                    "site": shown["site"],
                    "target": [column] * n,
                    "label": label[known],
                    "score": score[known, k],
                    "repeat": [repeat] * n,
                    "fold": [fold] * n,
                    "seed": [seed] * n,
                    "part": [name] * n,
                },
                schema=predictions.PREDICTIONS,  # a column of no rows has no type of its own
            )
        )
    return pa.concat_tables(parts)


def loss(runtime: Runtime, model: SiteModel, cohort: Cohort, given: Input) -> float:
    """Return the training loss of a part of the cohort, in evaluation mode, unmixed."""
    found = features(runtime, model, cohort.archive, cohort.table, given)
    target = torch.from_numpy(cohort.label).to(found.device)
    with torch.inference_mode():
        return float(model(found, target, are_features=True)["total"])


def _features(
    runtime: Runtime, model: SiteModel, archive: Path, table: pa.Table, given: Input
) -> Iterator[Tensor]:
    model.eval()
    with torch.inference_mode(), runtime.autocast():
        for images, slices in given.plain(archive, table, runtime.device):
            yield model.features(images, **slices).float()
