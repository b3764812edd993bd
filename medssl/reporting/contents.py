"""What a report says, as one plain record: `report.json` is this, the page draws it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medssl import __version__
from medssl.artifacts.origin import Origin
from medssl.artifacts.site_models import FinetuneInfo
from medssl.artifacts.splits import Splits
from medssl.config.evaluate import EvaluateSettings
from medssl.config.judging import Judging
from medssl.evaluation.assessment import (
    DEFAULT_THRESHOLD,
    Drift,
    Estimate,
    FoldResult,
    are_probabilities,
)
from medssl.evaluation.curves import Calibration, Risks, Roc
from medssl.evaluation.operating_points import OperatingPoint
from medssl.evaluation.units import Units

PATHS = (  # settings that name files; a report names none
    "archive",
    "init_from",
    "aliases",
    "baselines",
    "split.file",
    "split.key_file",
)
DIGITS = 6  # of a point of a curve


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything computed from one table of predictions."""

    units: Units
    estimates: tuple[Estimate, ...]
    operating_points: tuple[OperatingPoint, ...]
    folds: tuple[FoldResult, ...]
    drifts: tuple[Drift, ...]
    rocs: tuple[Roc, ...]
    calibrations: tuple[Calibration, ...]
    risks: tuple[Risks, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


def compose(findings: Findings, origin: Origin, settings: EvaluateSettings) -> dict[str, Any]:
    """Return the report as JSON values, in reading order."""
    units = findings.units
    return {
        "medssl": __version__,
        "target": units.target,
        "columns": list(units.columns),
        "positive": origin.splits.positive if origin.splits else None,
        "source": "finetune run" if origin.splits else "table of predictions",
        "cohort": cohort(units, origin.models),
        "unit": unit(units, settings),
        "splits": splits(origin.splits),
        "intervals": intervals(units, settings),
        "cautions": list(findings.cautions),
        "notes": list(findings.notes),
        "estimates": [asdict(row) for row in findings.estimates],
        "threshold": _threshold(units, settings),
        "operating_points": [
            asdict(point) | {"predictive": [asdict(row) for row in point.predictive]}
            for point in findings.operating_points
        ],
        "folds": {
            "drift": [asdict(row) | {"difference": row.difference} for row in findings.drifts],
            "rows": [asdict(row) for row in findings.folds],
        },
        "curves": {
            "roc": [_curve(row) for row in findings.rocs],
            "calibration": [_curve(row) for row in findings.calibrations],
            "risks": [_curve(row) for row in findings.risks],
        },
        "provenance": _provenance(origin),
    }


def intervals(units: Units, settings: Judging) -> dict[str, Any]:
    """Return how the intervals were made."""
    return {
        "method": "percentile bootstrap",
        "drawn": "within class; over all for what depends on the share of positives",
        "resampled": "patients" if units.grouped else "images",
        "resamples": settings.draws,
        "level": settings.level,
        "seed": settings.seed,
    }


def unit(units: Units, settings: Judging) -> dict[str, Any]:
    """Return what one observation is, and why."""
    return {
        "kind": units.kind,
        "reason": units.reason,
        "aggregate": settings.aggregate if _aggregates(units) else None,
        "repeats_averaged": units.n_repeats,
    }


def _threshold(units: Units, settings: EvaluateSettings) -> dict[str, Any] | None:
    """Return the threshold and who chose it: never these data, as far as medssl knows."""
    if isinstance(settings.threshold, str):
        return None
    default = settings.threshold == DEFAULT_THRESHOLD and are_probabilities(units)
    return {"value": settings.threshold, "chosen": "default" if default else "given"}


def cohort(units: Units, models: FinetuneInfo | None = None) -> dict[str, Any]:
    """Return who was judged."""
    return {
        "patients": units.n_patients if units.grouped else None,
        "merged": dict(models.merged) if models else {},
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


def splits(plan: Splits | None) -> dict[str, Any] | None:
    """Return the folds in short."""
    if plan is None:
        return None
    return {
        "digest": plan.digest,
        "by": plan.by,
        "names": ", ".join(plan.names),
        "balanced_test": plan.balanced_test,
        "n_folds": plan.n_folds,
        "repeats": len(plan.test_fold),
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


def _curve(curve: Roc | Calibration | Risks) -> dict[str, Any]:
    return {
        key: value.round(DIGITS).tolist() if isinstance(value, np.ndarray) else value
        for key, value in asdict(curve).items()
    }
