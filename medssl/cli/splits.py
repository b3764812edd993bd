"""`medssl splits make|audit|import`."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medssl.cli import cohort_options, console, options
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.wording import counted

if TYPE_CHECKING:
    from medssl.stages.splits import SplitsPlan
    from medssl.training.auditing import Audit

app = typer.Typer(
    help="Make, check or import the folds of a cohort, without training.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_SHOWN = 10  # pairs told one by one

Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]


@app.command("make")
def make(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    out: Out = Path("splits.json"),
    target: cohort_options.Target = None,
    task: cohort_options.Task = None,
    positive: cohort_options.Positive = None,
    folds: cohort_options.Folds = None,
    repeats: cohort_options.Repeats = None,
    split: cohort_options.Split = None,
    hold_out: cohort_options.HoldOut = None,
    inner: cohort_options.Inner = None,
    group: cohort_options.Group = None,
    aliases: cohort_options.Aliases = None,
    preset: cohort_options.Preset = None,
    seed: options.Seed = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the folds that `medssl finetune` would make, and train nothing."""
    flags = {
        "archive": archive, "target": target or None, "task": task, "positive": positive,
        "folds": folds, "repeats": repeats, "split.by": split, "split.hold_out": hold_out or None,
        "inner.share": inner, "group": group, "aliases": aliases, "seed": seed,
    }  # fmt: skip
    given = {"files": config, "sets": sets, "preset": preset}
    _write("make", flags, given, out, dry_run=dry_run, as_json=as_json)


@app.command("import")
def import_(  # noqa: PLR0913 - one parameter per option
    table: Annotated[
        Path, typer.Argument(help="CSV table: patient_id or patient_key, fold[, repeat].")
    ],
    archive: Annotated[Path | None, typer.Option(help="Archive whose patients it splits.")] = None,
    out: Out = Path("splits.json"),
    target: cohort_options.Target = None,
    task: cohort_options.Task = None,
    positive: cohort_options.Positive = None,
    inner: cohort_options.Inner = None,
    aliases: cohort_options.Aliases = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Institution's key, where the table has patient_id.")
    ] = None,
    seed: options.Seed = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Turn a table of folds that was made elsewhere into a splits.json."""
    flags = {
        "archive": archive, "target": target or None, "task": task, "positive": positive,
        "split.by": "file", "split.file": table, "split.key_file": key_file, "inner.share": inner,
        "aliases": aliases, "seed": seed,
    }  # fmt: skip
    given = {"files": config, "sets": sets}
    _write("import", flags, given, out, dry_run=dry_run, as_json=as_json)


def _write(
    command: str,
    flags: Mapping[str, Any],
    given: Mapping[str, Any],
    out: Path,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from medssl.config.finetune import FinetuneSettings

    if flags["archive"] is None and not given["files"]:
        raise UsageError("no archive is named", where="archive", fix="give the archive to split")
    settings = options.settings(
        FinetuneSettings, "finetune", {**flags, "init_from": "none"}, **given
    )
    from medssl.stages import splits as stage  # torch loads here: --help stays fast

    if dry_run:
        planned = stage.plan(settings)
        console.show(f"splits {command}", planned, _made(planned), as_json=as_json)
        return
    result = stage.make(settings, out)
    following = ["medssl", "splits", "audit", str(out), "--archive", str(settings.archive)]
    rows = [*_made(result), ("splits", result.path)]
    console.show(
        f"splits {command}", result, rows, as_json=as_json, next_command=shlex.join(following)
    )


def _made(found: "SplitsPlan") -> list[tuple[str, object]]:
    names = found.names or tuple(f"fold {k + 1}" for k in range(found.n_folds))
    tested = ", ".join(f"{name} {n}" for name, n in zip(names, found.tested, strict=True))
    repeated = f", {found.n_repeats} repeats" if found.n_repeats > 1 else ""
    return [
        ("target", f"{found.target} ({found.task})"),
        ("split", f"by {found.by}: {found.n_folds} folds{repeated}, digest {found.digest}"),
        ("tested", f"{found.n_patients} patients: {tested}"),
        *(("note", text) for text in found.notes),
    ]


@app.command("audit")
def audit(  # noqa: PLR0913 - one parameter per option
    split: Annotated[
        Path, typer.Argument(help="Run of `medssl finetune`, splits.json, or CSV table of folds.")
    ],
    archive: Annotated[
        Path | None, typer.Option(help="Archive that is split; default: that of the run.")
    ] = None,
    target: cohort_options.Target = None,
    aliases: cohort_options.Aliases = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Institution's key, where a table has patient_id.")
    ] = None,
    near: Annotated[
        bool, typer.Option("--near/--exact", help="Look for images that look the same, or copies.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 3 where the split leaks.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Look for patients and images on both sides of a split, and for lopsided folds."""
    from medssl.config.splits import AuditSettings

    flags = {
        "split": split, "archive": archive, "target": target or None, "aliases": aliases,
        "key_file": key_file, "near": near,
    }  # fmt: skip
    settings = options.settings(AuditSettings, "splits", flags)
    from medssl.stages import splits as stage  # torch loads here: --help stays fast

    found = stage.audit(settings, console.RichReporter())
    leaks = found.leaks()
    content = {**asdict(found), "leaks": leaks}
    following = _next(found, settings.archive)
    console.show(
        "splits audit", content, list(_rows(found)), as_json=as_json, next_command=following
    )
    if strict and leaks:
        failure = DataError(f"leakage: {'; '.join(leaks)}", where=str(split), fix=following)
        console.error(str(failure))
        raise typer.Exit(failure.exit_code)


def _rows(found: "Audit") -> Iterator[tuple[str, object]]:
    repeated = f" x {found.n_repeats} repeats" if found.n_repeats > 1 else ""
    digest = f", digest {found.digest}" if found.digest else ""
    patients = counted(found.n_patients, "patient")
    shape = f"{counted(found.n_folds, 'fold')}{repeated} of {patients}{digest}"
    yield "split", f"{found.what}: {shape}"
    yield "both sides", f"{found.on_both_sides} patients tested and learned from by one model"
    if found.chosen_on_and_tested:
        yield "inner parts", f"{found.chosen_on_and_tested} patients chosen on and tested"
    if found.aliases_on_both_sides is not None:
        yield "aliases", f"{found.aliases_on_both_sides} patients on both sides under several ids"
    if found.pairs is None:
        yield "images", "not looked at: give --archive"
    else:
        yield from _of_images(found)
    for part, name in ((found.classes, "class"), (found.sites, "site")):
        for value, (low, high) in part.items():
            yield f"{name} {value}", f"{low:.0%} to {high:.0%} of the patients of a fold"
    for row in found.folds:
        if row.repeat == 0:
            yield f"{row.name or f'fold {row.fold + 1}'}", _tested(row)


def _tested(row: Any) -> str:  # noqa: ANN401 - `FoldCounts`, which scikit-learn comes with
    parts = [f"{row.n_patients} patients, {row.n_images} images tested"] if row.classes else [
        f"{row.n_patients} patients tested"]  # fmt: skip
    parts += [f"{name} {n}" for name, n in row.classes.items()]
    return ", ".join(parts)


def _of_images(found: "Audit") -> Iterator[tuple[str, object]]:
    pairs, across = found.pairs or (), found.pairs_on_both_sides or ()
    for metric, what in (("exact", "same pixels"), ("dhash", "look the same")):
        n = sum(pair.metric == metric and pair.kind == "alias" for pair in pairs)
        apart = sum(pair.metric == metric for pair in across)
        yield what, f"{counted(n, 'pair')} of patients, {apart} on both sides"
    shared = sum(pair.kind == "shared" for pair in pairs)
    if shared:
        yield "shared images", f"{counted(shared, 'pair')} of patients with an image many share"
    for pair in across[:_SHOWN]:
        yield "", f"{pair.image_id} = {pair.other_image_id} ({pair.metric} {pair.similarity:.3f})"
    if len(across) > _SHOWN:
        yield "", f"and {len(across) - _SHOWN} more: --json"
    if found.unlisted:
        yield "not listed", f"{found.unlisted} labelled patients: learned from in every fold"
    if found.strangers:
        yield "not labelled", f"{found.strangers} patients of the split"


def _next(found: "Audit", archive: Path | None) -> str:
    if found.pairs_on_both_sides:
        place = str(archive) if archive else "ARCHIVE"
        words = ["medssl", "reduce", place, "--by", "exact", "--within", "archive"]
        return shlex.join([*words, "-o", "runs/reduce/copies"])
    if found.pairs is None:
        return "medssl splits audit SPLIT --archive ARCHIVE"
    return ""
