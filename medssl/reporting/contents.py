"""What a report says, as one plain record: `report.json` is this, the page draws it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from medssl import __version__
from medssl.artifacts.origin import Origin
from medssl.artifacts.site_models import FinetuneInfo
from medssl.config.judging import Judging
from medssl.evaluation import intervals as bootstrap
from medssl.evaluation.agreement import Agreement
from medssl.evaluation.assessment import (
    DEFAULT_THRESHOLD,
    Estimate,
    are_probabilities,
)
from medssl.evaluation.curves import Calibration, Risks, Roc
from medssl.evaluation.decision import Decision
from medssl.evaluation.deployed import Deployed
from medssl.evaluation.findings import Findings
from medssl.evaluation.judged import Judged
from medssl.evaluation.recalibrated import Recalibrated
from medssl.evaluation.sizes import FEWEST_PATIENTS
from medssl.evaluation.units import Units
from medssl.reporting import external, saliency, subgroups, verdicts

PATHS = (  # settings that name files; a report names none
    "archive",
    "init_from",
    "aliases",
    "baselines",
    "split.file",
    "split.key_file",
)
DIGITS = 6  # of a point of a curve
PAIR_DIGITS = 3  # of a patient's amount, significant ones


def compose(findings: Findings, judged: Judged) -> dict[str, Any]:
    """Return the report as JSON values, in reading order."""
    units, origin, settings = judged.units, judged.source, judged.settings
    return {
        "medssl": __version__,
        "target": units.target,
        "task": units.task,
        "columns": list(units.columns),
        "positive": origin.splits.positive if origin.splits else None,
        "source": external.source(origin),
        "external": external.record(origin, findings.elsewhere),
        "cohort": cohort(units, None if origin.external else origin.models),
        "cohort_flow": _plain(asdict(findings.flow)),
        "table_one": _plain(asdict(findings.cohort)),
        "unit": unit(units, settings),
        "splits": splits(origin),
        "intervals": intervals(units, settings) | _made(findings.estimates),
        "controls": verdicts.record(findings.controls),
        "adequacy": verdicts.record(findings.adequacy),
        "cautions": list(findings.cautions),
        "notes": list(findings.notes),
        "estimates": [asdict(row) for row in findings.estimates],
        "delong": [asdict(row) | {"apart": row.apart} for row in findings.checks],
        "calibration_error": [asdict(row) for row in findings.calibration_errors],
        "threshold": _threshold(judged),
        "operating_points": [_plain(asdict(point)) for point in findings.operating_points],
        "subgroup_guard": FEWEST_PATIENTS,
        "subgroups": subgroups.record(findings.subgroups),
        "failures": subgroups.failures(findings.failures),
        "saliency": saliency.record(findings.saliency),
        **_deployed(findings.deployed),
        "folds": {
            "drift": [asdict(row) | {"difference": row.difference} for row in findings.drifts],
            "rows": [asdict(row) for row in findings.folds],
        },
        "curves": {
            "roc": [_curve(row) for row in findings.rocs],
            "calibration": [_curve(row) for row in findings.calibrations],
            "risks": [_curve(row) for row in findings.risks],
            "decision": [_curve(row) for row in findings.decisions],
            "agreement": [_pairs(row) for row in findings.agreements],
        },
        "provenance": _provenance(origin) | {"models": asdict(findings.provenance)},
    }


def intervals(units: Units, settings: Judging) -> dict[str, Any]:
    """Return how the intervals were made."""
    chosen = bootstrap.choose(settings.intervals, settings.draws, units.n_patients)
    names = {"bca": "bias-corrected and accelerated (BCa)", "percentile": "percentile"}
    together = units.task in ("regression", "multi_label")
    return {
        "method": f"{names[chosen.method]} bootstrap",
        "why": chosen.why,
        "drawn": "over all"
        if together
        else "within class; over all for what depends on the share of positives",
        "resampled": "patients" if units.grouped else "images",
        "resamples": settings.draws,
        "level": settings.level,
        "seed": settings.seed,
    }


def _made(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return how many intervals were made by which method."""
    methods = [row.interval for row in estimates]
    return {"made": {name: methods.count(name) for name in sorted(set(methods))}}


def unit(units: Units, settings: Judging) -> dict[str, Any]:
    """Return what one observation is, and why."""
    return {
        "kind": units.kind,
        "reason": units.reason,
        "aggregate": settings.aggregate if _aggregates(units) else None,
        "repeats_averaged": units.n_repeats,
    }


def _threshold(judged: Judged) -> dict[str, Any] | None:
    """Return the threshold and who chose it: never these data, as far as medssl knows."""
    if judged.threshold is None:
        return None
    default = judged.threshold == DEFAULT_THRESHOLD and are_probabilities(judged.units)
    return {"value": judged.threshold, "chosen": "default" if default else "given"}


def cohort(units: Units, models: FinetuneInfo | None = None) -> dict[str, Any]:
    """Return who was judged."""
    return {
        "patients": units.n_patients if units.grouped else None,
        "merged": dict(models.merged) if models else {},
        "images": units.n_images,
        "units": len(units.truth),
        "sites": list(units.sites),
        "events": [] if units.task == "regression" else _events(units),
        "amounts": _amounts(units) if units.task == "regression" else [],
    }


def _events(units: Units) -> list[dict[str, Any]]:
    """Return how many units of each column are positive, and how many have a label at all."""
    return [
        {
            "column": name,
            "units": int(part.truth.sum()),
            "patients": part.patients_with(0),
            "labelled_units": len(part.truth),
            "labelled_patients": part.n_patients,
        }
        for k, name in enumerate(units.columns)
        for part in [units.only(k)]
    ]


def _amounts(units: Units) -> list[dict[str, Any]]:
    """Return how the labels of each amount spread."""
    return [
        {
            "column": name,
            "labelled_units": len(label),
            "labelled_patients": units.only(k).n_patients,
            "mean": float(label.mean()),
            "sd": float(label.std(ddof=1)) if len(label) > 1 else None,
            "median": float(np.median(label)),
        }
        for k, name in enumerate(units.columns)
        for label in [units.truth[units.known(k), k]]
    ]


def _aggregates(units: Units) -> bool:
    return units.kind == "patient" and units.n_images > units.n_patients


def splits(origin: Origin) -> dict[str, Any] | None:
    """Return the folds in short; trainings from several seeds are repeats of the same division."""
    plan = origin.splits
    if plan is None:
        return None
    return {
        "digest": plan.digest,
        "by": plan.by,
        "names": ", ".join(plan.names),
        "balanced_test": plan.balanced_test,
        "n_folds": plan.n_folds,
        "repeats": len(plan.test_fold),
        "seeds": int(origin.settings.get("seeds", 1)),
        "group": plan.group,
        "seed": plan.seed,
    }


def _provenance(origin: Origin) -> dict[str, Any]:
    given = {key: value for key, value in origin.settings.items() if key not in PATHS}
    shown = {key: value for key, value in flat(given) if key not in PATHS}
    if "init_from" in origin.settings:
        random = origin.settings["init_from"] == "none"
        shown["init_from"] = "none" if random else "pretrained weights"
    libraries = origin.environment.get("libraries", {})
    versions = {key: origin.environment.get(key) for key in ("medssl", "python", "system")}
    return {
        "predictions_sha256": origin.predictions_sha256,
        "training": shown,
        "inputs": _inputs(origin.models),
        "versions": {k: v for k, v in {**versions, **libraries}.items() if v},
        "notes": list(origin.models.notes) if origin.models else [],
    }


def _inputs(models: FinetuneInfo | None) -> dict[str, Any]:
    if models is None:
        return {}
    return {
        "archive": models.archive_hash,
        "images": models.n_images,
        "patients": models.n_patients,
        **dict(flat(weights(models.init), "weights.")),
    }


def weights(init: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the encoder came from; the name of a bare weight file may say whose it is."""
    if not init:
        return {"method": "random"}
    known = {key: value for key, value in init.items() if key != "file"}
    return {"method": "unknown, a weight file without a record"} | known


def flat(
    values: Mapping[str, Any], prefix: str = "", *, longest: int = 4
) -> Iterator[tuple[str, Any]]:
    """Yield scalars under dotted keys; lists of scalars as text, longer ones left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.", longest=longest)
        elif isinstance(value, list | tuple):
            if len(value) <= longest:
                yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        elif value is not None:
            yield f"{prefix}{key}", value


def _deployed(found: Deployed) -> dict[str, Any]:
    return {
        "chosen_thresholds": asdict(found.calls) if found.calls else None,
        "recalibration": _recalibration(found.recalibration),
        "requirements": [asdict(row) for row in found.requirements],
    }


def _recalibration(found: Recalibrated | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return asdict(found) | {"curves": [_curve(curve) for curve in found.curves]}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with its tuples as lists, as it is read back."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _pairs(found: Agreement) -> dict[str, Any]:
    """Return pairs to as many digits as a figure shows: they are single patients."""
    rounded = _curve(found)
    for name in ("predicted", "label"):
        rounded[name] = [float(f"{value:.{PAIR_DIGITS}g}") for value in getattr(found, name)]
    return rounded


def _curve(curve: Roc | Calibration | Risks | Decision | Agreement) -> dict[str, Any]:
    return {
        key: value.round(DIGITS).tolist() if isinstance(value, np.ndarray) else value
        for key, value in asdict(curve).items()
    }
