"""A run as it would be used: at thresholds chosen beforehand, recalibrated, and good enough or not.

What a report says of that beside the raw scores at one threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import assessment, intervals, recalibrated, requirements, thresholds
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.intervals import Draws
from medssl.evaluation.recalibrated import Recalibrated
from medssl.evaluation.requirements import Outcome, Requirement
from medssl.evaluation.thresholds import ChosenCalls, FoldThreshold, Target
from medssl.evaluation.units import Units
from medssl.foundation.errors import GateFailed


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What was asked for before anything was estimated."""

    target: Target | None
    thresholds: tuple[FoldThreshold, ...]  # one for each model; empty without a target
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What became of it."""

    calls: ChosenCalls | None = None  # None: no target was declared
    recalibration: Recalibrated | None = None  # None: the scores are no probabilities
    requirements: tuple[Outcome, ...] = ()

    def problem(self, report: Path) -> GateFailed | None:
        """Return the error of the requirements that are not met, None where all are."""
        failed = [one.said() for one in self.requirements if not one.met]
        if not failed:
            return None
        fix = f"the report is complete: {report}"
        return GateFailed("; ".join(failed), where="fail_under", fix=fix)


def declared(settings: EvaluateSettings, table: pa.Table, judged: Units, where: str) -> Declared:
    """Return the thresholds and requirements of some settings.

    Args:
        settings: What is asked for.
        table: Columns as in `predictions.parquet`.
        judged: The units of its test rows.
        where: What the table is called in messages.

    Raises:
        DataError: The inner parts do not allow a threshold.
        UsageError: A requirement is written wrongly, or the task has no two classes.
    """
    required = tuple(requirements.parse(text) for text in settings.fail_under)
    target = None
    if settings.target_sensitivity is not None:
        target = Target(metric="sensitivity", at_least=settings.target_sensitivity)
    elif settings.target_specificity is not None:
        target = Target(metric="specificity", at_least=settings.target_specificity)
    chosen: tuple[FoldThreshold, ...] = ()
    if target is not None:
        chosen = thresholds.choose(table, judged, target, aggregate=settings.aggregate, where=where)
    return Declared(target=target, thresholds=chosen, requirements=required)


def find(
    settings: EvaluateSettings,
    table: pa.Table,
    judged: Units,
    draws: Draws,
    known: tuple[Declared, tuple[Estimate, ...]],
    rebuild: Callable[[pa.Table], Units],
) -> Deployed:
    """Return what became of what was declared.

    Args:
        settings: How the run is judged.
        table: Columns as in `predictions.parquet`.
        judged: The units of its test rows.
        draws: The resamples that everything in a report shares.
        known: What was declared, and all estimates of the report.
        rebuild: Makes units of a table as ``judged`` were made.
    """
    wanted, estimates = known
    calls = None
    if wanted.target is not None:
        made = intervals.choose(settings.intervals, settings.draws, judged.n_patients)
        calls = thresholds.judge(
            judged,
            wanted.target,
            wanted.thresholds,
            draws,
            settings.level,
            leave_out=made.method == "bca",
        )
    return Deployed(
        calls=calls,
        recalibration=_recalibrated(settings, table, judged, draws, rebuild),
        requirements=requirements.check(
            wanted.requirements, estimates, calls.shares if calls else ()
        ),
    )


def _recalibrated(
    settings: EvaluateSettings,
    table: pa.Table,
    judged: Units,
    draws: Draws,
    rebuild: Callable[[pa.Table], Units],
) -> Recalibrated | None:
    """Return raw and recalibrated side by side, or why not."""
    if not assessment.are_probabilities(judged):
        return None
    fitted = recalibrated.fitted(table, settings.run)
    reason = recalibrated.why_not(judged, fitted)
    if reason is not None or fitted is None:
        return Recalibrated(reason=reason)
    moved = rebuild(recalibrated.apply(table, fitted))
    return recalibrated.find(judged, moved, fitted, draws, settings.level)
