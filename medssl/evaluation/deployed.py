"""A run as it would be used: at thresholds chosen beforehand, recalibrated, and good enough or not.

What a report says of that beside the raw scores at one threshold.
"""

from dataclasses import dataclass, replace

from medssl.evaluation import (
    assessment,
    chosen_calls,
    external,
    intervals,
    recalibrated,
    requirements,
    thresholds,
)
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.chosen_calls import ChosenCalls
from medssl.evaluation.intervals import Draws
from medssl.evaluation.judged import Judged
from medssl.evaluation.recalibrated import Recalibrated
from medssl.evaluation.requirements import Outcome, Requirement
from medssl.evaluation.thresholds import FoldThreshold, Target
from medssl.foundation.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What was asked for before anything was estimated."""

    target: Target | None
    thresholds: tuple[FoldThreshold, ...]  # one for each model; empty without a target; of an
    # external test one for all of them together
    requirements: tuple[Requirement, ...]
    models: tuple[FoldThreshold, ...] = ()  # of an external test: what that one is made of


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What became of it."""

    calls: ChosenCalls | None = None  # None: no target was declared
    recalibration: Recalibrated | None = None  # None: the scores are no probabilities
    requirements: tuple[Outcome, ...] = ()


def declared(judged: Judged) -> Declared:
    """Return the thresholds and requirements that the settings ask for.

    Raises:
        DataError: The inner parts do not allow a threshold.
        UsageError: A requirement is written wrongly, or the task has no two classes.
    """
    settings = judged.settings
    required = tuple(requirements.parse(text) for text in settings.fail_under)
    target = None
    if settings.target_sensitivity is not None:
        target = Target(metric="sensitivity", at_least=settings.target_sensitivity)
    elif settings.target_specificity is not None:
        target = Target(metric="specificity", at_least=settings.target_specificity)
    if target is None:
        return Declared(target=None, thresholds=(), requirements=required)
    if judged.source.run is None:
        raise DataError(
            "a table of another tool has no inner part to choose a threshold on",
            where=judged.where,
            fix="give a --threshold fixed beforehand",
        )
    if judged.internal is None:
        chosen = thresholds.choose(
            judged.table, judged.units, target, aggregate=settings.aggregate, where=judged.where
        )
        return Declared(target=target, thresholds=chosen, requirements=required)
    models = external.choose(judged, target)
    one = (external.together(models),)
    return Declared(target=target, thresholds=one, requirements=required, models=models)


def find(
    judged: Judged, draws: Draws, wanted: Declared, estimates: tuple[Estimate, ...]
) -> Deployed:
    """Return what became of what was declared.

    Args:
        judged: The predictions.
        draws: The resamples that everything in a report shares.
        wanted: What was declared.
        estimates: All of the report.
    """
    settings, calls = judged.settings, None
    if wanted.target is not None:
        made = intervals.choose(settings.intervals, settings.draws, judged.units.n_patients)
        calls = chosen_calls.judge(
            judged.units,
            wanted.target,
            wanted.thresholds,
            draws,
            settings.level,
            leave_out=made.method == "bca",
        )
        calls = chosen_calls.elsewhere(calls, judged.units, wanted.thresholds, draws, settings)
    if calls is not None and wanted.models:
        calls = replace(calls, folds=wanted.models, together=wanted.thresholds[0].threshold)
    return Deployed(
        calls=calls,
        recalibration=_recalibrated(judged, draws),
        requirements=requirements.check(
            wanted.requirements, estimates, calls.shares if calls else ()
        ),
    )


def _recalibrated(judged: Judged, draws: Draws) -> Recalibrated | None:
    """Return raw and recalibrated side by side, or why not."""
    units, table = judged.units, judged.table
    if not assessment.are_probabilities(units):
        return None
    elsewhere = judged.source.external
    if elsewhere is not None:
        done = "all scores of this test are recalibrated already, as those of predict"
        none = "no model of the run has a calibrator"
        return Recalibrated(reason=done if elsewhere.calibrated else none)
    fitted = recalibrated.fitted(table, judged.source.run)
    reason = recalibrated.why_not(units, fitted)
    if reason is not None or fitted is None:
        return Recalibrated(reason=reason)
    moved = judged.rebuilt(recalibrated.apply(table, fitted))
    return recalibrated.find(units, moved, fitted, draws, judged.settings.level)
