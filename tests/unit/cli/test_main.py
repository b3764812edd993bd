"""How failures become exit codes."""

import os
import subprocess
import sys

import pytest
import typer

from medssl.cli import main

KILLS_ITSELF = """
import os, signal, sys, time
from medssl.cli import main

@main.app.command("wait")
def wait():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)

sys.argv = ["medssl", "wait"]
"""


@pytest.fixture
def app(monkeypatch):
    """A program whose commands a test may add."""
    own = typer.Typer()
    own.callback()(lambda: None)
    monkeypatch.setattr(main, "app", own)
    return own


def test_torch_out_of_memory_on_the_cpu_is_a_resource_error(app, cli):
    import torch

    @app.command("greedy")
    def greedy():
        torch.empty(2**52, dtype=torch.uint8)  # more than a process can address

    code, _, err = cli("greedy")
    assert code == 6
    assert "out of memory" in err
    assert "lower batch_size or image_size" in err


def test_any_other_runtime_error_is_a_bug(app, cli):
    @app.command("broken")
    def broken():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    code, _, err = cli("broken")
    assert code == 1
    assert "this is a bug" in err


@pytest.mark.parametrize(
    ("entry", "code", "said"),
    [("run", 75, "medssl: stopped by SIGTERM\n  fix: the same command with --resume"),
     ("main", -15, "")],
)  # fmt: skip
def test_only_the_installed_program_answers_sigterm(entry, code, said):
    ended = subprocess.run(
        [sys.executable, "-c", f"{KILLS_ITSELF}main.{entry}()"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == code
    assert ended.stderr.startswith(said)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("inside", ["", "new/deeper"])
def test_a_demo_is_refused_where_a_file_lies(cli, tmp_path, inside):
    file = tmp_path / "taken"
    file.write_text("mine")
    code, _, err = cli("demo", "--out", file / inside)
    assert code == 2
    assert f"{file}: a file is in the way" in err
    assert file.read_text() == "mine"


@pytest.mark.parametrize("inside", ["new", "new/deeper"])
def test_so_is_a_run(cli, tiny_archive, tmp_path, inside):
    file = tmp_path / "taken"
    file.write_text("mine")
    code, _, err = cli("reduce", tiny_archive, "-o", file / inside)
    assert code == 2
    assert f"{file}: a file is in the way" in err


@pytest.mark.parametrize(("given", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(given, found):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    script = (
        "import atexit, os, sys; sys.argv = ['medssl', '--version'];"
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY']));"
        "from medssl.cli import main; main.run()"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[-1] == found
