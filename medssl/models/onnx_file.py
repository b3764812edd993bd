"""An encoder as one ONNX file: images in, features out, any batch size."""

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from medssl.foundation import files
from medssl.foundation.errors import MissingExtra


def require() -> None:
    """Check that what torch exports with is there.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{' and '.join(missing)}, which torch exports with, not installed",
            where="format",
            fix="pip install 'medssl[onnx]', or choose another format",
        )


def write(encoder: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write an encoder for images of one size.

    Args:
        encoder: On the CPU.
        shape: Channels and spatial sides of an image.
        path: The file.
    """
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), files.replacing(path) as temp:
        warnings.simplefilter("ignore")  # torch's exporter warns of its own parts
        torch.onnx.export(
            encoder.eval(),
            (torch.zeros(2, *shape),),
            temp,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    quiet.setLevel(level)
