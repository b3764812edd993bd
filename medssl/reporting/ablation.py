"""Runs by where they started from and how many patients they learned from, as plain records."""

from collections.abc import Mapping, Sequence
from typing import Any

from medssl.evaluation import label_efficiency
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.comparison import Difference
from medssl.evaluation.label_efficiency import Arm

METRIC = "auroc"
_KEPT = ("value", "low", "high")


def curves(
    arms: Sequence[Arm], estimates: Mapping[str, Sequence[Estimate]]
) -> list[dict[str, Any]]:
    """Return one curve per start: AUROC over training patients; empty where there is one size.

    Args:
        arms: The runs.
        estimates: Name of each run -> its estimates.
    """
    if not label_efficiency.are_curves(arms):
        return []
    several = len({one.schedule for one in arms}) > 1
    found = []
    for line in dict.fromkeys(one.line for one in arms):
        members = sorted((one for one in arms if one.line == line), key=lambda one: one.patients)
        start, schedule = line
        points = [
            {"run": one.run, "patients": one.patients} | _measured(estimates[one.run])
            for one in members
        ]
        name = f"{start}, {schedule}" if several else start
        found.append({"name": name, "start": start, "schedule": schedule, "points": points})
    return found


def table(
    arms: Sequence[Arm],
    estimates: Mapping[str, Sequence[Estimate]],
    differences: Sequence[Difference],
) -> dict[str, Any] | None:
    """Return the runs from the most patients by kind of start; None where there is one kind.

    Args:
        arms: The runs.
        estimates: Name of each run -> its estimates.
        differences: Of pairs of runs.
    """
    if len({one.start for one in arms}) < 2:
        return None
    most = max(one.patients for one in arms)
    whole = [one for one in arms if one.patients == most]
    order = {kind: n for n, kind in enumerate(label_efficiency.ABLATION)}
    whole.sort(key=lambda one: order.get(one.kind, len(order)))
    there = {one.kind for one in whole}
    return {
        "patients": most,
        "rows": [
            {"run": one.run, "start": one.start, "schedule": one.schedule}
            | _measured(estimates[one.run])
            | {"differences": _differences(one.run, differences)}
            for one in whole
        ],
        "missing": [kind for kind in label_efficiency.ABLATION if kind not in there],
    }


def _measured(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return the first AUROC: of several classes their average."""
    first = next(row for row in estimates if row.metric == METRIC)
    return {key: getattr(first, key) for key in _KEPT}


def _differences(run: str, differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return the differences of AUROCs from other runs, of several classes of the average."""
    found: dict[str, dict[str, Any]] = {}
    for row in differences:
        if (row.run, row.metric) == (run, METRIC):
            values = {key: getattr(row, key) for key in _KEPT}
            found.setdefault(row.against, {"against": row.against} | values)
    return list(found.values())
