"""`medssl predict`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import console, options
from medssl.foundation.errors import UsageError


def predict(  # noqa: PLR0913 - one parameter per option
    run: Annotated[
        Path | None, typer.Argument(help="Run of `medssl finetune`.", show_default=False)
    ] = None,
    scans: Annotated[
        list[Path] | None,
        typer.Argument(
            help="An archive of `medssl ingest`, or scans to ingest first as it did.",
            show_default=False,
        ),
    ] = None,
    out: options.RunOut = None,
    unusual: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of images like the cohort's that may be marked as unlike it."
        ),
    ] = None,
    device: options.Device = "auto",
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Score new scans with the models of all folds."""
    from medssl.config.predict import PredictSettings

    folder = options.run_folder(out, "predict")
    archive = _archive(scans or [], folder, run, dry_run=dry_run)
    flags = {"run": run, "archive": archive, "unusual": unusual}
    settings = options.settings(PredictSettings, "predict", flags, files=config, sets=sets)
    from medssl.stages import predict as stage  # torch loads here: --help stays fast

    if dry_run:
        planned = stage.plan(settings)
        expected = stage.cost(settings, device=device)
        console.plan("predict", planned, expected, folder, as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter(), device=device)
    odd = "unknown: the run has no gate" if result.n_unusual is None else str(result.n_unusual)
    rows = [
        ("scored", f"{result.n_rows} {result.what}s of {result.n_patients} patients"
         if result.what == "image" else f"{result.n_rows} series of {result.n_patients} patients"),
        ("models", f"{result.n_models}, of {result.target}"),
        ("unusual", f"{odd} unlike the cohort"),
        ("patients", result.table),
        ("scores", result.scores),
    ]  # fmt: skip
    following = shlex.join(["medssl", "info", str(folder)])
    console.show("predict", result, rows, as_json=as_json, next_command=following)


def _archive(scans: list[Path], folder: Path, run: Path | None, *, dry_run: bool) -> Path | None:
    """Return the archive among what was given, or make one of the scans."""
    if len(scans) == 1 and (scans[0] / "archive.json").is_file():
        return scans[0]
    if not scans or run is None:
        return None
    if dry_run:
        raise UsageError(
            "scans are ingested before they are scored, which writes an archive",
            where=str(scans[0]),
            fix="medssl ingest them, and give that archive to --dry-run",
        )
    made = folder.parent / f"{folder.name}-archive"
    if not (made / "archive.json").is_file():
        _ingest(scans, made, run)
    return made


def _ingest(scans: list[Path], archive: Path, run: Path) -> None:
    from medssl.artifacts import run_folder, site_models
    from medssl.config.ingest import IngestSettings
    from medssl.stages import ingest

    run_folder.require_finished(run, "finetune")
    info = site_models.read(run)
    settings = IngestSettings(
        sources=tuple(scans),
        size=info.stored_size or "keep",
        colour="keep" if info.in_channels > 1 else "gray",
    )
    ingest.run(settings, archive, console.RichReporter())
