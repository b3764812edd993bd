"""Weights out of a pickle (`.pt`, `.pth`, `.ckpt`, `.bin`, `.tar`), opened in another process.

A pickle can run code when it is opened. The process that opens it uses torch's reader of tensors
only, has little memory and time, and passes nothing on but a safetensors file.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.artifacts import weights
from medssl.foundation.errors import ArtifactError
from medssl.models import unpickling

_LEAST_MEMORY = 1 << 30  # bytes
_LEAST_SECONDS = 60
_BYTES_PER_SECOND = 10_000_000
_FIX = "save only its tensors as safetensors, where the file can be trusted"


def read(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a pickle by name; dictionaries are folders of the name.

    Raises:
        ArtifactError: The file holds anything but tensors and plain values, is damaged, or takes
            more memory or time than its size explains. Nothing of it was run.
    """
    size = path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "tensors.safetensors")
        _open_apart(
            path, target, _LEAST_MEMORY + 6 * size, _LEAST_SECONDS + size // _BYTES_PER_SECOND
        )
        found = weights.read_tensors(target)
    if not found:
        raise ArtifactError("holds no tensors", where=str(path), fix="give a file of weights")
    return found


def _open_apart(path: Path, target: Path, memory: int, seconds: int) -> None:
    command = [sys.executable, "-P", unpickling.__file__, str(path), str(target)]
    command += [str(memory), str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            f"was not read within {seconds} s", where=str(path), fix=_FIX
        ) from error
    if done.returncode == unpickling.REFUSED and done.stderr:
        name = done.stderr.decode(errors="replace")
        raise ArtifactError(
            f"not opened: it wants to run {name}, which is no tensor", where=str(path), fix=_FIX
        )
    if done.returncode:
        raise ArtifactError(
            "cannot be read as weights",
            where=str(path),
            fix="check that it is a file of weights and complete, for example by its digest",
        )
