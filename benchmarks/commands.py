"""Run the command line from a study, so that it can be stopped and continued at any time."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from medssl.artifacts import run_folder


class TimeIsUpError(Exception):
    """The rest has to wait for another call."""


def medssl(out: Path, *words: object) -> dict[str, Any]:
    """Run a command, and return what it printed as JSON; what it said goes to ``out``/log.txt."""
    command = [sys.executable, "-m", "medssl", *map(str, words), "--json"]
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command[2:])}\n")
        log.flush()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def finished(folder: Path) -> bool:
    """Return whether a run is there and whole."""
    if not (folder / "status.json").is_file():
        return False
    return run_folder.read_status(folder)["status"] == "finished"


def once(out: Path, folder: Path, *words: object, deadline: float = float("inf")) -> None:
    """Run a stage into ``folder`` unless it is finished; continue it where it stopped.

    Args:
        out: Folder of the study.
        folder: Of the run, inside it.
        words: The command.
        deadline: Of `time.monotonic`; after it nothing is begun.

    Raises:
        TimeIsUpError: The deadline has passed.
    """
    if finished(folder):
        return
    begun = time.monotonic()
    if begun > deadline:
        raise TimeIsUpError
    resume = ("--resume",) if (folder / "status.json").is_file() else ()
    medssl(out, *words, "-o", folder, *resume)
    print(f"{folder.relative_to(out)}  {time.monotonic() - begun:.0f} s", file=sys.stderr)
