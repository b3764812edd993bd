"""An encoder as a MONAI bundle: metadata, a configuration that builds it, and its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from torch import nn

from medssl.foundation import files

FILES = ("bundle/configs/metadata.json", "bundle/configs/inference.json", "bundle/models/model.pt")
HOW = (
    "from monai.bundle import ConfigParser",
    "parser = ConfigParser()",
    "parser.read_config('bundle/configs/inference.json')",
    "parser.read_meta('bundle/configs/metadata.json')",
    "parser['bundle_root'] = 'bundle'",
    "network = parser.get_parsed_content('network')",
    "parser.get_parsed_content('load')",
    "prepare = parser.get_parsed_content('preprocessing_other')  # of CT: preprocessing_ct",
    "features = network(prepare(image)[None])",
)
_AIR_HU = -1000.0  # beside a CT
_LOADED = "torch.load(@bundle_root + '/models/model.pt', map_location=@device, weights_only=True)"


def write(
    folder: Path, network: nn.Module, definition: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Write the bundle.

    Args:
        folder: The bundle.
        network: The library's network with its weights.
        definition: Its ``_target_`` and arguments.
        facts: ``in_channels``, ``shape``, ``feature_size``, ``window_hu``, ``description``.
    """
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "models" / "model.pt") as temp:
        torch.save(network.state_dict(), temp)
    _write_json(folder / "configs" / "inference.json", _inference(definition, facts))
    _write_json(folder / "configs" / "metadata.json", _metadata(facts))


def _inference(definition: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    low, high = facts["window_hu"]
    shape = list(facts["shape"])
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    square = len(set(shape)) == 1  # then nothing is stretched: background fills what is left
    size = {"spatial_size": shape[0], "size_mode": "longest"} if square else {"spatial_size": shape}
    resize = {"_target_": "Resize", **size, "mode": mode}
    pad = {"_target_": "SpatialPad", "spatial_size": shape}
    air = max(-1.0, 2 * (_AIR_HU - low) / (high - low) - 1)
    window = {
        "_target_": "ScaleIntensityRange",
        "a_min": low,
        "a_max": high,
        "b_min": -1.0,
        "b_max": 1.0,
        "clip": True,
    }
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(definition),
        "network": "$@network_def.to(@device).eval()",
        "load": f"$@network.load_state_dict({_LOADED})",
        "preprocessing_ct": {
            "_target_": "Compose",
            "transforms": [window, resize, {**pad, "mode": "constant", "constant_values": air}],
        },
        "preprocessing_other": {
            "_target_": "Compose",
            # medssl pads with the value that 5 % of an image are darker than: nearly the minimum
            "transforms": [
                {"_target_": "NormalizeIntensity"},
                resize,
                {**pad, "mode": "minimum"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
    }


def _metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"0": "image"} if facts["in_channels"] == 1 else {}
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": facts["in_channels"],
        "spatial_shape": list(facts["shape"]),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": whole,
    }
    features = {
        "type": "array",
        "format": "features",
        "num_channels": facts["feature_size"],
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {},
    }
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by medssl export"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "task": "features of images, learnt without labels",
        "description": facts["description"],
        "authors": "",
        "copyright": "",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": features}},
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    files.write_text(path, json.dumps(content, indent=1) + "\n")
