"""`medssl ingest`."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medssl.cli import console, options
from medssl.foundation.errors import PartialResult, UsageError

if TYPE_CHECKING:
    from medssl.config.ingest import IngestSettings
    from medssl.ingestion.making import Mode
    from medssl.ingestion.writing import Part
    from medssl.stages.ingest import IngestPlan, IngestResult, PartResult


def ingest(  # noqa: PLR0913 - one parameter per option
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, files or ZIP archives; with --merge: parts.", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Archive to create.")] = Path("archive"),
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Paths to leave out, such as '*/masks/*'; may be repeated."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Table with labels, CSV or XLSX.")] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="What a table row names: path, stem, patient, study, series; default: best match."
        ),
    ] = None,
    key_column: Annotated[str | None, typer.Option(help="Column with that name.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Label column; may be repeated.")] = None,
    patient: Annotated[
        str | None, typer.Option(help="auto, tag, parent or col:NAME; default auto.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="auto, tag, parent or col:NAME; default auto.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="auto, tag, parent or col:NAME; default auto.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Longest stored side in px, or keep; default 256.")
    ] = None,
    spatial_dims: Annotated[str | None, typer.Option(help="auto, 2 or 3; default auto.")] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="MM,MM,MM",
            help="Resample volumes: spacing along columns, rows and slices; with --size keep.",
        ),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(help="Turn volumes: where columns, rows and slices point, such as RAS."),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(help="Colour images: reject, gray (luminance) or keep; default reject."),
    ] = None,
    four_d: Annotated[
        str | None,
        typer.Option(
            "--4d", help="NIfTI of several volumes: reject, first, mean, split; default reject."
        ),
    ] = None,
    gaps: Annotated[
        str | None,
        typer.Option(help="Series that lack slices: keep, single (slices), reject; default keep."),
    ] = None,
    min_slices: Annotated[
        int | None, typer.Option(help="Shorter CT, MR and PT series are left out; default 1.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="Take these too: localizer, reformat, dose_report, screen_capture, "
            "secondary_capture, burned_in, other_class; may be repeated."
        ),
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="Institution's key for pseudonyms.")] = None,
    max_rejects: Annotated[
        float | None,
        typer.Option(help="Share of rejected files that ends in exit 8; default 0.05."),
    ] = None,
    thumbnails: Annotated[
        bool | None,
        typer.Option("--thumbnails/--no-thumbnails", help="Show images in the report."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an unfinished ingest.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add files to a finished archive.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Make part I of N, to be merged.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Make an archive from its parts.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default one per core.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use the workers of a Dask cluster.")
    ] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Read DICOM, NIfTI, PNG, JPEG, TIFF and MedMNIST files into an archive."""
    flags = {
        "exclude": tuple(exclude) if exclude else None,
        "labels": labels, "key": key, "key_column": key_column,
        "label": tuple(label) if label else None, "patient": patient, "site": site,
        "series": series, "size": _number(size), "spatial_dims": _number(spatial_dims),
        "spacing": options.several(spacing), "orientation": orientation,
        "colour": colour, "four_d": four_d, "gaps": gaps, "min_slices": min_slices,
        "include": tuple(include) if include else None, "key_file": key_file,
        "max_rejects": max_rejects, "thumbnails": thumbnails, "smoke": smoke,
    }  # fmt: skip
    how = _How(tuple(sources or ()), out, workers=scheduler or workers, shard=shard, merge=merge)
    _check(resume=resume, append=append, merge=merge, shard=shard, dry_run=dry_run)
    _check_unused(how, flags, merge=merge, resume=resume, others=(workers, scheduler, config, sets))
    mode: Mode = "resume" if resume else "append" if append else "new"
    if merge:
        _show(how.merged(console.RichReporter()), as_json=as_json)
        return
    settings = how.settings(flags, mode, files=config, sets=sets)
    if dry_run:
        _plan(settings, how, as_json=as_json)
    elif shard:
        _show_part(how.part(settings, mode), as_json=as_json)
    else:
        _show(how.archive(settings, mode), as_json=as_json)


@dataclass(frozen=True)
class _How:
    """What is no setting: where from, where to, and who does the work."""

    sources: tuple[Path, ...]
    out: Path
    workers: int | str | None
    shard: str | None
    merge: bool

    def settings(
        self,
        flags: Mapping[str, Any],
        mode: "Mode",
        *,
        files: list[Path] | None,
        sets: list[str] | None,
    ) -> "IngestSettings":
        """Return the settings; those of an archive that is there already come first."""
        from medssl.config.ingest import IngestSettings
        from medssl.ingestion import making

        sources = self.sources
        files = files or []
        if mode != "new":
            before = making.settings_of(self.out)
            sources = (*before.sources, *sources) if mode == "append" else before.sources
            files = [making.settings_path(self.out), *files]
        given = {"sources": tuple(dict.fromkeys(sources)) or None, **flags}
        return options.settings(IngestSettings, "ingest", given, files=files, sets=sets)

    def archive(self, settings: "IngestSettings", mode: "Mode") -> "IngestResult":
        """Make the archive."""
        from medssl.stages import ingest as stage

        reporter = console.RichReporter()
        return stage.run(settings, self.out, reporter, workers=self.workers, mode=mode)

    def part(self, settings: "IngestSettings", mode: "Mode") -> "PartResult":
        """Make one part of it."""
        from medssl.stages import ingest as stage

        part, reporter = _part(self.shard or ""), console.RichReporter()
        return stage.run_part(settings, self.out, part, reporter, workers=self.workers, mode=mode)

    def merged(self, reporter: console.RichReporter) -> "IngestResult":
        """Make it from its parts."""
        from medssl.stages import ingest as stage

        return stage.merge(self.sources, self.out, reporter, workers=self.workers)


def _check(*, resume: bool, append: bool, merge: bool, shard: str | None, dry_run: bool) -> None:
    """Refuse options that say different things.

    Raises:
        UsageError: Two of them do.
    """
    given = {"--resume": resume, "--append": append, "--merge": merge}
    told = [name for name, is_given in given.items() if is_given]
    told += ["--shard"] if shard and (append or merge) else []
    told += ["--dry-run"] if dry_run and (resume or merge or shard) else []
    if len(told) > 1:
        raise UsageError(f"{' and '.join(told)} exclude each other", fix="give one of them")


def _check_unused(
    how: _How, flags: Mapping[str, Any], *, merge: bool, resume: bool, others: tuple[Any, ...]
) -> None:
    """Refuse what would be ignored.

    Raises:
        UsageError: It was given.
    """
    workers, scheduler, config, sets = others
    given = [name for name, value in flags.items() if value is not None]
    if merge and (given or config or sets):
        raise UsageError(
            "the parts have their settings, and --merge takes no others", fix="leave them out"
        )
    if workers and scheduler:
        raise UsageError("--workers and --scheduler exclude each other", fix="give one of them")
    if resume and how.sources:
        raise UsageError(
            "--resume reads the sources it began with", fix="leave them out, or use --append"
        )


def _part(text: str) -> "Part":
    from medssl.ingestion.writing import Part

    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise UsageError(f"--shard {text!r} is no I/N", fix="give for example --shard 2/8")
    return Part(int(number), int(of))


def _plan(settings: "IngestSettings", how: _How, *, as_json: bool) -> None:
    from medssl.stages import ingest as stage

    planned = stage.plan(settings, console.RichReporter(), workers=how.workers)
    shown = _planned(planned)  # its notes stand on stderr already
    console.plan("ingest", planned, planned.cost, how.out, as_json=as_json, shown=shown)


def _planned(planned: "IngestPlan") -> list[tuple[str, object]]:
    """Return the flow of files as far as it can be told, in the words of the result."""
    from medssl.ingestion.codes import Code

    codes = {kind: n for kind, n in planned.kinds.items() if kind in {*Code}}
    skipped = {code: n for code, n in codes.items() if Code(code).is_skip}
    parts = {
        "to be read": {kind: n for kind, n in planned.kinds.items() if kind not in codes},
        "left out by rule": skipped,
        "rejected": {code: n for code, n in codes.items() if code not in skipped},
    }
    rows: list[tuple[str, object]] = [("files found", f"{planned.files_found:,}")]
    for title, kinds in parts.items():
        rows.append((title, f"{sum(kinds.values()):,}"))
        rows += [(f"  {kind}", f"{n:,}") for kind, n in kinds.items()]
    rows += [(name, f"{getattr(planned, name):,}") for name in ("images", "series", "patients")]
    return [*rows, *console.settings(planned.settings.model_dump(mode="json"))]


def _show(result: "IngestResult", *, as_json: bool) -> None:
    shown = asdict(result) | {"problem": _fields(result.problem)}
    console.show(
        "ingest",
        shown,
        result.rows(),
        as_json=as_json,
        next_command=shlex.join(["medssl", "reduce", str(result.archive)]),
    )
    if result.problem and as_json:  # which holds the problem: one document on stdout
        raise typer.Exit(result.problem.exit_code)
    if result.problem:
        raise result.problem


def _show_part(result: "PartResult", *, as_json: bool) -> None:
    part = f"{result.part.number}/{result.part.of}"
    rows = [("part", f"{result.folder} ({part})"), ("files found", f"{result.files_found:,}"),
            ("images", f"{result.images:,}")]  # fmt: skip
    console.show(
        "ingest",
        asdict(result),
        rows,
        as_json=as_json,
        next_command="medssl ingest PART... -o ARCHIVE --merge, once all parts are made",
    )


def _fields(problem: PartialResult | None) -> dict[str, object] | None:
    if problem is None:
        return None
    told = {"problem": problem.problem, "where": problem.where, "fix": problem.fix}
    return told | {"exit_code": problem.exit_code}


def _number(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text
