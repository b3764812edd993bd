"""The five stages, run once on a small synthetic archive; many tests look at what they left."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from medssl.ingestion import phantoms

PRETRAIN = ("--epochs", 2, "--image-size", 32, "--batch-size", 16, "--device", "cpu")
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
