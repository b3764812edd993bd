"""`medssl finetune`."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from medssl import freezing, losses
from medssl.cli import cohort_options, console, options
from medssl.models import encoders

if TYPE_CHECKING:
    from medssl.stages.finetune import FinetuneResult


def finetune(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    init_from: cohort_options.InitFrom = None,
    out: options.RunOut = None,
    target: cohort_options.Target = None,
    task: cohort_options.Task = None,
    positive: cohort_options.Positive = None,
    schedule: Annotated[str | None, typer.Option(help=options.choices(freezing, "full"))] = None,
    encoder: Annotated[str | None, typer.Option(help=options.choices(encoders))] = None,
    spatial_dims: Annotated[
        int | None,
        typer.Option(min=2, max=3, help="2: images, 3: whole series as volumes; default auto."),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="Judge a series by slices read as images: mean, max or attention; default none."
        ),
    ] = None,
    slices: Annotated[
        int | None, typer.Option(min=2, help="Slices of a series that are pooled; default 16.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Slices of a 3D input; default auto.")
    ] = None,
    folds: cohort_options.Folds = None,
    repeats: cohort_options.Repeats = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings of every fold, on the same folds; default 1."),
    ] = None,
    split: cohort_options.Split = None,
    hold_out: cohort_options.HoldOut = None,
    inner: cohort_options.Inner = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without a lower inner loss, then stop.")
    ] = None,
    group: cohort_options.Group = None,
    aliases: cohort_options.Aliases = None,
    preset: cohort_options.Preset = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the images, under the schedule; default auto."),
    ] = None,
    probe_epochs: Annotated[
        int | None, typer.Option(min=0, help="Epochs of a linear probe before them; default auto.")
    ] = None,
    cutmix: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of batches mixed by CutMix; default 0.0."),
    ] = None,
    batch_size: options.BatchSize = None,
    image_size: cohort_options.ImageSize = None,
    precision: options.Precision = None,
    mixup: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of batches mixed by MixUp; default 0.0."),
    ] = None,
    loss: Annotated[str | None, typer.Option(help=options.choices(losses, "auto"))] = None,
    sampling: Annotated[
        str | None,
        typer.Option(help="How classes are drawn: natural, balanced or sqrt; default natural."),
    ] = None,
    loss_weights: Annotated[
        str | None,
        typer.Option(help="Of the classes in the loss: none, balanced or sqrt; default none."),
    ] = None,
    allow_partial: options.AllowPartial = None,
    seed: options.Seed = None,
    baselines: Annotated[
        str | None,
        typer.Option(help="Beside it, on the same folds: random, weights (with commas), or none."),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(help="And with fewer training patients, such as 0.1,0.25,0.5,1."),
    ] = None,
    device: options.Device = "auto",
    workers: cohort_options.Workers = None,
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
        "archive": archive, "init_from": init_from, "target": target or None, "positive": positive,
        "schedule": schedule, "encoder": encoder, "folds": folds, "repeats": repeats,
        "seeds": seeds,
        "spatial_dims": spatial_dims, "pooling": pooling, "slices": slices, "depth": depth,
        "split.by": split, "split.hold_out": hold_out or None, "inner.share": inner,
        "inner.patience": patience,
        "group": group, "aliases": aliases, "epochs": epochs, "probe_epochs": probe_epochs,
        "cutmix.probability": cutmix, "mixup.probability": mixup, "task": task, "loss": loss,
        "sampling": sampling, "loss_weights": loss_weights, "batch_size": batch_size,
        "image_size": image_size,
        "baselines": options.several(baselines), "fractions": options.several(fractions),
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
    result = stage.run(
        settings, folder, console.RichReporter(), device=device, workers=workers, resume=resume
    )
    unit = "series" if result.whole_series else "images"
    rows = [
        ("trained", f"{result.n_folds} models, {result.schedule}, from {result.init}"),
        ("cohort", f"{result.n_images} {unit} of {result.n_patients} patients"),
        (result.measure, f"{_shown(result.of_folds)} (folds, per image)"),
        *((arm.folder.name, _arm(arm)) for arm in result.arms),
        ("run", result.folder),
    ]
    command = "compare" if result.arms else "evaluate"  # one run is compared with those beside it
    following = shlex.join(["medssl", command, str(folder)])
    console.show("finetune", result, rows, as_json=as_json, next_command=following)


def _arm(arm: "FinetuneResult") -> str:
    """Return what a run beside the run found, and from how many patients."""
    share = f", {arm.fraction:.3g} of all" if arm.fraction < 1 else ""
    patients = f"{arm.n_train_patients} training patients in the first fold{share}"
    return f"{_shown(arm.of_folds)} (the same folds; {patients})"


def _shown(of_folds: tuple[float, ...]) -> str:
    return "  ".join(f"{value:.3f}" for value in of_folds)
