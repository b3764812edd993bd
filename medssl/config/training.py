"""Settings shared by everything that trains."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from medssl.config.settings import Settings

Auto = Literal["auto"]
Precision = Literal["auto", "32", "bf16", "16"]


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] <= span[1]:
        raise ValueError("the first number must not be above the second")
    return span


def _window(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] < span[1]:
        raise ValueError("the first number must be below the second")
    return span


Span = Annotated[tuple[float, float], AfterValidator(_window)]
_Above0 = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[tuple[_Above0, _Above0], AfterValidator(_ascending)]
Share = Annotated[tuple[_Share, _Share], AfterValidator(_ascending)]
AtLeast1 = Annotated[int, Field(ge=1)]
AtLeast2 = Annotated[int, Field(ge=2)]  # batch norm needs two images
Side = Annotated[int, Field(ge=16)]  # px
Rate = Annotated[float, Field(gt=0, le=1e30)]  # more overflows


class Optim(Settings):
    """A linear warm-up and a cosine decay; no weight decay on biases and norms."""

    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)  # share of all steps
    clip: float | None = Field(default=None, gt=0)  # gradient norm


class CutMix(Settings):
    """Paste a box of another image of the batch, and mix the labels by area (arXiv:1905.04899)."""

    probability: float = Field(default=0.0, ge=0, le=1)  # of a batch to be mixed
    alpha: float = Field(default=1.0, gt=0)  # share kept ~ Beta(alpha, alpha)


class MixUp(Settings):
    """Blend each image with another of the batch, and their labels alike (arXiv:1710.09412)."""

    probability: float = Field(default=0.0, ge=0, le=1)  # of a batch to be mixed
    alpha: float = Field(default=0.2, gt=0)  # share kept ~ Beta(alpha, alpha)


class Intensity(Settings):
    """How stored pixels become the encoder's input."""

    window_hu: Span = (-1000.0, 1000.0)  # CT: clipped to this, scaled to -1..1
    # everything else: zero mean, unit variance over the valid area of each image


class Views(Settings):
    """Random views. Flips are off: they mirror the heart and the side of a finding."""

    scale: Share = (0.5, 1.0)  # share of the valid area (3D: volume) a crop covers
    local_scale: Share = (0.1, 0.33)  # the same of the smaller views some methods want
    local_size: _Share = 0.43  # their side, as a share of that of a view (96 / 224 in the papers)
    body: float = Field(default=0.5, ge=0, le=1)  # a crop shows at least this share of body, taken
    # relative to the body's share of the whole image; 0: wherever it falls
    ratio: Positive = (0.8, 1.25)  # width / height of a crop
    rotation_deg: float = Field(default=10.0, ge=0, le=180)
    flip: float = Field(default=0.0, ge=0, le=1)  # probability of a left-right flip
    contrast: float = Field(
        default=0.2, ge=0, lt=1
    )  # window jitter: value * U(1-c, 1+c) + U(-c, c)
    # of a CT before its values are cut off, which is another window in HU
    gamma: float = Field(default=0.3, ge=0)  # exponent exp(U(-g, g)) on the 0..1 range of an image
    noise: float = Field(default=0.1, ge=0)  # highest standard deviation of added noise
    blur: float = Field(default=0.5, ge=0, le=1)  # probability of a Gaussian blur
    blur_sigma_px: Positive = (0.3, 1.2)  # at the size of the view
    mask: float = Field(default=0.0, ge=0, le=1)  # probability of setting pixels to 0
    mask_share: _Share = 0.25  # of the pixels, drawn one by one
