"""Views: a MONAI `Compose` of batched transforms that run where the model lives.

Every transform acts on a whole batch, a dict with `image` (B, C, H, W) and what belongs to it,
and draws its parameters on the host from the state `Compose.set_random_state` gave it. So a view
replays exactly from a seed, on any device, and nothing waits for the device.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from monai.transforms import Compose, Randomizable, Transform
from torch import Tensor

from medssl.config.training import Intensity, Views
from medssl.data.store import Batch

_MIN_STD = 1e-6
_LEAST_BLUR_RADIUS = 3  # px


def random_view(views: Views, image_size: int) -> Compose:
    """Return the random part: one resampling, then intensity changes."""
    return Compose([
        RandCrop(views, image_size),
        RandContrast(views.contrast),
        RandGamma(views.gamma),
        RandBlur(views.blur, views.blur_sigma_px),
        RandNoise(views.noise),
        RandMask(views.mask, views.mask_share),
    ])  # fmt: skip


class ToIntensity(Transform):  # type: ignore[misc]  # MONAI is untyped
    """Stored values to encoder input: CT by a HU window to -1..1, the rest standardised.

    Standardised means zero mean and unit variance over the valid area of each image.
    """

    def __init__(self, intensity: Intensity) -> None:
        self.low, self.high = intensity.window_hu

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` and `extent`."""
        image, extent = batch["image"], batch["extent"]
        values = image * _per_image(batch["slope"]) + _per_image(batch["intercept"])
        windowed = (values - self.low) / (self.high - self.low) * 2 - 1
        valid = _valid(image, extent)  # (B, 1, H, W)
        count = valid.sum(dim=(2, 3), keepdim=True) * image.shape[1]
        mean = (image * valid).sum(dim=(1, 2, 3), keepdim=True) / count
        variance = ((image - mean).square() * valid).sum(dim=(1, 2, 3), keepdim=True) / count
        standard = (image - mean) / variance.sqrt().clamp_min(_MIN_STD)
        chosen = torch.where(_per_image(batch["hu"]), windowed.clamp(-1, 1), standard)
        return {"image": chosen, "extent": extent}


class WholeImage(Transform):  # type: ignore[misc]
    """The smallest centred square around the valid area, resampled to the size of a view."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` (B, C, image_size, image_size)."""
        extent = batch["extent"]
        side = extent.amax(dim=1)
        square = torch.stack([side, side], dim=1)
        angle = torch.zeros_like(side)
        return {"image": _resample(batch, extent / 2, square, angle, self.image_size)}


class RandCrop(Randomizable, Transform):  # type: ignore[misc]
    """Crop, scale, aspect, rotation and flip in one resampling; it never leaves the valid area."""

    def __init__(self, views: Views, image_size: int) -> None:
        self.views = views
        self.image_size = image_size

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` (B, C, image_size, image_size)."""
        image, extent = batch["image"], batch["extent"]
        n, views = len(image), self.views
        draw = np.stack([
            self.R.uniform(*views.scale, n),
            np.exp(self.R.uniform(*np.log(views.ratio), n)),
            np.radians(self.R.uniform(-views.rotation_deg, views.rotation_deg, n)),
            np.where(self.R.uniform(size=n) < views.flip, -1.0, 1.0),
            self.R.uniform(size=n),
            self.R.uniform(size=n),
        ])  # fmt: skip
        scale, ratio, angle, flip, u, v = _on(image, draw)  # (B,) each
        area = extent.prod(dim=1) * scale
        crop = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=1)  # rows, columns
        crop = torch.minimum(crop, extent)
        cos, sin = angle.cos().abs(), angle.sin().abs()
        box = torch.stack(  # of the rotated crop
            [crop[:, 0] * cos + crop[:, 1] * sin, crop[:, 0] * sin + crop[:, 1] * cos], dim=1
        )
        fit = (extent / box).amin(dim=1, keepdim=True).clamp_max(1)
        crop, box = crop * fit, box * fit
        centre = box / 2 + (extent - box) * torch.stack([u, v], dim=1)
        crop = torch.stack([crop[:, 0], crop[:, 1] * flip], dim=1)
        return {"image": _resample(batch, centre, crop, angle, self.image_size)}


class RandContrast(Randomizable, Transform):  # type: ignore[misc]
    """Window jitter: another width and another centre."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` with contrast and brightness changed."""
        image = batch["image"]
        factor = self.R.uniform(1 - self.strength, 1 + self.strength, len(image))
        shift = self.R.uniform(-self.strength, self.strength, len(image))
        factor, shift = _on(image, np.stack([factor, shift]))
        return {"image": image * _per_image(factor) + _per_image(shift)}


class RandGamma(Randomizable, Transform):  # type: ignore[misc]
    """Gamma on the 0..1 range of each image, scaled back afterwards."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` with mid-tones brighter or darker."""
        image = batch["image"]
        draw = np.exp(self.R.uniform(-self.strength, self.strength, (1, len(image))))
        (gamma,) = _on(image, draw)
        low = image.amin(dim=(1, 2, 3), keepdim=True)
        width = (image.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(_MIN_STD)
        unit = ((image - low) / width).clamp_min(_MIN_STD)
        return {"image": unit.pow(_per_image(gamma)) * width + low}


class RandBlur(Randomizable, Transform):  # type: ignore[misc]
    """Gaussian blur of some images of a batch."""

    def __init__(self, probability: float, sigma_px: tuple[float, float]) -> None:
        self.probability = probability
        self.sigma_px = sigma_px
        self.radius = max(_LEAST_BLUR_RADIUS, math.ceil(2 * sigma_px[1]))

    def __call__(self, batch: Batch) -> Batch:
        """Return `image`, some of them blurred."""
        image = batch["image"]
        n, channels = image.shape[:2]
        wanted = self.R.uniform(size=n) < self.probability
        sigma = np.where(wanted, self.R.uniform(*self.sigma_px, n), 1e-3)  # 1e-3 changes nothing
        radius = min(self.radius, *(side - 1 for side in image.shape[2:]))  # reflection ends there
        taps = np.arange(-radius, radius + 1)
        kernel = np.exp(-0.5 * (taps / sigma[:, None]) ** 2)
        kernel /= kernel.sum(axis=1, keepdims=True)
        weight = _on(image, kernel).repeat_interleave(channels, dim=0)[:, None]  # (B*C, 1, taps)
        pad = (radius,) * 4
        flat = F.pad(image.flatten(0, 1)[None], pad, mode="reflect")  # (1, B*C, H, W)
        flat = F.conv2d(flat, weight[:, :, :, None], groups=n * channels)
        flat = F.conv2d(flat, weight[:, :, None, :], groups=n * channels)
        return {"image": flat.view_as(image)}


class RandNoise(Randomizable, Transform):  # type: ignore[misc]
    """Gaussian noise of a random strength."""

    def __init__(self, highest: float) -> None:
        self.highest = highest

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` with noise added."""
        image = batch["image"]
        (strength,) = _on(image, self.R.uniform(0, self.highest, (1, len(image))))
        fast = np.random.default_rng(self.R.randint(2**31))
        noise = fast.standard_normal(tuple(image.shape), dtype=np.float32)
        return {"image": image + _per_image(strength) * _on(image, noise)}


class RandMask(Randomizable, Transform):  # type: ignore[misc]
    """Set a share of the pixels of some images to 0, drawn one by one (arXiv:2507.12269)."""

    def __init__(self, probability: float, share: float) -> None:
        self.probability = probability
        self.share = share

    def __call__(self, batch: Batch) -> Batch:
        """Return `image`, some of them with holes."""
        image = batch["image"]
        wanted = np.flatnonzero(self.R.uniform(size=len(image)) < self.probability)
        if not len(wanted):
            return {"image": image}
        kept = np.ones((len(image), 1, *image.shape[2:]), dtype=np.float32)
        fast = np.random.default_rng(self.R.randint(2**31))
        kept[wanted] = fast.uniform(size=(len(wanted), *kept.shape[1:])) >= self.share
        return {"image": image * _on(image, kept)}


def _resample(batch: Batch, centre: Tensor, crop: Tensor, angle: Tensor, size: int) -> Tensor:
    """Return ``crop`` (rows, columns; px) around ``centre``, rotated, as a square of ``size`` px.

    What lies outside the valid area takes the value at its border; the padding is never read.
    """
    image, extent = batch["image"], batch["extent"]
    height, width = image.shape[2:]
    cos, sin = angle.cos(), angle.sin()
    rows, columns = crop.unbind(dim=1)
    y, x = centre.unbind(dim=1)
    theta = torch.stack(
        [
            torch.stack([cos * columns / width, -sin * rows / width, 2 * x / width - 1], dim=1),
            torch.stack([sin * columns / height, cos * rows / height, 2 * y / height - 1], dim=1),
        ],
        dim=1,
    )  # (B, 2, 3), output to input, both in -1..1
    grid = F.affine_grid(theta, [*image.shape[:2], size, size], align_corners=False)
    last = torch.stack([(2 * extent[:, 1] - 1) / width, (2 * extent[:, 0] - 1) / height], dim=1)
    first = torch.stack([torch.full_like(x, 1 / width), torch.full_like(y, 1 / height)], dim=1)
    centres = grid.clamp(min=(first - 1)[:, None, None], max=(last - 1)[:, None, None])
    return F.grid_sample(image, centres, padding_mode="border", align_corners=False)


def _valid(image: Tensor, extent: Tensor) -> Tensor:
    """Return 1 inside the valid area and 0 outside, shape (B, 1, H, W)."""
    rows = torch.arange(image.shape[2], device=image.device)
    columns = torch.arange(image.shape[3], device=image.device)
    inside_rows = rows < extent[:, :1]  # (B, H)
    inside_columns = columns < extent[:, 1:]  # (B, W)
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None].to(image.dtype)


def _per_image(values: Tensor) -> Tensor:
    """Return (B,) as (B, 1, 1, 1)."""
    return values[:, None, None, None]


def _on(image: Tensor, draw: np.ndarray) -> Tensor:
    """Return host draws as a tensor beside ``image``."""
    return torch.from_numpy(np.asarray(draw, dtype=np.float32)).to(image.device, non_blocking=True)
