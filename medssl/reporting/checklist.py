"""The annex of a report: items of reporting guidelines, filled where the run knows the answer.

An answer is a fact to look at, never a judgement: nobody is told that a study is compliant.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from medssl.reporting import cohort_facts
from medssl.reporting.cohort_facts import AUTHOR, MOST_NAMED, Report


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of a guideline, and what this run has to say about it."""

    number: str
    topic: str
    asks: str
    said: str | None  # None: the author must complete it
    section: str | None  # anchor in the report; None where no section tells more


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """A guideline with all its items."""

    name: str
    source: str
    items: tuple[Item, ...]

    @property
    def n_filled(self) -> int:
        """Items about which the run knows something."""
        return sum(item.said is not None for item in self.items)


def fill(report: Report) -> tuple[Checklist, ...]:
    """Return every guideline, filled from a report as read from `report.json`.

    Sources: TRIPOD+AI (doi 10.1136/bmj-2023-078378), CLAIM 2024 (doi 10.1148/ryai.240300) and
    METRICS (doi 10.1186/s13244-023-01572-w).
    """
    return tuple(
        Checklist(
            name=known["name"],
            source=known["source"],
            items=tuple(_item(report, *row) for row in known["items"]),
        )
        for known in _known()
    )


@cache
def _known() -> list[dict[str, Any]]:
    text = resources.files("medssl.reporting").joinpath("checklists.toml").read_text("utf-8")
    return list(tomllib.loads(text)["checklist"])


def _item(report: Report, number: str, topic: str, asks: str, fact: str) -> Item:
    """Return the item with the first of its facts that the report knows."""
    for section, say in (FACTS[name] for name in fact.split()):
        if said := say(report):
            return Item(number=number, topic=topic, asks=asks, said=said, section=section)
    return Item(number=number, topic=topic, asks=asks, said=None, section=None)


def _cohort(report: Report) -> str:
    cohort = report["cohort"]
    known = cohort["patients"] is not None
    who = f"{cohort['patients']} patients" if known else "number of patients unknown"
    return f"{who}, {cohort['images']} images; source and representativeness: {AUTHOR}"


def _sites(report: Report) -> str | None:
    names = report["cohort"]["sites"]
    many = f"{len(names)} site" + ("s" if len(names) != 1 else "")
    if not names:
        return None
    return f"{many}: {', '.join(names)}" if len(names) <= MOST_NAMED else many


def _outcome(report: Report) -> str:
    positive = f", positive: {report['positive']}" if report["positive"] else ""
    task = report["task"].replace("_", "-")
    return f"{report['target']} ({task}{positive}); how and by whom it was assessed: {AUTHOR}"


def _events(report: Report) -> str | None:
    rows = report["cohort"]["events"] or report["cohort"]["amounts"]
    shown = [
        f"{row['column']} {row['units']} of {row['labelled_units']}"
        if "units" in row
        else f"{row['column']} {row['labelled_units']}"
        for row in rows
    ]
    what = "positive units" if report["cohort"]["events"] else "units with an amount"
    return f"{what}: {', '.join(shown)}" if shown else None


def _sample_size(report: Report) -> str | None:
    events = _events(report)
    return events and f"{events}; why this many: {AUTHOR}"


def _splits(report: Report) -> str | None:
    made = report["splits"]
    if made is None:
        return None
    names = {"folds": "cross-validation", "site": "one site left out at a time"}
    by = names.get(made["by"], made["by"].replace("_", " "))
    said = f"{by}, {made['n_folds']} folds × {made['repeats']}, digest {made['digest']}"
    if not report.get("external"):
        return said
    whom = "patients held out of all models" if _is_own(report) else "all of another archive"
    return f"trained by {said}; {whom} tested"


def _is_own(report: Report) -> bool:
    """Say whether the patients are those of the run itself, whatever archive was named."""
    return bool((report.get("external") or {}).get("own"))


def _disjoint(report: Report) -> str | None:
    if report["splits"] is None:
        return None
    if report.get("external"):
        return _control("split")(report)
    level = "patient" if report["splits"]["group"] == "patient" else "image, not patient"
    found = _control("split")(report)
    return f"the {level}" + (f"; {found}" if found else "")


def _control(*names: str) -> Callable[[Report], str | None]:
    """Return what the controls of these names found."""

    def say(report: Report) -> str | None:
        rows = [row for row in report.get("controls", ()) if not names or row["name"] in names]
        ran = [row for row in rows if row["light"] != "not assessed"]
        if not names:
            lights = [f"{row['title']}: {row['light']}" for row in ran]
            return "; ".join(lights) or None
        return "; ".join(f"{row['title']}, {row['light']}: {row['said']}" for row in ran) or None

    return say


def _training(report: Report) -> str | None:
    known = report["provenance"]["training"]
    names = ("encoder", "schedule", "epochs", "batch_size", "image_size", "loss", "optim.lr")
    shown = [f"{name} {known[name]}" for name in names if known.get(name) is not None]
    return f"{', '.join(shown)}; all settings in the section" if shown else None


def _weights(report: Report) -> str | None:
    inputs = report["provenance"]["inputs"]
    method = inputs.get("weights.method")
    digest = inputs.get("archive")
    trained = f", trained on the archive {str(digest)[:16]}" if digest else ""
    return f"weights began as {method}{trained}" if method else None


def _software(report: Report) -> str | None:
    versions = report["provenance"]["versions"]
    names = ("medssl", "python", "torch", "monai")
    shown = [f"{name} {versions[name]}" for name in names if name in versions]
    return f"predicted with {', '.join(shown)}; availability: {AUTHOR}" if shown else None


def _predictions(report: Report) -> str | None:
    if report["splits"] is None:
        return None
    test = report.get("external")
    if test:
        whom = "none of which" if test["known_patients"] is not None else "unknown whether any"
        return f"the mean of {test['n_models']} models, {whom} learned from these patients"
    kind = report["splits"]["group"]
    subject = "patient" if kind == "patient" else "image"
    return f"every {subject} by models that had not been fine-tuned on it"


def _imbalance(report: Report) -> str | None:
    known = report["provenance"]["training"]
    names = ("sampling", "loss_weights", "prior_correction", "calibration")
    shown = [f"{name} {known[name]}" for name in names if name in known]
    return ", ".join(shown) or None


def _measures(report: Report) -> str:
    titles = dict.fromkeys(row["title"] for row in report["estimates"])
    return f"{', '.join(titles)}; why these: {AUTHOR}"


def _intervals(report: Report) -> str:
    made = report["intervals"]
    return (
        f"{made['method']}, {100 * made['level']:g} % intervals, {made['resamples']} resamples "
        f"of {made['resampled']}"
    )


def _estimates(report: Report) -> str | None:
    rows = report["estimates"]
    if not rows:
        return None
    row = rows[0]
    if row["low"] is None or row["value"] is None:
        return f"{len(rows)} estimates"
    return (
        f"{row['title']} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) and "
        f"{len(rows) - 1} more with intervals"
    )


def _threshold(report: Report) -> str | None:
    known = report["threshold"] if report["operating_points"] else None
    how = {"default": "the default, chosen by nobody", "given": "given"}
    return known and f"threshold {known['value']:g}, {how.get(known['chosen'], known['chosen'])}"


def _chosen(report: Report) -> str | None:
    """Return how thresholds were chosen on inner parts, where they were."""
    known = report.get("chosen_thresholds")
    if not known:
        return None
    target = known["target"]
    return f"thresholds chosen on inner parts for a {target['metric']} of {target['at_least']:g}"


def _recalibration(report: Report) -> str | None:
    known = report.get("recalibration")
    kinds = known["kinds"] if known and known["rows"] else []
    return f"{', '.join(kinds)}, raw and recalibrated side by side" if kinds else None


def _judged_groups(report: Report) -> list[str]:
    return [
        one["attribute"].replace("_", " ")
        for one in report.get("subgroups") or []
        if any(group["values"] for group in one["groups"])
    ]


def _subgroups(report: Report) -> str | None:
    judged = _judged_groups(report)
    return f"by {', '.join(judged)}; what was done about it: {AUTHOR}" if judged else None


def _failures(report: Report) -> str | None:
    known = report.get("failures")
    n = len(known["rows"]) if known else 0
    return f"{n} listed by a fixed rule; what they have in common: {AUTHOR}" if n else None


def _repeats(report: Report) -> str | None:
    many = report["unit"]["repeats_averaged"]
    if report.get("external"):
        return f"scores averaged over {report['external']['n_models']} models"
    return f"scores averaged over {many} repeats" if many > 1 else None


def _deidentified(report: Report) -> str | None:
    if report["source"] == "table of predictions":
        return None
    return f"ids are keyed pseudonyms, dates and free text are not kept; at the source: {AUTHOR}"


def _performance(report: Report) -> str | None:
    found = _estimates(report)
    judged = _judged_groups(report)
    return found and found + (f"; subgroups by {', '.join(judged)}" if judged else "")


def _elsewhere(report: Report) -> str | None:
    """Return what an external test was on; the archive of the run itself is none."""
    if not report.get("external") or _is_own(report):
        return None
    return f"{_cohort(report).partition(';')[0]} of another archive; how it differs: {AUTHOR}"


def _explained(report: Report) -> str | None:
    found = report.get("saliency")
    if not found or found["reason"]:
        return None
    return f"Grad-CAM of single images; random weights: {found['said']}; what they show: {AUTHOR}"


def _internal(report: Report) -> str | None:
    made = report["splits"]
    if made is None or made["by"] in ("site", "hold_out"):
        return None
    last = made["by"] == "time"
    for row in (report.get("external") or {}).get("beside", ())[:1]:
        low, high = row["internal_low"], row["internal_high"]
        where = f"{made['n_folds']} folds" if not last else "the last patients"
        return f"{row['title']} {row['internal']:.3f} ({low:.3f} to {high:.3f}) in {where}"
    return "the last patients of one archive" if last else f"{made['n_folds']} folds of one archive"


def _external(report: Report) -> str | None:
    made = report["splits"]
    if made is None or made["by"] not in ("site", "hold_out"):
        return None
    if report.get("external") and not _is_own(report):
        return None
    return f"sites held out of training, within one archive; fully external data: {AUTHOR}"


def _calibration(report: Report) -> str | None:
    names = ("calibration_intercept", "calibration_slope")
    rows = [row for row in report["estimates"] if row["metric"] in names]
    shown = [
        f"{row['title']} {row['column']} {row['value']:.3f}"
        for row in rows
        if row["value"] is not None
    ]
    return "; ".join(shown) or None


def _cautions(report: Report) -> str | None:
    n = len(report["cautions"])
    found = f"{n} caution" + ("s" if n != 1 else "")
    return f"{found} of medssl to be discussed; others: {AUTHOR}" if n else None


def _no_segmentation(_: Report) -> str:
    return "medssl segments nothing; if masks were made elsewhere: " + AUTHOR


def _no_features(report: Report) -> str | None:
    trained = report["splits"] is not None
    return "end-to-end deep learning: no hand-crafted features" if trained else None


FACTS: Mapping[str, tuple[str | None, Callable[[Report], str | None]]] = {
    "cohort": ("cohort", _cohort),
    "sites": ("cohort", _sites),
    "outcome": ("cohort", _outcome),
    "events": ("cohort", _events),
    "sample_size": ("cohort", _sample_size),
    "splits": ("cohort", _splits),
    "disjoint": ("cohort", _disjoint),
    "controls": ("controls", _control()),
    "confounders": ("controls", _control("metadata", "site")),
    "site_control": ("controls", _control("site")),
    "cautions": ("cautions", _cautions),
    "estimates": ("estimates", _estimates),
    "measures": ("estimates", _measures),
    "calibration": ("estimates", _calibration),
    "threshold": ("threshold", _threshold),
    "chosen": ("chosen", _chosen),
    "recalibration": ("recalibration", _recalibration),
    "subgroups": ("subgroups", _subgroups),
    "failures": ("failures", _failures),
    "flow": ("flow", cohort_facts.flow),
    "eligible": ("flow", cohort_facts.eligible),
    "missing": ("flow", cohort_facts.missing),
    "table_one": ("table-one", cohort_facts.table_one),
    "acquisition": ("table-one", cohort_facts.acquisition),
    "deidentified": (None, _deidentified),
    "performance": ("estimates", _performance),
    "elsewhere": ("external", _elsewhere),
    "saliency": ("saliency", _explained),
    "intervals": ("made", _intervals),
    "predictions": ("made", _predictions),
    "repeats": ("made", _repeats),
    "internal": ("made", _internal),
    "external": ("made", _external),
    "training": ("provenance", _training),
    "imbalance": ("provenance", _imbalance),
    "weights": ("provenance", _weights),
    "software": ("provenance", _software),
    "no_segmentation": (None, _no_segmentation),
    "no_features": (None, _no_features),
}
