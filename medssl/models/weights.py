"""Moving encoder weights between networks and files: everything fits, or the command stops.

Three changes leave what a network computes as it was, and are made where they are needed: the
filters of colour images are added up for grey ones, those of a 2D network go into the middle slice
of a 3D one, and a bias the file does not have is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medssl.foundation.errors import ArtifactError
from medssl.models import inflation

_SHOWN = 8  # rows of the match table in an error
_COUNTER = "num_batches_tracked"  # of a batch norm; nothing depends on it
_SUMMED = "filters of 3 channels added up: a grey image counts as one shown in all three"
_SPREAD = "filters of 1 channel divided among 3: a grey image in all three counts as before"
_INFLATED = "2D filters put into the middle slice of 3D ones"
_ZEROED = "biases that the file does not have set to 0"


@dataclass(frozen=True)
class Match:
    """Which tensors of a network a file fills."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # in the network, not in the file
    unexpected: tuple[str, ...]  # in the file, not in the network
    misshaped: tuple[str, ...]  # in both, with different shapes
    changes: Mapping[str, int]  # what was done so that tensors fit -> to how many

    @property
    def complete(self) -> bool:
        """Whether every tensor of the network came from the file and none was left over."""
        return not (self.missing or self.unexpected or self.misshaped)

    def table(self) -> str:
        """Return the match table, a few names per row."""
        rows = [f"{len(self.loaded)} tensors match"]
        for word in ("missing", "unexpected", "misshaped"):
            names = getattr(self, word)
            if names:
                more = f" … (+{len(names) - _SHOWN})" if len(names) > _SHOWN else ""
                rows.append(f"{len(names)} {word}: {', '.join(names[:_SHOWN])}{more}")
        return "; ".join(rows)


def to_arrays(encoder: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return parameters and buffers under the names of the library network (no `net.`)."""
    return {
        name.removeprefix("net."): tensor.detach().cpu().numpy()
        for name, tensor in encoder.state_dict().items()
    }


def load(
    encoder: nn.Module,
    arrays: Mapping[str, NDArray[np.generic]],
    *,
    where: str,
    allow_partial: bool = False,
) -> Match:
    """Fill ``encoder`` from ``arrays``.

    Raises:
        ArtifactError: A tensor is missing, left over or of another shape and ``allow_partial``
            is off, or nothing matches at all. The encoder is then unchanged.
    """
    own = {name.removeprefix("net."): name for name in encoder.state_dict()}
    shapes = {name: tuple(encoder.state_dict()[full].shape) for name, full in own.items()}
    fitted, changes = _fit(arrays, shapes)
    match = Match(
        loaded=tuple(fitted),
        missing=tuple(n for n in own if n not in fitted and n not in arrays),
        unexpected=tuple(n for n in arrays if n not in own),
        misshaped=tuple(n for n in own if n in arrays and n not in fitted),
        changes=changes,
    )
    if not any(n in arrays for n in fitted) or not (match.complete or allow_partial):
        raise ArtifactError(
            f"the weights do not fit the encoder: {match.table()}",
            where=where,
            fix="choose the encoder the weights were made with, its options and its dimensions"
            + (", or accept this with --allow-partial" if fitted and not match.misshaped else ""),
        )
    tensors = {own[name]: torch.from_numpy(np.array(array)) for name, array in fitted.items()}
    encoder.load_state_dict(tensors, strict=False)
    return match


def _fit(
    arrays: Mapping[str, NDArray[np.generic]], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, NDArray[np.generic]], dict[str, int]]:
    """Return the arrays that have the wanted names and shapes, and what was done to them."""
    fitted: dict[str, NDArray[np.generic]] = {}
    changes: dict[str, int] = {}
    for name, shape in shapes.items():
        array, done = _fit_one(arrays, name, shape)
        if array is not None and array.shape == shape:
            fitted[name] = array
            for what in done:
                changes[what] = changes.get(what, 0) + 1
    return fitted, changes


def _fit_one(
    arrays: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.generic] | None, list[str]]:
    """Return what would fill the tensor ``name``, and what was done to it."""
    array = arrays.get(name)
    if array is None:
        return _absent(arrays, name, shape)
    done = []
    if array.ndim == 4 and len(shape) == 5 and shape[2] % 2:
        array = inflation.centre(array, shape[2])
        done.append(_INFLATED)
    channels = (array.shape[1], shape[1]) if array.ndim > 3 and len(shape) > 3 else (0, 0)
    if channels == (3, 1):
        array = array.sum(axis=1, keepdims=True, dtype=array.dtype)
        done.append(_SUMMED)
    elif channels == (1, 3):
        array = np.repeat(np.divide(array, 3, dtype=array.dtype), 3, axis=1)
        done.append(_SPREAD)
    return array, done


def _absent(
    arrays: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.generic] | None, list[str]]:
    """Return zeros for what a file may lack: the bias of a convolution, the counter of a norm."""
    layer, _, part = name.rpartition(".")
    if part == "bias" and arrays.get(f"{layer}.weight", np.zeros(0)).ndim > 3:
        return np.zeros(shape, np.float32), [_ZEROED]
    if part == _COUNTER and f"{layer}.running_var" in arrays:
        return np.zeros(shape, np.int64), []
    return None, []
