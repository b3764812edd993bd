"""`folds/k/gate.safetensors`: what a model learned from, as far as a new image must resemble it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.artifacts import weights

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
