"""What helps a site with few labels: pretraining on its own scans, the schedule, or CutMix?

Radiographs at 64 px, a ResNet-18. One half of the patients of one hospital, with a second source,
is pretrained on without labels; the other half is the labelled cohort, so no patient is in both.
The cohort is split into five folds by patient, and every model is tested on whole folds, but it
learns from 25, 50 or 100 of the other patients only. Folds and training patients of a seed are the
same for all cells. AUROC is the mean over folds and seeds; intervals resample patients, the same
resamples for all cells, so that differences have intervals too.

What is finished in OUT is not done again, so that it can be stopped at any time.

    MEDSSL_TEST_DATA=/data python benchmarks/study_finetune.py -o /tmp/finetune --minutes 90
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from commands import finished, medssl, once
from numpy.typing import NDArray
from resamples import interval

from medssl.artifacts import predictions
from medssl.evaluation import intervals, metrics
from medssl.foundation import files, seeding

COHORT, BESIDE = "cxr-nih-sample", "cxr-pediatric"
TARGET, POSITIVE = "label", "pneumonia"
SCHEDULES = ("full", "linear_probe", "lp_ft", "progressive")
FEW = ("full", "progressive")  # at 25 and 100 patients
INITS = ("random", "own")
CUTMIX = 0.5  # share of the batches
FOLDS, EPOCHS, RESAMPLES, LEVEL, SIDE = 5, 12, 2000, 0.95, 64


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where everything is."""

    out: Path
    data: Path
    seeds: int
    until: float  # when to begin no further run; of `time.monotonic`


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way of training."""

    init: str
    schedule: str
    patients: int
    cutmix: float = 0.0

    @property
    def name(self) -> str:
        """What it is called."""
        mixed = "+cutmix" if self.cutmix else ""
        return f"{self.init} {self.schedule}{mixed} {self.patients}"


def cells() -> list[Cell]:
    """Return every way of training, the most telling first."""
    at_50 = [
        Cell(init=init, schedule=schedule, patients=50, cutmix=cutmix)
        for cutmix, schedule, init in product((0.0, CUTMIX), SCHEDULES, INITS)
    ]
    others = [
        Cell(init=init, schedule=schedule, patients=n)
        for n, schedule, init in product((25, 100), FEW, INITS)
    ]
    return [*at_50[:8], *others, *at_50[8:]]


def halves(study: Study) -> tuple[set[str], int]:
    """Return the patients of the cohort that are pretrained on, and how many are not."""
    with (study.data / COHORT / "labels.csv").open(encoding="utf-8", newline="") as stream:
        patients = sorted({row["patient_id"] for row in csv.DictReader(stream)})
    order = seeding.rng(0, "halves").permutation(len(patients))
    first = {patients[k] for k in order[: len(patients) // 2]}
    return first, len(patients) - len(first)


def ingest(study: Study) -> None:
    """Make one archive to pretrain on, and one of the labelled cohort."""
    pretrained_on, _ = halves(study)
    for name, sets in (("archive", (COHORT, BESIDE)), ("cohort", (COHORT,))):
        folder = study.out / name
        if (folder / "archive.json").is_file():
            continue
        images, lines = [], ["path,patient,label,site"]
        for source in sets:
            with (study.data / source / "labels.csv").open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    first = row["patient_id"] in pretrained_on or source == BESIDE
                    if first == (name == "archive"):
                        images.append(study.data / source / row["image"])
                        known = (row[c] for c in ("patient_id", "label", "site"))
                        lines.append(",".join([str(images[-1]), *known]))
        files.write_text(study.out / f"{name}.csv", "\n".join(lines) + "\n")
        medssl(study.out, "ingest", *images, "--labels", study.out / f"{name}.csv", "--key", "path",
               "--label", TARGET, "--patient", "col:patient", "--site", "col:site", "--size", 96,
               "-o", folder)  # fmt: skip


def pretrain(study: Study) -> Path:
    """Pretrain the archive's own encoder."""
    run = study.out / "own"
    once(study.out, run, "pretrain", study.out / "archive", "--method", "vicreg", "--encoder",
         "resnet18", "--image-size", SIDE, "--epochs", 12, "--device", "cpu")  # fmt: skip
    return run


def train(study: Study, own: Path) -> list[tuple[Cell, int]]:
    """Train cell after cell until time is up, and return those that are there."""
    _, n_cohort = halves(study)
    n_train = n_cohort * (FOLDS - 1) / FOLDS
    done = []
    for cell, seed in product(cells(), range(study.seeds)):
        run = study.out / "runs" / f"{cell.name.replace(' ', '-')}-{seed}"
        if not finished(run) and time.monotonic() > study.until:
            continue
        once(
            study.out, run, "finetune", study.out / "cohort", "--target", TARGET,
            "--positive", POSITIVE, "--init-from", "none" if cell.init == "random" else own,
            "--schedule", cell.schedule, "--encoder", "resnet18", "--image-size", SIDE,
            "--epochs", EPOCHS, "--folds", FOLDS, "--seed", seed, "--batch-size", 16,
            "--fractions", round(cell.patients / n_train, 6), "--cutmix", cell.cutmix,
            "--device", "cpu", "--set", "inner.share=0", "--set", "gate=false",
        )  # fmt: skip
        done.append((cell, seed))
    return done


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Test rows of one run."""

    image: NDArray[np.str_]
    patient: NDArray[np.str_]
    fold: NDArray[np.int64]
    label: NDArray[np.float64]
    score: NDArray[np.float64]


def read(study: Study, cell: Cell, seed: int) -> Scored:
    """Return what a run predicted, sorted by image."""
    run = study.out / "runs" / f"{cell.name.replace(' ', '-')}-{seed}"
    table = predictions.read(run / "predictions.parquet").sort_by("image_id")
    return Scored(
        image=table["image_id"].to_numpy().astype(str),
        patient=table["patient_key"].to_numpy().astype(str),
        fold=table["fold"].to_numpy(),
        label=table["label"].to_numpy(),
        score=table["score"].to_numpy(),
    )


def judge(study: Study, done: Sequence[tuple[Cell, int]]) -> dict[str, Any]:
    """Return AUROC of every cell and the differences that answer the questions."""
    runs: dict[Cell, list[Scored]] = {}
    for cell, seed in done:
        runs.setdefault(cell, []).append(read(study, cell, seed))
    whole = {cell: rows for cell, rows in runs.items() if len(rows) == study.seeds}
    any_run = next(iter(whole.values()))[0]
    patient = np.unique(any_run.patient, return_inverse=True)[1].astype(np.int64)
    counts = intervals.draw(
        np.zeros(patient.max() + 1, dtype=np.int64), RESAMPLES, seeding.rng(0, "bootstrap")
    )
    drawn = {cell: resampled(rows, patient, counts) for cell, rows in whole.items()}
    differences = {}
    for cell, values in drawn.items():
        for what, other in against(cell):
            if other in drawn:
                differences[f"{what}: {cell.name}"] = interval(values - drawn[other], LEVEL)
    return {
        "study": "finetune", "seeds": study.seeds, "epochs": EPOCHS, "folds": FOLDS,
        "test_patients": int(patient.max() + 1), "test_images": len(patient),
        "cells": len(whole), "of": len(cells()),
        "auroc": {cell.name: interval(values, LEVEL) for cell, values in drawn.items()},
        "difference": differences,
        "not run": [cell.name for cell in cells() if cell not in whole],
    }  # fmt: skip


def against(cell: Cell) -> list[tuple[str, Cell]]:
    """Return what a cell is compared with, and what the difference tells."""
    same = {"patients": cell.patients, "init": cell.init, "schedule": cell.schedule,
            "cutmix": cell.cutmix}  # fmt: skip
    found = []
    if cell.init == "own":
        found.append(("own minus random weights", Cell(**same | {"init": "random"})))
    if cell.schedule != "full":
        found.append(("minus full", Cell(**same | {"schedule": "full"})))
    if cell.cutmix:
        found.append(("with minus without CutMix", Cell(**same | {"cutmix": 0.0})))
    return found


def resampled(
    runs: Sequence[Scored], patient: NDArray[np.int64], counts: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the mean AUROC over folds and seeds in every resample, and last over all patients."""
    found = []
    for run in runs:
        assert (run.image == runs[0].image).all()
        for fold in np.unique(run.fold):
            there = run.fold == fold

            def auroc(weight: NDArray[np.float64], run: Scored = run,
                      there: NDArray[np.bool_] = there) -> NDArray[np.float64]:  # fmt: skip
                return metrics.auroc(run.label[there], run.score[there], weight[..., there])

            again = intervals.resampled(auroc, patient, counts)
            all_of_it = metrics.auroc(run.label[there], run.score[there])
            found.append(np.append(again, all_of_it))
    return np.asarray(np.nanmean(found, axis=0))


def show(found: dict[str, Any]) -> None:
    """Print the numbers as tables."""
    for title in ("auroc", "difference"):
        print(f"\n{title}")
        for name, one in found[title].items():
            print(f"  {name:<55} {one['value']:+.3f}  ({one['low']:+.3f} to {one['high']:+.3f})")
    print()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="default: $MEDSSL_TEST_DATA")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=90, help="begin no run after so long")
    given = parser.parse_args(arguments)
    study = Study(
        out=given.out.resolve(),
        data=given.data or Path(os.environ.get("MEDSSL_TEST_DATA", ".")),
        seeds=given.seeds,
        until=time.monotonic() + 60 * given.minutes,
    )
    study.out.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CONFIG_HOME"] = str(study.out / "key")
    ingest(study)
    found = judge(study, train(study, pretrain(study)))
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
