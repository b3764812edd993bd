"""`medssl reduce`: keep what is not redundant; name a kept representative for everything else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl import reduction
from medssl.artifacts import archive, run_folder, selection, tables
from medssl.config.loading import decode
from medssl.config.reduce import ReduceSettings
from medssl.data.store import ImageStore
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reduction import _leader, _scopes

WINDOW_HU = (-1000.0, 1000.0)  # CT is shown to a strategy like this
_COLUMN = {"series": "series_key", "patient": "patient_key", "site": "site", "archive": None}
_SERIES_OF_SLICES = 2  # images per series from which series are thinned, not patients
_SMOKE_PATIENTS = 16


@dataclass(frozen=True, kw_only=True)
class ReduceResult:
    """What a reduction kept."""

    folder: Path
    by: str
    within: str
    threshold: float
    n_images: int
    n_kept: int
    n_scopes: int  # series, patients, sites or 1
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReducePlan:
    """What a reduction would do."""

    settings: ReduceSettings
    n_images: int
    n_scopes: int
    notes: tuple[str, ...]


def plan(settings: ReduceSettings) -> ReducePlan:
    """Check everything cheap and say what would be done.

    Raises:
        UsageError: The strategy or one of its options does not exist, or the budget is too small.
        ArtifactError: There is no finished archive.
    """
    strategy = plugins.load(reduction, settings.by)
    decode(strategy.Config, settings.options, where="options")
    table = _read(settings)
    settings, notes = _resolve(settings, table)
    if settings.threshold is None and _budget(settings, table.num_rows) is None:
        settings = settings.model_copy(update={"threshold": strategy.THRESHOLD})
        notes = (*notes, f"threshold {strategy.THRESHOLD:g} (default of {settings.by})")
    n_scopes = _n_scopes(table, settings.within)
    budget = _budget(settings, table.num_rows)
    if budget is not None and budget < n_scopes:
        raise UsageError(
            f"no selection of at most {budget} images: at least one of each of {n_scopes} "
            f"{settings.within} scopes is kept",
            fix=f"allow {n_scopes}, or widen --within",
        )
    return ReducePlan(settings=settings, n_images=table.num_rows, n_scopes=n_scopes, notes=notes)


def run(
    settings: ReduceSettings, out: Path, reporter: Reporter | None = None, *, resume: bool = False
) -> ReduceResult:
    """Thin an archive and write the selection with its audit tables.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        ArtifactError: There is no finished archive.
    """
    reporter = reporter or Silent()
    planned = plan(settings)
    settings, notes = planned.settings, planned.notes
    strategy = plugins.load(reduction, settings.by)
    config = decode(strategy.Config, settings.options, where="options")
    table, column = _read(settings), _COLUMN[settings.within]
    info = archive.read_info(settings.archive)
    inputs = {"archive": info.hash}
    with run_folder.create(
        out, stage="reduce", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        folder.environment()
        told = Tee(reporter, folder.log)
        for note in notes:
            told.note(note)
        ids: list[str] = table["image_id"].to_pylist()
        shown = ImageStore(settings.archive, table).eight_bit(WINDOW_HU)
        tracked = told.track(shown, task=f"{settings.by}", total=len(ids), unit="images")
        descriptors = strategy.describe(tracked, ids, config)
        scopes = _scopes.rows_of(table[column].to_pylist() if column else None, len(ids))
        if settings.threshold is not None:
            tau = settings.threshold
            thinned = _scopes.thin(strategy, descriptors, scopes, tau, config)
        else:
            budget = _budget(settings, len(ids)) or len(ids)
            thinned, tau = _scopes.thin_to(strategy, descriptors, scopes, budget, config)
        record = selection.SelectionInfo(
            archive_hash=info.hash,
            by=settings.by,
            within=settings.within,
            threshold=tau,
            n_images=len(ids),
            n_kept=len(thinned.kept),
            options=settings.options,
            smoke=settings.smoke,
        )
        selection.write(folder.path, record, *_tables(ids, thinned, settings.by, tau))
    return ReduceResult(
        folder=out,
        by=settings.by,
        within=settings.within,
        threshold=tau,
        n_images=len(ids),
        n_kept=len(thinned.kept),
        n_scopes=planned.n_scopes,
        notes=notes,
    )


def _read(settings: ReduceSettings) -> pa.Table:
    table = archive.read_images(settings.archive)
    if settings.smoke:
        some = sorted(set(table["patient_key"].to_pylist()))[:_SMOKE_PATIENTS]
        keys = table["patient_key"].to_pylist()
        table = table.take(np.array([i for i, key in enumerate(keys) if key in some], dtype=int))
    return table


def _resolve(settings: ReduceSettings, table: pa.Table) -> tuple[ReduceSettings, tuple[str, ...]]:
    if settings.within != "auto":
        return settings, ()
    per_series = table.num_rows / max(1, _n_scopes(table, "series"))
    within, reason = "patient", f"{per_series:.1f} images per series"
    if per_series >= _SERIES_OF_SLICES:
        within = "series"
    budget = _budget(settings, table.num_rows)
    if budget is not None and budget < _n_scopes(table, within):
        within, reason = "archive", f"{budget} images are fewer than one per {within}"
    update = {"within": within}
    return settings.model_copy(update=update), (f"within {within} (auto: {reason})",)


def _budget(settings: ReduceSettings, n_images: int) -> int | None:
    """Return how many images may be kept, where the user limited that."""
    if settings.keep is not None:
        return max(1, int(settings.keep * n_images))
    return settings.budget


def _n_scopes(table: pa.Table, within: str) -> int:
    column = _COLUMN[within]
    return len(set(table[column].to_pylist())) if column else 1


def _tables(
    ids: list[str], thinned: _leader.Thinned, metric: str, tau: float
) -> tuple[pa.Table, pa.Table]:
    represents = np.ones(len(ids), dtype=int)  # itself
    np.add.at(represents, thinned.representative, 1)
    kept = [{"image_id": ids[row], "represents": int(represents[row])} for row in thinned.kept]
    audit = zip(thinned.dropped, thinned.representative, thinned.similarity, strict=True)
    dropped = [
        {
            "image_id": ids[row],
            "representative_id": ids[representative],
            "similarity": float(value),
            "metric": metric,
            "tau": tau,
            "stage": 0,
        }
        for row, representative, value in audit
    ]
    return (
        tables.build(kept, selection.KEPT),
        tables.build(dropped, selection.DROPPED),
    )
