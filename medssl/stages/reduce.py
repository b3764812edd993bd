"""`medssl reduce`: keep what is not redundant; name a kept representative for everything else.

Beside the selection stand random ones of the same size: what a reduction gains shows only against
them. Each is a run of this stage in a folder of its own.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl import reduction
from medssl.artifacts import archive, run_folder, selection
from medssl.config.loading import decode
from medssl.config.reduce import ReduceSettings
from medssl.data.store import ImageStore
from medssl.foundation import files, plugins
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reduction import _leader, _scopes
from medssl.reduction._leader import Thinned

WINDOW_HU = (-1000.0, 1000.0)  # CT is shown to a strategy like this
_COLUMN = {"series": "series_key", "patient": "patient_key", "site": "site", "archive": None}
_SERIES_OF_SLICES = 2  # images per series from which series are thinned, not patients
_SMOKE_PATIENTS = 16
_TRIAL = 64  # images described to say how long all of them take
_ROW_BYTES = 100  # of the tables of a selection, per image


@dataclass(frozen=True, kw_only=True)
class ReduceResult:
    """What a reduction kept."""

    folder: Path
    by: str
    within: str
    threshold: float | None  # None: another one for each scope
    n_images: int
    n_kept: int
    n_scopes: int  # series, patients, sites or 1
    controls: tuple[str, ...]  # folders of random selections of the same size
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
        UsageError: The strategy or one of its options does not exist, the budget is too small, or
            the selection to match has other scopes.
        ArtifactError: There is no finished archive, or no selection of it to match.
    """
    strategy = plugins.load(reduction, settings.by)
    decode(strategy.Config, settings.options, where="options")
    table = _read(settings)
    settings, notes = _resolve(settings, table)
    n_scopes = _n_scopes(table, settings.within)
    budget = _budget(settings, table.num_rows)
    if budget is not None and budget < n_scopes:
        raise UsageError(
            f"no selection of at most {budget} images: at least one of each of {n_scopes} "
            f"{settings.within} scopes is kept",
            fix=f"allow {n_scopes}, or widen --within",
        )
    if settings.match is not None:
        _counts(settings, table, _scopes_of(settings, table))
    elif settings.threshold is None and budget is None:
        settings = settings.model_copy(update={"threshold": strategy.THRESHOLD})
        notes = (*notes, f"threshold {strategy.THRESHOLD:g} (default of {settings.by})")
    return ReducePlan(settings=settings, n_images=table.num_rows, n_scopes=n_scopes, notes=notes)


def cost(settings: ReduceSettings) -> Cost:
    """Return what the run would take at most, from a few images; writes nothing."""
    settings = plan(settings).settings
    table = _read(settings)
    strategy = plugins.load(reduction, settings.by)
    config = decode(strategy.Config, settings.options, where="options")
    some = table.take(np.unique(np.linspace(0, table.num_rows - 1, _TRIAL).astype(int)))
    ids = some["image_id"].to_pylist()
    started = time.perf_counter()
    images = (
        ImageStore(settings.archive, some).eight_bit(WINDOW_HU) if strategy.NEEDS_PIXELS else ()
    )
    descriptors = strategy.describe(images, ids, config)
    describing = (time.perf_counter() - started) / len(ids) * table.num_rows
    block = np.resize(descriptors, (_leader.BLOCK, *descriptors.shape[1:]))
    started = time.perf_counter()
    strategy.similarity(block, block, config)
    a_pair = (time.perf_counter() - started) / len(block) ** 2
    pairs = sum(len(rows) ** 2 for rows in _scopes_of(settings, table))
    passes = 1 if settings.threshold is not None else _scopes.BISECTIONS
    return Cost(
        seconds=describing + a_pair * pairs * passes,
        disk_bytes=_ROW_BYTES * table.num_rows * (1 + settings.controls),
        memory_bytes=peak_memory(),
        basis=f"at most, from {len(ids)} images",
    )


def run(
    settings: ReduceSettings, out: Path, reporter: Reporter | None = None, *, resume: bool = False
) -> ReduceResult:
    """Thin an archive and write the selection with its audit tables and its controls.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        ArtifactError: There is no finished archive, or no selection of it to match.
    """
    reporter = reporter or Silent()
    planned = plan(settings)
    settings, notes = planned.settings, planned.notes
    table = _read(settings)
    info = archive.read_info(settings.archive)
    inputs = {"archive": info.hash}
    if settings.match is not None:
        inputs["match"] = files.sha256(settings.match / "kept.parquet")
    with run_folder.create(
        out, stage="reduce", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        folder.environment()
        told = Tee(reporter, folder.log)
        for note in notes:
            told.note(note)
        scopes = _scopes_of(settings, table)
        thinned, tau = _thin(settings, table, scopes, told)
        if not len(thinned.dropped) and settings.match is None:
            told.warn(
                f"nothing is redundant within a {settings.within}: all images are kept; "
                "a wider --within or a lower --threshold drops more"
            )
        record = selection.SelectionInfo(
            archive_hash=info.hash,
            by=settings.by,
            within=settings.within,
            threshold=tau if isinstance(tau, float) else None,
            n_images=table.num_rows,
            n_kept=len(thinned.kept),
            options=settings.options,
            controls=tuple(f"controls/random-{seed}" for seed in range(settings.controls)),
            smoke=settings.smoke,
        )
        selection.write(folder.path, record, *_tables(table, thinned, settings.by, tau))
        for seed, name in enumerate(record.controls):
            _control(settings, out, seed, out / name)
    return ReduceResult(
        folder=out,
        by=settings.by,
        within=settings.within,
        threshold=record.threshold,
        n_images=record.n_images,
        n_kept=record.n_kept,
        n_scopes=len(scopes),
        controls=record.controls,
        notes=notes,
    )


def _thin(
    settings: ReduceSettings, table: pa.Table, scopes: list[NDArray[np.int64]], reporter: Reporter
) -> tuple[Thinned, float | NDArray[np.float64]]:
    """Return the selection and its threshold, or that of each dropped image where they differ."""
    strategy = plugins.load(reduction, settings.by)
    config = decode(strategy.Config, settings.options, where="options")
    ids: list[str] = table["image_id"].to_pylist()
    if strategy.NEEDS_PIXELS:
        shown = ImageStore(settings.archive, table).eight_bit(WINDOW_HU)
        tracked = reporter.track(shown, task=f"{settings.by}", total=len(ids), unit="images")
        descriptors = strategy.describe(tracked, ids, config)
    else:
        descriptors = _scopes.describe(strategy, ids, scopes, config)
    if settings.match is not None:
        counts = _counts(settings, table, scopes)
        return _scopes.take(strategy, descriptors, scopes, counts, config)
    if settings.threshold is not None:
        tau = settings.threshold
        return _scopes.thin(strategy, descriptors, scopes, tau, config), tau
    budget = _budget(settings, len(ids)) or len(ids)
    return _scopes.thin_to(strategy, descriptors, scopes, budget, config)


def _control(settings: ReduceSettings, matched: Path, seed: int, out: Path) -> None:
    """Write a random selection of as many images of each scope; one that is there already stays."""
    is_started = (out / "status.json").is_file()
    if is_started and run_folder.read_status(out)["status"] == "finished":
        return
    update = {"by": "random", "options": {"seed": seed}, "match": matched, "controls": 0}
    sizes = dict.fromkeys(("threshold", "keep", "budget"))
    run(settings.model_copy(update={**update, **sizes}), out, resume=is_started)


def _read(settings: ReduceSettings) -> pa.Table:
    table = archive.read_images(settings.archive)
    if settings.smoke:
        some = sorted(set(table["patient_key"].to_pylist()))[:_SMOKE_PATIENTS]
        keys = table["patient_key"].to_pylist()
        table = table.take(np.array([i for i, key in enumerate(keys) if key in some], dtype=int))
    return table


def _resolve(settings: ReduceSettings, table: pa.Table) -> tuple[ReduceSettings, tuple[str, ...]]:
    if settings.by == "random" and settings.controls:
        settings = settings.model_copy(update={"controls": 0})  # it is one
    if settings.within != "auto":
        return settings, ()
    per_series = table.num_rows / max(1, _n_scopes(table, "series"))
    within, reason = "patient", f"{per_series:.1f} images per series"
    if per_series >= _SERIES_OF_SLICES:
        within = "series"
    budget = _budget(settings, table.num_rows)
    if budget is not None and budget < _n_scopes(table, within):
        within, reason = "archive", f"{budget} images are fewer than one per {within}"
    if settings.match is not None:
        within, reason = selection.read_info(settings.match).within, "as in the selection to match"
    update = {"within": within}
    return settings.model_copy(update=update), (f"within {within} (auto: {reason})",)


def _counts(
    settings: ReduceSettings, table: pa.Table, scopes: list[NDArray[np.int64]]
) -> list[int]:
    """Return how many images of each scope the selection to match keeps.

    Raises:
        UsageError: Of a scope it keeps none.
        ArtifactError: There is no such selection, or it belongs to another archive.
    """
    assert settings.match is not None
    selection.require_archive(settings.match, archive.read_info(settings.archive).hash)
    kept = pc.is_in(table["image_id"], selection.read_kept(settings.match)["image_id"])
    counts = [int(kept.to_numpy()[rows].sum()) for rows in scopes]
    if 0 in counts:
        raise UsageError(
            f"the selection to match keeps nothing of {counts.count(0)} of {len(scopes)} "
            f"{settings.within} scopes",
            where=str(settings.match),
            fix="leave out --within, and give --smoke if it was given there",
        )
    return counts


def _budget(settings: ReduceSettings, n_images: int) -> int | None:
    """Return how many images may be kept, where the user limited that."""
    if settings.keep is not None:
        return max(1, math.floor(settings.keep * n_images + 1e-9))  # 0.29 of 100 is 28.999…
    return settings.budget


def _scopes_of(settings: ReduceSettings, table: pa.Table) -> list[NDArray[np.int64]]:
    column = _COLUMN[settings.within]
    return _scopes.rows_of(table[column].to_pylist() if column else None, table.num_rows)


def _n_scopes(table: pa.Table, within: str) -> int:
    column = _COLUMN[within]
    return len(set(table[column].to_pylist())) if column else 1


def _tables(
    table: pa.Table, thinned: Thinned, metric: str, tau: float | NDArray[np.float64]
) -> tuple[pa.Table, pa.Table]:
    ids = table["image_id"]
    represents = np.ones(len(ids), dtype=np.int32)  # itself
    np.add.at(represents, thinned.representative, 1)
    n_dropped = len(thinned.dropped)
    kept = {"image_id": ids.take(thinned.kept), "represents": represents[thinned.kept]}
    dropped = {
        "image_id": ids.take(thinned.dropped),
        "representative_id": ids.take(thinned.representative),
        "similarity": thinned.similarity,
        "metric": [metric] * n_dropped,
        "tau": np.broadcast_to(tau, n_dropped),
        "stage": np.zeros(n_dropped, dtype=np.int32),
    }
    return (
        pa.table(kept, schema=selection.KEPT),
        pa.table(dropped, schema=selection.DROPPED),
    )
