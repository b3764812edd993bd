"""What fine-tuning takes beside a plain MONAI script, and what freezing saves.

Two parts, on 1,000 images stored at 256 px and seen at 64 px by a ResNet-18:

- five folds of `--schedule progressive`, `medssl finetune` beside `plain_finetune.py`: whole
  processes from files to scores on the test folds, in images trained on per CPU second (of all
  threads and child processes); PNGs there, an archive of the same PNGs here, and what `ingest` took
  before is in the result. The script runs without DataLoader workers, with two, and with its
  geometry fused into one resampling; `ratio` is ours over the best of them, and after the start
  (here a dry run, there also reading, caching and scoring) over each;
- CPU seconds of an epoch under several schedules over those of `full`, in turns, beside the share
  of the floating-point operations of training that is left when frozen layers are not
  back-propagated (an epoch on kept features: one forward pass per run).

Each process computes with one thread, so that the sides do not lose to each other what threads
wait. The gate of unusual images, which the script lacks, is off in the comparison.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, STORED, N_IMAGES, N_PATIENTS, FOLDS, BATCH = 64, 256, 1000, 500, 5, 32
EPOCHS = 4  # of the comparison
PLAIN = {
    "workers_0": ("--workers", "0"),
    "workers_2": ("--workers", "2"),
    "fused": ("--workers", "0", "--views", "fused"),
}
ROUNDS, EPOCHS_OF_A_ROUND, N_TRAIN = 3, 10, 128  # of the schedules
FEATURES = "linear_probe, kept features"
SCHEDULES: dict[str, dict[str, Any]] = {
    "full": {"schedule": "full"},
    "freeze_to layer2": {"schedule": "freeze_to", "schedule_options": {"group": "layer2"}},
    "progressive": {"schedule": "progressive"},
    "linear_probe": {"schedule": "linear_probe"},
    FEATURES: {"schedule": "linear_probe", "random_views": False},
}
_MODULE = (sys.executable, "-m", "medssl")
_HERE = Path(__file__).parent


def write_images(folder: Path) -> None:
    """Write smooth images as PNGs; those of positive patients are a little rougher."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "patient", "label"])
        for number in range(N_IMAGES):
            patient = number % N_PATIENTS
            label = patient % 2
            smooth, rough = (_noise(rng, cells) for cells in (12, 32))
            share = rng.uniform(0, 0.2) + 0.05 * label
            image = (smooth * (1 - share) + rough * share).astype(np.uint8)
            name = f"{number:04d}.png"
            Image.fromarray(image).save(folder / name)
            table.writerow([name, f"p{patient:03d}", label])


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells)).astype(np.uint8))
    return np.asarray(coarse.resize((STORED, STORED), Image.Resampling.BICUBIC), dtype=np.float64)


def taken(*command: object) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the JSON a command prints, and its time and the memory of its largest process."""
    begun = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile() as progress:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=said, stderr=progress, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            progress.seek(0)
            sys.stderr.buffer.write(progress.read())
            raise subprocess.CalledProcessError(process.returncode, process.args)
        said.seek(0)
        result = json.loads(said.read())
    return result, {
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(time.perf_counter() - begun, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def ingest(images: Path, archive: Path) -> dict[str, float]:
    """Make the archive, and return what that took; its workers do not count as children."""
    words = ("--patient", "col:patient", "--label", "label", "--size", STORED, "--workers", 1)
    cost = taken(*_MODULE, "ingest", images, "-o", archive, *words, "--json")[1]
    return {"wall_s": cost["wall_s"]}


def finetune(archive: Path, out: Path, epochs: int) -> dict[str, Any]:
    """Run our side, and return what it took and how well its models tell the classes apart."""
    command = (
        *(*_MODULE, "finetune", archive, "-o", out, "--init-from", "none", "--inner", "0"),
        *("--schedule", "progressive", "--epochs", epochs, "--folds", FOLDS),
        *("--batch-size", BATCH, "--image-size", SIDE, "--device", "cpu"),
        *("--set", "gate=false", "--json"),
    )
    start = taken(*command, "--dry-run")[1]
    result, cost = taken(*command, "--workers", 1)
    of_a_fold = N_IMAGES * (FOLDS - 1) // FOLDS // BATCH * BATCH
    return _rates(cost, start, FOLDS * epochs * of_a_fold, statistics.mean(result["of_folds"]))


def plain(images: Path, start: Mapping[str, float], epochs: int, *options: str) -> dict[str, Any]:
    """Run the script, and return the same of it."""
    script = (sys.executable, _HERE / "plain_finetune.py", images, *options)
    result, cost = taken(*script, "--epochs", epochs)
    return _rates(cost, start, result["images"], result["auroc"])


def _rates(
    cost: Mapping[str, float], start: Mapping[str, float], n_images: int, auroc: float
) -> dict[str, Any]:
    return {
        "images_per_cpu_s": round(n_images / cost["cpu_s"], 1),
        "images_per_cpu_s_after_start": round(n_images / (cost["cpu_s"] - start["cpu_s"]), 1),
        **cost,
        "start_cpu_s": start["cpu_s"],
        "auroc": round(auroc, 3),
    }


def views_of_ours(archive: Path) -> dict[str, float]:
    """Return the CPU seconds that reading an image and showing it takes; in this process."""
    from medssl.config.finetune import FINETUNE_VIEWS
    from medssl.config.training import Intensity
    from medssl.data.batches import TrainingBatches
    from medssl.data.sampling import Shuffled

    _, recipe, _ = _prepared(archive, "progressive")
    batches = TrainingBatches(
        recipe.input.open(archive, recipe.cohort.table),
        Shuffled(len(recipe.cohort), BATCH, seed=0),
        device=_cpu(),
        intensity=Intensity(),
        views=FINETUNE_VIEWS,
        shape=(SIDE, SIDE),
        seed=0,
    )
    for _ in batches.steps(range(2)):
        pass
    begun = time.process_time()
    shown = sum(len(step.views[0]) for step in batches.epoch(1))
    return {"views_cpu_s": (time.process_time() - begun) / shown}


def _cpu() -> Any:  # noqa: ANN401
    import torch

    return torch.device("cpu")


def _prepared(archive: Path, name: str) -> tuple[Any, Any, Any]:
    """Return runtime, recipe and first fold of a schedule."""
    from medssl.config.finetune import FinetuneSettings
    from medssl.training import runtime, site_run

    settings = FinetuneSettings(
        archive=archive,
        init_from="none",
        inner={"share": 0.0},
        epochs=EPOCHS_OF_A_ROUND,
        batch_size=BATCH,
        image_size=SIDE,
        gate=False,
        **SCHEDULES[name],
    )
    ready = site_run.prepare(settings, "cpu")
    fold = site_run.folds(ready, archive.parent / "folds")[0]
    few = replace(fold, train=fold.train[:N_TRAIN], test=fold.test[:BATCH])
    return runtime.start("cpu", "32"), ready.recipe, few


def schedules(archive: Path) -> dict[str, Any]:
    """Return the time of an epoch of each schedule over that of full, measured and expected."""
    prepared = {name: _prepared(archive, name) for name in SCHEDULES}
    _epochs(*prepared["full"])  # the first run of a process is slow
    rounds: dict[str, list[list[float]]] = {name: [] for name in SCHEDULES}
    for _ in range(ROUNDS):
        for name, given in prepared.items():
            rounds[name].append(_epochs(*given))
    full = [statistics.mean(epochs) for epochs in rounds["full"]]
    operations = {name: _operations(given[1]) for name, given in prepared.items()}
    found: dict[str, Any] = {}
    for name, runs in rounds.items():
        ratios = [statistics.mean(e) / whole for e, whole in zip(runs, full, strict=True)]
        found[name] = {
            "ratio": round(statistics.median(ratios), 3),
            "spread": [round(min(ratios), 3), round(max(ratios), 3)],
            "expected": round(operations[name] / operations["full"], 3),
            "epoch_cpu_s": round(statistics.median(map(statistics.mean, runs)), 3),
        }
    later = statistics.median(statistics.mean(epochs[1:]) for epochs in rounds[FEATURES])
    found[FEATURES]["epoch_cpu_s_after_the_first"] = round(later, 4)
    found[FEATURES]["ratio_after_the_first"] = round(later / statistics.median(full), 4)
    return found


def _epochs(runtime: Any, recipe: Any, fold: Any) -> list[float]:  # noqa: ANN401
    """Return the CPU seconds of each epoch of a fold, the making of the model in the first."""
    from medssl.foundation.reporting import Silent
    from medssl.training import cross_validate

    ends: dict[float, float] = {}

    class Clock(Silent):
        def metrics(self, step: int, values: Mapping[str, float]) -> None:
            del step
            ends[values["epoch"]] = time.process_time()

    begun = time.process_time()
    cross_validate.run_fold(runtime, recipe, fold, Clock())
    marks = [begun, *ends.values()]
    assert len(ends) == EPOCHS_OF_A_ROUND
    return np.diff(marks).tolist()


def _operations(recipe: Any) -> float:  # noqa: ANN401
    """Return the floating-point operations that an image takes, mean over the epochs of a run."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, images = recipe.model(), torch.randn(2, 1, SIDE, SIDE)
    target = torch.tensor([[0.0], [1.0]])
    (phase,) = recipe.phases
    total = 0.0
    if not recipe.settings.random_views:
        model.eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model.features(images)
        return float(counter.get_total_flops()) / EPOCHS_OF_A_ROUND
    for released, epochs in Counter(phase.released).items():
        model.train()
        model.release_only(released)
        with FlopCounterMode(display=False) as counter:
            model(images, target)["total"].backward()
        total += counter.get_total_flops() * epochs
    return total / EPOCHS_OF_A_ROUND


PARTS = {"views": views_of_ours, "schedules": schedules}


def apart(part: str, archive: Path) -> dict[str, Any]:
    """Return what a part measures in a process of its own."""
    return taken(sys.executable, __file__, "--part", part, archive)[0]


def compared(images: Path, archive: Path, epochs: int) -> dict[str, Any]:
    """Return both sides of the whole training, their ratio, and what views alone take of it."""
    ours = finetune(archive, archive.parent / "run", epochs)
    # with no epochs it reads, caches and scores, which is more than our side does on a dry run
    start = taken(sys.executable, _HERE / "plain_finetune.py", images, "--epochs", 0)[1]
    theirs = {name: plain(images, start, epochs, *words) for name, words in PLAIN.items()}
    rate, trained = "images_per_cpu_s", "images_per_cpu_s_after_start"
    views = {"ours": apart("views", archive)["views_cpu_s"]}
    for name in "one_by_one", "fused":
        script = (sys.executable, _HERE / "plain_finetune.py", images, "--only-views")
        views[name] = taken(*script, "--views", name)[0]["views_cpu_s"]
    return {
        "ratio": round(ours[rate] / max(one[rate] for one in theirs.values()), 2),
        "ratio_after_start": {n: round(ours[trained] / o[trained], 2) for n, o in theirs.items()},
        "ours": ours,
        "plain": theirs,
        "views_cpu_ms_per_image": {name: round(1000 * s, 3) for name, s in views.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the comparison")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part is not None:
        print(json.dumps(PARTS[given.part](given.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        images, archive = Path(name, "images"), Path(name, "archive")
        write_images(images)
        ingested = ingest(images, archive)
        whole = compared(images, archive, given.epochs)
        epochs = apart("schedules", archive)
    result = {
        "benchmark": "finetune",
        "ratio": whole.pop("ratio"),
        "progressive_of_five_folds": {**whole, "ingest": ingested},
        "epoch_over_full": epochs,
        "encoder": "resnet18",
        "images": N_IMAGES,
        "image_size": SIDE,
        "stored_size": STORED,
        "batch": BATCH,
        "epochs": given.epochs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
