"""What a report says, as one plain record: `report.json` is this, the page draws it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from medssl import __version__
from medssl.artifacts.site_models import FinetuneInfo
from medssl.artifacts.splits import Splits
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation.assessment import Drift, Estimate, FoldResult
from medssl.evaluation.curves import Calibration, Roc
from medssl.evaluation.units import Units

PATHS = ("archive", "init_from")  # settings that name files; a report names none
DIGITS = 6  # of a point of a curve


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything computed from one table of predictions."""

    units: Units
    estimates: tuple[Estimate, ...]
    folds: tuple[FoldResult, ...]
    drifts: tuple[Drift, ...]
    rocs: tuple[Roc, ...]
    calibrations: tuple[Calibration, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the predictions come from; a foreign table knows its digest only."""

    predictions_sha256: str
    splits: Splits | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the run that predicted
    environment: Mapping[str, Any] = field(default_factory=dict)  # of that run
    models: FinetuneInfo | None = None  # of that run


def compose(
    findings: Findings, origin: Origin, settings: EvaluateSettings, resamples: int
) -> dict[str, Any]:
    """Return the report as JSON values, in reading order."""
    units = findings.units
    return {
        "medssl": __version__,
        "target": units.target,
        "columns": list(units.columns),
        "positive": origin.splits.positive if origin.splits else None,
        "source": "finetune run" if origin.splits else "table of predictions",
        "cohort": _cohort(units),
        "unit": {
            "kind": units.kind,
            "reason": units.reason,
            "aggregate": settings.aggregate if _aggregates(units) else None,
            "repeats_averaged": units.n_repeats,
        },
        "splits": _splits(origin.splits),
        "intervals": {
            "method": "percentile bootstrap, drawn within class",
            "resampled": "patients" if units.grouped else "images",
            "resamples": resamples,
            "level": settings.level,
            "seed": settings.seed,
        },
        "cautions": list(findings.cautions),
        "notes": list(findings.notes),
        "estimates": [asdict(row) for row in findings.estimates],
        "folds": {
            "drift": [asdict(row) | {"difference": row.difference} for row in findings.drifts],
            "rows": [asdict(row) for row in findings.folds],
        },
        "curves": {
            "roc": [_curve(row) for row in findings.rocs],
            "calibration": [_curve(row) for row in findings.calibrations],
        },
        "provenance": _provenance(origin),
    }


def _cohort(units: Units) -> dict[str, Any]:
    return {
        "patients": units.n_patients if units.grouped else None,
        "images": units.n_images,
        "units": len(units.truth),
        "sites": list(units.sites),
        "events": [
            {
                "column": name,
                "units": int(units.truth[:, k].sum()),
                "patients": units.patients_with(k),
            }
            for k, name in enumerate(units.columns)
        ],
    }


def _aggregates(units: Units) -> bool:
    return units.kind == "patient" and units.n_images > units.n_patients


def _splits(splits: Splits | None) -> dict[str, Any] | None:
    if splits is None:
        return None
    return {
        "digest": splits.digest,
        "n_folds": splits.n_folds,
        "repeats": len(splits.test_fold),
        "group": splits.group,
        "seed": splits.seed,
    }


def _provenance(origin: Origin) -> dict[str, Any]:
    shown = {key: value for key, value in origin.settings.items() if key not in PATHS}
    if "init_from" in origin.settings:
        weights = origin.settings["init_from"]
        shown["init_from"] = "none" if weights == "none" else "pretrained weights"
    libraries = origin.environment.get("libraries", {})
    versions = {key: origin.environment.get(key) for key in ("medssl", "python", "system")}
    return {
        "predictions_sha256": origin.predictions_sha256,
        "training": dict(_flat(shown)),
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
        **dict(_flat(_weights(models.init), "weights.")),
    }


def _weights(init: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the encoder came from; the name of a bare weight file may say whose it is."""
    if not init:
        return {"method": "random"}
    known = {key: value for key, value in init.items() if key != "file"}
    return {"method": "unknown, a weight file without a record"} | known


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield scalars under dotted keys; lists of scalars as text, longer ones left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            if len(value) <= 4:
                yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        elif value is not None:
            yield f"{prefix}{key}", value


def _curve(curve: Roc | Calibration) -> dict[str, Any]:
    return {
        key: value.round(DIGITS).tolist() if isinstance(value, np.ndarray) else value
        for key, value in asdict(curve).items()
    }
