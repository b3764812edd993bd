"""Images cut into patches: which are hidden, and how a prediction of the hidden ones is judged.

The patches of an image are numbered row by row over its grid (3D: slice by slice first). Targets
are standardised per patch, as in arXiv:2111.06377 §3 and arXiv:2301.03580 §3.3.
"""

import math

import torch
from torch import Tensor

from medssl.foundation.errors import UsageError

FLAT_STD = 0.01  # of the encoder's input; 10 HU in the default window
_EPS = 1e-6  # of the papers, under the root of the standard deviation
_TINY = 1e-12
Grid = tuple[int, ...]


def split(images: Tensor, grid: Grid) -> Tensor:
    """Return patches (B, N, P x C) of images (B, C, *spatial).

    Args:
        images: Each side is a multiple of the number of patches along it.
        grid: Patches along each spatial axis.
    """
    n, channels = images.shape[:2]
    sides = [size // number for size, number in zip(images.shape[2:], grid, strict=True)]
    cut = [size for pair in zip(grid, sides, strict=True) for size in pair]
    axes = range(len(grid))
    order = [0, *(2 + 2 * k for k in axes), *(3 + 2 * k for k in axes), 1]
    return images.reshape(n, channels, *cut).permute(order).reshape(n, math.prod(grid), -1)


def join(patches: Tensor, grid: Grid, shape: torch.Size) -> Tensor:
    """Return the images (B, C, *spatial) that `split` cut.

    Args:
        patches: Shape (B, N, P x C).
        grid: Patches along each spatial axis.
        shape: Of the images.
    """
    sides = [size // number for size, number in zip(shape[2:], grid, strict=True)]
    axes = len(grid)
    order = [0, 2 * axes + 1, *(k for a in range(axes) for k in (1 + a, 1 + axes + a))]
    return patches.reshape(shape[0], *grid, *sides, shape[1]).permute(order).reshape(shape)


def setting(axis: int, n_axes: int) -> str:
    """Return the setting that decides a side of a view.

    >>> setting(0, 2), setting(0, 3), setting(1, 3)
    ('image_size', 'depth', 'image_size')
    """
    return "depth" if n_axes == 3 and axis == 0 else "image_size"


def n_visible(n_patches: int, mask_ratio: float) -> int:
    """Return how many patches stay visible: at least one, and not all.

    Raises:
        UsageError: There is one patch only.
    """
    if n_patches < 2:
        raise UsageError(
            "a view is one patch: hidden, nothing is left to see",
            where="image_size",
            fix="choose a view of two patches or more (64 px for a ResNet), or smaller patches",
        )
    return min(n_patches - 1, max(1, round((1 - mask_ratio) * n_patches)))


def random_order(n: int, n_patches: int, device: torch.device, seed: int | None = None) -> Tensor:
    """Return the patches of each image in a random order, (n, n_patches); int64.

    Args:
        n: Images.
        n_patches: Of an image.
        device: Of the result.
        seed: None: torch's generator draws. Otherwise it is left alone, and the same seed gives
            the same order on every device.
    """
    if seed is None:
        return torch.rand(n, n_patches, device=device).argsort(dim=1)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, n_patches, generator=generator).argsort(dim=1).to(device)


def is_visible(order: Tensor, n_kept: int) -> Tensor:
    """Return whether each patch is among the first ``n_kept`` of its image, (B, N) bool."""
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :n_kept], value=True)


def standardise(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return patches (B, N, P x C) with mean 0 and variance 1, in single precision.

    Mean and standard deviation, (B, N, 1) each, come with them. A patch of equal pixels becomes 0.
    """
    values = patches.float()
    variance, mean = torch.var_mean(values, dim=2, correction=0, keepdim=True)
    std = (variance + _EPS).sqrt()
    return (values - mean) / std, mean, std


def error_rows(
    predicted: Tensor, actual: Tensor, visible: Tensor, *, skip_flat: bool
) -> dict[str, Tensor]:
    """Return ``error`` and ``weight``, (B,) each: what an image adds to the loss.

    Both are shares of its hidden patches, so that `average` weighs every patch that counts alike.

    Args:
        predicted: Standardised patches, (B, N, P x C).
        actual: Patches as they are, (B, N, P x C).
        visible: Shape (B, N), bool. Visible patches cost nothing.
        skip_flat: Leave out hidden patches of nearly equal pixels. Air, made as bright as tissue
            by standardising, is nothing but noise that no prediction can match.
    """
    target, _, std = standardise(actual)
    counts = ~visible
    if skip_flat:
        counts = counts & (std.squeeze(2) > FLAT_STD)
    squared = (predicted.float() - target).square().mean(dim=2)  # (B, N)
    n_hidden = (~visible).sum(dim=1).clamp_min(1)
    return {
        "error": squared.masked_fill(~counts, 0).sum(dim=1) / n_hidden,
        "weight": counts.sum(dim=1) / n_hidden,
    }


def average(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``total``, the mean squared error over all patches that count, 0 if none does.

    ``counted`` is the share of hidden patches that do.

    Args:
        rows: Of `error_rows`, for all images of a step.
    """
    total = rows["error"].sum() / rows["weight"].sum().clamp_min(_TINY)
    return {"total": total, "counted": rows["weight"].mean()}


def paint(view: Tensor, grid: Grid, visible: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """Return a view, what was seen of it and what was made of that.

    Args:
        view: Images (B, C, *spatial).
        grid: Patches along each spatial axis.
        visible: Shape (B, N), bool.
        predicted: Standardised patches, (B, N, P x C).

    Returns:
        ``image``, ``masked`` (0 where hidden) and ``painted`` (visible pixels kept, hidden ones
        predicted, with the brightness and contrast of the true patch), (B, C, *spatial) each;
        ``hidden``, the same shape, bool.
    """
    actual = split(view, grid)
    _, mean, std = standardise(actual)
    hidden = ~visible[:, :, None].expand_as(actual)
    painted = torch.where(hidden, predicted.float() * std + mean, actual.float())
    masked = actual.masked_fill(hidden, 0)
    return {
        "image": view,
        "masked": join(masked, grid, view.shape),
        "hidden": join(hidden, grid, view.shape),
        "painted": join(painted, grid, view.shape),
    }
