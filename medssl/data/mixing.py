"""Mixing the images of a batch, with labels that follow from what is really pasted."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.config.training import CutMix, MixUp


@dataclass(frozen=True)
class Mixed:
    """A batch whose images show parts of two."""

    images: Tensor  # (B, C, *spatial)
    partner: Tensor  # (B,) which image of the batch was pasted into each
    kept: float  # share of each image that is its own: the weight of its own label


def mix(images: Tensor, blended: MixUp, pasted: CutMix, rng: np.random.Generator) -> Mixed | None:
    """Return the batch mixed in one way or the other, or None where it stays as it is.

    Where both are asked for, a batch is mixed by one of them: by CutMix unless that passes it by.
    """
    return cutmix(images, pasted, rng) or mixup(images, blended, rng)


def mixup(images: Tensor, config: MixUp, rng: np.random.Generator) -> Mixed | None:
    """Blend each image of a batch with one of a permuted copy (arXiv:1710.09412).

    The share of an image that is its own is lambda ~ Beta(alpha, alpha), one for the batch. MONAI's
    MixUp takes no labels of more than one column.

    Args:
        images: Shape (B, C, *spatial), two or three spatial dimensions.
        config: How often, and how evenly.
        rng: The only source of randomness; drawn from on the host.

    Returns:
        The mixed batch, or None where this batch is not to be mixed.
    """
    if rng.uniform() >= config.probability:
        return None
    kept = float(rng.beta(config.alpha, config.alpha))
    order = torch.from_numpy(rng.permutation(len(images))).to(images.device, non_blocking=True)
    return Mixed(images.lerp(images[order], 1 - kept), order, kept)


def cutmix(images: Tensor, config: CutMix, rng: np.random.Generator) -> Mixed | None:
    """Paste one box of a permuted copy of the batch (Yun et al., ICCV 2019, arXiv:1905.04899).

    The box has the share 1 - lambda of the volume, lambda ~ Beta(alpha, alpha), and a uniform
    centre; what sticks out is cut off, and the share is taken anew from what was pasted. MONAI's
    CutMix cuts its box out of the labels as if they were images, so an image can get the label of
    the other one whole (Project-MONAI/MONAI#8137).

    Args:
        images: Shape (B, C, *spatial), two or three spatial dimensions.
        config: How often, and how large.
        rng: The only source of randomness; drawn from on the host.

    Returns:
        The mixed batch, or None where this batch is not to be mixed.
    """
    if rng.uniform() >= config.probability:
        return None
    shape = np.array(images.shape[2:])
    side = (1 - rng.beta(config.alpha, config.alpha)) ** (1 / len(shape))  # share of each side
    half = side * shape / 2
    centre = rng.uniform(size=len(shape)) * shape
    low = np.rint(np.clip(centre - half, 0, shape)).astype(int)
    high = np.rint(np.clip(centre + half, 0, shape)).astype(int)
    order = torch.from_numpy(rng.permutation(len(images))).to(images.device, non_blocking=True)
    sides = [slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    box = (slice(None), slice(None), *sides)
    mixed = images.clone()
    mixed[box] = images[order][box]
    return Mixed(mixed, order, kept=float(1 - np.prod(high - low) / np.prod(shape)))
