"""Runs by where they started from and how many patients they learned from, as plain records."""

from collections.abc import Mapping, Sequence
from typing import Any

from medssl.config.task import Kind
from medssl.evaluation import label_efficiency, leading
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.comparison import Difference
from medssl.evaluation.label_efficiency import Arm

_KEPT = ("value", "low", "high")


def curves(
    arms: Sequence[Arm], estimates: Mapping[str, Sequence[Estimate]], task: Kind
) -> list[dict[str, Any]]:
    """Return what stands first over training patients, a line per start; empty with one size.

    Of several amounts each has an entry with its lines.

    Args:
        arms: The runs.
        estimates: Name of each run -> its estimates.
        task: Kind of the task.
    """
    if not label_efficiency.are_curves(arms):
        return []
    return [
        _named(row) | {"no_skill": row.no_skill, "lines": _lines(arms, estimates, row)}
        for row in _first(estimates[arms[0].run], task)
    ]


def tables(
    arms: Sequence[Arm],
    estimates: Mapping[str, Sequence[Estimate]],
    differences: Sequence[Difference],
    task: Kind,
) -> list[dict[str, Any]]:
    """Return the runs from the most patients by kind of start; empty where there is one kind.

    Args:
        arms: The runs.
        estimates: Name of each run -> its estimates.
        differences: Of pairs of runs.
        task: Kind of the task.
    """
    if len({one.start for one in arms}) < 2:
        return []
    most = max(one.patients for one in arms)
    whole = [one for one in arms if one.patients == most]
    order = {kind: n for n, kind in enumerate(label_efficiency.ABLATION)}
    whole.sort(key=lambda one: order.get(one.kind, len(order)))
    there = {one.kind for one in whole}
    missing = [kind for kind in label_efficiency.ABLATION if kind not in there]
    return [
        _named(row)
        | {
            "patients": most,
            "rows": [
                {"run": one.run, "start": one.start, "schedule": one.schedule}
                | _measured(estimates[one.run], row)
                | {"differences": _differences(one.run, differences, row)}
                for one in whole
            ],
            "missing": missing,
        }
        for row in _first(estimates[arms[0].run], task)
    ]


def _lines(
    arms: Sequence[Arm], estimates: Mapping[str, Sequence[Estimate]], row: Estimate
) -> list[dict[str, Any]]:
    several = len({one.schedule for one in arms}) > 1
    found = []
    for line in dict.fromkeys(one.line for one in arms):
        members = sorted((one for one in arms if one.line == line), key=lambda one: one.patients)
        start, schedule = line
        points = [
            {"run": one.run, "patients": one.patients} | _measured(estimates[one.run], row)
            for one in members
        ]
        name = f"{start}, {schedule}" if several else start
        found.append({"name": name, "start": start, "schedule": schedule, "points": points})
    return found


def _first(estimates: Sequence[Estimate], task: Kind) -> list[Estimate]:
    named = {(row.metric, row.column): row for row in estimates}
    return [named[key] for key in leading.first(task, named)]


def _named(row: Estimate) -> dict[str, Any]:
    return {"metric": row.metric, "title": row.title, "column": row.column}


def _measured(estimates: Sequence[Estimate], row: Estimate) -> dict[str, Any]:
    """Return the estimate of the same metric and column."""
    same = next(one for one in estimates if _named(one) == _named(row))
    return {key: getattr(same, key) for key in _KEPT}


def _differences(
    run: str, differences: Sequence[Difference], row: Estimate
) -> list[dict[str, Any]]:
    """Return the differences of the same metric and column from other runs."""
    return [
        {"against": one.against} | {key: getattr(one, key) for key in _KEPT}
        for one in differences
        if (one.run, one.metric, one.column) == (run, row.metric, row.column)
    ]
