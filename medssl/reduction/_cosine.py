"""Cosine similarity of unit vectors: a matrix product, and its exact value for single pairs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ERROR = 1e-4  # far above what float32 loses over some thousand dimensions
_PAIRS = 64  # at a time in float64, so that they stay in the cache


def similarity(a: NDArray[Any], b: NDArray[Any], device: str = "cpu") -> NDArray[np.float32]:
    """Return cosines clipped to 0 to 1, shape (n, m), of unit vectors (n, F) and (m, F)."""
    if device == "cpu":
        cosine = a @ b.T
        return np.asarray(np.clip(cosine, 0, 1, out=cosine))
    return by_torch(a, b, device)


def exact(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return cosines clipped to 0 to 1, shape (n,), of pairs of vectors (n, F) and (n, F).

    Each is summed on its own in one order, and two equal vectors have exactly 1.
    """
    cosine = np.empty(len(a))
    for first in range(0, len(a), _PAIRS):
        some = slice(first, first + _PAIRS)
        left, right = (vectors[some].astype(np.float64, order="C") for vectors in (a, b))
        sizes = np.sqrt((left * left).sum(axis=1) * (right * right).sum(axis=1))
        cosine[some] = (left * right).sum(axis=1) / sizes
    return cosine.clip(0, 1)


def by_torch(a: NDArray[Any], b: NDArray[Any], device: str) -> NDArray[np.float32]:
    """Return what `similarity` does, computed on another device."""
    left, right = (torch.from_numpy(np.array(v)).to(device) for v in (a, b))
    with full_precision():
        return np.asarray((left @ right.T).clamp_(0, 1).cpu().numpy())


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep a GPU from rounding the factors of products to 10 bits (TF32)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
