"""What a report must reach for a script to go on, as `--fail-under` and `--strict` say it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.evaluation import amounts, metrics, ordered
from medssl.evaluation.assessment import MACRO, Estimate
from medssl.evaluation.chosen_calls import CallShare
from medssl.evaluation.controls.verdicts import Verdict
from medssl.foundation import numerals, plugins
from medssl.foundation.errors import GateFailed, UsageError

_KNOWN = {
    metric.name: metric for table in (metrics.TABLE, ordered.TABLE, amounts.TABLE)
    for metric in table
}  # fmt: skip
_FORM = re.compile(r"\s*([A-Za-z_0-9]+)\s*=\s*([^:\s]+)\s*(?::\s*(\w+)\s*)?")
_ENDS = {"lower": "lower end", "upper": "upper end", "value": "estimate"}


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A bound, and what of an estimate has to keep it."""

    metric: str
    bound: float
    end: str  # value, lower or upper
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A requirement and what was found."""

    metric: str
    column: str  # empty where nothing was estimated
    bound: float
    end: str
    higher_is_better: bool
    found: float | None  # None: there is no such number in this report
    met: bool

    def said(self) -> str:
        """Return the outcome in words."""
        need = f"at {'least' if self.higher_is_better else 'most'} {self.bound:g}"
        of = f"{self.metric} of {self.column}" if self.column else self.metric
        if self.found is None:
            return f"{of}: {need} asked for, and it has no value in this report"
        which = "" if self.end == "value" else f" ({_ENDS[self.end]} of the interval)"
        return f"{of}: {self.found:.4g}{which}, {need} asked for"


def parse(text: str) -> Requirement:
    """Return what ``metric=bound``, ``metric=bound:lower`` or ``:upper`` asks for.

    >>> parse("auroc=0.75:lower").end
    'lower'

    Raises:
        UsageError: It is written otherwise, or the metric is unknown or has no better side.
    """
    found = _FORM.fullmatch(text)
    name, number, end = found.groups() if found else ("", "", None)
    if found is None or not numerals.is_finite(number) or (end or "value") not in _ENDS:
        raise UsageError(
            f"no requirement: {text!r}",
            where="fail_under",
            fix="write it like auroc=0.75, auroc=0.75:lower or brier=0.2:upper",
        )
    if name not in _KNOWN:
        raise UsageError(
            f"no metric called {name!r}",
            where="fail_under",
            fix=plugins.suggest(name, sorted(_KNOWN)),
        )
    better = _KNOWN[name].higher_is_better
    if better is None:
        raise UsageError(
            f"{name} is best at {_KNOWN[name].ideal:g}: neither more nor less of it is better",
            where="fail_under",
            fix="ask for another metric, such as brier",
        )
    return Requirement(
        metric=name, bound=float(number), end=end or "value", higher_is_better=better
    )


def check(
    asked: Sequence[Requirement],
    estimates: Sequence[Estimate],
    shares: Sequence[CallShare] = (),
) -> tuple[Outcome, ...]:
    """Return what became of each requirement.

    Of several columns the one of all together counts where there is one, else each of them. What
    has no value is not met.

    Args:
        asked: From `parse`.
        estimates: All of a report.
        shares: Of the calls at chosen thresholds; they count in place of those at a fixed one.
    """
    return tuple(outcome for one in asked for outcome in _outcomes(one, estimates, shares))


def problem(
    outcomes: Sequence[Outcome], controls: Sequence[Verdict], report: Path
) -> GateFailed | None:
    """Return the error of what a report does not reach, None where it reaches all.

    Args:
        outcomes: From `check`.
        controls: Of which none may have failed.
        report: Where one can read on.
    """
    unmet = [one.said() for one in outcomes if not one.met]
    failed = [f"control {one.name}: {one.said}" for one in controls if one.light == "fail"]
    if not unmet and not failed:
        return None
    where = " and ".join(["fail_under"] * bool(unmet) + ["strict"] * bool(failed))
    fix = f"the report is complete: {report}"
    return GateFailed("; ".join(unmet + failed), where=where, fix=fix)


def _outcomes(
    asked: Requirement, estimates: Sequence[Estimate], shares: Sequence[CallShare]
) -> list[Outcome]:
    rows: list[tuple[str, Estimate | CallShare]] = [
        ("the calls at chosen thresholds", row) for row in shares if row.metric == asked.metric
    ]
    if not rows:
        every = [(row.column, row) for row in estimates if row.metric == asked.metric]
        rows = [pair for pair in every if pair[0] == MACRO] or [*every]
    if not rows:
        return [_outcome(asked, "", math.nan)]
    ends = {"value": "value", "lower": "low", "upper": "high"}
    return [_outcome(asked, column, getattr(row, ends[asked.end])) for column, row in rows]


def _outcome(asked: Requirement, column: str, found: float) -> Outcome:
    known = math.isfinite(found)
    reaches = found >= asked.bound if asked.higher_is_better else found <= asked.bound
    return Outcome(
        metric=asked.metric,
        column=column,
        bound=asked.bound,
        end=asked.end,
        higher_is_better=asked.higher_is_better,
        found=found if known else None,
        met=known and reaches,
    )
