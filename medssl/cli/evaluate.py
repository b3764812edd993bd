"""`medssl evaluate`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medssl.cli import console, options

if TYPE_CHECKING:
    from medssl.artifacts.origin import External
    from medssl.evaluation.chosen_calls import ChosenCalls
    from medssl.evaluation.external import Elsewhere
    from medssl.evaluation.subgroups import Subgroups
    from medssl.foundation.errors import GateFailed


def evaluate(  # noqa: PLR0913 - one parameter per option
    run: Annotated[Path | None, typer.Argument(help="Run of `medssl finetune`.")] = None,
    out: options.RunOut = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Or a table of any tool: patient_id, label, score[, image_id, site, fold, repeat, "
            "target]; of several classes score_CLASS each."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Of that table: binary, multi_class, multi_label, ordinal or regression "
            "(labels are amounts); default: what its columns say."
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Institution's key, which makes the ids of that table pseudonyms; default: the "
            "one in the user's configuration folder."
        ),
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option(help="External test: let the models of the run judge this labelled archive."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Label column of that archive; default: named as the run's target."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Its classes in the words of the run, THEIRS=OURS,…; THEIRS= leaves images out."
        ),
    ] = None,
    device: options.Device = "auto",
    aggregate: Annotated[
        str | None, typer.Option(help="Image scores to a patient score: mean or max; default mean.")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="From this score on a unit is called positive: a number, none or auto (0.5 for "
            "probabilities); default auto."
        ),
    ] = None,
    target_sensitivity: Annotated[
        float | None,
        typer.Option(help="Choose a threshold for it on the inner part of each fold."),
    ] = None,
    target_specificity: Annotated[
        float | None, typer.Option(help="Or for this; both as a share, for example 0.9.")
    ] = None,
    prevalence: Annotated[
        str | None, typer.Option(help="Predictive values at these as well, for example 0.05,0.1.")
    ] = None,
    decision: Annotated[
        str | None,
        typer.Option(
            help="Net benefit between these threshold probabilities, for example 0.05,0.3."
        ),
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Bootstrap resamples of patients; default 2000.")
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(help="Bootstrap intervals: bca, percentile or auto; default auto."),
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Level of the intervals; default 0.95.")
    ] = None,
    seed: options.Seed = None,
    controls: Annotated[
        str | None,
        typer.Option(
            help="What would make the numbers too good: none, auto, all or names such as "
            "metadata,site; default auto."
        ),
    ] = None,
    subgroups: Annotated[
        str | None,
        typer.Option(
            help="Groups judged by themselves: none, auto, or attributes of the archive such as "
            "sex,age_band and label:NAME, of a table its columns; both of 'sex*age_band' together; "
            "default auto."
        ),
    ] = None,
    failures: Annotated[
        int | None,
        typer.Option(help="Most confident false positives, and negatives, listed; default 10."),
    ] = None,
    thumbnails: Annotated[
        int | None,
        typer.Option(
            help="Show this many images of each kind of call, with maps of what speaks for it; the "
            "report then shows patients; default 0."
        ),
    ] = None,
    pdf: Annotated[
        bool | None,
        typer.Option(
            "--pdf", help="Write the page as report.pdf too; needs the extra pdf; default no."
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit 9 where an estimate or an end of its interval is worse: "
            "METRIC=BOUND[:lower|upper]. May be repeated."
        ),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict", help="Exit 9 as well where a control failed; default no."),
    ] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a report with intervals that resample patients."""
    from medssl.config.evaluate import EvaluateSettings
    from medssl.stages import evaluate as stage

    flags = {
        "run": run, "predictions": predictions, "aggregate": aggregate,
        "task": task, "key_file": key_file,
        "archive": on, "target": options.several(target), "classes": options.several(classes),
        "target_sensitivity": target_sensitivity, "target_specificity": target_specificity,
        "fail_under": tuple(fail_under) if fail_under else None, "strict": strict,
        "threshold": threshold, "prevalence": options.several(prevalence),
        "controls": options.several(controls),
        "subgroups": options.several(subgroups), "failures": failures,
        "thumbnails": thumbnails,
        "decision": options.several(decision), "intervals": intervals,
        "resamples": resamples, "level": level, "seed": seed, "smoke": smoke,
        "pdf": pdf,
    }  # fmt: skip
    settings = options.settings(EvaluateSettings, "evaluate", flags, files=config, sets=sets)
    folder = options.run_folder(out, "evaluate", resume=resume)
    if dry_run:
        planned = stage.plan(settings)
        expected = stage.cost(settings, device=device)
        console.plan("evaluate", planned, expected, folder, as_json=as_json)
        return
    reporter = console.RichReporter()
    result = stage.run(settings, folder, reporter, resume=resume, device=device)
    positive = f", positive: {result.positive}" if result.positive else ""
    rows = [
        ("target", f"{result.target}{positive}"),
        *console.estimates(result.estimates),
        *console.predictive(result.operating_points),
        *_chosen(result.deployed.calls),
        *_elsewhere(result.external, result.elsewhere),
        *console.beside(result.delong, result.calibration_errors),
        *_gaps(result.subgroups),
        ("unit", f"{result.n_units} units, each one {result.unit}: {result.reason}"),
        *(
            (f"control {one.name}", f"{one.light}: {one.said}")
            for one in result.controls
            if one.light in ("warn", "fail")
        ),
        *(("note", text) for text in result.notes),
        ("report", result.report),
    ]
    problem = result.problem
    shown = asdict(result) | {"problem": _told(problem)}
    console.show("evaluate", shown, rows, as_json=as_json)
    if problem and as_json:  # which holds the problem: one document on stdout
        raise typer.Exit(problem.exit_code)
    if problem:
        raise problem


def _gaps(subgroups: "Sequence[Subgroups]") -> Iterator[tuple[str, str]]:
    """Yield the lowest and the highest AUROC of the groups of each attribute."""
    for found in subgroups:
        for gap in found.gaps:
            if gap.metric == "auroc":
                several = f", {gap.column}" if len({one.column for one in found.gaps}) > 1 else ""
                yield (
                    f"by {found.attribute}{several}",
                    f"AUROC lowest in {gap.worst}, {gap.value:.3f} ({gap.low:+.3f} to "
                    f"{gap.high:+.3f}) below {gap.best}",
                )


def _chosen(calls: "ChosenCalls | None") -> Iterator[tuple[str, str]]:
    """Yield what the calls at chosen thresholds are worth."""
    if calls is None:
        return
    at = [one.threshold for one in calls.folds]
    made = f"thresholds {min(at):.3g} to {max(at):.3g}, chosen on inner parts"
    if calls.together is not None:
        made = f"threshold {calls.together:.3g}, the median of {made}"
    yield f"for a {calls.target.metric} of {calls.target.at_least:g}", made
    for row in calls.shares:
        yield f"  {row.title}", f"{row.value:.3f}  ({row.low:.3f} to {row.high:.3f})"


def _elsewhere(external: "External | None", found: "Elsewhere | None") -> Iterator[tuple[str, str]]:
    """Yield what an external test is of, and what is lost in it."""
    if external is None or found is None:
        return
    known = {None: "overlap unknown", 0: "no overlap"}
    left = known.get(external.known_patients, f"{external.known_patients} known patients left out")
    yield (
        "held-out test" if external.own else "external test",
        f"{external.n_judged} {external.what}{'s' if external.what == 'image' else ''}, "
        f"{external.n_models} models together, {left}",
    )
    for row in found.rows:
        if row.metric in ("auroc", "mae"):
            yield (
                f"  {row.title}, {row.column}",
                f"{row.internal:.3f} in cross-validation, {row.external:.3f} here: "
                f"{row.difference:+.3f}  ({row.difference_low:+.3f} to {row.difference_high:+.3f})",
            )


def _told(problem: "GateFailed | None") -> dict[str, object] | None:
    if problem is None:
        return None
    told = {"problem": problem.problem, "where": problem.where, "fix": problem.fix}
    return told | {"exit_code": problem.exit_code}
