"""Does an image look like those a model was trained on? A distance, and how far others lie.

A Gaussian over deep features with a Ledoit-Wolf covariance (Rippel et al., arXiv:2005.14140; Lee et
al., arXiv:1807.03888). What counts as far is read from images the model did not learn from:
distances of the training images themselves are too small, and so is a chi-square bound.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BLOCK = 1024  # rows at a time: what is computed beside them stays small
_FLAT = 1e-10  # of the largest variance; below it a direction is one of rounding


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """A mean and a covariance of few components and the same variance in every other direction."""

    mean: Floats  # (F,)
    components: Floats  # (R, F), orthonormal
    variances: Floats  # (R,) along them
    rest: float  # variance in every direction besides

    def distance(self, features: Floats) -> Floats:
        """Return the squared Mahalanobis distance per feature of each row (N, F), about 1 each."""
        found = np.empty(len(features))
        for start in range(0, len(features), _BLOCK):
            rows = slice(start, start + _BLOCK)
            found[rows] = self._distance(features[rows])
        return found

    def _distance(self, features: Floats) -> Floats:
        away = np.asarray(features, dtype=np.float64) - self.mean
        along = (away @ self.components.T) ** 2
        beside = np.maximum(0, (away**2).sum(axis=1) - along.sum(axis=1))
        return np.asarray((along @ (1 / self.variances) + beside / self.rest) / len(self.mean))


def fit(features: Floats) -> Gaussian:
    """Return the Gaussian of training features (N, F), N >= 2.

    The covariance is (1 - a) S + a m I with the maximum-likelihood covariance S, its mean variance
    m and the shrinkage a of Ledoit & Wolf (J Multivar Anal 2004;88:365). It is kept by the
    components of S, so that nothing of size F x F is stored where there are fewer images.
    """
    rows = np.asarray(features, dtype=np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    found, components = _components(centred)
    shrunk = _shrinkage(centred, found)
    level = max(float(found.sum() / rows.shape[1]), 1e-12)
    return Gaussian(
        mean=mean,
        components=components,
        variances=(1 - shrunk) * found + shrunk * level,
        rest=max(shrunk, 1e-6) * level,
    )


def _components(centred: Floats) -> tuple[Floats, Floats]:
    """Return the variances (R,) of centred rows (N, F) and their directions (R, F).

    From the smaller of the two Gram matrices: both have the same eigenvalues besides 0.
    """
    n, f = centred.shape
    few_rows = n < f
    gram = centred @ centred.T if few_rows else centred.T @ centred
    squares, vectors = np.linalg.eigh(gram)
    there = squares > _FLAT * max(float(squares[-1]), np.finfo(float).tiny)
    squares, vectors = squares[there], vectors[:, there]
    if few_rows:
        return squares / n, (centred.T @ (vectors / np.sqrt(squares))).T
    return squares / n, vectors.T


def _shrinkage(centred: Floats, variances: Floats) -> float:
    """Return the shrinkage of Ledoit & Wolf, in their words: the least of b2 and d2, over d2.

    d2 is how far the covariance S is from m I, b2 how far the x x' are from S in the mean; both
    squared norms follow from the eigenvalues of S and the lengths of the rows.
    """
    n, f = centred.shape
    level = float(variances.sum()) / f
    square = float((variances**2).sum())  # of the norm of S
    apart = square - f * level**2
    noise = (float(((centred**2).sum(axis=1) ** 2).mean()) - square) / n
    if noise <= 0:
        return 0.0
    return min(1.0, noise / apart) if apart > 0 else 1.0


def memory(n: int, n_features: int) -> int:
    """Return what `fit` takes besides its (N, F) features, bytes, roughly.

    The rows once centred and once squared, and three matrices of the smaller side.
    """
    return 8 * (2 * n * n_features + 3 * min(n, n_features) ** 2)


def far(distance: Floats, held_out: Floats, *, times: int = 1) -> Floats:
    """Return how rare distances are: the share of held-out ones that are at least as large.

    Counted with the image itself, as a conformal p-value: (1 + n at least as large) / (1 + n). Of
    images like those held out, a share of at most p has a value of p or less.

    Args:
        distance: Shape (N,).
        held_out: Of images the Gaussian was not fitted to, shape (M,).
        times: How often each of these images is among them: an image that was held out in several
            repeats still is one.
    """
    ordered = np.sort(held_out)
    beyond = len(ordered) - np.searchsorted(ordered, distance, side="left")
    return np.asarray((1 + beyond / times) / (1 + len(ordered) / times))


def needed(unusual: float) -> int:
    """Return how many images must be held out before one can be as rare as ``unusual``.

    >>> needed(0.01), needed(0.05), needed(0.3)
    (99, 19, 3)
    """
    return math.ceil(round(1 / unusual - 1, 6))


def relative(distance: Floats, held_out: Floats) -> Floats:
    """Return distances in units of the median of held-out ones, to put several models together."""
    return np.asarray(distance / max(float(np.median(held_out)), 1e-12))
