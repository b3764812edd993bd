"""Cosine similarity of embeddings, as compared in "Less is More" (arXiv:2410.14524).

With `encoder` (a pretrain run or its export) the embedding is what that encoder makes of an image.
Without, it is the image itself, shrunk to `side` x `side`, less its mean: the cosine is then the
correlation of two thumbnails, and blank images are alike among themselves only. Negative cosines
count as 0.

A threshold found for one encoder says nothing about another: some place all images of an archive
above 0.9. The default is meant for thumbnails; with an encoder `--keep` is the safer way. An
encoder trained on the very pool it thins sees what it was trained to see.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from medssl.data.shown import Shown, contrast
from medssl.reduction import _cosine
from medssl.reduction._contract import Needs

THRESHOLD = 0.9
SAME = 0.985
OWN_ORDER = False
VECTORS = True
PAIR_NS = 10
STEP = 0.0
ERROR = _cosine.ERROR
_BLANK_BELOW = 6.0  # grey levels of contrast: less shows nothing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which encoder embeds, and without one, the side of the thumbnail in px."""

    encoder: str | None = None
    side: Annotated[int, Field(ge=4, le=256)] = 32


def needs(config: Config) -> Needs:
    """Return that pixels are needed, or features where there is an encoder."""
    return "pixels" if config.encoder is None else "features"


def describe(
    source: Iterable[Shown] | Iterable[NDArray[np.floating[Any]]], config: Config
) -> NDArray[np.float32]:
    """Return unit vectors, shape (N, F + 1), of blank images 0, ..., 0, 1; see `_contract.py`.

    Args:
        source: Images, or features (F,) where there is an encoder.
        config: The options.
    """
    vectors = [_thumbnail(i.image, config) if isinstance(i, Shown) else _unit(i) for i in source]
    width = config.side**2 + 1 if config.encoder is None else 1
    return np.stack(vectors) if vectors else np.zeros((0, width), dtype=np.float32)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return cosines clipped to 0 to 1, shape (n, m)."""
    del config
    return _cosine.similarity(a, b, device)


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,), in float64."""
    del config
    return _cosine.exact(a, b)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order."""
    del config
    return np.zeros(len(descriptors))


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which thumbnails show nothing."""
    return np.asarray(descriptors[:, -1] == 1)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result."""
    del descriptors
    return 4


def _thumbnail(image: NDArray[np.uint8], config: Config) -> NDArray[np.float32]:
    small = Image.fromarray(image).resize((config.side, config.side), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float64).ravel()
    is_blank = contrast(image) < _BLANK_BELOW
    return _unit(np.zeros_like(grey) if is_blank else grey - grey.mean())


def _unit(vector: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return a vector at length 1 with a 0 behind it; 0, ..., 0, 1 if it has no length."""
    unit = np.append(vector, 0).astype(np.float64)
    length = np.sqrt((unit * unit).sum())
    if length > 0:
        unit /= length
    else:
        unit[-1] = 1
    return unit.astype(np.float32)
