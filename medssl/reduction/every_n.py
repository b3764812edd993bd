"""Every n-th image of a scope in archive order, an arm of "Less is More" (arXiv:2410.14524).

In a series that is every n-th slice. The similarity of two images falls with the number of
positions between them, 1 / (1 + distance / (n - 1/2)), and is one half at n - 1/2 of them: at the
threshold of one half an image stands for the n - 1 that follow it. `--keep` and `--budget` find a
distance of their own. It says nothing of what the images show.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medssl.reduction._contract import Needs

THRESHOLD = 0.5  # lies between n - 1 and n positions, whatever n is
SAME = None
OWN_ORDER = False
VECTORS = False
PAIR_NS = 2
STEP = 0.0
ERROR = 0.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """How far apart the kept images are; 10 keeps a tenth, the size the paper compares at."""

    n: Annotated[int, Field(ge=1)] = 10


def needs(config: Config) -> Needs:
    """Return that positions are needed."""
    del config
    return "positions"


def describe(source: Iterable[int], config: Config) -> NDArray[np.float64]:
    """Return the positions, shape (N, 1); see `_contract.py`."""
    del config
    return np.fromiter(source, dtype=np.float64).reshape(-1, 1)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float64]:
    """Return 1 / (1 + distance / (n - 1/2)), distance in positions, shape (n, m)."""
    del device
    return _nearness(a[:, None, 0] - b[None, :, 0], config)


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,)."""
    return _nearness(a[:, 0] - b[:, 0], config)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order."""
    del config
    return np.zeros(len(descriptors))


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return that none is known to be: pixels are not looked at."""
    return np.zeros(len(descriptors), dtype=bool)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result and of one step on the way to it."""
    del descriptors
    return 16


def _nearness(difference: NDArray[np.float64], config: Config) -> NDArray[np.float64]:
    near = np.abs(difference, out=difference)
    near /= config.n - 0.5
    near += 1
    return np.divide(1.0, near, out=near)
