"""Calibration intercept and slope: how far probabilities would have to be corrected.

Cox, Biometrika 1958;45:562, as used for prediction models by Van Calster et al., J Clin Epidemiol
2016;74:167. Both are logistic regressions of the outcome on the logit of the probability, fitted
in all resamples side by side by Newton's method.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]
CLIP = 1e-6  # probabilities are kept this far from 0 and 1, whose logits are infinite
MOST_ROUNDS = 200  # near separation it takes many, elsewhere about 8
MOST_STEP = 4.0  # of a linear predictor in one round: Newton's method may overshoot from afar
TOLERANCE = 1e-9  # of a linear predictor


def intercept(target: NDArray[np.generic], score: Floats, weight: Floats | None = None) -> Floats:
    """Return the calibration intercept, or calibration-in-the-large.

    It is the a of ``logit(risk) = a + logit(probability)``: 0 where the mean probability fits,
    positive where the probabilities are too low. It is undefined where a class is absent.

    Args:
        target: Shape (N,), 1 or True for the positive class.
        score: Shape (N,), probabilities; clipped to `CLIP` from 0 and 1.
        weight: Shape (N,) or (R, N), >= 0; None counts every unit once.

    Returns:
        One value per row of weights; not-a-number where it is undefined.
    """
    weight, shape = _rows(score, weight)
    positive = target == 1
    there = weight > 0
    defined = np.asarray(there[:, positive].any(axis=1) & there[:, ~positive].any(axis=1))
    fitted = _newton(positive, _logit(score), weight[defined], with_slope=False)
    return _filled(fitted[0], defined).reshape(shape)


def slope(target: NDArray[np.generic], score: Floats, weight: Floats | None = None) -> Floats:
    """Return the calibration slope; see `intercept` for the arguments.

    It is the b of ``logit(risk) = a + b * logit(probability)``: 1 where the probabilities spread
    as they should, below 1 where they are too extreme. It is undefined where a class is absent, or
    where a cut separates the classes: then the likelihood has no maximum.
    """
    weight, shape = _rows(score, weight)
    x = _logit(score)
    x = x - x.sum() / max(1, len(x))  # near 0 the two coefficients depend on each other least
    defined = _overlap(target == 1, x, weight)
    fitted = _newton(target == 1, x, weight[defined], with_slope=True)
    return _filled(fitted[1], defined).reshape(shape)


def _overlap(positive: NDArray[np.bool_], x: Floats, weight: Floats) -> NDArray[np.bool_]:
    """Say for each row of weights whether no cut on ``x`` separates the classes."""
    there = weight > 0

    def ends(members: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        inside = there & members
        low = np.where(inside, x, np.inf).min(axis=1, initial=np.inf)
        return low, np.where(inside, x, -np.inf).max(axis=1, initial=-np.inf)

    (low_positive, high_positive), (low_negative, high_negative) = ends(positive), ends(~positive)
    return np.asarray((low_positive < high_negative) & (low_negative < high_positive))


def _newton(
    positive: NDArray[np.bool_], x: Floats, weight: Floats, *, with_slope: bool
) -> tuple[Floats, Floats]:
    """Return intercepts and slopes for weights (R, N); slopes stay 1 unless ``with_slope``."""
    a, b = np.zeros(len(weight)), np.full(len(weight), 0.0 if with_slope else 1.0)
    open_ = np.arange(len(weight))  # rows that have not converged
    ends = np.array([x.min(), x.max()]) if x.size else np.zeros(2)
    for _ in range(MOST_ROUNDS):
        if not open_.size:
            break
        da, db = _step(positive, x, weight, (a[open_], b[open_]), with_slope=with_slope)
        reach = np.abs(da[:, None] + db[:, None] * ends).max(axis=1)
        part = np.minimum(1, MOST_STEP / np.maximum(reach, TOLERANCE))
        a[open_] += part * da
        b[open_] += part * db
        still = ~(reach < TOLERANCE)
        if not still.all():
            open_, weight = open_[still], weight[still]
    a[open_], b[open_] = np.nan, np.nan
    return a, b


def _step(
    positive: NDArray[np.bool_],
    x: Floats,
    weight: Floats,
    at: tuple[Floats, Floats],
    *,
    with_slope: bool,
) -> tuple[Floats, Floats]:
    risk = expit(at[0][:, None] + at[1][:, None] * x)  # (R, N)
    left = weight * (positive - risk)
    bend = weight * risk * (1 - risk)
    s0, g0 = bend.sum(axis=1), left.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat likelihood: not converged
        if not with_slope:
            return g0 / s0, np.zeros(len(g0))
        s1, s2, g1 = bend @ x, bend @ x**2, left @ x
        spread = s0 * s2 - s1**2
        return (s2 * g0 - s1 * g1) / spread, (s0 * g1 - s1 * g0) / spread


def _logit(score: Floats) -> Floats:
    return np.asarray(logit(np.clip(score, CLIP, 1 - CLIP)))


def _rows(score: Floats, weight: Floats | None) -> tuple[Floats, tuple[int, ...]]:
    """Return the weights as rows, and the shape of the result."""
    weight = np.ones(score.shape) if weight is None else weight
    return np.atleast_2d(weight), weight.shape[:-1]


def _filled(values: Floats, defined: NDArray[np.bool_]) -> Floats:
    found = np.full(defined.shape, np.nan)
    found[defined] = values
    return found
