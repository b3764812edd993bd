"""`medssl compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medssl.cli import console, options

if TYPE_CHECKING:
    from medssl.stages.compare import CompareResult, Made


MOST_RUNS = 4  # whose estimates are printed in several metrics; the page has all


def compare(  # noqa: PLR0913 - one parameter per option
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Two or more runs of `medssl finetune`, or one with runs beside it.",
            show_default=False,
        ),
    ] = None,
    out: options.RunOut = None,
    names: Annotated[
        str | None, typer.Option(help="What the runs are called, as a,b,c; default: their folders.")
    ] = None,
    all_pairs: Annotated[
        bool | None,
        typer.Option("--all-pairs", help="Compare every pair, not only each with the first."),
    ] = None,
    arms: Annotated[
        bool | None,
        typer.Option(
            "--arms", help="Compare what --baselines and --fractions made beside each run too."
        ),
    ] = None,
    tests: Annotated[
        str | None,
        typer.Option(
            help="Metrics with p-values, as a,b: auroc, average_precision, brier, scaled_brier; of "
            "ordered classes quadratic_kappa, linear_kappa, class_mae; of amounts mae, rmse, r2, "
            "pearson, spearman; default auroc, or mae."
        ),
    ] = None,
    permutations: Annotated[
        int | None, typer.Option(help="Swaps of patients for a p-value; default 9999.")
    ] = None,
    aggregate: Annotated[
        str | None, typer.Option(help="Image scores to a patient score: mean or max; default mean.")
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Bootstrap resamples of patients; default 2000.")
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Level of the intervals; default 0.95.")
    ] = None,
    seed: options.Seed = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare runs that were tested on the same folds."""
    from medssl.config.compare import CompareSettings
    from medssl.stages import compare as stage

    flags = {
        "runs": tuple(runs) if runs else None, "names": options.several(names),
        "all_pairs": all_pairs, "arms": arms, "tests": options.several(tests),
        "permutations": permutations, "aggregate": aggregate, "resamples": resamples,
        "level": level, "seed": seed, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(CompareSettings, "compare", flags, files=config, sets=sets)
    folder = options.run_folder(out, "compare", resume=resume)
    if dry_run:
        planned = stage.plan(settings)
        console.plan("compare", planned, stage.cost(settings), folder, as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter(), resume=resume)
    rows = [
        *((one.name, _made(one)) for one in result.made),
        *_numbers(result),
        *_tests(result),
        *_trainings(result),
        ("unit", f"{result.n_units} units, each one {result.unit}: {result.reason}"),
        ("runs", result.selection),
        *(("note", text) for text in result.notes),
        ("report", result.report),
    ]
    console.show("compare", result, rows, as_json=as_json)


def _made(one: "Made") -> str:
    """Return how a run was made."""
    share = f", {one.fraction:.3g} of all" if one.fraction < 1 else ""
    patients = f"{one.training_patients:.0f} training patients{share}"
    return f"schedule {one.schedule}, from {one.start}, {patients}"


def _numbers(result: "CompareResult") -> list[tuple[str, object]]:
    """Return estimates and differences of what the page draws, or of many runs what is first."""
    from medssl.evaluation import leading
    from medssl.reporting import side_by_side

    rows: list[tuple[str, object]] = []
    several = len(result.columns) > 1
    there = ((row.metric, row.column) for row in result.differences)
    better = {row.metric: side_by_side.BETTER[row.higher_is_better] for row in result.differences}
    chosen = leading.shown if len(result.made) <= MOST_RUNS else leading.first
    for metric, column in chosen(result.task, there):
        estimates = [
            (name, one)
            for name, found in result.estimates.items()
            for one in found
            if (one.metric, one.column) == (metric, column)
        ]
        of = f", {column}" if several else ""
        rows.append((f"{estimates[0][1].title}{of} (better: {better[metric]})", ""))
        for name, one in estimates:
            found = f"{one.value:z.3f}  ({one.low:z.3f} to {one.high:z.3f})"
            rows.append((f"  {name}", f" {found}"))
        rows += [
            (f"  {row.run} minus {row.against}",
             f"{row.value:+z.3f}  ({row.low:+z.3f} to {row.high:+z.3f})")
            for row in result.differences
            if (row.metric, row.column) == (metric, column)
        ]  # fmt: skip
    return rows


def _tests(result: "CompareResult") -> list[tuple[str, object]]:
    """Return p-values, after the intervals and corrected for their number."""
    rows: list[tuple[str, object]] = []
    for row in result.tests:
        if not rows:
            family = f" and Holm's correction for {row.family}" * (row.family > 1)
            rows.append(("p by swapping patients" + family + ", exploratory", ""))
        what = f", {row.title}" + f" of {row.column}" * (len(result.columns) > 1)
        corrected = f"; corrected {row.p_holm:.2g}" * (row.family > 1)
        name = f"  {row.run} minus {row.against}{what}"
        rows.append((name, f" {row.p:.2g}{corrected}  (at best {row.smallest_p:.2g})"))
    return rows


def _trainings(result: "CompareResult") -> list[tuple[str, object]]:
    """Return how a metric varies from training to training, where there were several."""
    known = [
        (name, one)
        for name, found in result.trainings.items()
        for one in found
        if one.sd is not None
    ]
    rows: list[tuple[str, object]] = []
    for name, one in known:
        of = f", {one.column}" if len(result.columns) > 1 else ""
        rows.append((f"  {name}, {one.title}{of}", f" {one.sd:.3f} over {len(one.values)} seeds"))
    return [("SD from training to training", ""), *rows] if rows else []
