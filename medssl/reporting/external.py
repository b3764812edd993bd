"""What a report says of a test on an archive: whose it is, and what the models lose in it."""

from dataclasses import asdict
from typing import Any

from medssl.artifacts.origin import Origin
from medssl.evaluation.external import Elsewhere


def record(origin: Origin, found: Elsewhere | None) -> dict[str, Any] | None:
    """Return an external test as JSON values, None where the run judged its own cohort."""
    tested = origin.external
    if tested is None or found is None:
        return None
    rows = [asdict(row) for row in found.rows]
    return {
        **asdict(tested),
        "internal_patients": found.internal_patients,
        "internal_units": found.internal_units,
        "internal_kind": found.internal_kind,
        "beside": rows,
        "alone": [asdict(row) for row in found.alone],
    }


def source(origin: Origin) -> str:
    """Return in two or three words where the predictions come from."""
    if origin.external is not None:
        return "held-out test" if origin.external.own else "external test"
    return "finetune run" if origin.splits else "table of predictions"
