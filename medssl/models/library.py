"""The network an encoder names, as MONAI builds it from the call alone."""

import ast
from typing import Any

import monai.networks.nets as nets
import torch
from torch import Tensor, nn

from medssl.foundation.errors import UsageError

PREFIX = "monai.networks.nets."


def call(library: str) -> tuple[str, dict[str, Any]]:
    """Return function and arguments of the call that builds a network.

    Raises:
        UsageError: The call alone does not build it.
    """
    text, _, more = library.partition("\n")
    if more.strip():
        raise UsageError(
            "MONAI has no arguments for the norms, filters or strides of this encoder",
            where="format",
            fix="choose onnx",
        )
    found = ast.parse(text, mode="eval").body
    assert isinstance(found, ast.Call)
    arguments = {str(word.arg): ast.literal_eval(word.value) for word in found.keywords}
    return text.removeprefix(PREFIX).partition("(")[0], arguments


def network(name: str, arguments: dict[str, Any], encoder: nn.Module, images: Tensor) -> nn.Module:
    """Return MONAI's network with the encoder's weights, after comparing what they compute.

    Args:
        name: Function or class of `monai.networks.nets`.
        arguments: Of it.
        encoder: On the CPU.
        images: Shape (B, C, *spatial), to compare by.

    Raises:
        UsageError: The network does not return the features.
    """
    refusal = UsageError(
        f"what MONAI's {name} returns are not the features of this encoder",
        where="format",
        fix="choose onnx",
    )
    if hasattr(encoder, "tokens"):  # the features are their mean
        raise refusal
    built: nn.Module = getattr(nets, name)(**arguments)
    state = {key.removeprefix("net."): value for key, value in encoder.state_dict().items()}
    built.load_state_dict(state)
    with torch.inference_mode():
        found, expected = built.eval()(images), encoder.eval()(images)
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
        raise refusal
    return built
