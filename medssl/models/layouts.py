"""What published weight files call the tensors of an encoder, and how they wrap them.

A file is known by the names of its first layers, wherever they lie: in `state_dict`, in `teacher`,
behind `module.encoder_q.`. Heads are left out by name, and so is what does not belong to the
encoder that was found. Nothing is guessed beyond that: the rest must fit (`models/weights.py`).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]

# In this order: of several networks in a file the one that learns, not its momentum copy.
_PREFIXES = {
    "encoder_q.": "MoCo",
    "base_encoder.": "MoCo v3",
    "online_network.encoder.": "BYOL",
    "sparse_encoder.sp_cnn.": "SparK",
    "sp_cnn.": "SparK",
    "backbone.": "DINO",
    "model.": "TorchXRayVision",
    "encoder.": "encoder",
    "net.": "medssl",
    "": "torchvision",
}
_PARALLEL = "module."  # before any of them, where several devices trained
_STEMS = (  # what tells the first layers of a residual network and of a transformer
    ("conv1.weight", "layer1.0.conv1.weight"),
    ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
)
_PREFERRED = ("teacher",)  # DINO: the average of the student over time is the better one
_HEADS = {
    "fc", "head", "heads", "classifier", "projection", "projection_head", "projector", "prototypes",
    "predictor", "decoder", "dense_decoder", "mlp_head", "last_layer", "conv_seg",
}  # fmt: skip
_TRANSFORMER = (  # timm's and DINO's names -> MONAI's
    (re.compile(r"^patch_embed\.proj\."), "patch_embedding.patch_embeddings."),
    (re.compile(r"^(blocks\.\d+\.)mlp\.fc(\d)\."), r"\1mlp.linear\2."),
    (re.compile(r"^(blocks\.\d+\.)attn\.proj\."), r"\1attn.out_proj."),
)


@dataclass(frozen=True)
class Unwrapped:
    """The tensors of an encoder under the names of the library, and where they were found."""

    arrays: Arrays
    layout: str  # as people call it; "unknown": the names are as they were
    place: str  # wrappers and prefix, for example "state_dict/module.encoder_q."
    left_out: Mapping[str, int]  # first part of a name -> how many tensors


def unwrap(arrays: Arrays) -> Unwrapped:
    """Take an encoder out of the tensors of a file.

    Args:
        arrays: By name; dictionaries in the file are folders of the name (``state_dict/…``).
    """
    for container in _containers(arrays):
        inside = {
            name.removeprefix(container): array
            for name, array in arrays.items()
            if name.rpartition("/")[0] == container.rstrip("/")
        }
        prefix = _prefix(inside)
        if prefix is not None:
            return _taken(arrays, inside, container, prefix)
    return Unwrapped(arrays, "unknown", "", {})


def _containers(arrays: Arrays) -> list[str]:
    """Return the dictionaries of a file, as ``state_dict/``; the outermost one is empty."""
    found = dict.fromkeys(name[: name.rfind("/") + 1] for name in arrays)
    return sorted(found, key=lambda c: not any(word in c.split("/") for word in _PREFERRED))


def _prefix(inside: Arrays) -> str | None:
    """Return what stands before the names of the first layers."""
    for prefix in _PREFIXES:
        for whole in (_PARALLEL + prefix, prefix):
            if any(all(whole + name in inside for name in stem) for stem in _STEMS):
                return whole
    return None


def _taken(arrays: Arrays, inside: Arrays, container: str, prefix: str) -> Unwrapped:
    named = {name.removeprefix(prefix): a for name, a in inside.items() if name.startswith(prefix)}
    kept = {name: array for name, array in named.items() if name.split(".")[0] not in _HEADS}
    taken = {container + prefix + name for name in kept}
    left_out = Counter(_part(name, container + prefix) for name in arrays if name not in taken)
    return Unwrapped(
        arrays={_renamed(name): array for name, array in kept.items()},
        layout=_called(
            named, prefix.removeprefix(_PARALLEL), parallel=prefix.startswith(_PARALLEL)
        ),
        place=container + prefix,
        left_out=dict(left_out),
    )


def _part(name: str, place: str) -> str:
    """Return the part of a file a name belongs to: a head, another network, another dictionary."""
    container = name[: name.rfind("/") + 1]
    rest = name.removeprefix(place).removeprefix(container).removeprefix(_PARALLEL)
    return container + rest.split(".")[0]


def _renamed(name: str) -> str:
    for pattern, ours in _TRANSFORMER:
        name = pattern.sub(ours, name)
    return name


def _called(named: Arrays, prefix: str, *, parallel: bool) -> str:
    """Return what people call a layout; several share their names but for details."""
    heads = {name.split(".")[0] for name in named}
    stem = named.get("conv1.weight", np.zeros(0))
    if "cls_token" in named:
        return "DINO or timm"
    if stem.ndim == 5:
        return "MedicalNet" if parallel and not prefix else "MONAI"
    if heads & {"prototypes", "projection_head"}:
        return "SwAV"
    if prefix == "model." and stem.shape[1] != 1:
        return "torchvision in a module called model"
    if not prefix and "layer2.0.downsample.0.bias" in named:
        return "MONAI"
    return _PREFIXES[prefix]
