"""What a site model says about images it was not trained on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

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
