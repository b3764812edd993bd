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
        "budget": budget, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(
        ReduceSettings, "reduce", flags, files=config, sets=sets, preset=preset
    )
    if dry_run:
        planned = stage.plan(settings)
        console.show("reduce", planned, console.fields(planned), as_json=as_json)
        return
    folder = options.run_folder(out, "reduce")
    result = stage.run(settings, folder, console.RichReporter(), resume=resume)
    rows = [
        ("kept", f"{result.n_kept} of {result.n_images} images"),
        ("by", f"{result.by} >= {result.threshold:g} within {result.within} ({result.n_scopes})"),
        ("selection", result.folder),
    ]
    following = shlex.join(
        ["medssl", "pretrain", str(settings.archive), "--selection", str(folder)]
    )
    console.show("reduce", result, rows, as_json=as_json, next_command=following)
