"""`medssl predict`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medssl.cli import console, options
from medssl.foundation.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from medssl.config.ingest import IngestSettings
    from medssl.stages.predict import PredictResult


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
    given = scans or []
    is_archive = len(given) == 1 and (given[0] / "archive.json").is_file()
    made = folder.parent / f"{folder.name}-archive"
    flags = {"run": run, "unusual": unusual}
    if given:
        flags["archive"] = given[0] if is_archive else made
    settings = options.settings(PredictSettings, "predict", flags, files=config, sets=sets)
    from medssl.stages import predict as stage  # torch loads here: --help stays fast

    if given and not is_archive:
        _refuse(given, folder, dry_run=dry_run)
        _ingest(stage.ingestion(settings.run, given), made)
    if dry_run:
        planned = stage.plan(settings)
        expected = stage.cost(settings, device=device)
        console.plan("predict", planned, expected, folder, as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter(), device=device)
    rows = [
        ("scored", f"{result.n_rows} {result.what}s of {result.n_patients} patients"
         if result.what == "image" else f"{result.n_rows} series of {result.n_patients} patients"),
        ("models", f"{result.n_models}, of {result.target}"),
        ("unusual", _unusual(result)),
        ("patients", result.table),
        ("scores", result.scores),
    ]  # fmt: skip
    following = shlex.join(["medssl", "info", str(folder)])
    console.show("predict", result, rows, as_json=as_json, next_command=following)


def _unusual(result: "PredictResult") -> str:
    if result.n_unusual is not None:
        return f"{result.n_unusual} unlike the cohort"
    if result.n_held_out is None:
        return "unknown: the run has no gate"
    return f"unknown: {result.n_held_out} test images are too few to tell"


def _refuse(scans: list[Path], folder: Path, *, dry_run: bool) -> None:
    """Stop before anything is ingested where nothing could be scored afterwards."""
    from medssl.artifacts import run_folder

    if dry_run:
        raise UsageError(
            "scans are ingested before they are scored, which writes an archive",
            where=str(scans[0]),
            fix="medssl ingest them, and give that archive to --dry-run",
        )
    run_folder.require_free(folder)


def _ingest(settings: "IngestSettings", made: Path) -> None:
    """Make an archive of scans, or find it made; go on with it where that was interrupted."""
    from medssl.stages import ingest

    reporter, begun = console.RichReporter(), _begun(settings, made)
    if begun and (made / "archive.json").is_file():
        reporter.note(f"these scans were ingested before: {made} is used as it is")
        return
    result = ingest.run(settings, made, reporter, mode="resume" if begun else "new")
    if result.problem:
        reporter.warn(result.problem.problem)


def _begun(settings: "IngestSettings", made: Path) -> bool:
    """Return whether an archive of just these scans is there, finished or not.

    Raises:
        UsageError: It is one of other scans, or was made otherwise.
    """
    from medssl.ingestion import making

    try:
        before = making.settings_of(made)
    except ArtifactError:
        return False  # `ingest` looks whether anything else is there
    same = [p.resolve() for p in before.sources] == [p.resolve() for p in settings.sources]
    if same and (before.size, before.colour) == (settings.size, settings.colour):
        return True
    raise UsageError(
        "it was made of other scans" if not same else "it was made for other models",
        where=str(made),
        fix=f"choose another --out, or score what it holds: medssl predict RUN {made}",
    )
