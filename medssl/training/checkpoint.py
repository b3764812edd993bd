"""Resume checkpoints: the last two, each with its digest; a damaged one is passed over."""

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from medssl.foundation import files
from medssl.foundation.errors import ArtifactError
from medssl.training.state import TrainState

_NAMES = ("last", "previous")


def save(folder: Path, state: TrainState) -> None:
    """Write ``state`` as `last.pt`; the one before stays as `previous.pt`."""
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        files.sweep(folder)
        if _is_whole(folder, "last"):
            for suffix in (".pt", ".sha256"):
                (folder / f"last{suffix}").replace(folder / f"previous{suffix}")
    path = folder / "last.pt"
    content = io.BytesIO()  # written in one go: a full disk is then an error that says so
    torch.save(state.to_dict(), content)
    files.write_bytes(path, content.getvalue())
    files.write_text(folder / "last.sha256", files.sha256(path) + "\n")


def exists(folder: Path) -> bool:
    """Return whether there is a checkpoint, whole or not."""
    return any((folder / f"{name}.pt").exists() for name in _NAMES)


def load(folder: Path, state: TrainState) -> bool:
    """Continue ``state`` from the newest whole checkpoint.

    Returns:
        Whether there was one.

    Raises:
        ArtifactError: There are checkpoints and none is whole, or it belongs to another model.
    """
    for name in _NAMES:
        if _is_whole(folder, name):
            _restore(folder / f"{name}.pt", state)
            return True
    if exists(folder):
        raise ArtifactError(
            "every checkpoint is damaged", where=str(folder), fix="start the run again"
        )
    return False


def _is_whole(folder: Path, name: str) -> bool:
    """Return whether a checkpoint has the digest of either name, as a kill may part the two."""
    path = folder / f"{name}.pt"
    digests = [folder / f"{other}.sha256" for other in _NAMES]
    known = {digest.read_text().strip() for digest in digests if digest.is_file()}
    return path.is_file() and files.sha256(path) in known


def _restore(path: Path, state: TrainState) -> None:
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state.load_dict(saved)
    except (RuntimeError, UnpicklingError, KeyError, ValueError) as error:
        raise ArtifactError(
            "the checkpoint does not fit this run",
            where=str(path),
            fix="resume with the settings and the version the run was started with",
        ) from error
