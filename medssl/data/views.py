"""Views: a MONAI `Compose` of batched transforms that run where the model lives.

Every transform acts on a whole batch of images or volumes, a dict with `image` (B, C, *spatial) and
what belongs to it, and draws its parameters on the host from the state `Compose.set_random_state`
gave it. So a view replays exactly from a seed, and nothing waits for the device.
"""

from dataclasses import replace

import numpy as np
import torch
from monai.transforms import Compose, Randomizable, Transform
from torch import Tensor

from medssl.config.training import Intensity, Views
from medssl.data import boxes
from medssl.data.boxes import Box, Shape
from medssl.data.distortions import (
    RandBlur,
    RandContrast,
    RandGamma,
    RandMask,
    RandNoise,
    on,
    per_image,
)
from medssl.data.store import Batch

_MIN_STD = 1e-6
BODY_HU = -500.0  # of a CT: what is above is body
_AIR_HU = -1000.0
_DARK = 0.05  # share of the values that are darker than what counts as background elsewhere
_BODY_SHARE = 0.25  # there body begins at this share of the way from the background to the mean
_PLACES = 4  # that a crop is tried at until one shows enough of the body
_POINTS = {2: 8, 3: 5}  # along each axis, to estimate the body's share


def random_view(views: Views, shape: Shape, *, local: bool = False) -> Compose:
    """Return the random part: one resampling, then intensity changes.

    Args:
        views: What is varied, and how much.
        shape: Of the views, (rows, columns) or (slices, rows, columns).
        local: Whether these are the smaller views, with crops of `views.local_scale`.
    """
    return Compose([
        RandCrop(views, shape, views.local_scale if local else views.scale),
        RandContrast(views.contrast),
        RandGamma(views.gamma),
        RandBlur(views.blur, views.blur_sigma_px),
        RandNoise(views.noise),
        RandMask(views.mask, views.mask_share),
    ])  # fmt: skip


class ToIntensity(Transform):  # type: ignore[misc]  # MONAI is untyped
    """Stored values to encoder input: CT by a HU window to -1..1, the rest standardised.

    Standardised means zero mean and unit variance over the valid area of each image.

    Args:
        intensity: The window.
        headroom: How much of a CT outside the window is kept for `RandContrast` of that strength,
            which then shows exactly what a window of other width and centre would.
    """

    def __init__(self, intensity: Intensity, headroom: float = 0.0) -> None:
        low, high = intensity.window_hu
        self.centre, self.half = (low + high) / 2, (high - low) / 2
        self.limit = (1 + headroom) / (1 - headroom)

    def __call__(self, batch: Batch) -> Batch:
        """Return `image`, what says where and what it is, and of CT `body_above` and `air` (B,)."""
        image, hu = batch["image"], batch["hu"]
        mean, std = _statistics(image, batch["extent"])
        pivot = torch.where(hu, (self.centre - batch["intercept"]) / batch["slope"], mean)
        width = torch.where(hu, self.half / batch["slope"], std)
        values = (image - per_image(pivot, image)).div_(per_image(width, image))
        cut = torch.where(per_image(hu, image), values.clamp(-self.limit, self.limit), values)
        kept = {name: batch[name] for name in batch if name not in {"slope", "intercept"}}
        body, air = (torch.full_like(mean, self._of_ct(value)) for value in (BODY_HU, _AIR_HU))
        return {**kept, "image": cut, "body_above": body, "air": air}

    def _of_ct(self, value_hu: float) -> float:
        return min(max((value_hu - self.centre) / self.half, -self.limit), self.limit)


def _statistics(image: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the valid areas, (B,) each."""
    axes = tuple(range(1, image.ndim))
    valid = _valid(image, extent)
    count = extent.prod(dim=1) * image.shape[1]
    mean = (image * valid).sum(dim=axes) / count
    centred = (image - per_image(mean, image)).mul_(valid)
    std = torch.linalg.vector_norm(centred, dim=axes) / count.sqrt()
    return mean, std.clamp_min(_MIN_STD)


def _valid(image: Tensor, extent: Tensor) -> Tensor:
    """Return 1 inside the valid area and 0 outside, shape (B, 1, *spatial)."""
    valid = torch.ones((len(image), *(1,) * (image.ndim - 1)), device=image.device)
    for axis, length in enumerate(image.shape[2:], start=2):
        inside = torch.arange(length, device=image.device) < extent[:, axis - 2, None]
        valid = valid * inside.view(-1, *(1,) * (axis - 1), length, *(1,) * (image.ndim - axis - 1))
    return valid


class WholeImage(Transform):  # type: ignore[misc]
    """The smallest centred box with the proportions of a view around the valid area.

    Around that lies background: air in CT, elsewhere what is darker than nearly all of the image.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` (B, C, *shape)."""
        shown = boxes.sample(batch, boxes.valid_box(batch, self.shape), self.shape)
        around = per_image(torch.where(batch["hu"], batch["air"], _background(batch)), shown)
        return {"image": around.lerp(shown, boxes.covered(batch, self.shape))}


class RandCrop(Randomizable, Transform):  # type: ignore[misc]
    """Crop, scale, aspect, rotation and flip in one resampling; it never leaves the valid area.

    A crop that does not fit is made smaller as a whole, so that nothing is stretched beyond
    `views.ratio`. Of a few places the first is taken that shows enough of the body, else the best.

    Args:
        views: What is varied. Flips are along the last axis.
        shape: Of the views.
        scale: Smallest and largest share of the valid area or volume; None: `views.scale`.
    """

    def __init__(
        self, views: Views, shape: Shape, scale: tuple[float, float] | None = None
    ) -> None:
        self.views = views
        self.shape = shape
        self.scale = views.scale if scale is None else scale

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` (B, C, *shape), and `hu`."""
        box = self.box(batch)
        return {"image": boxes.sample(batch, box, self.shape), "hu": batch["hu"]}

    def box(self, batch: Batch) -> Box:
        """Return the crops."""
        image, views, dims = batch["image"], self.views, len(self.shape)
        n, voxel = len(image), boxes.spacing(batch)
        size = batch["extent"] * voxel
        angle = self.R.uniform(-views.rotation_deg, views.rotation_deg, (n, 1 if dims == 2 else 3))
        turn = boxes.turns(on(image, np.radians(angle)), voxel)
        edges = on(image, self._edges(n)) * size.prod(dim=1, keepdim=True) ** (1 / dims)
        around = (turn.abs() * edges[:, None]).sum(dim=2)  # the box, upright, around the turned one
        fit = (size / around).amin(dim=1, keepdim=True).clamp_max(1)
        mirror = np.ones((n, dims))
        mirror[:, -1] = np.where(self.R.uniform(size=n) < views.flip, -1.0, 1.0)
        free = size - around * fit
        places = self.R.uniform(size=(1, n, dims))
        if views.body > 0:
            places = np.concatenate([places, self.R.uniform(size=(_PLACES - 1, n, dims))])
        centres = (around * fit / 2)[:, None] + free[:, None] * on(image, places.swapaxes(0, 1))
        crop = Box(centre=centres[:, 0], edges=edges * fit * on(image, mirror), turn=turn)
        return crop if views.body == 0 else _on_the_body(batch, crop, centres, views.body)

    def _edges(self, n: int) -> np.ndarray:
        """Return edges (n, D) of crops of a volume of 1."""
        share = self.R.uniform(*self.scale, n)
        ratio = np.exp(self.R.uniform(*np.log(self.views.ratio), n))
        edges = np.array(boxes.proportions(self.shape)) * share[:, None] ** (1 / len(self.shape))
        edges[:, -2] /= np.sqrt(ratio)
        edges[:, -1] *= np.sqrt(ratio)
        return np.asarray(edges)


def _on_the_body(batch: Batch, box: Box, centres: Tensor, least: float) -> Box:
    """Return the box at the first of its places (B, K, D) with enough body, else at the best."""
    count = _POINTS[centres.shape[2]]
    of_all = _values(batch)
    above = torch.where(batch["hu"], batch["body_above"], _above_background(of_all))
    above = above[:, None, None]
    least_share = least * (of_all[:, None] > above).float().mean(dim=2)
    share = (boxes.points(batch, box, centres, count) > above).float().mean(dim=2)
    rank = torch.arange(centres.shape[1], device=centres.device)
    step = 0.1 / (len(rank) * of_all.shape[1])  # all of them together are less than one point
    preference = torch.where(share >= least_share, 2.0 - rank * step, share - rank * step)
    chosen = preference.argmax(dim=1)[:, None, None]
    return replace(box, centre=torch.take_along_dim(centres, chosen, dim=1)[:, 0])


def _values(batch: Batch) -> Tensor:
    """Return some values from all over each image, (B, N)."""
    whole = boxes.valid_box(batch)
    count = _POINTS[whole.centre.shape[1]]
    return boxes.points(batch, whole, whole.centre[:, None], count)[:, 0]


def _background(batch: Batch) -> Tensor:
    """Return what counts as background in images without a unit, (B,)."""
    return _dark(_values(batch))


def _dark(values: Tensor) -> Tensor:
    """Return what a twentieth of values (B, N) is darker than; broken pixels do not move it."""
    return values.sort(dim=1).values[:, int(_DARK * values.shape[1])]


def _above_background(values: Tensor) -> Tensor:
    """Return where body begins in images without a unit, (B,), from some of their values (B, N).

    Where there is no background nearly all is body.
    """
    dark = _dark(values)
    return dark + _BODY_SHARE * (values.mean(dim=1) - dark)
