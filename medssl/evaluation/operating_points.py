"""What happens at a threshold: who is called what, and what a call means at other prevalences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import intervals
from medssl.evaluation.assessment import DEFAULT_THRESHOLD, Estimate, Measured, are_probabilities
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units
from medssl.foundation.errors import UsageError


class Share(Protocol):
    """A share of units with its interval, at whatever threshold they were called."""

    @property
    def metric(self) -> str:
        """Its name."""

    @property
    def value(self) -> float:
        """Of the cohort."""

    @property
    def low(self) -> float:
        """End of its interval."""

    @property
    def high(self) -> float:
        """The other end."""

    @property
    def interval(self) -> str:
        """How it was made: bca, percentile or wilson."""


@dataclass(frozen=True, kw_only=True)
class Predictive:
    """A predictive value that this sensitivity and specificity would have at a prevalence."""

    metric: str  # ppv or npv
    prevalence: float
    value: float
    low: float
    high: float
    interval: str  # how it was made: percentile or wilson


@dataclass(frozen=True, kw_only=True)
class Needed:
    """How many who are called positive must be looked at to find one positive: 1 / PPV."""

    prevalence: float | None  # None: that of the cohort
    value: float  # infinite where no call is right
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The units of one column at the threshold."""

    column: str
    threshold: float  # a score this high or higher is called positive
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    predictive: tuple[Predictive, ...]  # at the prevalences asked for
    needed: tuple[Needed, ...] = ()  # in the cohort, and at the prevalences asked for


def declared(settings: EvaluateSettings, judged: Units) -> float | None:
    """Return the score from which a unit is called positive, or None.

    Raises:
        UsageError: There are no probabilities where they are needed, or it lies outside them.
    """
    probable = are_probabilities(judged)
    if settings.decision is not None and not probable:
        raise UsageError(
            "net benefit needs probabilities, and these scores are none",
            where="decision",
            fix="leave out --decision",
        )
    if settings.threshold == "none":
        return None
    if settings.threshold == "auto":
        return DEFAULT_THRESHOLD if probable else None
    if judged.task == "regression":
        raise UsageError(
            "an amount is not called positive", where="threshold", fix="leave out --threshold"
        )
    if probable and not 0 <= settings.threshold <= 1:
        raise UsageError(
            f"no probability reaches from one side of {settings.threshold} to the other",
            where="threshold",
            fix="give a value between 0 and 1",
        )
    return settings.threshold


def find(
    measured: Measured,
    estimates: Sequence[Estimate],
    prevalences: Sequence[float],
    level: float,
) -> tuple[OperatingPoint, ...]:
    """Return the operating point of every column that has enough patients for one.

    Args:
        measured: At a threshold; without one there is no operating point.
        estimates: Of ``measured``, in its order.
        prevalences: Where predictive values are wanted besides that of the cohort.
        level: Of their intervals.
    """
    rows = {(k, metric.name): row for row, (k, metric) in enumerate(measured.rows)}
    found = []
    for k in range(len(measured.units.columns)):
        if (k, "sensitivity") not in rows or measured.threshold is None:
            continue
        at = rows[k, "sensitivity"], rows[k, "specificity"]
        ends = estimates[at[0]], estimates[at[1]]
        drawn = measured.drawn[:, at[0]], measured.drawn[:, at[1]]
        predictive = elsewhere(ends, drawn, prevalences, level)
        own = [estimates[rows[k, "ppv"]]] if (k, "ppv") in rows else []
        point = _point(measured, k, measured.threshold, predictive)
        found.append(replace(point, needed=needed([*own, *predictive])))
    return tuple(found)


def elsewhere(
    ends: tuple[Share, Share],
    drawn: tuple[Floats, Floats],
    prevalences: Sequence[float],
    level: float,
) -> tuple[Predictive, ...]:
    """Return predictive values where positives are as frequent as asked.

    Args:
        ends: Sensitivity and specificity.
        drawn: Of both, over the same resamples, shape (R,) each.
        prevalences: Where they are wanted.
        level: Of their intervals.
    """
    return tuple(
        _predictive(name, prevalence, ends, drawn, level)
        for prevalence in prevalences
        for name in PREDICTIVE
    )


def ppv(sensitivity: Floats, specificity: Floats, prevalence: float) -> Floats:
    """Return the share of positives among those called positive, by Bayes' rule."""
    right = np.asarray(sensitivity * prevalence)
    return _share(right, np.asarray((1 - specificity) * (1 - prevalence)))


def npv(sensitivity: Floats, specificity: Floats, prevalence: float) -> Floats:
    """Return the share of negatives among those called negative, by Bayes' rule."""
    right = np.asarray(specificity * (1 - prevalence))
    return _share(right, np.asarray((1 - sensitivity) * prevalence))


PREDICTIVE = {"ppv": ppv, "npv": npv}  # both rise with sensitivity and with specificity


def needed(found: Sequence[Share | Predictive]) -> tuple[Needed, ...]:
    """Return the inverse of every positive predictive value; the ends of an interval change sides.

    Where nobody is called positive there is none.
    """
    return tuple(
        Needed(
            prevalence=one.prevalence if isinstance(one, Predictive) else None,
            value=_inverse(one.value),
            low=_inverse(one.high),
            high=_inverse(one.low),
        )
        for one in found
        if one.metric == "ppv" and np.isfinite(one.value)
    )


def _inverse(share: float) -> float:
    return 1 / share if share > 0 else float("inf")


def _share(right: Floats, wrong: Floats) -> Floats:
    whole = right + wrong
    return np.asarray(np.divide(right, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def _point(
    measured: Measured, column: int, threshold: float, predictive: tuple[Predictive, ...]
) -> OperatingPoint:
    part = measured.units.only(column)
    positive, called = part.truth[:, 0] == 1, part.score[:, 0] >= threshold
    return OperatingPoint(
        column=measured.units.columns[column],
        threshold=threshold,
        true_positives=int((positive & called).sum()),
        false_negatives=int((positive & ~called).sum()),
        false_positives=int((~positive & called).sum()),
        true_negatives=int((~positive & ~called).sum()),
        predictive=predictive,
    )


def _predictive(
    name: str,
    prevalence: float,
    ends: tuple[Share, Share],
    drawn: tuple[Floats, Floats],
    level: float,
) -> Predictive:
    """Return a predictive value; ``ends`` and ``drawn`` are of sensitivity and specificity.

    It has no value and no interval where nobody is called so. Where resampling leaves one of the
    two as it is, the interval joins the ends of both: it is wider than the level asks for.
    """
    rule = PREDICTIVE[name]
    sensitivity, specificity = (
        np.array([estimate.value, estimate.low, estimate.high]) for estimate in ends
    )
    value, low, high = rule(sensitivity, specificity, prevalence)
    by_wilson = "wilson" in {estimate.interval for estimate in ends}
    if not by_wilson:
        resampled = intervals.percentile(rule(drawn[0], drawn[1], prevalence), level)
        low, high = resampled.low, resampled.high
    if np.isnan(value):  # nobody is called so
        low = high = value
    return Predictive(
        metric=name,
        prevalence=prevalence,
        value=float(value),
        low=float(low),
        high=float(high),
        interval="wilson" if by_wilson else "percentile",
    )
