"""Do the features of an encoder still tell images apart, or have they collapsed?

Numbers over the features of N images, each scaled to length 1 first:

- *feature spread*, the standard deviation per dimension that Chen & He watch (CVPR 2021,
  arXiv:2011.10566), averaged and times the square root of F;
- *effective rank* (Roy & Vetterli, EUSIPCO 2007): the exponential of the entropy of the singular
  values, here of the centred features, since a common offset tells no image from another;
- *alignment* and *uniformity* (Wang & Isola, ICML 2020, arXiv:2005.10242): how near two views of an
  image lie, and how evenly images fill the sphere. Both are lower where they are better.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# An untrained encoder has a spread of 0.05 (synthetic CT) to 0.2 (radiographs) and a rank above 8;
# where every image got nearly the same feature, 0.004 and less was seen.
FLOORS = {"feature_std": 0.02, "effective_rank": 2.0}
LEAST_IMAGES = 16  # a rank of fewer says little
_ROUNDING = 1e-6  # features are computed in single precision: less than this is no difference


def directions(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rows scaled to length 1; a row of zeros stays one."""
    wide = features.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0))


def feature_std(features: NDArray[np.floating]) -> float:
    """Return the spread: 0 where all images have one direction, about 1 where all have their own.

    Args:
        features: Shape (N, F).
    """
    unit = directions(features)
    return float(unit.std(axis=0).mean() * np.sqrt(unit.shape[1]))


def effective_rank(features: NDArray[np.floating]) -> float:
    """Return how many directions the features use, from 1 to min(N - 1, F); 0 if nothing differs.

    Args:
        features: Shape (N, F).
    """
    unit = directions(features)
    values = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    values = values[values > _ROUNDING * np.sqrt(len(unit))]
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if len(values) else 0.0


def alignment(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the mean squared distance between features of two views: 0 for equal ones, at most 4.

    Args:
        first: Shape (N, F).
        second: Of other views of the same images, shape (N, F).
    """
    return float(np.square(directions(first) - directions(second)).sum(axis=1).mean())


def uniformity(features: NDArray[np.floating]) -> float:
    """Return the log of the mean of exp(-2 d^2) over all pairs: 0 where all are equal, above -8.

    Args:
        features: Shape (N, F), N >= 2; d is the distance between two of them.
    """
    unit = directions(features)
    cosine = (unit @ unit.T)[np.triu_indices(len(unit), k=1)]
    return float(np.log(np.exp(-2 * (2 - 2 * cosine)).mean())) if len(cosine) else math.nan


def has_collapsed(course: Sequence[Mapping[str, float]], *, at_the_end: bool) -> bool:
    """Return whether a run is to be stopped: below a floor twice in a row, or once at the end.

    A single low point may be the running statistics of the norms catching up.

    Args:
        course: What was measured so far, the latest last.
        at_the_end: Whether the training is over.
    """
    low = [any(point[name] < floor for name, floor in FLOORS.items()) for point in course]
    return low[-1] and (at_the_end or low[-2:] == [True, True])
