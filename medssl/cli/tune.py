"""`medssl tune`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medssl.cli import cohort_options, console, options

if TYPE_CHECKING:
    from medssl.stages.tune import TunePlan, TuneResult


def tune(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    init_from: cohort_options.InitFrom = None,
    out: options.RunOut = None,
    target: cohort_options.Target = None,
    task: cohort_options.Task = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Configurations tried for each fold; default 20.")
    ] = None,
    inner_folds: Annotated[
        int | None,
        typer.Option(min=2, help="Folds of the training patients that compare them; default 3."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML: setting and a list of choices, or {low, high, log}; default: schedule, "
            "epochs, CutMix, weight decay and dropout."
        ),
    ] = None,
    folds: cohort_options.Folds = None,
    repeats: cohort_options.Repeats = None,
    split: cohort_options.Split = None,
    group: cohort_options.Group = None,
    preset: cohort_options.Preset = None,
    batch_size: options.BatchSize = None,
    image_size: cohort_options.ImageSize = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    workers: cohort_options.Workers = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Choose how site models are made, inside each training part, and score them on the others."""
    from medssl.config.tune import TuneSettings, read_space

    flags = {
        "archive": archive, "init_from": init_from, "target": target or None, "task": task,
        "trials": trials,
        "inner_folds": inner_folds, "space": None if space is None else read_space(space),
        "folds": folds, "repeats": repeats, "split.by": split, "group": group,
        "batch_size": batch_size, "image_size": image_size, "seed": seed, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(
        TuneSettings, "finetune", flags, files=config, sets=sets, preset=preset
    )
    from medssl.stages import tune as stage  # torch loads here: --help stays fast

    folder = options.run_folder(out, "tune", resume=resume)
    if dry_run:
        planned = stage.plan(settings, device=device)
        taken = stage.cost(settings, device=device)
        console.plan("tune", planned, taken, folder, as_json=as_json, shown=_planned(planned))
        return
    result = stage.run(
        settings, folder, console.RichReporter(), device=device, workers=workers, resume=resume
    )
    following = shlex.join(["medssl", "evaluate", str(folder)])
    console.show("tune", result, _rows(result), as_json=as_json, next_command=following)


def _planned(planned: "TunePlan") -> list[tuple[str, object]]:
    """Return the fields of a plan as rows, and what is chosen among what after them."""
    rows = [row for row in console.fields(planned) if row[0] != "  space"]
    for one in planned.settings.space:
        shown = console.said(one.choices)
        if not one.choices:
            even = ", even over the orders of magnitude" if one.log else ""
            shown = "{:g} to {:g}".format(*one.ends) + even
        rows.append(("choose", f"{one.setting} {'among' if one.choices else 'from'} {shown}"))
    return rows


def _rows(result: "TuneResult") -> list[tuple[str, object]]:
    unit = "series" if result.whole_series else "images"
    tried = f"{result.n_configurations} configurations in {result.n_trials} trials"
    return [
        ("tried", f"{tried}, compared inside the training part of each fold"),
        *((f"fold {k + 1}", console.said(one.settings)) for k, one in enumerate(result.chosen)),
        ("trained", f"{result.n_folds} models from {result.init}"),
        ("cohort", f"{result.n_images} {unit} of {result.n_patients} patients"),
        (result.measure, "  ".join(f"{value:.3f}" for value in result.of_folds)
         + " (tested folds, per image)"),
        ("run", result.folder),
    ]  # fmt: skip
