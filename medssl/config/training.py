"""Settings shared by everything that trains."""

from typing import Literal

from pydantic import Field

from medssl.config.settings import Settings

Auto = Literal["auto"]
Precision = Literal["auto", "32", "bf16", "16"]


class Optim(Settings):
    """AdamW with a linear warm-up and a cosine decay; no decay on biases and norms."""

    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)  # share of all steps
    clip: float | None = Field(default=None, gt=0)  # gradient norm


class Intensity(Settings):
    """How stored pixels become the encoder's input."""

    window_hu: tuple[float, float] = (-1000.0, 1000.0)  # CT: clipped to this, scaled to -1..1
    # everything else: zero mean, unit variance over the valid area of each image


class Views(Settings):
    """Random views. Flips are off: they mirror the heart and the side of a finding."""

    scale: tuple[float, float] = (0.5, 1.0)  # share of the valid area a crop covers
    ratio: tuple[float, float] = (0.8, 1.25)  # width / height of a crop
    rotation_deg: float = Field(default=10.0, ge=0, le=180)
    flip: float = Field(default=0.0, ge=0, le=1)  # probability of a left-right flip
    contrast: float = Field(
        default=0.2, ge=0, lt=1
    )  # window jitter: value * U(1-c, 1+c) + U(-c, c)
    gamma: float = Field(default=0.3, ge=0)  # exponent exp(U(-g, g)) on the 0..1 range of an image
    noise: float = Field(default=0.1, ge=0)  # highest standard deviation of added noise
    blur: float = Field(default=0.5, ge=0, le=1)  # probability of a Gaussian blur
    blur_sigma_px: tuple[float, float] = (0.3, 1.2)  # at the size of the view
