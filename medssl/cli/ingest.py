"""`medssl ingest`."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import console, options
from medssl.foundation.errors import PartialResult


def ingest(  # noqa: PLR0913 - one parameter per option
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Folders or files to read.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Archive to create.")] = Path("archive"),
    labels: Annotated[Path | None, typer.Option(help="CSV table with labels.")] = None,
    key: Annotated[
        str | None, typer.Option(help="What a table row names: path, stem, patient, study, series.")
    ] = None,
    key_column: Annotated[str | None, typer.Option(help="Column with that name.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Label column; may be repeated.")] = None,
    patient: Annotated[str | None, typer.Option(help="tag, parent or col:NAME.")] = None,
    site: Annotated[str | None, typer.Option(help="tag, parent or col:NAME.")] = None,
    series: Annotated[str | None, typer.Option(help="tag, parent or col:NAME.")] = None,
    size: Annotated[str | None, typer.Option(help="Longest stored side in px, or keep.")] = None,
    spatial_dims: Annotated[str | None, typer.Option(help="auto, 2 or 3.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Institution's key for pseudonyms.")] = None,
    max_rejects: Annotated[
        float | None, typer.Option(help="Share of rejected files that ends in exit 8.")
    ] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Read DICOM, NIfTI, PNG, JPEG, TIFF and MedMNIST files into an archive."""
    from medssl.config.ingest import IngestSettings
    from medssl.stages import ingest as stage

    flags = {
        "sources": tuple(sources) if sources else None,
        "labels": labels, "key": key, "key_column": key_column,
        "label": tuple(label) if label else None, "patient": patient, "site": site,
        "series": series, "size": _number(size), "spatial_dims": _number(spatial_dims),
        "key_file": key_file, "max_rejects": max_rejects, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(IngestSettings, "ingest", flags, files=config, sets=sets)
    reporter = console.RichReporter()
    if dry_run:
        planned = stage.plan(settings, reporter)
        console.plan("ingest", planned, planned.cost, out, as_json=as_json)
        return
    result = stage.run(settings, out, reporter)
    shown = asdict(result) | {"problem": _fields(result.problem)}
    console.show(
        "ingest",
        shown,
        result.rows(),
        as_json=as_json,
        next_command=shlex.join(["medssl", "reduce", str(out)]),
    )
    if result.problem and as_json:  # which holds the problem: one document on stdout
        raise typer.Exit(result.problem.exit_code)
    if result.problem:
        raise result.problem


def _fields(problem: PartialResult | None) -> dict[str, object] | None:
    if problem is None:
        return None
    told = {"problem": problem.problem, "where": problem.where, "fix": problem.fix}
    return told | {"exit_code": problem.exit_code}


def _number(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text
