"""Features of an encoder for the images of a store."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medssl.config.training import Intensity
from medssl.data.batches import plain_batches
from medssl.data.opening import Store

BATCH = 128  # images embedded at a time
_MOST_PIXELS = BATCH * 224**2  # fewer of those that are larger, as volumes are


def features(
    encoder: nn.Module,
    store: Store,
    *,
    device: torch.device,
    intensity: Intensity,
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return the encoder's features of every image as it is, without random views.

    The encoder works in evaluation mode and single precision, and is left as it was found.

    Args:
        encoder: Images (B, C, *spatial) in, features (B, F) out; on ``device``.
        store: The images.
        device: Where to compute.
        intensity: How stored values become the encoder's input.
        shape: Of the input, px: (rows, columns) or (slices, rows, columns).

    Returns:
        Shape (N, F), in the order of the store.
    """
    with unchanged(encoder), torch.inference_mode():
        encoder.eval()
        at_a_time = max(1, min(BATCH, _MOST_PIXELS // math.prod(shape)))
        parts = [
            encoder(images).float().cpu().numpy()
            for images in plain_batches(
                store,
                device=device,
                intensity=intensity,
                shape=shape,
                batch_size=at_a_time,
            )
        ]
    return np.concatenate(parts)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Put modes and buffers of ``module`` back when the block ends: running statistics, queues."""
    modes = {part: part.training for part in module.modules()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
