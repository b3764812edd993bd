"""`report.html`: one self-contained page, without network or scripts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medssl.reporting import checklist, verdicts

DRAWN = ("auroc", "average_precision", "brier")  # metrics of which a comparison has a figure
EFFICIENCY = "label efficiency"  # name of the figure of AUROC over training patients
DASH = "–"
LARGE = 100  # from here on a number is shown with one digit


def render(report: Mapping[str, Any]) -> str:
    """Return the page that draws a report.

    Args:
        report: As read from `report.json`; nothing else is shown.
    """
    return fill("report.html.j2", report, _figures(report))


def fill(template: str, report: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    """Return a template with its record and its figures, SVG elements by name."""
    environment = Environment(
        loader=PackageLoader("medssl.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, count, percent, plain, signed, verdict, chance, few)
    environment.filters |= {filter_.__name__: filter_ for filter_ in filters}
    lights = (verdicts.shape, verdicts.word, verdicts.summary)
    environment.filters |= {f"light_{filter_.__name__}": filter_ for filter_ in lights}
    environment.filters["checklists"] = checklist.fill
    shown = {name: Markup(svg) for name, svg in drawn.items()}
    return environment.get_template(template).render(report=report, figures=shown) + "\n"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, a dash for none; large amounts have fewer.

    >>> number(0.87654), number(1234.56), number(None)
    ('0.877', '1234.6', '–')
    """
    if value is None or value != value:
        return DASH
    digits = min(digits, 1) if abs(value) >= LARGE else digits
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None) -> str:
    """Return a difference with its sign.

    >>> signed(0.0312), signed(-0.2), signed(0.0)
    ('+0.031', '−0.200', '0.000')
    """
    shown = number(value)
    return f"+{shown}" if value is not None and value > 0 else shown


def chance(value: float | None) -> str:
    """Return a p-value with two digits that count.

    >>> chance(0.0312), chance(0.5), chance(1.0), chance(0.0001), chance(None)
    ('0.031', '0.50', '1.0', '0.00010', '–')
    """
    if value is None or value != value:
        return DASH
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 1
    return f"{value:.{max(1, digits)}f}"


def verdict(difference: Mapping[str, Any]) -> str:
    """Return what the interval of a difference says, and no more than that."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return "no interval"
    if low == high == 0:
        return "the same"
    if low <= 0 <= high:
        return "the interval holds 0: either may be better"
    better = (low > 0) == difference["higher_is_better"]
    return f"the interval leaves out 0, in favour of {difference['run' if better else 'against']}"


def plain(value: float) -> str:
    """Return a number with the digits it needs.

    >>> plain(1.0), plain(0.05)
    ('1', '0.05')
    """
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def count(value: int | None) -> str:
    """Return a whole number with thin gaps between thousands, a dash for none."""
    return DASH if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(share: float) -> str:
    """Return a share in percent.

    >>> percent(0.95), percent(0.975)
    ('95 %', '97.5 %')
    """
    return f"{100 * share:.4g} %"


def _figures(report: Mapping[str, Any]) -> dict[str, str]:
    # Matplotlib, not for every page
    from medssl.reporting import amounts, figures, recalibration  # noqa: PLC0415

    curves, folds = report["curves"], report["folds"]
    drawn = {}
    if curves["roc"]:
        drawn["roc"] = figures.roc(curves["roc"], _with_values(report))
    several = len(report["columns"]) > 1
    if curves["calibration"]:
        labels = [row["column"] if several else "observed" for row in curves["calibration"]]
        drawn["calibration"] = figures.calibration(curves["calibration"], labels)
    if curves["risks"]:
        drawn["risks"] = figures.risks(
            curves["risks"],
            [row["column"] if several else "" for row in curves["risks"]],
            report["threshold"]["value"] if report["operating_points"] else None,
        )
    drawn |= _decision(curves["decision"], several=several)
    moved = report.get("recalibration")
    if moved and len(moved["curves"]) == len(recalibration.LOOKS):
        drawn["recalibrated"] = recalibration.draw(moved["curves"])
    if curves["agreement"]:
        drawn["agreement"] = amounts.draw(curves["agreement"])
    if report.get("subgroups"):
        from medssl.reporting import subgroups  # noqa: PLC0415 - Matplotlib, likewise

        drawn |= subgroups.figures_of(report)
    if folds["drift"]:
        drawn["folds"] = figures.fold_strip(folds["rows"], folds["drift"])
    return drawn


def _with_values(report: Mapping[str, Any]) -> list[str]:
    """Return the name of each ROC curve with its AUROC."""
    several = len(report["columns"]) > 1
    values = {
        row["column"]: row["value"] for row in report["estimates"] if row["metric"] == "auroc"
    }
    return [
        f"{curve['column'] if several else 'AUROC'}  {number(values[curve['column']])}"
        for curve in report["curves"]["roc"]
    ]


def _decision(curves: Sequence[Mapping[str, Any]], *, several: bool) -> dict[str, str]:
    """Return the decision curves where a range was declared; one threshold is no curve."""
    from medssl.reporting import net_benefit  # noqa: PLC0415 - Matplotlib, likewise

    declared = [curve for curve in curves if curve["declared"]]
    labels = [curve["column"] if several else "" for curve in declared]
    return {"decision": net_benefit.draw(declared, labels)} if declared else {}


def few(curve: Mapping[str, Any], most: int = 5) -> list[dict[str, Any]]:
    """Return a few thresholds of a decision curve as rows, evenly spread."""
    n = len(curve["threshold"])
    places = sorted({round(k * (n - 1) / max(1, most - 1)) for k in range(min(n, most))})
    names = ("threshold", "model", "low", "high", "treat_all", "gain", "gain_low", "gain_high")
    return [{name: curve[name][place] for name in names} for place in places]


def render_comparison(record: Mapping[str, Any]) -> str:
    """Return the page that draws a comparison.

    Args:
        record: As read from `comparison.json`; nothing else is shown.
    """
    from medssl.evaluation.assessment import MACRO  # noqa: PLC0415 - scikit-learn, likewise
    from medssl.reporting import forest  # noqa: PLC0415 - Matplotlib, likewise

    column = MACRO if len(record["columns"]) > 1 else record["columns"][0]
    drawn = {}
    for metric in DRAWN:
        estimates, differences = (
            [row for row in record[part] if (row["metric"], row["column"]) == (metric, column)]
            for part in ("estimates", "differences")
        )
        if differences:
            drawn[metric] = forest.draw(estimates, differences, metric)
    if record["label_efficiency"]:
        from medssl.reporting import efficiency  # noqa: PLC0415 - Matplotlib, likewise

        drawn[EFFICIENCY] = efficiency.draw(record["label_efficiency"])
    return fill("comparison.html.j2", record, drawn)
