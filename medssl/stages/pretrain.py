"""`medssl pretrain`: learn an encoder from the archive's own images, without labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from medssl import __version__, methods
from medssl.artifacts import archive, run_folder, selection, weights
from medssl.config.loading import decode
from medssl.config.pretrain import (
    PretrainSettings,
    resolve,
    resolve_validation,
    steps_per_epoch,
)
from medssl.data.batches import TrainingBatches
from medssl.data.store import ImageStore
from medssl.foundation import files, plugins, seeding
from medssl.foundation.cost import Cost
from medssl.foundation.errors import DataError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.models.weights import to_arrays
from medssl.reporting.progress import ProgressFigure
from medssl.training import encoders, held_out, monitors, runtime, spread, ssl
from medssl.training.held_out import Parts

_SMOKE_BATCH = 8
_SMOKE_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """What a pretraining run ended with."""

    folder: Path
    method: str
    encoder: str
    n_images: int  # trained on
    n_validation_patients: int  # held out and watched
    epochs: int
    steps: int
    passes: float  # over the images; not the epochs where the budget is updates
    losses: dict[str, float]  # the last ones logged
    measured: dict[str, float]  # by the monitors at the end, by their names in metrics.jsonl
    measured_before: dict[str, float]  # the same of the weights it started from
    progress: Path


@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """What a pretraining run would do."""

    settings: PretrainSettings  # every auto replaced
    notes: tuple[str, ...]  # and why
    n_images: int  # trained on
    n_patients: int
    n_validation_images: int  # watched only
    n_validation_patients: int
    steps_per_epoch: int
    steps: int  # in all
    passes: float  # over the images


def plan(settings: PretrainSettings, *, device: str = "auto") -> PretrainPlan:
    """Check everything cheap and resolve every `auto`.

    Raises:
        UsageError: A plugin or an option does not exist.
        DataError: There are too few images.
        ArtifactError: Archive, selection or weights are missing or do not fit.
    """
    patients = archive.read_info(settings.archive).patients
    settings, held = resolve_validation(settings, patients)
    parts, n_whole = _read(settings)
    n_images = parts.train.num_rows
    if n_images < 2:
        raise DataError(
            f"{n_images} images are too few to pretrain on", where=str(settings.archive)
        )
    side = ImageStore(settings.archive, parts.train).side
    if settings.smoke:
        settings = settings.model_copy(update={"batch_size": _SMOKE_BATCH, "epochs": 1})
    gpu = runtime.gpu_wanted(device)
    settings, reasons = resolve(settings, n_images=n_images, n_whole=n_whole, side=side, gpu=gpu)
    method = plugins.load(methods, settings.method)
    decode(method.Config, settings.method_options, where="method_options")
    _, source, _ = _encoder(settings)
    watch = monitors.choose(settings, parts)
    length = steps_per_epoch(settings, n_images=n_images, n_whole=n_whole)
    steps = int(settings.epochs) * length
    budget = _budget(settings, n_images, n_whole, steps)
    notes = (*_trial(settings), *held, *reasons, *budget, *_held_out(settings, parts, source))
    return PretrainPlan(
        settings=settings,
        notes=(*notes, *watch.notes),
        n_images=n_images,
        n_patients=parts.n_patients,
        n_validation_images=parts.validation.num_rows,
        n_validation_patients=parts.n_validation_patients,
        steps_per_epoch=length,
        steps=steps,
        passes=_passes(settings, n_images, steps),
    )


def cost(settings: PretrainSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few of its steps; writes nothing."""
    planned = plan(settings, device=device)
    settings = planned.settings
    started = runtime.start(device, settings.precision)
    encoder, _, _ = _encoder(settings)
    method = _method(settings, encoder)
    parts, _ = _read(settings)
    images = _images(started, planned, parts, method.n_views)  # type: ignore[arg-type]
    return ssl.cost(started, settings, method, images)


def run(
    settings: PretrainSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
) -> PretrainResult:
    """Pretrain an encoder and export it.

    Args:
        settings: As the user gave them.
        out: Run folder.
        reporter: Told about progress and losses.
        device: auto, cpu, cuda or cuda:N.
        resume: Continue the unfinished run in ``out``.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        ArtifactError: Archive, selection, weights or checkpoint are missing or do not fit.
        TrainingError: The loss is not finite, or the features have collapsed.
    """
    planned = plan(settings, device=device)
    settings = planned.settings
    started = runtime.start(device, settings.precision)
    parts, _ = _read(settings)
    info = archive.read_info(settings.archive)
    encoder, source, match = _encoder(settings)
    with run_folder.create(
        out, stage="pretrain", settings=settings, inputs=_inputs(settings, source), resume=resume
    ) as folder:
        folder.environment(**started.facts())
        figure = ProgressFigure(folder.path, redraw_on="feature_std", floors=spread.FLOORS)
        told = Tee(reporter or Silent(), folder.log, figure)
        for note in (*planned.notes, *match):
            told.note(note)
        method = _method(settings, encoder)
        images = _images(started, planned, parts, method.n_views)  # type: ignore[arg-type]
        trained = ssl.run(started, settings, method, images, folder.path, told)
        figure.draw()
        export = folder.path / "export"
        export.mkdir(exist_ok=True)
        record = _record(settings, info, parts.train, encoder, source)
        weights.write(export, record, to_arrays(encoder))
    return PretrainResult(
        folder=out,
        method=settings.method,
        encoder=settings.encoder,
        n_images=parts.train.num_rows,
        n_validation_patients=parts.n_validation_patients,
        epochs=trained.state.epoch,
        steps=trained.state.step,
        passes=planned.passes,
        losses=trained.losses,
        measured=trained.measured,
        measured_before=trained.measured_before,
        progress=out / figure.NAME,
    )


def _read(settings: PretrainSettings) -> tuple[Parts, int]:
    """Return the images to train on and to watch, and how many there are to train on in all.

    The patients to watch are drawn from the whole archive, and all their images are watched: runs
    on different selections are measured on the same images.
    """
    images = archive.read_images(settings.archive)
    parts = held_out.split(images, float(settings.validation), settings.seed)
    table = parts.train
    if settings.selection is not None:
        run_folder.require_finished(settings.selection, "reduce")
        selection.require_archive(settings.selection, archive.read_info(settings.archive).hash)
        kept = selection.read_kept(settings.selection)["image_id"]
        table = table.filter(pc.is_in(table["image_id"], kept.combine_chunks()))
    n_whole = parts.train.num_rows
    if settings.smoke:
        most = _SMOKE_BATCH * _SMOKE_STEPS
        n_whole, count = min(n_whole, most), min(table.num_rows, most)
        table = table.take(np.linspace(0, table.num_rows - 1, count).astype(int))
    return Parts(train=table, validation=parts.validation), n_whole


def _budget(settings: PretrainSettings, n_images: int, n_whole: int, steps: int) -> tuple[str, ...]:
    """Say what it means that a selection is trained for as many updates as all images."""
    if settings.budget_mode == "epochs" or settings.selection is None:
        return ()
    batch = int(settings.batch_size)
    notes = [
        f"budget updates: {settings.epochs} epochs of all {n_whole} images are {steps} steps, "
        f"{_passes(settings, n_images, steps):.3g} passes over the {n_images} selected images"
    ]
    if batch > n_images:
        notes.append(f"budget updates: a step sees {n_images} images instead of {batch}")
    return tuple(notes)


def _passes(settings: PretrainSettings, n_images: int, steps: int) -> float:
    """Return how often a run of ``steps`` steps goes through its images."""
    return steps / max(1, n_images // int(settings.batch_size))


def _held_out(
    settings: PretrainSettings, parts: Parts, source: encoders.Source | None
) -> tuple[str, ...]:
    """Say who is watched, and whether the weights the run starts from know them already."""
    if not parts.validation.num_rows:
        return ()
    info = archive.read_info(settings.archive)
    notes = [
        f"validation: {parts.n_validation_patients} of {info.patients} patients "
        f"({parts.validation.num_rows} images) are watched, not trained on"
    ]
    if source is not None:
        seen = source.patients_under(info.key_id)
        known = set(parts.validation["patient_key"].to_pylist()) & (seen or set())
        how_many = "an unknown number" if seen is None else str(len(known))
        notes.append(f"validation: the starting weights were trained on {how_many} of these")
    return tuple(notes)


def _method(settings: PretrainSettings, encoder: torch.nn.Module) -> torch.nn.Module:
    plugin = plugins.load(methods, settings.method)
    config = decode(plugin.Config, settings.method_options, where="method_options")
    return ssl.build_method(plugin, encoder, config, settings.seed)


def _images(
    started: runtime.Runtime, planned: PretrainPlan, parts: Parts, n_views: int
) -> ssl.Images:
    settings = planned.settings
    batches = TrainingBatches(
        ImageStore(settings.archive, parts.train),
        device=started.device,
        intensity=settings.intensity,
        views=settings.views,
        image_size=int(settings.image_size),
        batch_size=int(settings.batch_size),
        n_views=n_views,
        seed=seeding.derive(settings.seed, "batches"),
    )
    watch = monitors.choose(settings, parts)
    return ssl.Images(
        batches=batches,
        monitors=monitors.Monitors(started, settings, watch, parts, n_views),
        steps_per_epoch=planned.steps_per_epoch,
    )


def _trial(settings: PretrainSettings) -> tuple[str, ...]:
    if settings.smoke or settings.selection is None:
        return ()
    if not selection.read_info(settings.selection).smoke:
        return ()
    return ("the selection comes from a smoke run: it holds images of a few patients",)


def _encoder(
    settings: PretrainSettings,
) -> tuple[torch.nn.Module, encoders.Source | None, tuple[str, ...]]:
    """Return the encoder to train, where its first weights came from, and what they left out."""
    source = None if settings.init_from == "none" else encoders.open_source(settings.init_from)
    make = encoders.factory(
        settings.encoder,
        settings.encoder_options,
        in_channels=archive.read_info(settings.archive).channels,
        spatial_dims=2,
        source=source,
        allow_partial=settings.allow_partial,
    )
    torch.manual_seed(seeding.derive(settings.seed, "encoder"))
    return make(), source, make.notes


def _inputs(settings: PretrainSettings, source: encoders.Source | None) -> dict[str, str]:
    """Return the digest of everything the run reads."""
    inputs = {"archive": archive.read_info(settings.archive).hash}
    if settings.selection is not None:
        inputs["selection"] = files.sha256(settings.selection / "kept.parquet")
    if source is not None:
        inputs["init_from"] = source.sha256
    return inputs


def _record(
    settings: PretrainSettings,
    info: archive.ArchiveInfo,
    table: pa.Table,
    encoder: torch.nn.Module,
    source: encoders.Source | None,
) -> weights.EncoderInfo:
    patients = set(table["patient_key"].to_pylist())
    earlier = source.patients_under(info.key_id) if source else set()
    return weights.EncoderInfo(
        encoder=settings.encoder,
        options=settings.encoder_options,
        library=encoder.constructor(),  # type: ignore[operator]
        in_channels=info.channels,
        spatial_dims=2,
        feature_layer="pooled output of the last layer group; the projector is dropped",
        feature_size=encoder.dim,  # type: ignore[arg-type]
        image_size=int(settings.image_size),
        intensity={
            **settings.intensity.model_dump(),
            "ct": "HU clipped to window_hu, then scaled to -1..1",
            "other": "zero mean and unit variance over each image",
        },
        method=settings.method,
        paper=plugins.summary(methods, settings.method),
        medssl=__version__,
        epochs=int(settings.epochs),
        seed=settings.seed,
        archive_hash=info.hash,
        n_images=table.num_rows,
        key_id=info.key_id,
        patient_digests=tuple(sorted(patients | (earlier or set()))),
        patients_complete=earlier is not None,
        init=source.facts() if source else {},
        smoke=settings.smoke,
    )
