"""`medssl pretrain`: learn an encoder from the archive's own images, without labels."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medssl import __version__, methods
from medssl.artifacts import archive, run_folder, schedules, selection, weights
from medssl.config.pretrain import (
    PretrainSettings,
    resolve,
    resolve_validation,
    steps_per_epoch,
)
from medssl.foundation import files, plugins
from medssl.foundation.cost import Cost
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.foundation.wording import counted, plural, verb
from medssl.models.weights import to_arrays
from medssl.reporting import rates, reconstruction, tracking, view_sheet
from medssl.reporting.progress import ProgressFigure
from medssl.training import (
    embed,
    encoders,
    estimate,
    held_out,
    monitors,
    optim,
    preparing,
    runtime,
    showing,
    spread,
    ssl,
)
from medssl.training.held_out import Parts
from medssl.training.preparing import Prepared

_SHOWN_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class How:
    """What does not change the outcome of a run."""

    max_seconds: float | None = None  # stop after so long, to be resumed
    compiled: bool = False  # compile the encoder
    thumbnails: bool = False  # write pictures that show patients
    track: Sequence[str] = ()  # tensorboard, mlflow, wandb


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
    pace: dict[str, float]  # images_per_s and data_wait of the last epoch
    cautions: tuple[str, ...]  # what speaks against the encoder
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


def require_trackers(names: Sequence[str]) -> None:
    """Check that trackers are there, before anything long begins.

    Raises:
        UsageError: There is none of a name.
        MissingExtra: One is not installed.
    """
    tracking.require(names)


def plan(settings: PretrainSettings, *, device: str = "auto") -> PretrainPlan:
    """Check everything cheap and resolve every `auto`.

    Raises:
        UsageError: A plugin or an option does not exist, or they do not fit each other.
        DataError: There are too few images.
        ArtifactError: Archive, selection or weights are missing or do not fit.
    """
    patients = archive.read_info(settings.archive).patients
    settings, held = resolve_validation(settings, patients)
    parts, n_whole = held_out.read(settings)
    n_images = parts.train.num_rows
    if n_images < 2:
        raise DataError(
            f"{counted(n_images, settings.unit)} {verb(n_images, 'are')} too few to pretrain on",
            where=str(settings.archive),
            fix="take an archive or a selection with more, or lower --validation",
        )
    if settings.smoke:
        settings = settings.model_copy(update={"batch_size": held_out.SMOKE_BATCH, "epochs": 1})
    facts = preparing.facts(settings, parts, n_whole, gpu=runtime.gpu_wanted(device))
    settings, reasons = resolve(settings, facts)
    settings, fitted = preparing.fit(settings, n_images)
    encoder, source, started_from = preparing.make_encoder(settings)
    fitted += preparing.masked(settings, encoder)
    watch = monitors.choose(settings, parts)
    length = steps_per_epoch(settings, n_images=n_images, n_whole=n_whole)
    steps = int(settings.epochs) * length
    budget = _budget(settings, n_images, n_whole, steps)
    notes = (
        *_trial(settings), *held, *reasons, *fitted, *budget, *_held_out(settings, parts, source),
        *started_from, *showing.foretold(settings, parts.train),
    )  # fmt: skip
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
    """Return what the run would take, from a few small steps; writes nothing."""
    planned = plan(settings, device=device)
    started = runtime.start(device, planned.settings.precision)
    ready = preparing.prepare(started, planned.settings, planned.steps_per_epoch)
    return estimate.cost(started, planned.settings, ready.method, ready.images)


def show_views(settings: PretrainSettings, path: Path, *, device: str = "auto") -> None:
    """Write a contact sheet of some images and the views a method would see of them.

    Raises:
        MedSSLError: As for `plan`.
    """
    if path.exists() or not path.parent.is_dir():
        problem = "there is something already" if path.exists() else "there is no such folder"
        raise UsageError(problem, where=str(path), fix="name a new file, such as views.png")
    planned = plan(settings, device=device)
    few = {"batch_size": min(_SHOWN_IMAGES, planned.n_images)}
    settings = planned.settings.model_copy(update=few)
    started = runtime.start(device, "32")
    ready = preparing.prepare(started, settings, planned.steps_per_epoch)
    files.write_bytes(path, _sheet(ready, settings))


def run(
    settings: PretrainSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
    how: How | None = None,
) -> PretrainResult | None:
    """Pretrain an encoder and export it.

    In a job of several processes all of them call it; the first one writes and returns the result,
    the others return None.

    Args:
        settings: As the user gave them.
        out: Run folder.
        reporter: Told about progress and losses.
        device: auto, cpu, cuda or cuda:N.
        resume: Continue the unfinished run in ``out``.
        how: What does not change the outcome.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        ArtifactError: Archive, selection, weights or checkpoint are missing or do not fit.
        TrainingError: The loss is not finite, or the features have collapsed.
        Interrupted: Stopped by a signal or out of time.
    """
    how = how or How()
    require_trackers(how.track)
    planned = plan(settings, device=device)
    settings = planned.settings
    started = runtime.start(device, settings.precision, processes="auto")
    out = started.broadcast(out)
    ready = preparing.prepare(started, settings, planned.steps_per_epoch, compiled=how.compiled)
    with ExitStack() as stack:
        floors = spread.FLOORS if ready.images.monitors.stops else {}
        figure = ProgressFigure(out, redraw_on="feature_std", floors=floors)
        inputs = _inputs(settings, ready.source)
        begin = partial(
            run_folder.create,
            out,
            stage="pretrain",
            settings=settings,
            inputs=inputs,
            resume=resume,
        )
        folder = started.led(lambda: stack.enter_context(begin()))
        told: Reporter = Silent()
        if folder is not None:
            folder.environment(**started.facts())
            warn = Tee(reporter or Silent(), folder.log).warn
            trackers = stack.enter_context(tracking.open_trackers(how.track, out, out.name, warn))
            told = Tee(reporter or Silent(), folder.log, figure, *trackers)
            _draw_schedule(settings, planned.steps, out)
        for note in (*planned.notes, *ready.notes):
            told.note(note)
        trained = ssl.run(
            started, settings, ready.method, ready.images, out, told, max_seconds=how.max_seconds
        )
        for caution in trained.cautions:
            told.warn(caution)
        if folder is not None:
            folder.cautions.extend(trained.cautions)
            figure.draw()
            _export(settings, ready, out)
            if how.thumbnails:
                _draw_pictures(ready, settings, out)
        started.barrier()
    if folder is None:
        return None
    return PretrainResult(
        folder=out,
        method=settings.method,
        encoder=settings.encoder,
        n_images=planned.n_images,
        n_validation_patients=planned.n_validation_patients,
        epochs=trained.state.epoch,
        steps=trained.state.step,
        passes=trained.state.step / ready.images.batches.steps_per_epoch,
        losses=trained.losses,
        measured=trained.measured,
        measured_before=trained.measured_before,
        pace=trained.pace,
        cautions=trained.cautions,
        progress=out / figure.NAME,
    )


def _budget(settings: PretrainSettings, n_images: int, n_whole: int, steps: int) -> tuple[str, ...]:
    """Say what it means that a selection is trained for as many updates as all images."""
    if settings.budget_mode == "epochs" or settings.selection is None:
        return ()
    batch = int(settings.batch_size)
    things = plural(settings.unit)
    notes = [
        f"budget updates: {settings.epochs} epochs of all {n_whole} {things} are {steps} steps, "
        f"{_passes(settings, n_images, steps):.3g} passes over the {n_images} selected {things}"
    ]
    if batch > n_images:
        notes.append(f"budget updates: a step sees {n_images} {things} instead of {batch}")
    return tuple(notes)


def _passes(settings: PretrainSettings, n_images: int, steps: int) -> float:
    """Return how often a run of ``steps`` steps goes through its images."""
    return steps / max(1, n_images // int(settings.batch_size))


def _held_out(
    settings: PretrainSettings, parts: Parts, source: encoders.Source | None
) -> tuple[str, ...]:
    """Say who is watched, and whether the weights the run starts from know them already."""
    if not parts.validation.num_rows:
        if settings.validation and settings.spatial_dims == 3:
            return ("validation: none of the watched patients of the archive has a volume",)
        return ()
    info = archive.read_info(settings.archive)
    notes = [
        f"validation: {parts.n_validation_patients} of {info.patients} patients "
        f"({counted(parts.validation.num_rows, settings.unit)}) are watched, not trained on"
    ]
    if source is not None:
        seen = source.patients_under(info.key_id)
        known = set(parts.validation["patient_key"].to_pylist()) & (seen or set())
        how_many = "an unknown number" if seen is None else str(len(known))
        notes.append(f"validation: the starting weights were trained on {how_many} of these")
    return tuple(notes)


def _trial(settings: PretrainSettings) -> tuple[str, ...]:
    if settings.smoke:
        return ("smoke: two steps on a few images, to try the path; no encoder to be used",)
    if settings.selection is None:
        return ()
    if not selection.read_info(settings.selection).smoke:
        return ()
    return ("the selection comes from a smoke run: it holds images of a few patients",)


def _inputs(settings: PretrainSettings, source: encoders.Source | None) -> dict[str, str]:
    """Return the digest of everything the run reads."""
    inputs = {"archive": archive.read_info(settings.archive).hash}
    if settings.selection is not None:
        inputs["selection"] = files.sha256(settings.selection / "kept.parquet")
    if source is not None:
        inputs["init_from"] = source.sha256
    return inputs


def _export(settings: PretrainSettings, ready: Prepared, out: Path) -> None:
    """Write the encoder and how to use it."""
    info, encoder, source = archive.read_info(settings.archive), ready.encoder, ready.source
    patients = set(ready.parts.train["patient_key"].to_pylist())
    earlier = source.patients_under(info.key_id) if source else set()
    export = out / "export"
    export.mkdir(exist_ok=True)
    record = weights.EncoderInfo(
        encoder=settings.encoder,
        options=settings.encoder_options,
        library=encoder.constructor(),  # type: ignore[operator]
        in_channels=info.channels,
        spatial_dims=settings.spatial_dims,
        feature_layer="pooled output of the last layer group; the projector is dropped",
        feature_size=encoder.dim,  # type: ignore[arg-type]
        image_size=int(settings.image_size),
        depth=settings.depth if isinstance(settings.depth, int) else None,
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
        n_images=ready.parts.train.num_rows,
        key_id=info.key_id,
        patient_digests=tuple(sorted(patients | (earlier or set()))),
        patients_complete=earlier is not None,
        init=source.facts() if source else {},
        smoke=settings.smoke,
        selection=selection.facts(settings.selection),
    )
    weights.write(export, record, to_arrays(encoder))


def _draw_schedule(settings: PretrainSettings, steps: int, out: Path) -> None:
    """Write what the optimiser will do at every step, before it does."""
    curves = optim.curve(settings.optim, steps)
    schedules.write(out, schedules.table(curves))
    per_epoch = steps / int(settings.epochs)
    files.write_bytes(out / "schedule.png", rates.draw(curves, per_epoch))


def _draw_pictures(ready: Prepared, settings: PretrainSettings, out: Path) -> None:
    """Write pictures of patients: only where they were asked for."""
    files.write_bytes(out / "views.png", _sheet(ready, settings))
    if hasattr(ready.method, "reconstruct"):
        shown = next(iter(ready.images.batches.steps(range(1))))
        view = shown.views[0][:_SHOWN_IMAGES]
        with embed.unchanged(ready.method):
            parts = ready.method.reconstruct(view)  # type: ignore[operator]
        arrays = {name: part.float().cpu().numpy() for name, part in parts.items()}
        files.write_bytes(out / "reconstructions.png", reconstruction.draw(arrays))


def _sheet(ready: Prepared, settings: PretrainSettings) -> bytes:
    """Return a picture of the first images of the first step and their views."""
    batches = ready.images.batches
    numbers = batches.sampler.epoch(0)[0][:_SHOWN_IMAGES]
    shown = next(iter(batches.steps(range(1))))
    whole = batches.whole(numbers)
    views = [view[: len(numbers)].float().cpu().numpy() for view in shown.views]
    wanted = showing.wanted(ready.method)
    title, captions = view_sheet.wording(
        settings.views,
        wanted.full,
        wanted.local,
        positives=settings.positives,
        masked=hasattr(ready.method, "reconstruct"),
    )
    return view_sheet.draw(whole.float().cpu().numpy(), views, captions, title=title)
