"""`medssl pretrain`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medssl import methods
from medssl.cli import console, options
from medssl.foundation.wording import counted, plural
from medssl.models import encoders

if TYPE_CHECKING:
    from medssl.stages.pretrain import PretrainResult


def pretrain(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    out: options.RunOut = None,
    preset: Annotated[str | None, typer.Option(help=options.presets("pretrain"))] = None,
    selection: Annotated[
        Path | None, typer.Option(help="Run of `medssl reduce`; default: all images.")
    ] = None,
    method: Annotated[str | None, typer.Option(help=options.choices(methods))] = None,
    encoder: Annotated[str | None, typer.Option(help=options.choices(encoders))] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Run or weight file to start from, or none: random weights; default none."
        ),
    ] = None,
    allow_partial: options.AllowPartial = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the images; default auto.")
    ] = None,
    budget_mode: Annotated[
        str | None,
        typer.Option(
            help="epochs, or updates: as many steps for a selection as for all images; "
            "default epochs."
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    image_size: Annotated[
        int | None, typer.Option(min=16, help="Side of a view, px; default auto.")
    ] = None,
    spatial_dims: Annotated[
        int | None, typer.Option(help="2: images; 3: whole series as volumes; default 2.")
    ] = None,
    positives: Annotated[
        str | None,
        typer.Option(
            help="What the second view shows: view (the same image), slice (a neighbour) or "
            "patient (another image); default view."
        ),
    ] = None,
    one_per: Annotated[
        str | None,
        typer.Option(
            help="image, series, patient or cluster (of look-alikes): a batch holds at most one "
            "image of each; default image."
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            help="Share of patients to watch, never to train on: auto, or below 0.5; default auto."
        ),
    ] = None,
    precision: options.Precision = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the encoder.")] = False,
    max_time: Annotated[
        str | None,
        typer.Option(help="Stop and save after this time, such as 90m or 23h50m; exit code 75."),
    ] = None,
    track: Annotated[
        str | None, typer.Option(help="Also log to tensorboard, mlflow or wandb (several: a,b).")
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Write pictures of views; they show patients.")
    ] = False,
    show_views: Annotated[
        Path | None,
        typer.Option(help="Write a picture of some images and their views here, and exit."),
    ] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Pretrain an encoder on unlabelled images."""
    from medssl.config.pretrain import PretrainSettings

    flags = {
        "archive": archive, "selection": selection, "method": method, "encoder": encoder,
        "init_from": init_from, "allow_partial": allow_partial, "epochs": epochs,
        "budget_mode": budget_mode, "batch_size": batch_size, "image_size": image_size,
        "validation": validation, "precision": precision, "seed": seed, "smoke": smoke,
        "spatial_dims": spatial_dims, "positives": positives, "one_per": one_per,
    }  # fmt: skip
    settings = options.settings(
        PretrainSettings, "pretrain", flags, files=config, sets=sets, preset=preset
    )
    from medssl.stages import pretrain as stage  # torch loads here: --help stays fast

    folder = options.run_folder(out, "pretrain", resume=resume)
    stage.require_trackers(options.several(track) or ())
    how = stage.How(
        max_seconds=options.seconds(max_time),
        compiled=compiled,
        thumbnails=thumbnails,
        track=options.several(track) or (),
    )
    if show_views is not None:
        stage.show_views(settings, show_views, device=device)
        typer.echo(f"views  {show_views}")
        return
    if dry_run:
        planned = stage.plan(settings, device=device)
        needed = stage.cost(settings, device=device)
        shown = [(_titled(name, settings.unit), value) for name, value in console.fields(planned)]
        console.plan("pretrain", planned, needed, folder, as_json=as_json, shown=shown)
        return
    result = stage.run(
        settings, folder, console.RichReporter(), device=device, resume=resume, how=how
    )
    if result is None:  # one of several processes, and not the one that talks
        return
    before = {name: f" ({value:.3g} before)" for name, value in result.measured_before.items()}
    measured = (f"{name} {v:.3g}{before.get(name, '')}" for name, v in result.measured.items())
    unit = settings.unit
    rows = [
        ("trained", f"{result.method} on {result.encoder}, {counted(result.n_images, unit)}"),
        ("length", _length(result, unit)),
        ("losses", "  ".join(f"{name} {value:.4g}" for name, value in result.losses.items())),
        ("measured", "  ".join(measured)),
        *(("caution", text) for text in result.cautions),
        ("speed", _speed(result, unit)),
        ("progress", result.progress),
        ("encoder", folder / "export" / "encoder.safetensors"),
    ]
    following = ["medssl", "finetune", str(settings.archive), "--init-from", str(folder)]
    if settings.spatial_dims == 3:
        following = ["medssl", "embed", str(settings.archive), "--encoder", str(folder)]
    console.show("pretrain", result, rows, as_json=as_json, next_command=shlex.join(following))


def _titled(name: str, unit: str) -> str:
    """Return the title of a row; a setting, which is indented, keeps its name."""
    return name if name.startswith(" ") else name.replace("images", plural(unit))


def _length(result: "PretrainResult", unit: str) -> str:
    length = f"{counted(result.epochs, 'epoch')}, {counted(result.steps, 'step')}"
    if result.passes != result.epochs:
        length += f", {result.passes:.3g} passes over the {plural(unit)}"
    return length


def _speed(result: "PretrainResult", unit: str) -> str:
    if not result.pace:
        return "nothing was left to do"
    return (
        f"{result.pace['images_per_s']:.3g} {plural(unit)}/s in the last epoch, "
        f"{result.pace['data_wait']:.0%} of the time waiting for them"
    )
