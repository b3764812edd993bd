"""`folds/k/gate.safetensors`: what a model learned from, as far as a new image must resemble it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from medssl.artifacts import schema, weights
from medssl.foundation.errors import ArtifactError

FILE = "gate.safetensors"
NAMES = ("mean", "components", "variances", "rest", "held_out")


def write(folder: Path, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """Write the tensors called `NAMES`: those of `evaluation.gate.Gaussian`, and the distances.

    Features are kept to float32, which is what they were computed in.
    """
    weights.write_tensors(
        folder / FILE, {name: np.asarray(tensors[name], dtype=np.float32) for name in NAMES}
    )


def read(folder: Path) -> dict[str, NDArray[np.float64]] | None:
    """Return the tensors, or None where a run made no gate.

    Raises:
        ArtifactError: The file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    found = weights.read_tensors(folder / FILE)
    return {name: np.asarray(found[name], dtype=np.float64) for name in NAMES}


def count(folder: Path) -> int | None:
    """Return how many images were held out from a model, or None where a run made no gate.

    Raises:
        ArtifactError: The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            return int(stream.get_slice("held_out").get_shape()[0])
    except (SafetensorError, OSError) as error:
        raise ArtifactError("no gate", where=str(path), fix=schema.RESTORE) from error


def n_bytes(n_train: int, n_held_out: int, n_features: int) -> int:
    """Return how large the file of a model becomes at most."""
    components = min(n_train, n_features)
    return 4 * (n_features * (components + 1) + components + n_held_out)
