"""Does a reduced archive pretrain as well? Full, reduced and random selections at equal updates.

After "Less is More" (arXiv:2410.14524), with what it left out: every arm is trained for the same
number of optimiser steps, beside each strategy stands a random selection of the same size, and
all are trained from several seeds. Judged by a linear probe on the same folds of patients; the
intervals are of differences within resamples of patients. The paper's data are not here: the scans
are slices of 130 small MR volumes, each a patient of its own, labelled large or small.

It drives the command line. What is finished in OUT is not done again, so that it can be stopped
at any time; `--hours` is the time this call may take. The first call measures a step and a probe
and sets the number of epochs so that all arms and seeds fit.

    MEDSSL_TEST_DATA=/data python benchmarks/study_reduce.py -o /tmp/study --hours 1.1
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
import numpy as np
from commands import finished, medssl
from resamples import interval

from medssl.artifacts import predictions
from medssl.evaluation import assessment, intervals, units
from medssl.foundation import files, seeding

KEEP = 0.2  # of the images; the preset keeps what its threshold keeps
STRATEGIES: dict[str, tuple[Any, ...]] = {
    "hash6": ("--preset", "hash6"),
    "dhash": ("--by", "dhash", "--keep", KEEP),
    "embedding": ("--by", "embedding", "--keep", KEEP),
    "mutual_information": ("--by", "mutual_information", "--keep", KEEP),
    "ssim": ("--by", "ssim", "--keep", KEEP),
}
DEFAULT = ("hash6", "dhash", "embedding")
SIDE, RESAMPLES, LEVEL = 32, 2000, 0.95
SAFETY = 0.8  # of the time is planned: the rest is for starting and reading
SET = "--set"
PROBE = ("--schedule", "linear_probe", "--epochs", 4, "--folds", 3, "--batch-size", 64)
STILL = (SET, "views.scale=[1,1]", SET, "views.ratio=[1,1]", SET, "views.rotation_deg=0")
TRAINED = ("--encoder", "resnet18", "--image-size", SIDE, "--validation", 0)
# The label is a size: views that change sizes much would teach the encoder to overlook it.
VIEWS = (SET, "views.scale=[0.8,1]")
SHORT = (SET, "method_options.projector_dim=512", SET, "monitor_every=1000",
         SET, "checkpoint_every=1000")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where everything is, and what is compared."""

    out: Path
    scans: Path
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    deadline: float  # of `time.monotonic`

    @property
    def archive(self) -> Path:
        """The scans, ingested."""
        return self.out / "archive"

    @property
    def arms(self) -> tuple[str, ...]:
        """What is trained: all images, and each selection beside its random one."""
        return ("full", *(arm for name in self.strategies for arm in (name, f"{name}-random")))

    def selection(self, arm: str, seed: int) -> tuple[Any, ...]:
        """Return the words that name the images of an arm."""
        if arm == "full":
            return ()
        run = self.out / "reduce" / arm.removesuffix("-random")
        return ("--selection", run / f"controls/random-{seed}" if arm != run.name else run)

    def probe(self, arm: str, seed: int) -> Path:
        """Return where the predictions of an arm are; untrained weights are the same each time."""
        return self.out / "probe" / (arm if arm == "untrained" else f"{arm}-{seed}")


def once(study: Study, folder: Path, *words: object) -> None:
    """Run a stage into ``folder`` unless it is finished, as long as there is time."""
    commands.once(study.out, folder, *words, deadline=study.deadline)


def prepare(study: Study) -> None:
    """Ingest the scans, and thin them by every strategy."""
    if not (study.archive / "archive.json").is_file():
        words = ("--exclude", "*masks/*", "--patient", "col:case_id", "--label", "label")
        resume = ("--resume",) if study.archive.exists() else ()
        medssl(study.out, "ingest", study.scans, *words, "-o", study.archive, *resume)
    for name in study.strategies:
        words = (*STRATEGIES[name], "--within", "series", "--controls", len(study.seeds))
        once(study, study.out / "reduce" / name, "reduce", study.archive, *words)


def epochs(study: Study, hours: float, given: int | None) -> int:
    """Return the epochs of the whole archive that fit, as the first call measured it."""
    path = study.out / "plan.json"
    if path.is_file():
        return int(json.loads(path.read_text(encoding="utf-8"))["epochs"])
    timed = ("--dry-run", "--device", "cpu")
    one = medssl(
        study.out, "pretrain", study.archive, "--epochs", 1, *TRAINED, *VIEWS, *SHORT, *timed
    )
    words = ("--init-from", "none", "--image-size", SIDE, *PROBE, *STILL, *timed)
    probe = medssl(study.out, "finetune", study.archive, *words)["cost"]["seconds"]
    per_epoch = one["cost"]["seconds"]
    n_runs = len(study.arms) * len(study.seeds)
    fit = int((SAFETY * hours * 3600 / n_runs - probe) / per_epoch)
    plan = {"epochs": given or max(1, fit), "updates": (given or max(1, fit)) * one["steps"],
            "s_per_epoch": round(per_epoch, 1), "s_per_probe": round(probe, 1),
            "runs": n_runs}  # fmt: skip
    files.write_text(path, json.dumps(plan))
    print(f"plan: {plan}", file=sys.stderr)
    return int(plan["epochs"])


def train(study: Study, n_epochs: int) -> None:
    """Train and probe every arm, seed by seed, so that a stop leaves whole seeds."""
    probed = (study.archive, "--image-size", SIDE, *PROBE, *STILL, "--device", "cpu", "--seed", 0)
    untrained = ("--init-from", "none", "--encoder", "resnet18")
    once(study, study.probe("untrained", 0), "finetune", *probed, *untrained)
    for seed in study.seeds:
        for arm in study.arms:
            run = study.out / "pretrain" / f"{arm}-{seed}"
            words = ("--epochs", n_epochs, "--budget-mode", "updates", "--seed", seed)
            chosen = (*study.selection(arm, seed), *TRAINED, *VIEWS, *SHORT, "--device", "cpu")
            once(study, run, "pretrain", study.archive, *words, *chosen)
            once(study, study.probe(arm, seed), "finetune", *probed, "--init-from", run)
        runs = [study.probe(arm, seed) for arm in (*study.arms, "untrained")]
        once(study, study.out / "compare" / f"seed-{seed}", "compare", *runs)


@dataclass(frozen=True)
class Scores:
    """AUROC per patient of an arm: of each seed, and in every resample the mean over seeds."""

    by_seed: tuple[float, ...]
    drawn: np.ndarray

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.by_seed))


def judge(study: Study, arm: str, seeds: Sequence[int]) -> Scores:
    """Return the scores of an arm in the resamples that all arms share."""
    found, drawn = [], []
    for seed in seeds:
        path = study.probe(arm, seed) / "predictions.parquet"
        table = predictions.read(path)
        judged = units.build(table, target="label", aggregate="mean", where=str(path))
        rng = seeding.rng(0, "evaluate", "bootstrap")  # as `compare` draws
        draws = intervals.draw_both(judged.stratum, RESAMPLES, rng)
        measured = assessment.measure(judged, draws)
        row = next(n for n, (_, metric) in enumerate(measured.rows) if metric.name == "auroc")
        found.append(float(measured.found[row]))
        drawn.append(measured.drawn[:, row])
    return Scores(tuple(found), np.mean(drawn, axis=0))


def pairs(study: Study) -> Iterator[tuple[str, str]]:
    """Yield what is compared with what."""
    for name in study.strategies:
        yield name, f"{name}-random"
        yield name, "full"
        yield f"{name}-random", "full"
    yield "full", "untrained"


def summary(study: Study) -> dict[str, Any]:
    """Return the numbers of all seeds that are complete."""
    seeds = [
        seed for seed in study.seeds if all(finished(study.probe(arm, seed)) for arm in study.arms)
    ]
    arms = (*study.arms, "untrained")
    scores = {arm: judge(study, arm, seeds) for arm in arms} if seeds else {}
    planned = study.out / "plan.json"
    return {
        "study": "reduce",
        "complete": len(seeds) == len(study.seeds),
        "seeds": seeds,
        **(json.loads(planned.read_text(encoding="utf-8")) if planned.is_file() else {}),
        "images": {arm: images(study, arm) for arm in study.arms if scores},
        "auroc": {
            arm: {
                **interval(np.append(one.drawn, one.value), LEVEL),
                "by_seed": [round(v, 4) for v in one.by_seed],
            }
            for arm, one in scores.items()
        },
        "differences": {
            f"{a} minus {b}": {
                **difference(scores[a], scores[b]),
                "by_seed": [
                    round(x - y, 4)
                    for x, y in zip(scores[a].by_seed, scores[b].by_seed, strict=True)
                ],
            }
            for a, b in pairs(study)
            if scores
        },
    }


def images(study: Study, arm: str) -> int:
    """Return how many images an arm was trained on."""
    record = study.out / "pretrain" / f"{arm}-{study.seeds[0]}" / "export" / "encoder.json"
    return int(json.loads(record.read_text(encoding="utf-8"))["n_images"])


def difference(one: Scores, other: Scores) -> dict[str, float]:
    """Return one minus the other, from the same resamples."""
    return interval(np.append(one.drawn - other.drawn, one.value - other.value), LEVEL)


def show(found: dict[str, Any]) -> None:
    """Print the numbers as two tables."""
    for title in ("auroc", "differences"):
        print(f"\n{title}  (mean over {len(found['seeds'])} seeds, 95 % interval; each seed)")
        for name, one in found[title].items():
            seeds = "  ".join(f"{value:+.3f}" for value in one["by_seed"])
            n = f"{found['images'][name]:>6} images" if name in found["images"] else " " * 13
            span = f"{one['low']:+.3f} to {one['high']:+.3f}"
            print(f"{name:<44} {n}  {one['value']:+.3f}  ({span})   {seeds}")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--scans", type=Path, help="default: $MEDSSL_TEST_DATA/mri-hippocampus")
    parser.add_argument("--hours", type=float, default=1.1, help="this call may take")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--epochs", type=int, help="of the whole archive; default: what fits")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=DEFAULT)
    given = parser.parse_args()
    study = Study(
        out=given.out.resolve(),
        scans=given.scans or Path(os.environ.get("MEDSSL_TEST_DATA", ".")) / "mri-hippocampus",
        strategies=tuple(given.strategies),
        seeds=tuple(range(given.seeds)),
        deadline=time.monotonic() + given.hours * 3600,
    )
    study.out.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CONFIG_HOME"] = str(study.out / "key")
    try:
        prepare(study)
        train(study, epochs(study, given.hours, given.epochs))
    except commands.TimeIsUpError:
        print("the time is up; the same command continues", file=sys.stderr)
    found = summary(study)
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
