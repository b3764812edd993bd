"""`medssl demo`: the whole pipeline on synthetic scans, offline."""

from importlib import resources, util
from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import console, options
from medssl.foundation import files
from medssl.foundation.errors import UsageError

_PRETRAIN = {"epochs": 15, "image_size": 64, "batch_size": 32}
_FINETUNE = {"epochs": 8, "image_size": 64, "batch_size": 16, "inner": {"share": 0.3}}
PATIENTS = 120  # enough to choose a threshold on the inner part of each fold
_EVALUATE = {  # everything a report can hold, so that a first look shows it
    "controls": ("all",),
    "prevalence": (0.05, 0.2),
    "decision": (0.05, 0.6),
    "thumbnails": 2,  # nobody is in these pictures
}


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")] = Path(
        "medssl-demo"
    ),
    patients: Annotated[int, typer.Option(min=20, help="Synthetic patients.")] = PATIENTS,
    seed: Annotated[int, typer.Option(help="Decides everything that is drawn.")] = 0,
    device: options.Device = "auto",
    smoke: options.Smoke = None,
    as_json: options.AsJson = False,
) -> None:
    """Run all five stages on synthetic scans and end with a report."""
    _make_folder(out)
    from medssl.config.evaluate import EvaluateSettings
    from medssl.config.finetune import FinetuneSettings
    from medssl.config.ingest import IngestSettings
    from medssl.config.pretrain import PretrainSettings
    from medssl.config.reduce import ReduceSettings
    from medssl.ingestion import phantoms
    from medssl.stages import evaluate, finetune, ingest, pretrain, reduce

    reporter = console.RichReporter()
    small = bool(smoke)
    archive, runs = out / "archive", out / "runs"
    reporter.note(f"1/6 making {patients} synthetic patients of two sites: no real person is in it")
    phantoms.generate(out / "scans", n_patients=patients, seed=seed)
    sources = (out / "scans", *_real_files(reporter))
    reporter.note("2/6 ingest")
    read = ingest.run(
        IngestSettings(sources=sources, label=("finding",), max_rejects=1.0), archive, reporter
    )
    reporter.note("3/6 reduce")
    chosen = reduce.run(
        ReduceSettings(archive=archive, by="dhash", within="series", smoke=small),
        runs / "reduce",
        reporter,
    )
    reporter.note("4/6 pretrain")
    pretrain.run(
        PretrainSettings(
            archive=archive, selection=chosen.folder, seed=seed, smoke=small, **_PRETRAIN
        ),
        runs / "pretrain",
        reporter,
        device=device,
    )
    reporter.note("5/6 finetune")
    finetune.run(
        FinetuneSettings(
            archive=archive, init_from=runs / "pretrain", seed=seed, smoke=small, **_FINETUNE
        ),
        runs / "finetune",
        reporter,
        device=device,
    )
    reporter.note("6/6 evaluate")
    result = evaluate.run(
        EvaluateSettings(
            run=runs / "finetune",
            target_sensitivity=0.9 if patients >= PATIENTS and not small else None,
            smoke=small,
            **_EVALUATE,
        ),
        runs / "evaluate",
        reporter,
    )
    rows: list[tuple[str, object]] = [
        *read.rows(),
        ("kept", f"{chosen.n_kept} of {chosen.n_images} images to pretrain on"),
        *console.estimates(result.estimates),
        ("cohort", "synthetic: these numbers say that the pipeline works, nothing about patients"),
        ("report", result.report),
    ]
    console.show("demo", result, rows, as_json=as_json)


def _make_folder(out: Path) -> None:
    with files.explained(out):
        out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise UsageError("the folder is not empty", where=str(out), fix="choose another --out")


def _real_files(reporter: console.RichReporter) -> tuple[Path, ...]:
    """Return the folder of real DICOM files the `demo` extra brings, if it is installed."""
    if util.find_spec("data_store") is None:
        reporter.note("for real DICOM files beside the synthetic ones: pip install 'medssl[demo]'")
        return ()
    reporter.note("and the test files of pydicom, of which some cannot be read on purpose")
    return (Path(str(resources.files("data_store").joinpath("data"))),)
