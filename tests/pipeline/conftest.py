"""The five stages, run once on a small synthetic archive; many tests look at what they left.

Where the scores matter and the training does not, a finetune run is made by hand.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medssl.artifacts import predictions, run_folder, site_models, splits, tables
from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.evaluation import folds
from medssl.ingestion import phantoms

PRETRAIN = ("--method", "vicreg", "--epochs", 2, "--image-size", 32, "--batch-size", 16,
            "--device", "cpu")  # fmt: skip
FINETUNE = ("--epochs", 2, "--image-size", 32, "--folds", 3, "--device", "cpu")


@dataclass(frozen=True)
class Pipeline:
    """Where each stage wrote, and what it said."""

    root: Path
    scans: phantoms.PhantomSummary
    said: dict[str, tuple[int, str, str]]

    def __getattr__(self, stage: str) -> Path:
        return self.root / stage


@pytest.fixture(scope="session")
def run_main(tmp_path_factory):
    """Run one command in this process with its output captured."""
    import contextlib
    import io
    import os

    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("key"))
    from medssl.cli import console, main

    def run(*argv):
        out, err = io.StringIO(), io.StringIO()
        console._stderr.file = err
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.main([str(word) for word in argv])
        console._stderr.file = None
        return code, out.getvalue(), err.getvalue()

    return run


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory, run_main):
    root = tmp_path_factory.mktemp("pipeline")
    scans = phantoms.generate(root / "scans", n_patients=24, image_size=64, ct_slices=8)
    archive = root / "archive"
    commands = {
        "archive": ("ingest", root / "scans", "--label", "finding", "--max-rejects", 1),
        "reduce": ("reduce", archive, "--preset", "hash6"),
        "pretrain": ("pretrain", archive, "--selection", root / "reduce", *PRETRAIN),
        "finetune": ("finetune", archive, "--init-from", root / "pretrain", *FINETUNE[2:]),
        "scratch": ("finetune", archive, "--init-from", "none", *FINETUNE),
        "evaluate": ("evaluate", root / "finetune", "--resamples", 200),
    }
    said = {}
    for name, words in commands.items():
        extra = ("--epochs", 2) if name == "finetune" else ()
        said[name] = run_main(*words, *extra, "-o", root / name)
        assert said[name][0] == 0, said[name]
    return Pipeline(root, scans, said)


NAMES = ("<1", "=1", ">=2")  # of three classes


def cohort(n_patients, seed, *, mixed=False, classes=2):
    """Patients with one to three images, their classes, and a graded score per class."""
    rng = np.random.default_rng(seed)
    patients, labels, logits = [], [], []
    for patient in range(n_patients):
        own = int(rng.integers(classes))
        frailty = rng.normal()
        for _ in range(rng.integers(1, 4)):
            label = int(rng.integers(classes)) if mixed and rng.random() < 0.2 else own
            logit = rng.normal(size=classes) + 0.5 * frailty * np.arange(classes)
            logit[label] += 1
            patients.append(f"key{patient:03d}")
            labels.append(label)
            logits.append(logit)
    return patients, labels, np.array(logits)


def finetune_run(  # noqa: PLR0913 - one for each thing in which runs differ
    folder,
    *,
    n_patients=60,
    classes=2,
    repeats=2,
    group="patient",
    info=None,
    model=2,
    fold_seed=0,
    changes=None,
    **kwargs,
):
    """A finished run as `medssl finetune` leaves it, with made-up scores.

    Runs of another ``model`` score the same images otherwise; ``changes`` are settings.
    """
    patients, labels, logits = cohort(n_patients, seed=1, classes=classes, **kwargs)
    if group == "none":
        patients = [f"{key}-{n}" for n, key in enumerate(patients)]
    names_of = NAMES if classes > 2 else ("0", "1")
    names = [names_of[label] for label in labels]
    plans = folds.assign(patients, names, n_folds=3, repeats=repeats, seed=fold_seed)
    noise = np.random.default_rng(model).normal(scale=0.3, size=(repeats, *logits.shape))
    rows = [
        {
            "image_id": f"i{n:04d}",
            "patient_key": key,
            "site": f"site{n % 2}",
            "target": f"finding={names_of[k]}" if classes > 2 else "finding",
            "label": float(labels[n] == k),
            "score": float(share[k]),
            "repeat": repeat,
            "fold": plan[key],
            "seed": 0,
            "part": part,
        }
        for repeat, plan in enumerate(plans)
        for n, key in enumerate(patients)
        for share in [_softmax(logits[n] + noise[repeat, n])]
        for k in (range(classes) if classes > 2 else [1])
        for part in ("test", "inner")
        if part == "test" or repeat == 0
    ]
    facts = {"archive": folder / "archive", "init_from": "none", "target": "finding"}
    settings = FinetuneSettings(**(facts | (changes or {})))
    with run_folder.create(folder, stage="finetune", settings=settings) as run:
        run.environment()
        predictions.write(
            folder / "predictions.parquet", tables.build(rows, predictions.PREDICTIONS)
        )
        plan = splits.Splits(
            task=Task(
                kind="binary" if classes == 2 else "multi_class",
                targets=("finding",),
                classes=tuple(sorted(set(names))),
                positive="1" if classes == 2 else None,
            ),
            seed=0,
            group=group,
            by="folds",
            n_folds=3,
            test_fold=plans,
        )
        splits.write(folder / "splits.json", plan)
        if info:
            site_models.write(folder, info)
    return rows, plan


def _softmax(logit):
    return np.exp(logit) / np.exp(logit).sum()


def model_info(**changes):
    facts = {
        "archive_hash": "ff00",
        "task": Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1"),
        "encoder": "resnet18",
        "encoder_options": {},
        "in_channels": 1,
        "spatial_dims": 2,
        "shape": (64, 64),
        "pooling": "none",
        "slices": 0,
        "intensity": {},
        "dropout": 0.1,
        "schedule": "full",
        "init": {"method": "vicreg", "overlap_patients": 7},
        "n_images": 60,
        "n_patients": 60,
        "group": "patient",
        "synthetic": True,
    }
    return site_models.FinetuneInfo(**(facts | changes))


@pytest.fixture(scope="session", name="finetune_run")
def _finetune_run():
    return finetune_run


@pytest.fixture(scope="session", name="model_info")
def _model_info():
    return model_info


@pytest.fixture(scope="session")
def handmade_export():
    """A function that writes the export of an encoder that was never trained."""
    import torch

    from medssl.artifacts import weights
    from medssl.models.weights import to_arrays
    from medssl.training import encoders

    def write(folder, *, name="resnet18", spatial_dims=2, **options):
        torch.manual_seed(0)
        encoder = encoders.factory(name, options, in_channels=1, spatial_dims=spatial_dims).make()
        encoder(torch.randn(4, 1, *(32,) * spatial_dims))  # running statistics of its own
        info = weights.EncoderInfo(
            encoder=name,
            options=options,
            library=encoder.constructor(),
            in_channels=1,
            spatial_dims=spatial_dims,
            feature_layer="pooled output of the last layer group",
            feature_size=encoder.dim,
            image_size=32,
            depth=8 if spatial_dims == 3 else None,
            intensity={"window_hu": (-1000.0, 1000.0), "ct": "HU", "other": "unit variance"},
            method="vicreg",
            paper="arXiv:2105.04906",
            medssl="0",
            epochs=1,
            seed=0,
            archive_hash="ff00",
            n_images=4,
            key_id="00000000",
            patient_digests=("2an6qicembdaao7ynoinpyeldx", "6wlkfaqkc65slwfxjqbolcgxjx"),
        )
        folder.mkdir()
        weights.write(folder, info, to_arrays(encoder))
        return folder

    return write
