"""`medssl reduce`."""

import shlex
from typing import Annotated

import typer

from medssl import reduction
from medssl.cli import console, options


def reduce(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    out: options.RunOut = None,
    by: Annotated[str | None, typer.Option(help=options.choices(reduction))] = None,
    within: Annotated[
        str | None, typer.Option(help="auto, series, patient, site or archive.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Similarity from which one image stands for another.")
    ] = None,
    keep: Annotated[float | None, typer.Option(help="Keep at most this share.")] = None,
    budget: Annotated[int | None, typer.Option(help="Keep at most this many images.")] = None,
    controls: Annotated[
        int | None, typer.Option(help="Random selections of the same size to write beside it.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of settings: hash6.")] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Drop redundant images; each names a kept representative."""
    from medssl.config.reduce import ReduceSettings
    from medssl.stages import reduce as stage

    flags = {
        "archive": archive, "by": by, "within": within, "threshold": threshold, "keep": keep,
        "budget": budget, "controls": controls, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(
        ReduceSettings, "reduce", flags, files=config, sets=sets, preset=preset
    )
    folder = options.run_folder(out, "reduce")
    if dry_run:
        planned = stage.plan(settings)
        console.plan("reduce", planned, stage.cost(settings), folder, as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter(), resume=resume)
    how = f"{result.by}, as many as in {settings.match}"
    if result.threshold is not None:
        how = f"{result.by} >= {result.threshold:g}"
    rows: list[tuple[str, object]] = [
        ("kept", f"{result.n_kept} of {result.n_images} images"),
        ("by", f"{how} within {result.within} ({result.n_scopes})"),
        ("selection", result.folder),
    ]
    if result.controls:
        told = f"{len(result.controls)} random selections of the same size"
        rows.append(("controls", f"{told}, in {folder / 'controls'}"))
    following = shlex.join(
        ["medssl", "pretrain", str(settings.archive), "--selection", str(folder)]
    )
    console.show("reduce", result, rows, as_json=as_json, next_command=following)
