"""Two lights that follow from the numbers alone: enough patients, and probabilities to be believed.

They stand beside the controls (`evaluation/controls/`), which need the run and its archive.
"""

import math
from collections.abc import Sequence

from medssl.evaluation import sizes
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.controls.verdicts import Light, Verdict, not_assessed
from medssl.evaluation.units import Units

SLOPES = ("calibration_slope", "linear_slope")  # of the logits of probabilities; of amounts
CALIBRATION = ("calibration_intercept", "linear_intercept", *SLOPES)
_MOST = 4  # rows that are told


def find(units: Units, estimates: Sequence[Estimate]) -> tuple[Verdict, Verdict]:
    """Return the lights of the sample size and of calibration."""
    return sample_size(units), calibration(estimates)


def sample_size(units: Units) -> Verdict:
    """Say whether the rarest class has the patients that rules of thumb ask for.

    The light fails below `sizes.FEWEST_PATIENTS` and warns below `sizes.COMMON_PATIENTS`.
    """
    who = "patients" if units.grouped else "images"
    name, fewest = min(_patients(units), key=lambda row: row[1])
    light: Light = "pass"
    if fewest < sizes.COMMON_PATIENTS:
        light = "fail" if fewest < sizes.FEWEST_PATIENTS else "warn"
    amount = units.task == "regression"
    of = f"{fewest} {who} " + ("with an amount" if amount else f"in the rarest class, {name}")
    asked = f"at least {sizes.COMMON_PATIENTS}" + (" of each class" if not amount else "")
    said = {
        "fail": f"{of}: fewer than {sizes.FEWEST_PATIENTS}, too few to estimate much",
        "warn": f"{of}; a common rule of thumb for validating a model asks for {asked}",
        "pass": of,
    }[light]
    return Verdict(name="sample_size", light=light, said=said, value=float(fewest))


def _patients(units: Units) -> list[tuple[str, int]]:
    """Return every class, or amount, with its patients."""
    columns = range(len(units.columns))
    if units.task == "regression":
        return [(units.columns[k], units.only(k).n_patients) for k in columns]
    if len(units.columns) == 1:
        return [("positive", units.patients_with(0)), ("negative", units.patients_without(0))]
    if units.task == "multi_class":
        return [(units.columns[k], units.patients_with(k)) for k in columns]
    return [
        (f"{side} for {units.columns[k]}", many)
        for k in columns
        for side, many in zip(("positive", "negative"), sizes.patients(units, k), strict=True)
    ]


def calibration(estimates: Sequence[Estimate]) -> Verdict:
    """Say whether the intervals of calibration intercept and slope hold their ideals, 0 and 1."""
    rows = [row for row in estimates if row.metric in CALIBRATION and math.isfinite(row.value)]
    if not rows:
        why = "there is nothing to calibrate: no probabilities, or too few patients of a class"
        return not_assessed("calibration", why)
    off = [row for row in rows if not _holds(row)]
    shown = (off or rows) if len(rows) > 2 else rows
    several = len({row.column for row in rows}) > 1
    told = [
        f"{row.title[0].lower()}{row.title[1:]}{f' of {row.column}' if several else ''} "
        f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        for row in shown[:_MOST]
    ]
    more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    vague = not off and any(row.metric in SLOPES and row.low <= 0 for row in rows)
    said = "the intervals hold the ideal, 0 and 1"
    if off:
        out = "leaves out" if len(off) == 1 else "leave out"
        said = f"{len(off)} of {len(rows)} intervals {out} the ideal"
    elif vague:
        said = "too wide to tell, as a slope of 0 is in its interval as well"
    return Verdict(
        name="calibration",
        light="warn" if off or vague else "pass",
        said=f"{'; '.join(told)}{more}: {said}",
        value=float(len(off)),
        details={"judged": len(rows)},
    )


def _holds(row: Estimate) -> bool:
    return row.ideal is not None and row.low <= row.ideal <= row.high
