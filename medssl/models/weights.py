"""Moving encoder weights between networks and files: everything fits, or the command stops."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medssl.foundation.errors import ArtifactError

_SHOWN = 8  # rows of the match table in an error


@dataclass(frozen=True)
class Match:
    """Which tensors of a network a file fills."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # in the network, not in the file
    unexpected: tuple[str, ...]  # in the file, not in the network
    misshaped: tuple[str, ...]  # in both, with different shapes

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
    fits = [n for n in own if n in arrays and arrays[n].shape == shapes[n]]
    match = Match(
        loaded=tuple(fits),
        missing=tuple(n for n in own if n not in arrays),
        unexpected=tuple(n for n in arrays if n not in own),
        misshaped=tuple(n for n in own if n in arrays and arrays[n].shape != shapes[n]),
    )
    if not fits or not (match.complete or allow_partial):
        raise ArtifactError(
            f"the weights do not fit the encoder: {match.table()}",
            where=where,
            fix="choose the encoder the weights were made with"
            + (", or accept this with --allow-partial" if fits else ""),
        )
    tensors = {own[name]: torch.from_numpy(np.array(arrays[name])) for name in fits}
    encoder.load_state_dict(tensors, strict=False)
    return match
