"""`report.html`: one self-contained page, without network or scripts."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medssl.reporting import checklist, verdicts
from medssl.reporting.numbers import MOST_DRAWN, chance, count, number, percent, plain, signed

EFFICIENCY = "label efficiency"  # figures over training patients are called so, with a number
EMPTY: Mapping[str, str] = MappingProxyType({})


def render(report: Mapping[str, Any], pictures: Mapping[str, str] = EMPTY) -> str:
    """Return the page that draws a report.

    Args:
        report: As read from `report.json`; nothing else is shown.
        pictures: But for these, HTML elements by name: what was asked for with pixels.
    """
    return fill("report.html.j2", report, {**_figures(report), **pictures})


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
    environment.filters["css"] = css
    environment.globals["most_drawn"] = MOST_DRAWN
    lights = (verdicts.shape, verdicts.word, verdicts.summary)
    environment.filters |= {f"light_{filter_.__name__}": filter_ for filter_ in lights}
    environment.filters["checklists"] = checklist.fill
    shown = {name: Markup(svg) for name, svg in drawn.items()}
    return environment.get_template(template).render(report=report, figures=shown) + "\n"


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


def css(text: str) -> Markup:
    r"""Return text as a string of CSS in which nothing ends the string, the rule or the element.

    >>> print(css('a "b"</'))
    "a\20 \22 b\22 \3C \2F "
    """
    signs = (sign if sign.isalnum() and sign.isascii() else f"\\{ord(sign):X} " for sign in text)
    return Markup('"{}"').format(Markup("".join(signs)))


def _figures(report: Mapping[str, Any]) -> dict[str, str]:
    # Matplotlib, not for every page
    from medssl.reporting import amounts, figures, recalibration  # noqa: PLC0415

    curves = {name: rows[:MOST_DRAWN] for name, rows in report["curves"].items()}
    folds, drawn = report["folds"], _flow(report)
    if curves["roc"]:
        drawn["roc"] = figures.roc(curves["roc"], _with_values(report, curves["roc"]))
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
    if moved and moved["curves"]:
        drawn["recalibrated"] = recalibration.draw(moved["curves"][: 2 * MOST_DRAWN])
    if curves["agreement"]:
        drawn["agreement"] = amounts.draw(curves["agreement"])
    if report.get("subgroups"):
        from medssl.reporting import subgroups  # noqa: PLC0415 - Matplotlib, likewise

        drawn |= subgroups.figures_of(report)
    if folds["drift"]:
        drawn["folds"] = figures.fold_strip(folds["rows"], folds["drift"][:MOST_DRAWN])
    return drawn


def _flow(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the flow of the cohort, where the archive is known."""
    from medssl.reporting import flow  # noqa: PLC0415 - Matplotlib, likewise

    steps = report["cohort_flow"]["steps"]
    if len(steps) < 2:
        return {}
    last, judged = steps[-1], report["cohort"]
    unit = f"{report['unit']['kind']}s"
    if unit == "images" and last["images"] != judged["images"] and last["series"]:
        unit = "series"  # a row of a run on volumes is one
    lines = [
        f"{row['column'] if len(report['columns']) > 1 else 'positive'}: "
        f"{count(row['units'])} of {count(row['labelled_units'])} {unit}"
        for row in judged["events"][:MOST_DRAWN]
    ]
    more = len(judged["events"]) - MOST_DRAWN
    lines += [f"and {more} more"] * (more > 0)
    told = [*steps[:-1], {**last, "lines": lines}]
    return {"flow": flow.draw(told, "From the files found to those judged")}


def _with_values(report: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the name of each ROC curve with its AUROC."""
    several = len(report["columns"]) > 1
    values = {
        row["column"]: row["value"] for row in report["estimates"] if row["metric"] == "auroc"
    }
    return [
        f"{curve['column'] if several else 'AUROC'}  {number(values[curve['column']])}"
        for curve in curves
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
    from medssl.evaluation import leading  # noqa: PLC0415 - scikit-learn, likewise
    from medssl.reporting import efficiency, forest  # noqa: PLC0415 - Matplotlib, likewise

    drawn = {}
    several = len(record["columns"]) > 1
    there = ((row["metric"], row["column"]) for row in record["differences"])
    for n, key in enumerate(leading.shown(record["task"], there)):
        estimates, differences = (
            [row for row in record[part] if (row["metric"], row["column"]) == key]
            for part in ("estimates", "differences")
        )
        called = f"{estimates[0]['title']}{f', {key[1]}' if several else ''}"
        drawn[called] = forest.draw(estimates, differences, f"forest-{n}")
    for n, curve in enumerate(record["label_efficiency"]):
        better = record["better"].get(curve["metric"], "higher")
        drawn[f"{EFFICIENCY} {n}"] = efficiency.draw(curve, f"efficiency-{n}", better)
    return fill("comparison.html.j2", record, drawn)
