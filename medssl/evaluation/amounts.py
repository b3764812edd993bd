"""Metrics of predicted amounts: errors in the unit of the amount, correlation and calibration."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation.metrics import Floats, Metric

Rows = NDArray[np.generic]
ROUNDING = 1e-28  # of a variance, as a share of the largest square: what is left of equal numbers


def mean_absolute_error(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return the mean distance of prediction and label. See `metrics.Compute`."""
    return _mean(np.abs(_of(target) - score), weight)


def root_mean_squared_error(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return the root of the mean squared distance. See `metrics.Compute`."""
    return np.sqrt(_mean((_of(target) - score) ** 2, weight))


def bias(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return the mean of prediction minus label. See `metrics.Compute`."""
    return _mean(score - _of(target), weight)


def r2(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return 1 - squared error / squared error of predicting the mean. See `metrics.Compute`.

    It is undefined where all labels are the same, and below 0 where the mean is the better guess.
    """
    return 1 - _share(_mean((_of(target) - score) ** 2, weight), _covariance(_of(target), weight))


def pearson(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return the linear correlation. See `metrics.Compute`; undefined without variation."""
    weight = _weights(score, weight)
    return _correlation(_of(target), np.asarray(score), weight)


def spearman(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return the correlation of ranks, ties by their mean rank. See `metrics.Compute`."""
    weight = _weights(score, weight)
    return _correlation(_ranks(_of(target), weight), _ranks(score, weight), weight)


def slope(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return the slope of the line of label over prediction, by least squares.

    1 where predictions spread as they should, below 1 where they spread too far. See
    `metrics.Compute`; undefined where all predictions are the same.
    """
    weight = _weights(score, weight)
    return _share(_covariance(score, weight, _of(target)), _covariance(score, weight))


def intercept(target: Rows, score: Floats, weight: Floats | None = None) -> Floats:
    """Return where the line of `slope` meets a prediction of 0, in the unit of the amount."""
    weight = _weights(score, weight)
    return _mean(_of(target), weight) - slope(target, score, weight) * _mean(score, weight)


def _of(target: Rows) -> Floats:
    return np.asarray(target, dtype=np.float64)


def _weights(score: Floats, weight: Floats | None) -> Floats:
    return np.ones(score.shape) if weight is None else weight


def _share(above: Floats, below: Floats) -> Floats:
    """Divide; not-a-number where the divisor is 0 but for rounding."""
    above, below = np.asarray(above), np.asarray(below)
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0))


def _mean(values: Floats, weight: Floats | None) -> Floats:
    """Return the weighted mean over the last axis of (N,) or (R, N)."""
    weight = np.ones(values.shape[-1]) if weight is None else weight
    return _share((weight * values).sum(axis=-1), weight.sum(axis=-1))


def _covariance(x: Floats, weight: Floats | None, y: Floats | None = None) -> Floats:
    """Return the weighted covariance, or the variance of ``x``; 0 where all are equal."""
    weight = np.ones(x.shape[-1]) if weight is None else weight
    y = x if y is None else y
    away = [values - _mean(values, weight)[..., None] for values in (x, y)]
    found = _mean(away[0] * away[1], weight)
    size = [np.abs(values).max(axis=-1, initial=0) for values in (x, y)]
    return np.where(np.abs(found) <= ROUNDING * size[0] * size[1], 0.0, found)


def _correlation(x: Floats, y: Floats, weight: Floats) -> Floats:
    scale = np.sqrt(_covariance(x, weight) * _covariance(y, weight))
    return np.clip(_share(_covariance(x, weight, y), scale), -1, 1)


def _ranks(values: Floats, weight: Floats) -> Floats:
    """Return the mean rank of each value, were it repeated by its weight; shape of ``weight``."""
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    if not len(distinct):
        return weight
    group = np.add.reduceat(weight[..., order], starts, axis=-1)
    return np.asarray((np.cumsum(group, axis=-1) - group / 2 + 0.5)[..., place])


def _nothing(_: float) -> None:
    """Say that a guess without skill has no fixed value."""


def _zero(_: float) -> float:
    return 0.0


# there is no class to draw within: resamples vary everything
_Row = partial(Metric, task="regression", needs_probability=False, needs_prevalence=True)
TABLE = (
    _Row(
        name="mae",
        title="Mean absolute error",
        compute=mean_absolute_error,
        higher_is_better=False,
        reference="sklearn.metrics.mean_absolute_error",
        no_skill=_nothing,
        meaning="mean distance from the label, in its unit",
    ),
    _Row(
        name="rmse",
        title="Root mean squared error",
        compute=root_mean_squared_error,
        higher_is_better=False,
        reference="sklearn.metrics.root_mean_squared_error",
        no_skill=_nothing,
        meaning="as the mean distance, with large errors counting more",
    ),
    _Row(
        name="bias",
        title="Bias",
        compute=bias,
        higher_is_better=None,
        ideal=0.0,
        reference="numpy.average",
        no_skill=_nothing,
        meaning="mean of prediction minus label; above 0 the predictions are too high",
    ),
    _Row(
        name="r2",
        title="R²",
        compute=r2,
        higher_is_better=True,
        reference="sklearn.metrics.r2_score",
        no_skill=_zero,
        meaning="share of the variance explained; below 0 the mean label predicts better",
    ),
    _Row(
        name="pearson",
        title="Pearson correlation",
        compute=pearson,
        higher_is_better=True,
        reference="scipy.stats.pearsonr",
        no_skill=_zero,
        meaning="linear correlation; says nothing of bias or scale",
    ),
    _Row(
        name="spearman",
        title="Spearman correlation",
        compute=spearman,
        higher_is_better=True,
        reference="scipy.stats.spearmanr",
        no_skill=_zero,
        meaning="correlation of ranks; says nothing of bias or scale",
    ),
    _Row(
        name="linear_intercept",
        title="Calibration intercept",
        compute=intercept,
        higher_is_better=None,
        ideal=0.0,
        reference="scipy.stats.linregress",
        no_skill=_nothing,
        meaning="of the line of label over prediction, in the unit of the amount",
    ),
    _Row(
        name="linear_slope",
        title="Calibration slope",
        compute=slope,
        higher_is_better=None,
        ideal=1.0,
        reference="scipy.stats.linregress",
        no_skill=_nothing,
        meaning="of that line; below 1 the predictions spread too far, above 1 too little",
    ),
)
