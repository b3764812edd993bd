"""What is known of the making of the models that are judged, besides their settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medssl.artifacts import fold_models, run_folder
from medssl.artifacts.origin import Origin
from medssl.foundation.errors import ArtifactError

MOST_BYTES = 4_000_000_000  # of weights that are read for a digest: some seconds
_HARDWARE = ("machine", "cores", "device", "threads", "processes")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """When, on what and into which weights the models were trained; None: not known."""

    n_models: int | None = None
    weights_sha256: str | None = None  # one digest of the weights of all models
    no_digest: str = "the models are not known"  # why there is none; empty where there is
    started: str | None = None  # ISO 8601, UTC
    finished: str | None = None  # pauses of a run that was resumed included
    hardware: Mapping[str, Any] = field(default_factory=dict)
    energy_joules: float | None = None  # a reading; never an estimate


def find(source: Origin) -> Provenance:
    """Return what a run records of its training; of a table of another tool that is nothing."""
    if source.run is None:
        return Provenance()
    started, finished = _times(source)
    paths = fold_models.weights(source.run)
    size = sum(path.stat().st_size for path in paths)
    reason = "" if paths else "the weights are not in the run"
    if size > MOST_BYTES:
        reason = f"the weights are {size / 1e9:.0f} GB, too much to read for it"
    return Provenance(
        n_models=len(paths) or None,
        weights_sha256=None if reason else fold_models.weights_sha256(paths),
        no_digest=reason,
        started=started,
        finished=finished,
        hardware={key: source.environment[key] for key in _HARDWARE if key in source.environment},
        energy_joules=source.environment.get("energy_joules"),
    )


def _times(source: Origin) -> tuple[str | None, str | None]:
    assert source.run is not None  # or nothing was trained here
    try:
        status = run_folder.read_status(source.run)
    except ArtifactError:
        return None, None
    return status.get("started"), status.get("updated")
