"""Grad-CAM of a site model: where in the last maps of its encoder there is evidence for a class.

`monai.visualize.GradCAM` (Selvaraju et al., arXiv:1610.02391) does the work. What it does by
default and is not done here: explain the largest logit, which of a single one is always that of the
positive class; stretch each map between its ends, which makes a hot spot of any noise; and go on
with a warning where there is no such layer.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from monai.visualize import GradCAM
from torch import Tensor, nn

from medssl.evaluation.metrics import Floats
from medssl.foundation.errors import UsageError
from medssl.models.site_model import SiteModel

_FLAT = 1e-5  # of the largest value: an image that varies less shows nothing


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Evidence in one image for one output, in units of its logit and never negative.

    Where the features are a mean over space, what was cut off at 0 and this add up to the logit
    less its bias.
    """

    cells: Floats  # (*grid) of the last maps; of pooled slices (slices, *grid)
    smooth: Floats  # the same, interpolated to the sides of the input


class Explainer:
    """Draws maps of models of one kind, one model after the other.

    It works on a copy of its own: MONAI's hooks cannot be taken off again, and gradients stay.

    Args:
        model: The first one; others of the same kind follow with `take`.
        layer: Of the encoder, of which the maps are.

    Raises:
        ValueError: There is no such layer.
    """

    def __init__(self, model: SiteModel, layer: str) -> None:
        self._judge = _Judge(copy.deepcopy(model).eval())
        name = f"model.encoder.{layer}"
        if name not in dict(self._judge.named_modules()):
            raise ValueError(f"the encoder has no layer {layer!r}")
        self._cam = GradCAM(self._judge, name)

    def take(self, model: SiteModel) -> Self:
        """Explain another model from now on."""
        self._judge.model.load_state_dict(model.state_dict())
        return self

    def __call__(self, images: Tensor, output: int, **slices: Tensor) -> Evidence:
        """Return the evidence for one output of the head.

        An image without any contrast shows nothing that could be evidence: its map is 0.

        Args:
            images: One image (1, C, *spatial), or the slices of one series as channels.
            output: Number of the output. Of two classes there is one: the positive class.
            slices: What `SiteModel.features` takes besides.
        """
        with torch.enable_grad():
            cells = self._cam.compute_map(images, class_idx=output, **slices).detach()
        rows = images.reshape(len(cells), -1)
        flat = rows.amax(1) - rows.amin(1) <= _FLAT * rows.abs().amax(1)
        cells[flat] = 0
        smooth = self._cam.upsampler(images.shape[2:])(cells)
        return Evidence(cells=_plain(cells), smooth=_plain(smooth))


class _Judge(nn.Module):
    """A site model whose `forward` returns logits."""

    def __init__(self, model: SiteModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, **slices: Tensor) -> Tensor:
        return self.model.logits(images, **slices)


def last_layer(model: SiteModel) -> str:
    """Return the name of the last convolutional layer of the encoder of a model.

    Raises:
        UsageError: The encoder has none.
    """
    encoder: nn.Module = model.encoder  # type: ignore[assignment]
    if not hasattr(encoder, "stages"):
        raise UsageError(
            "the encoder is a transformer, which has no maps that Grad-CAM could read",
            where="thumbnails",
            fix="leave it out",
        )
    layers: Mapping[str, int] = encoder.layers  # type: ignore[assignment]
    (last,) = model.groups()[list(layers)[-1]]
    names: list[str] = [name for name, part in encoder.named_modules() if part is last]
    return names[0]


def randomised(trained: SiteModel, fresh: SiteModel, groups: Collection[str]) -> SiteModel:
    """Return a copy of a model with some layer groups, buffers too, as in one never trained.

    Args:
        trained: Is left as it is.
        fresh: The same network, newly drawn.
        groups: Names of `SiteModel.groups`, as in the cascade of arXiv:1810.03292.
    """
    mixed = copy.deepcopy(trained)
    for name in groups:
        for part, other in zip(mixed.groups()[name], fresh.groups()[name], strict=True):
            part.load_state_dict(other.state_dict())
    return mixed


def _plain(maps: Tensor) -> Floats:
    """Return maps (S, 1, *spatial) as (S, *spatial), or (*spatial) of a single one."""
    found: Floats = maps.detach()[:, 0].cpu().double().numpy()
    return found[0] if len(found) == 1 else found
