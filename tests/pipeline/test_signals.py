"""A signal, as a cluster or Ctrl-C sends it, leaves a run that says so and can be continued."""

import os
import signal
import subprocess
import sys
import time

import pytest

from medssl.artifacts import run_folder

from .conftest import PRETRAIN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code_of_it", "said"),
    [(signal.SIGTERM, 75, "stopped by SIGTERM"), (signal.SIGINT, 130, "stopped by Ctrl-C")],
)
def test_a_signal_interrupts_a_run_that_resumes(
    pipeline, run_main, tmp_path, number, code_of_it, said
):
    run = tmp_path / "run"
    words = ["pretrain", pipeline.archive, *PRETRAIN, "--epochs", 12, "-o", run]
    words = list(map(str, words))
    process = subprocess.Popen(
        [sys.executable, "-m", "medssl", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not n_losses(run):
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code_of_it, err
    assert said in err
    assert "is saved" in err
    assert f"-o {run} --resume" in err
    assert "Traceback" not in err
    assert run_folder.read_status(run)["status"] == "interrupted"
    assert not list(run.rglob(".partial-*"))
    assert n_losses(run) < 12
    code, _, err = run_main(*words, "--resume")
    assert code == 0, err
    assert run_folder.read_status(run)["status"] == "finished"
    assert n_losses(run) == 12  # one line an epoch, none twice


def n_losses(run):
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return sum('"total"' in line for line in lines)
