"""Metrics of ordered classes: how far the predicted class is from the true one.

They take classes by number, from 0. The predicted class is the median of the probabilities: as
many cuts are passed as have a probability of one half or more. It makes the expected distance
smallest, which the most probable class does not.
"""

from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation.amounts import mean_absolute_error
from medssl.evaluation.metrics import Floats, Metric
from medssl.evaluation.units import Units

HALF = 0.5


def classes(units: Units) -> tuple[Floats, Floats]:
    """Return the true and the predicted class of each unit by number, each (U,)."""
    return units.truth.sum(axis=1), (units.score >= HALF).sum(axis=1).astype(np.float64)


def linear_kappa(
    target: NDArray[np.generic], score: Floats, weight: Floats | None = None
) -> Floats:
    """Return Cohen's kappa (Psychol Bull 1968;70:213) with weights by distance.

    ``score`` is a class by number, as ``target``. See `metrics.Compute`; it is undefined where all
    units are and are called one class.
    """
    return _kappa(target, score, weight, power=1)


def quadratic_kappa(
    target: NDArray[np.generic], score: Floats, weight: Floats | None = None
) -> Floats:
    """Return Cohen's kappa with weights by squared distance. See `linear_kappa`."""
    return _kappa(target, score, weight, power=2)


def _kappa(
    target: NDArray[np.generic], score: Floats, weight: Floats | None, *, power: Literal[1, 2]
) -> Floats:
    weight = np.ones(score.shape) if weight is None else weight
    true, called = np.asarray(target, dtype=np.int64), score.astype(np.int64)
    n_classes = int(max(true.max(initial=0), called.max(initial=0))) + 1
    grid = np.arange(n_classes)
    distance = np.abs(grid[:, None] - grid) ** power
    shares = [weight @ (values[:, None] == grid).astype(float) for values in (true, called)]
    seen = weight @ distance[true, called].astype(float)
    total = weight.sum(axis=-1)
    expected = ((shares[0] @ distance) * shares[1]).sum(axis=-1)  # times the total
    unknown = np.full(expected.shape, np.nan)
    return np.asarray(1 - np.divide(seen * total, expected, out=unknown, where=expected > 0))


_Row = partial(Metric, task="ordinal", needs_probability=True, needs_prevalence=True)
TABLE = (
    _Row(
        name="quadratic_kappa",
        title="Quadratic-weighted kappa",
        compute=quadratic_kappa,
        higher_is_better=True,
        reference="sklearn.metrics.cohen_kappa_score",
        options={"weights": "quadratic"},
        no_skill=lambda _: 0.0,
        meaning="agreement beyond chance; two classes off count four times one off",
    ),
    _Row(
        name="linear_kappa",
        title="Linear-weighted kappa",
        compute=linear_kappa,
        higher_is_better=True,
        reference="sklearn.metrics.cohen_kappa_score",
        options={"weights": "linear"},
        no_skill=lambda _: 0.0,
        meaning="agreement beyond chance; two classes off count twice one off",
    ),
    _Row(
        name="class_mae",
        title="Mean distance in classes",
        compute=mean_absolute_error,
        higher_is_better=False,
        reference="sklearn.metrics.mean_absolute_error",
        no_skill=lambda _: None,
        meaning="by how many classes a prediction is off on average",
    ),
)
