"""`medssl pretrain`: learn an encoder from the archive's own images, without labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from medssl import __version__, methods
from medssl.artifacts import archive, run_folder, selection, weights
from medssl.config.loading import decode
from medssl.config.pretrain import PretrainSettings, resolve
from medssl.data.batches import TrainingBatches
from medssl.data.store import ImageStore
from medssl.foundation import files, plugins, seeding
from medssl.foundation.errors import ArtifactError, DataError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.models.weights import to_arrays
from medssl.training import encoders, runtime, ssl

_SMOKE_BATCH = 8
_SMOKE_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """What a pretraining run ended with."""

    folder: Path
    method: str
    encoder: str
    n_images: int
    epochs: int
    steps: int
    losses: dict[str, float]  # the last ones logged


@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """What a pretraining run would do."""

    settings: PretrainSettings  # every auto replaced
    notes: tuple[str, ...]  # and why
    n_images: int
    n_patients: int
    steps_per_epoch: int


def plan(settings: PretrainSettings, *, device: str = "auto") -> PretrainPlan:
    """Check everything cheap and resolve every `auto`.

    Raises:
        UsageError: A plugin or an option does not exist.
        DataError: There are too few images.
        ArtifactError: Archive, selection or weights are missing or do not fit.
    """
    table = _read(settings)
    store = ImageStore(settings.archive, table)
    if settings.smoke:
        settings = settings.model_copy(update={"batch_size": _SMOKE_BATCH, "epochs": 1})
    settings, reasons = resolve(
        settings, n_images=table.num_rows, side=store.side, gpu=runtime.gpu_wanted(device)
    )
    method = plugins.load(methods, settings.method)
    decode(method.Config, settings.method_options, where="method_options")
    _encoder(settings)
    if table.num_rows < 2:
        raise DataError(
            f"{table.num_rows} images are too few to pretrain on", where=str(settings.archive)
        )
    return PretrainPlan(
        settings=settings,
        notes=(*_trial(settings), *reasons),
        n_images=table.num_rows,
        n_patients=len(set(table["patient_key"].to_pylist())),
        steps_per_epoch=max(1, table.num_rows // int(settings.batch_size)),
    )


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
        TrainingError: The loss is not finite.
    """
    planned = plan(settings, device=device)
    settings = planned.settings
    started = runtime.start(device, settings.precision)
    table, info = _read(settings), archive.read_info(settings.archive)
    encoder, source, match = _encoder(settings)
    plugin = plugins.load(methods, settings.method)
    config = decode(plugin.Config, settings.method_options, where="method_options")
    with run_folder.create(
        out, stage="pretrain", settings=settings, inputs=_inputs(settings, source), resume=resume
    ) as folder:
        folder.environment(**started.facts())
        told = Tee(reporter or Silent(), folder.log)
        for note in (*planned.notes, *match):
            told.note(note)
        method = ssl.build_method(plugin, encoder, config, settings.seed)
        batches = TrainingBatches(
            ImageStore(settings.archive, table),
            device=started.device,
            intensity=settings.intensity,
            views=settings.views,
            image_size=int(settings.image_size),
            batch_size=int(settings.batch_size),
            n_views=plugin.Method.n_views,
            seed=seeding.derive(settings.seed, "batches"),
        )
        state, losses = ssl.run(started, settings, method, batches, folder.path, told)
        export = folder.path / "export"
        export.mkdir(exist_ok=True)
        record = _record(settings, info, table, encoder, source)
        weights.write(export, record, to_arrays(encoder))
    return PretrainResult(
        folder=out,
        method=settings.method,
        encoder=settings.encoder,
        n_images=table.num_rows,
        epochs=state.epoch,
        steps=state.step,
        losses=losses,
    )


def _read(settings: PretrainSettings) -> pa.Table:
    """Return the rows of images.parquet to pretrain on."""
    table = archive.read_images(settings.archive)
    if settings.selection is not None:
        run_folder.require_finished(settings.selection, "reduce")
        chosen = selection.read_info(settings.selection)
        if chosen.archive_hash != archive.read_info(settings.archive).hash:
            raise ArtifactError(
                "the selection belongs to another archive",
                where=str(settings.selection),
                fix=f"run `medssl reduce {settings.archive}`",
            )
        kept = set(selection.read_kept(settings.selection)["image_id"].to_pylist())
        ids = table["image_id"].to_pylist()
        table = table.take(np.array([row for row, name in enumerate(ids) if name in kept]))
    if settings.smoke:
        count = min(table.num_rows, _SMOKE_BATCH * _SMOKE_STEPS)
        table = table.take(np.linspace(0, table.num_rows - 1, count).astype(int))
    return table


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
    source = encoders.open_source(settings.init_from) if settings.init_from else None
    make = encoders.factory(
        settings.encoder,
        settings.encoder_options,
        in_channels=1,
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
        in_channels=1,
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
