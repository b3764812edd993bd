"""Which pretraining method suits a small site? Every method from the command line, judged alike.

Radiographs of two sources, 64 px, one encoder (a ResNet-18; `mae` needs a transformer). A share of
the patients is never trained on and serves as the test set. The encoder stays frozen: on its
features a logistic regression is trained with a few, some and all of the other patients' labels,
and nearest neighbours vote. Beside every trained encoder stands the same one with random weights.
Intervals resample test patients, the same resamples for all methods, so that differences have
intervals too; subsets of labelled patients are drawn several times and averaged.

What is finished in OUT is not done again, so that it can be stopped at any time.

    MEDSSL_TEST_DATA=/data python benchmarks/study_methods.py -o /tmp/methods --epochs 10
"""

import argparse
import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import medssl, once
from numpy.typing import NDArray
from resamples import interval
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medssl.artifacts import archive, embeddings
from medssl.config.training import Intensity
from medssl.data.batches import plain_batches
from medssl.data.store import ImageStore
from medssl.evaluation import intervals, metrics
from medssl.foundation import files, seeding
from medssl.training import embed, encoders, knn

METHODS = ("simclr", "mocov2", "byol", "swav", "barlow_twins", "vicreg", "spark", "mae")
UNTRAINED = {"resnet18": "untrained resnet18", "vit_s": "untrained vit_s"}
SETS = ("cxr-nih-sample", "cxr-pediatric")
TARGET, POSITIVE = "label", "pneumonia"
FRACTIONS = (0.03, 0.1, 1.0)
HELD_OUT, DRAWS, RESAMPLES, LEVEL, SIDE = 0.3, 5, 2000, 0.95, 64
PICTURE = 32  # px
PENALTY = 0.01  # C of the logistic regression, the same for all
SET = "--set"
PRESETS = {  # of the others the defaults are meant for small sites
    "mocov2": "small-site-moco", "byol": "small-site-byol", "swav": "small-site-swav",
    "spark": "small-site-spark", "mae": "small-site-mae",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where everything is."""

    out: Path
    data: Path
    epochs: int
    seed: int
    methods: tuple[str, ...]

    @property
    def archive(self) -> Path:
        """Both sources, ingested together."""
        return self.out / "archive"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled images in the order of a table of features."""

    target: NDArray[np.bool_]
    patient: NDArray[np.int64]
    test: NDArray[np.bool_]


def ingest(study: Study) -> None:
    """Ingest both sources into one archive."""
    if (study.archive / "archive.json").is_file():
        return
    lines = ["path,patient,label,site"]
    for name in SETS:
        with (study.data / name / "labels.csv").open(encoding="utf-8", newline="") as stream:
            columns = ("patient_id", "label", "site")
            lines += [
                ",".join([f"{study.data / name / row['image']}", *(row[c] for c in columns)])
                for row in csv.DictReader(stream)
            ]
    files.write_text(study.out / "labels.csv", "\n".join(lines) + "\n")
    words = ("--labels", study.out / "labels.csv", "--key", "path", "--label", TARGET, "--patient",
             "col:patient", "--site", "col:site", "--size", 128)  # fmt: skip
    medssl(study.out, "ingest", *(study.data / n for n in SETS), *words, "-o", study.archive)


def train(study: Study) -> None:
    """Pretrain every method, and embed all images with what it exports."""
    shared = ("--epochs", study.epochs, "--image-size", SIDE, "--validation", HELD_OUT,
              "--device", "cpu", SET, "monitor_every=1000")  # fmt: skip
    for method in study.methods:
        run = study.out / "pretrain" / f"{method}-{study.seed}"
        preset = ("--preset", PRESETS[method]) if method in PRESETS else ()
        encoder = () if method == "mae" else ("--encoder", "resnet18")
        words = ("pretrain", study.archive, "--method", method, "--seed", study.seed, *preset)
        once(study.out, run, *words, *encoder, *shared)
        once(study.out, study.out / "embed" / run.name, "embed", study.archive, "--encoder", run,
             "--device", "cpu")  # fmt: skip


def labelled(study: Study, table: Any) -> Labelled:  # noqa: ANN401 - a pyarrow table
    """Return labels, patients and the held-out patients of a table of features."""
    labels = archive.read_labels(study.archive).to_pylist()
    value = {row["image_id"]: row["value"] for row in labels if row["target"] == TARGET}
    run = study.out / "pretrain" / f"{study.methods[0]}-{study.seed}" / "export"
    known = set(json.loads((run / "encoder.json").read_text())["patient_digests"])
    keys = table["patient_key"].to_pylist()
    return Labelled(
        target=np.array([value[name] == POSITIVE for name in table["image_id"].to_pylist()]),
        patient=np.unique(keys, return_inverse=True)[1].astype(np.int64),
        test=np.array([key not in known for key in keys]),
    )


def features(study: Study) -> dict[str, NDArray[np.float32]]:
    """Return the features of all images by each encoder, and by none: small pictures."""
    images = archive.read_images(study.archive)
    store = ImageStore(study.archive, images)
    found = {}
    for name, options in (("resnet18", {}), ("vit_s", {"patch_size": 8})):
        if name == "vit_s" and "mae" not in study.methods:
            continue
        make = encoders.factory(name, options, in_channels=1, spatial_dims=2)
        torch.manual_seed(seeding.derive(study.seed, "encoder"))  # where the methods began
        where = {"device": torch.device("cpu"), "intensity": Intensity()}
        found[UNTRAINED[name]] = embed.features(make(), store, shape=(SIDE, SIDE), **where)
    for method in study.methods:
        table, found[method] = embeddings.read(study.out / "embed" / f"{method}-{study.seed}")
        assert table["image_id"].equals(images["image_id"])
    pictures = plain_batches(store, shape=(PICTURE, PICTURE), batch_size=256, **where)
    found["pixels"] = np.concatenate([part.flatten(1).numpy() for part in pictures])
    return found


def scores(known: Labelled, values: NDArray[np.float32], seed: int) -> dict[str, list[Any]]:
    """Return the scores of the test images: of a probe with some of the labels, and of neighbours.

    Args:
        known: Labels and patients.
        values: Features, shape (N, F).
        seed: Draws the labelled patients, the same for every encoder.
    """
    patients = np.unique(known.patient[~known.test])
    found: dict[str, list[Any]] = {}
    for fraction in FRACTIONS:
        for draw in range(DRAWS if fraction < 1 else 1):
            order = seeding.rng(seed, "labelled", draw).permutation(patients)
            chosen = np.isin(known.patient, order[: round(fraction * len(patients))]) & ~known.test
            model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000))
            model.fit(values[chosen], known.target[chosen])
            probability = model.predict_proba(values[known.test])[:, 1]
            found.setdefault(f"probe {fraction:.0%}", []).append(probability)
    bank = known.target[~known.test].astype(np.int64)
    shares = knn.class_shares(values[~known.test], bank, values[known.test], 2)
    found["20 nearest"] = [shares[:, 1]]
    return found


def judge(study: Study) -> dict[str, Any]:
    """Return the AUROC of every encoder, and its difference to the untrained one."""
    table, _ = embeddings.read(study.out / "embed" / f"{study.methods[0]}-{study.seed}")
    known = labelled(study, table)
    patient = np.unique(known.patient[known.test], return_inverse=True)[1]
    counts = intervals.draw(
        np.zeros(patient.max() + 1, dtype=np.int64), RESAMPLES, seeding.rng(0, "bootstrap")
    )
    drawn: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    target = known.target[known.test]
    for name, values in features(study).items():
        for how, several in scores(known, values, study.seed).items():
            for score in several:
                again = intervals.resampled(
                    lambda weight, score=score: metrics.auroc(target, score, weight),
                    patient.astype(np.int64),
                    counts,
                )
                whole = metrics.auroc(target, score)
                drawn.setdefault((name, how), []).append(np.append(again, whole))
    mean = {key: np.mean(rows, axis=0) for key, rows in drawn.items()}
    result: dict[str, Any] = {"auroc": {}, "minus untrained": {}}
    for (name, how), values in mean.items():
        result["auroc"].setdefault(how, {})[name] = interval(values, LEVEL)
        control = UNTRAINED["vit_s" if name == "mae" else "resnet18"]
        if name in study.methods:
            result["minus untrained"].setdefault(how, {})[name] = interval(
                values - mean[control, how], LEVEL
            )
    return {
        "study": "methods", "epochs": study.epochs, "seed": study.seed,
        "images": len(known.target), "test_images": int(known.test.sum()),
        "test_patients": int(patient.max() + 1), **result,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Print the numbers as tables."""
    for title in ("auroc", "minus untrained"):
        print(f"\n{title}")
        for how, rows in found[title].items():
            print(f"  {how}")
            for name, one in sorted(rows.items(), key=lambda row: -row[1]["value"]):
                print(
                    f"    {name:<20} {one['value']:+.3f}  ({one['low']:+.3f} to {one['high']:+.3f})"
                )
    print()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="default: $MEDSSL_TEST_DATA")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="also draws the test patients")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    given = parser.parse_args(arguments)
    study = Study(
        out=given.out.resolve(),
        data=given.data or Path(os.environ.get("MEDSSL_TEST_DATA", ".")),
        epochs=given.epochs,
        seed=given.seed,
        methods=tuple(given.methods),
    )
    study.out.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CONFIG_HOME"] = str(study.out / "key")
    ingest(study)
    train(study)
    found = judge(study)
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
