"""Scores of a site model for the images of a store."""

import numpy as np
import torch
from numpy.typing import NDArray

from medssl.config.training import Intensity
from medssl.data.batches import plain_batches
from medssl.data.opening import Store
from medssl.models.site_model import SiteModel, probabilities
from medssl.training.runtime import Runtime

_BATCH = 128


def scores(
    runtime: Runtime,
    model: SiteModel,
    store: Store,
    *,
    intensity: Intensity,
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Return class probabilities, shape (N, K); K = 1 for a binary target (the positive class)."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for images in plain_batches(
            store,
            device=runtime.device,
            intensity=intensity,
            shape=shape,
            batch_size=_BATCH,
        ):
            probability = probabilities(model.logits(images).float())
            parts.append(probability.cpu().double().numpy())
    return np.concatenate(parts).reshape(len(store), -1)
