"""`medssl finetune`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from medssl import freezing
from medssl.cli import console, options
from medssl.models import encoders


def finetune(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    init_from: Annotated[
        str | None, typer.Option(help="Pretrain run, weight file, or none for random weights.")
    ] = None,
    out: options.RunOut = None,
    target: Annotated[
        str | None, typer.Option(help="Label column; default auto: the only one.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="Positive class of two.")] = None,
    schedule: Annotated[str | None, typer.Option(help=options.choices(freezing, "full"))] = None,
    encoder: Annotated[str | None, typer.Option(help=options.choices(encoders))] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of patients; default 5.")] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="How often to split anew; default 1.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="patient, or none: every image is its own patient; default patient."),
    ] = None,
    aliases: Annotated[
        Path | None,
        typer.Option(help="Reduce run or probable_alias.csv: count ids of one patient as one."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help=options.presets("finetune"))] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the images, under the schedule; default auto."),
    ] = None,
    probe_epochs: Annotated[
        int | None, typer.Option(min=0, help="Epochs of a linear probe before them; default 0.")
    ] = None,
    cutmix: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of batches mixed by CutMix; default 0.0."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Images per step; default auto.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=16, help="Side of the input, px; default auto.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, 32, bf16 or 16; default auto.")
    ] = None,
    allow_partial: Annotated[
        bool | None, typer.Option("--allow-partial", help="Accept weights that do not fill it.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides everything that is drawn; default 0.")
    ] = None,
    device: options.Device = "auto",
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Train site models and score them on unseen patients."""
    from medssl.config.finetune import FinetuneSettings

    flags = {
        "archive": archive, "init_from": init_from, "target": target, "positive": positive,
        "schedule": schedule, "encoder": encoder, "folds": folds, "repeats": repeats,
        "group": group, "aliases": aliases, "epochs": epochs, "probe_epochs": probe_epochs,
        "cutmix.probability": cutmix, "batch_size": batch_size, "image_size": image_size,
        "precision": precision, "allow_partial": allow_partial, "seed": seed, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(
        FinetuneSettings, "finetune", flags, files=config, sets=sets, preset=preset
    )
    from medssl.stages import finetune as stage  # torch loads here: --help stays fast

    folder = options.run_folder(out, "finetune", resume=resume)
    if dry_run:
        planned = stage.plan(settings, device=device)
        console.plan(
            "finetune", planned, stage.cost(settings, device=device), folder, as_json=as_json
        )
        if not as_json:
            console.phases(planned.phases)
        return
    result = stage.run(settings, folder, console.RichReporter(), device=device, resume=resume)
    per_fold = "  ".join(f"{value:.3f}" for value in result.auroc_folds)
    rows = [
        ("trained", f"{result.n_folds} models, {result.schedule}, from {result.init}"),
        ("cohort", f"{result.n_images} images of {result.n_patients} patients"),
        ("AUROC", f"{per_fold} (folds, per image)"),
        ("run", result.folder),
    ]
    following = shlex.join(["medssl", "evaluate", str(folder)])
    console.show("finetune", result, rows, as_json=as_json, next_command=following)
