"""`medssl evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import console, options


def evaluate(  # noqa: PLR0913 - one parameter per option
    run: Annotated[Path | None, typer.Argument(help="Run of `medssl finetune`.")] = None,
    out: options.RunOut = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Or a table of any tool: patient_id, label, score[, image_id, site, fold, repeat]."
        ),
    ] = None,
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
    seed: Annotated[
        int | None, typer.Option(help="Decides everything that is drawn; default 0.")
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            help="What would make the numbers too good: none, auto, all or names such as "
            "metadata,site; default auto."
        ),
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
        "threshold": threshold, "prevalence": options.several(prevalence),
        "controls": options.several(controls),
        "decision": options.several(decision), "intervals": intervals,
        "resamples": resamples, "level": level, "seed": seed, "smoke": smoke,
    }  # fmt: skip
    settings = options.settings(EvaluateSettings, "evaluate", flags, files=config, sets=sets)
    folder = options.run_folder(out, "evaluate", resume=resume)
    if dry_run:
        planned = stage.plan(settings)
        console.plan("evaluate", planned, stage.cost(settings), folder, as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter(), resume=resume)
    positive = f", positive: {result.positive}" if result.positive else ""
    rows = [
        ("target", f"{result.target}{positive}"),
        *console.estimates(result.estimates),
        *console.predictive(result.operating_points),
        *console.beside(result.delong, result.calibration_errors),
        ("unit", f"{result.n_units} units, each one {result.unit}: {result.reason}"),
        *(
            (f"control {one.name}", f"{one.light}: {one.said}")
            for one in result.controls
            if one.light in ("warn", "fail")
        ),
        *(("note", text) for text in result.notes),
        ("report", result.report),
    ]
    console.show("evaluate", result, rows, as_json=as_json)
