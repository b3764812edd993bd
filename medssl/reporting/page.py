"""`report.html`: one self-contained page, without network or scripts."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medssl.reporting import figures

DASH = "–"


def render(report: Mapping[str, Any]) -> str:
    """Return the page that draws a report.

    Args:
        report: As read from `report.json`; nothing else is shown.
    """
    environment = Environment(
        loader=PackageLoader("medssl.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "count": count, "percent": percent}
    drawn = {name: Markup(svg) for name, svg in _figures(report).items()}
    page = environment.get_template("report.html.j2").render(report=report, figures=drawn)
    return page + "\n"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, a dash for none.

    >>> number(0.87654), number(None)
    ('0.877', '–')
    """
    if value is None or value != value:
        return DASH
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


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
    curves, folds = report["curves"], report["folds"]
    values = {
        row["column"]: row["value"] for row in report["estimates"] if row["metric"] == "auroc"
    }
    several = len(report["columns"]) > 1
    names = [
        f"{curve['column'] if several else 'AUROC'}  {number(values[curve['column']])}"
        for curve in curves["roc"]
    ]
    drawn = {"roc": figures.roc(curves["roc"], names)}
    if curves["calibration"]:
        labels = [row["column"] if several else "observed" for row in curves["calibration"]]
        drawn["calibration"] = figures.calibration(curves["calibration"], labels)
    if folds["drift"]:
        drawn["folds"] = figures.fold_strip(folds["rows"], folds["drift"])
    return drawn
