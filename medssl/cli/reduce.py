"""`medssl reduce`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medssl import reduction
from medssl.cli import console, options
from medssl.foundation.wording import counted

if TYPE_CHECKING:
    from medssl.config.reduce import ReduceSettings
    from medssl.stages.reduce import ReduceResult


def reduce(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    out: options.RunOut = None,
    by: Annotated[
        str | None,
        typer.Option(
            help=f"{options.choices(reduction, 'dhash')} Several, as in exact,dhash: any of them."
        ),
    ] = None,
    within: Annotated[
        str | None, typer.Option(help="auto, series, patient, site or archive; default auto.")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="Similarity from which one image stands for another; T or T,T."),
    ] = None,
    keep: Annotated[float | None, typer.Option(help="Keep at most this share.")] = None,
    budget: Annotated[int | None, typer.Option(help="Keep at most this many images.")] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="leader, or k_center or balanced_kmeans for a diverse budget; default leader."
        ),
    ] = None,
    approximate: Annotated[
        bool | None,
        typer.Option(
            "--approximate/--no-approximate",
            help="Search approximately, above 500,000 images in one scope; needs the extra faiss.",
        ),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Pretrain run that `embedding` sees with; else pixels.")
    ] = None,
    min_per_patient: Annotated[
        int | None, typer.Option(help="Keep at least this many images of each patient; default 0.")
    ] = None,
    min_per_series: Annotated[
        int | None, typer.Option(help="Keep at least this many images of each series; default 0.")
    ] = None,
    max_per_patient: Annotated[
        int | None, typer.Option(help="Keep at most this many images of each patient.")
    ] = None,
    protect: Annotated[
        str | None,
        typer.Option(
            help="Keep in any case: auto, none, labelled, or as in \"modality == 'MR'\"; "
            "default auto."
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Archive to be evaluated on: leave out its patients and images."),
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict/--no-strict", help="Stop if --against finds any.")
    ] = None,
    aliases: Annotated[
        bool | None,
        typer.Option(
            "--aliases/--no-aliases", help="Look for patients under two ids; default auto."
        ),
    ] = None,
    controls: Annotated[
        int | None,
        typer.Option(help="Random selections of the same size to write beside it; default 3."),
    ] = None,
    thumbnails: Annotated[
        bool | None, typer.Option("--thumbnails/--no-thumbnails", help="Show images in the report.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help=options.presets("reduce"))] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    device: options.Device = "auto",
    memory_budget: Annotated[
        float, typer.Option(min=0.01, max=1024, help="GiB that comparing images may need.")
    ] = 0.25,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that read images; one per core.")
    ] = None,
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
        "budget": budget, "select": select, "approximate": approximate, "encoder": encoder,
        "min_per_patient": min_per_patient, "min_per_series": min_per_series,
        "max_per_patient": max_per_patient, "protect": protect,
        "against": tuple(against) if against else None, "strict": strict, "aliases": aliases,
        "controls": controls, "thumbnails": thumbnails, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(
        ReduceSettings, "reduce", flags, files=config, sets=sets, preset=preset
    )
    folder = options.run_folder(out, "reduce", resume=resume)
    if dry_run:
        planned = stage.plan(settings)
        console.plan("reduce", planned, stage.cost(settings), folder, as_json=as_json)
        return
    means = stage.Means(device=device, memory=int(memory_budget * 2**30), threads=workers)
    result = stage.run(settings, folder, console.RichReporter(), means=means, resume=resume)
    following = shlex.join(
        ["medssl", "pretrain", str(settings.archive), "--selection", str(folder)]
    )
    rows = _rows(settings, result)
    console.show("reduce", result, rows, as_json=as_json, next_command=following)


def _rows(settings: "ReduceSettings", result: "ReduceResult") -> list[tuple[str, object]]:
    """Return what the console says of a selection."""
    rows: list[tuple[str, object]] = [
        ("kept", f"{result.n_kept:,} of {result.n_images:,} images"),
        ("by", f"{_how(settings, result)} within {result.within} ({result.n_scopes})"),
    ]
    if result.n_protected:
        rows.append(("protected", f"{result.n_protected} images"))
    if settings.against:
        rows.append(
            (
                "left out",
                f"{counted(result.n_left_out, 'image')} that --against shows: leaks.parquet",
            )
        )
    if result.n_aliases:
        pairs = f"{counted(result.n_aliases, 'pair')} of patients who may be one"
        rows.append(("aliases", f"{pairs}: look at probable_alias.csv"))
    rows += [("attention", caution) for caution in result.cautions]
    rows += [("selection", result.folder), ("report", result.report)]
    if result.controls:
        told = f"{counted(len(result.controls), 'random selection')} of the same size"
        rows.append(("controls", f"{told}, in {result.folder / 'controls'}"))
    return rows


def _how(settings: "ReduceSettings", result: "ReduceResult") -> str:
    if settings.match is not None:
        return f"{','.join(result.by)}, as many as in {settings.match}"
    links = [
        name if tau is None else f"{name} >= {tau:g}"
        for name, tau in zip(result.by, result.thresholds, strict=True)
    ]
    how = " or ".join(links)
    return how if result.select == "leader" else f"{how}, {result.select}"
