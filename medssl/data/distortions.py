"""Random changes of intensity, for a batch of images or volumes where it lies.

Each is a transform of a dict with `image` (B, C, *spatial). What is one number per image comes from
the host; what is one per pixel is drawn on the device, from a seed that comes from the host.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from monai.transforms import Randomizable, Transform
from torch import Tensor

from medssl.data.store import Batch

_SMALLEST = 1e-6
_LEAST_BLUR_RADIUS = 3  # px


class RandContrast(Randomizable, Transform):  # type: ignore[misc]  # MONAI is untyped
    """Window jitter: another width and another centre; a CT is cut off at -1..1 afterwards."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` with contrast and brightness changed; `hu` says which are CT."""
        image = batch["image"]
        factor = self.R.uniform(1 - self.strength, 1 + self.strength, len(image))
        shift = self.R.uniform(-self.strength, self.strength, len(image))
        factor, shift = on(image, np.stack([factor, shift]))
        changed = (image * per_image(factor, image)).add_(per_image(shift, image))
        cut = torch.where(per_image(batch["hu"], image), changed.clamp(-1, 1), changed)
        return {**batch, "image": cut}


class RandGamma(Randomizable, Transform):  # type: ignore[misc]
    """Gamma on the 0..1 range of each image, scaled back afterwards."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` with mid-tones brighter or darker."""
        image = batch["image"]
        draw = np.exp(self.R.uniform(-self.strength, self.strength, (1, len(image))))
        (gamma,) = on(image, draw)
        axes = tuple(range(1, image.ndim))
        low = image.amin(dim=axes, keepdim=True)
        width = (image.amax(dim=axes, keepdim=True) - low).clamp_min(_SMALLEST)
        unit = (image - low).div_(width).clamp_min_(_SMALLEST)
        return {**batch, "image": unit.pow_(per_image(gamma, image)).mul_(width).add_(low)}


class RandBlur(Randomizable, Transform):  # type: ignore[misc]
    """Gaussian blur of some images of a batch, along every axis."""

    def __init__(self, probability: float, sigma_px: tuple[float, float]) -> None:
        self.probability = probability
        self.sigma_px = sigma_px
        self.radius = max(_LEAST_BLUR_RADIUS, math.ceil(2 * sigma_px[1]))

    def __call__(self, batch: Batch) -> Batch:
        """Return `image`, some of them blurred."""
        image = batch["image"]
        n = len(image)
        wanted = self.R.uniform(size=n) < self.probability
        sigma = np.where(wanted, self.R.uniform(*self.sigma_px, n), 1e-3)  # 1e-3 changes nothing
        for axis in range(2, image.ndim):
            radius = min(self.radius, image.shape[axis] - 1)  # reflection ends there
            taps = np.arange(-radius, radius + 1)
            kernel = np.exp(-0.5 * (taps / sigma[:, None]) ** 2)
            kernel /= kernel.sum(axis=1, keepdims=True)
            image = _convolved(image, on(image, kernel.T), axis)
        return {**batch, "image": image}


def _convolved(image: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Return ``image`` with ``kernel`` (taps, B) along an axis, mirrored at its ends.

    A sum of shifted images is several times as fast on a CPU as a grouped convolution.
    """
    length, radius = image.shape[axis], len(kernel) // 2
    ends = [0] * (2 * (image.ndim - axis - 1)) + [radius, radius] + [0] * (2 * (axis - 2))
    padded = F.pad(image, ends, mode="reflect")
    weights = kernel.view(len(kernel), -1, *(1,) * (image.ndim - 1))
    total = padded.narrow(axis, 0, length) * weights[0]
    for tap in range(1, len(kernel)):
        total.addcmul_(padded.narrow(axis, tap, length), weights[tap])
    return total


class RandNoise(Randomizable, Transform):  # type: ignore[misc]
    """Gaussian noise of a random strength."""

    def __init__(self, highest: float) -> None:
        self.highest = highest

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` with noise added."""
        image = batch["image"]
        (strength,) = on(image, self.R.uniform(0, self.highest, (1, len(image))))
        generator = _generator(image, int(self.R.randint(2**31)))
        noise = torch.randn(image.shape, device=image.device, generator=generator)
        return {**batch, "image": torch.addcmul(image, per_image(strength, image), noise)}


class RandMask(Randomizable, Transform):  # type: ignore[misc]
    """Set a share of the pixels of some images to 0, drawn one by one (arXiv:2507.12269)."""

    def __init__(self, probability: float, share: float) -> None:
        self.probability = probability
        self.share = share

    def __call__(self, batch: Batch) -> Batch:
        """Return `image`, some of them with holes."""
        image = batch["image"]
        wanted = self.R.uniform(size=len(image)) < self.probability
        seed = int(self.R.randint(2**31))
        if not wanted.any():
            return batch
        (share,) = on(image, wanted[None] * self.share)
        places = (len(image), 1, *image.shape[2:])
        draw = torch.rand(places, device=image.device, generator=_generator(image, seed))
        return {**batch, "image": image * (draw >= per_image(share, image))}


def _generator(image: Tensor, seed: int) -> torch.Generator | None:
    """Return a generator where ``image`` is; the meta device has none and needs none."""
    if image.is_meta:
        return None
    return torch.Generator(image.device).manual_seed(seed)


def per_image(values: Tensor, image: Tensor) -> Tensor:
    """Return (B,) as (B, 1, ..., 1) with as many axes as ``image``."""
    return values.view(-1, *(1,) * (image.ndim - 1))


def on(image: Tensor, draw: np.ndarray) -> Tensor:
    """Return host draws as a tensor beside ``image``."""
    return torch.from_numpy(np.asarray(draw, dtype=np.float32)).to(image.device, non_blocking=True)
