"""`medssl reduce`: keep what is not redundant; name a kept representative for everything else.

Beside the selection stand random ones of the same size: what a reduction gains shows only against
them. Each is a run of this stage in a folder of its own.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.artifacts import aliases, archive, run_folder, selection
from medssl.config.reduce import ReduceSettings
from medssl.config.settings import to_plain
from medssl.foundation import files
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import DataError
from medssl.foundation.reporting import Recording, Reporter, Silent, Tee
from medssl.reporting import redundancy
from medssl.thinning import (
    accounting,
    approximate,
    audit,
    chains,
    choosing,
    leakage,
    matching,
    pools,
    protecting,
    strangers,
    trial,
)
from medssl.thinning.accounting import Account
from medssl.thinning.describing import Describing
from medssl.thinning.images import Images, scopes_of
from medssl.thinning.metrics import MEMORY, Metric
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool
from medssl.training import seeing

_SMOKE_PATIENTS = 16
_TRIAL = 64  # images described to say how long all of them take
_CONTROL_SECONDS = 0.5  # that a random selection takes
_ROW_BYTES = 100  # of the tables of a selection, per image
_DESCRIPTORS = "descriptors"  # folder of a run that is under way


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a reduction may use; it does not change the result."""

    device: str = "auto"  # where images are seen and compared
    memory: int = MEMORY  # bytes that comparing may need, descriptors apart
    threads: int | None = None  # that read images; None: one per core


@dataclass(frozen=True, kw_only=True)
class ReduceResult:
    """What a reduction kept."""

    folder: Path
    by: tuple[str, ...]
    select: str
    within: str
    thresholds: tuple[float | None, ...]  # None: another one for each scope
    n_images: int
    n_kept: int
    n_protected: int
    n_left_out: int  # because of an archive to be evaluated on
    n_scopes: int  # series, patients, sites or 1
    n_aliases: int | None  # pairs of patients that may be one; None: not looked for
    controls: tuple[str, ...]  # folders of random selections of the same size
    report: Path
    cautions: tuple[str, ...]  # what its first page says needs attention
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReducePlan:
    """What a reduction would do."""

    settings: ReduceSettings
    n_images: int
    n_scopes: int
    n_protected: int
    notes: tuple[str, ...]


def plan(settings: ReduceSettings) -> ReducePlan:
    """Check everything cheap and say what would be done.

    Raises:
        UsageError: A strategy, an option or a condition is wrong, the budget is too small, or the
            selection to match has other scopes.
        ArtifactError: There is no finished archive, encoder or selection to match.
    """
    table = _read(settings)
    if settings.by == ("random",) and settings.controls:
        settings = settings.model_copy(update={"controls": 0})  # it is one
    settings, notes = choosing.within(settings, table)
    chain = chains.links(settings)
    settings, asked = chains.with_aliases(settings, table.num_rows)
    settings, own = chains.with_thresholds(settings, chain)
    if settings.encoder is not None:
        seeing.open_encoder(settings.encoder, archive.read_info(settings.archive).channels)
    labels = archive.read_labels(settings.archive)
    settings, protected, said = protecting.resolve(settings, table, labels)
    scopes = scopes_of(table, settings.within)
    notes += approximate.check(settings, chain, scopes)
    if not settings.against:  # how much that leaves, only pixels tell
        least = sum(max(1, int(protected[rows].sum())) for rows in scopes)
        pools.require(choosing.budget(settings, table.num_rows), least)
    if settings.match is not None:
        matching.counts(settings, table, scopes)
    warned = [note for other in leakage.archives(settings, table) for note in other.notes]
    return ReducePlan(
        settings=settings,
        n_images=table.num_rows,
        n_scopes=len(scopes),
        n_protected=int(protected.sum()),
        notes=(*notes, *own, *said, *asked, *warned),
    )


def cost(settings: ReduceSettings) -> Cost:
    """Return what the run would take at most, from a few images; writes nothing."""
    settings = plan(settings).settings
    table = _read(settings)
    n = table.num_rows
    some = table.take(np.unique(np.linspace(0, n - 1, _TRIAL).astype(int)))
    pairs = sum(len(rows) ** 2 for rows in scopes_of(table, settings.within))
    passes = pools.HALVINGS if settings.limits_size and settings.select == "leader" else 1
    seconds = _CONTROL_SECONDS * settings.controls
    features, _ = _features(settings, "auto")
    links = [(link, pairs * passes) for link in chains.links(settings)]
    if settings.aliases or settings.against:
        links.append((chains.judge(settings), n**2 // 2))
    seconds += trial.seconds(links, Images((settings.archive,), (some,)), settings, features, n)
    return Cost(
        seconds=seconds,
        disk_bytes=_ROW_BYTES * n * (1 + settings.controls),
        memory_bytes=peak_memory(),
        basis=f"at most, from {some.num_rows} images",
    )


def run(
    settings: ReduceSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    means: Means | None = None,
    resume: bool = False,
) -> ReduceResult:
    """Thin an archive and write the selection with its audit tables, its report and its controls.

    Args:
        settings: As the user gave them.
        out: Run folder.
        reporter: Told about progress.
        means: What it may use.
        resume: Continue the unfinished run in ``out``.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        ArtifactError: There is no finished archive, or no selection of it to match.
        DataError: The pool shows what `against` holds, and the settings are strict.
    """
    planned = plan(settings)
    settings = planned.settings
    with run_folder.create(
        out, stage="reduce", settings=settings, inputs=_inputs(settings), resume=resume
    ) as folder:
        folder.environment()
        kept_words = Recording()
        told = Tee(reporter or Silent(), folder.log, kept_words)
        for note in planned.notes:
            told.note(note)
        work = _prepare(settings, out, told, means or Means())
        thinned, taus = _select(settings, work, told)
        alike = _aliases(settings, work)
        if alike is not None:
            aliases.write(out, alike)
        record = _record(settings, work, thinned, taus)
        selection.write(out, record, *audit.tables(work.table, work.chain, work.pool, thinned))
        account = Account(
            info=record,
            images=work.table,
            labels=archive.read_labels(settings.archive),
            chain=work.chain,
            pool=work.pool,
            thinned=thinned,
            leaks=selection.read_leaks(out),
            aliases=alike,
            settings=to_plain(settings),
            notes=planned.notes,
            warnings=kept_words.warnings,
        )
        shown = Images((settings.archive,), (work.table,)).shown(settings.shown)[0]
        cautions = redundancy.write(out, account, shown if settings.thumbnails else None)
        for seed, name in enumerate(record.controls):
            _control(settings, out, seed, out / name, means)
        shutil.rmtree(out / _DESCRIPTORS, ignore_errors=True)
    return ReduceResult(
        folder=out,
        by=settings.by,
        select=settings.select,
        within=settings.within,
        thresholds=taus,
        n_images=record.n_images,
        n_kept=record.n_kept,
        n_protected=int(work.pool.protected.sum()),
        n_left_out=record.n_left_out,
        n_scopes=len(work.pool.scopes),
        n_aliases=None if alike is None else sum(row.kind == aliases.ALIAS for row in alike),
        controls=record.controls,
        report=out / "report.html",
        cautions=cautions,
        notes=planned.notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Everything a selection is chosen from."""

    table: pa.Table  # rows of images.parquet
    chain: tuple[Metric, ...]
    encoder: Mapping[str, Any]
    judge: Metric | None  # says what is probably the same image; None: nobody asks
    left_out: NDArray[np.bool_]
    pool: Pool


def _prepare(settings: ReduceSettings, out: Path, told: Reporter, means: Means) -> _Work:
    """Describe all images, and leave out what shows what will be evaluated on."""
    table = _read(settings)
    against = leakage.archives(settings, table)
    features, encoder = _features(settings, means.device)
    own = Describing(
        images=Images((settings.archive,), (table,)),
        settings=settings,
        features=features,
        folder=out / _DESCRIPTORS,
        reporter=told,
        device=seeing.device(means.device),
        memory=means.memory,
        threads=means.threads,
    )
    chain = tuple(own.metric(link) for link in chains.links(settings))
    judge = None
    if settings.against or settings.aliases:  # it alone knows the images of the others, after ours
        all_images = Images(
            (settings.archive, *settings.against), (table, *(o.table for o in against))
        )
        judge = replace(own, images=all_images).metric(chains.judge(settings))
    leaks = leakage.find(table, against, judge)
    selection.write_leaks(out, leakage.to_table(leaks))
    if leaks:
        told.warn(f"{leakage.summary(leaks)}: left out, see {selection.LEAKS_FILE}")
    if leaks and settings.strict:
        raise DataError(
            f"the pool shows what will be evaluated on: {leakage.summary(leaks)}",
            where=str(out / selection.LEAKS_FILE),
            fix="leave out --strict, with another --out: such images are then left out",
        )
    left_out = np.zeros(table.num_rows, dtype=bool)
    left_out[list(leaks)] = True
    if left_out.all():
        raise DataError(
            "every image shows what will be evaluated on",
            where=str(out / selection.LEAKS_FILE),
            fix="check that --against is not made of the same scans",
        )
    if settings.match is not None:
        left_out = ~matching.pool(settings.match, table)
    labels = archive.read_labels(settings.archive)
    protected = protecting.resolve(settings, table, labels)[1] & ~left_out
    pool = choosing.pool(settings, table, chain, protected, left_out)
    return _Work(
        table=table, chain=chain, encoder=encoder, judge=judge, left_out=left_out, pool=pool
    )


def _features(
    settings: ReduceSettings, device: str
) -> tuple[seeing.Features | None, Mapping[str, Any]]:
    if settings.encoder is None:
        return None, {}
    channels = archive.read_info(settings.archive).channels
    return seeing.features(settings.encoder, channels, device)


def _select(
    settings: ReduceSettings, work: _Work, told: Reporter
) -> tuple[Thinned, tuple[float | None, ...]]:
    """Return the selection and its thresholds."""
    if settings.match is not None:
        counts = matching.counts(settings, work.table, [scope.rows for scope in work.pool.scopes])
        return pools.take(work.chain[0], work.pool, counts), (None,)
    budget = choosing.budget(settings, int((~work.left_out).sum()))
    thinned, taus = choosing.choose(settings, work.chain, work.pool, budget, told)
    for warning in choosing.warnings(settings, work.pool, thinned):
        told.warn(warning)
    return thinned, taus


def _aliases(settings: ReduceSettings, work: _Work) -> list[aliases.Alias] | None:
    """Return the patients that may be one person under two ids; None where nobody looked."""
    if work.judge is None or not settings.aliases:
        return None
    rows = np.flatnonzero(~work.left_out)
    return strangers.find(work.judge, rows, work.pool.patient, work.table)


def _record(
    settings: ReduceSettings, work: _Work, thinned: Thinned, taus: tuple[float | None, ...]
) -> selection.SelectionInfo:
    return selection.SelectionInfo(
        archive_hash=archive.read_info(settings.archive).hash,
        by=settings.by,
        select=settings.select,
        within=settings.within,
        thresholds=taus,
        n_images=work.table.num_rows,
        n_kept=len(thinned.kept),
        n_left_out=int(work.left_out.sum()),
        options={
            metric.name: accounting.without_paths(asdict(metric.config)) for metric in work.chain
        },
        encoder=work.encoder,
        approximate=approximate.record(thinned.recall),
        controls=tuple(f"controls/random-{seed}" for seed in range(settings.controls)),
        smoke=settings.smoke,
    )


def _control(
    settings: ReduceSettings, matched: Path, seed: int, out: Path, means: Means | None
) -> None:
    """Write a random selection of as many images of each scope; one that is there already stays.

    It is drawn from the same images and under the same floors, and keeps the same protected ones.
    """
    is_started = (out / "status.json").is_file()
    if is_started and run_folder.read_status(out)["status"] == "finished":
        return
    same = ("archive", "within", "protect", "min_per_patient", "min_per_series", "smoke")
    control = ReduceSettings(
        **{name: getattr(settings, name) for name in same},
        by=("random",),
        options={"random": {"seed": seed}},
        match=matched,
        controls=0,
        aliases=False,
    )
    run(control, out, means=means, resume=is_started)


def _read(settings: ReduceSettings) -> pa.Table:
    table = archive.read_images(settings.archive)
    if settings.smoke:
        keys = table["patient_key"]
        some = sorted(set(keys.to_pylist()))[:_SMOKE_PATIENTS]
        table = table.filter(pc.is_in(keys, pa.array(some, pa.string())))
    return table


def _inputs(settings: ReduceSettings) -> dict[str, str]:
    """Return the digest of everything the run reads."""
    inputs = {"archive": archive.read_info(settings.archive).hash}
    for place, folder in enumerate(settings.against):
        inputs[f"against/{place}"] = archive.read_info(folder).hash
    if settings.encoder is not None:
        inputs["encoder"] = seeing.digest(settings.encoder)
    if settings.match is not None:
        inputs["match"] = files.sha256(settings.match / "kept.parquet")
    return inputs
