"""Every n-th image of a scope in archive order, an arm of "Less is More" (arXiv:2410.14524).

In a series that is every n-th slice. The similarity of two images falls with the number of
positions between them and is one half at n - 1/2 of them, so at the threshold of one half an image
stands for the n - 1 that follow it. `--keep` and `--budget` find a distance of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

THRESHOLD = 0.5  # lies between n - 1 and n positions, whatever n is
NEEDS_PIXELS = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """How far apart the kept images are; 10 keeps a tenth, the size the paper compares at."""

    n: Annotated[int, Field(ge=1)] = 10


def describe(
    images: Iterable[NDArray[np.uint8]], ids: Sequence[str], config: Config
) -> NDArray[np.float64]:
    """Return the position of each image in its scope, shape (N, 1); see `_contract.py`."""
    del images, config
    return np.arange(len(ids), dtype=np.float64).reshape(-1, 1)


def similarity(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return 1 / (1 + distance / (n - 1/2)), distance in positions, shape (n, m)."""
    distance = np.abs(a[:, None, 0] - b[None, :, 0])
    return np.asarray(1.0 / (1.0 + distance / (config.n - 0.5)), dtype=np.float64)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order."""
    del config
    return np.zeros(len(descriptors))
