"""Does an image look like those a model was trained on? A distance, and how far others lie.

A Gaussian over deep features with a Ledoit-Wolf covariance (Rippel et al., arXiv:2005.14140; Lee et
al., arXiv:1807.03888). What counts as far is read from images the model did not learn from:
distances of the training images themselves are too small, and so is a chi-square bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """A mean and a covariance of few components and the same variance in every other direction."""

    mean: Floats  # (F,)
    components: Floats  # (R, F), orthonormal
    variances: Floats  # (R,) along them
    rest: float  # variance in every direction besides

    def distance(self, features: Floats) -> Floats:
        """Return the squared Mahalanobis distance per feature of each row (N, F), about 1 each."""
        away = np.asarray(features, dtype=np.float64) - self.mean
        along = away @ self.components.T
        beside = np.maximum(0, (away**2).sum(axis=1) - (along**2).sum(axis=1))
        total = (along**2 / self.variances).sum(axis=1) + beside / self.rest
        return np.asarray(total / len(self.mean))


def fit(features: Floats) -> Gaussian:
    """Return the Gaussian of training features (N, F), N >= 2.

    The covariance is (1 - a) S + a m I with the maximum-likelihood covariance S, its mean variance
    m and the shrinkage a of Ledoit & Wolf (J Multivar Anal 2004;88:365). It is kept by the
    components of S, so that nothing of size F x F is stored.
    """
    rows = np.asarray(features, dtype=np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    shrunk = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    _, lengths, components = np.linalg.svd(centred, full_matrices=False)
    found = lengths**2 / len(rows)
    level = max(float(found.sum() / rows.shape[1]), 1e-12)
    there = found > 1e-10 * level
    return Gaussian(
        mean=mean,
        components=components[there],
        variances=(1 - shrunk) * found[there] + shrunk * level,
        rest=max(shrunk, 1e-6) * level,
    )


def far(distance: Floats, held_out: Floats) -> Floats:
    """Return how rare distances are: the share of held-out ones that are at least as large.

    Counted with the image itself, as a conformal p-value: (1 + n at least as large) / (1 + n). Of
    images like those held out, a share of at most p has a value of p or less.

    Args:
        distance: Shape (N,).
        held_out: Of images the Gaussian was not fitted to, shape (M,).
    """
    ordered = np.sort(held_out)
    below = np.searchsorted(ordered, distance, side="left")
    return np.asarray((1 + len(ordered) - below) / (1 + len(ordered)))


def relative(distance: Floats, held_out: Floats) -> Floats:
    """Return distances in units of the median of held-out ones, to put several models together."""
    return np.asarray(distance / max(float(np.median(held_out)), 1e-12))
