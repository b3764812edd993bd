"""The model of a site: an encoder and a linear head, in named layer groups that can be frozen.

Frozen means frozen: no gradient for the parameters, and evaluation mode, so that the running
statistics of batch norm do not drift either.
"""

from collections.abc import Iterable
from typing import Self

import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor, nn

from medssl.models import heads
from medssl.models.encoders._contract import Encoder

HEAD = "head"


class SiteModel(nn.Module):
    """Encoder and head.

    Args:
        encoder: Any encoder; it is registered as a submodule.
        n_outputs: 1 for a binary target, else the number of classes.
        dropout: Before the linear head.
    """

    def __init__(self, encoder: Encoder, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = heads.classifier(encoder.dim, n_outputs, dropout)
        self._frozen: frozenset[str] = frozenset()

    def groups(self) -> dict[str, list[nn.Module]]:
        """Return the named layer groups, from the head down to the stem."""
        below = dict(reversed(self.encoder.groups().items()))
        return {HEAD: [self.head], **below}

    def release_only(self, names: Iterable[str]) -> None:
        """Make exactly these groups trainable and freeze every other one."""
        groups = self.groups()
        trainable = set(names)
        if unknown := trainable - set(groups):
            raise ValueError(f"no layer groups called {sorted(unknown)}")
        self._frozen = frozenset(set(groups) - trainable)
        for name, modules in groups.items():
            for module in modules:
                module.requires_grad_(name in trainable)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Switch to training mode, all but the frozen groups."""
        super().train(mode)
        groups = self.groups()
        for name in self._frozen:
            for module in groups[name]:
                module.eval()
        return self

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, n_outputs) of images (B, C, *spatial)."""
        logits: Tensor = self.head(self.encoder(images))  # type: ignore[operator]
        return logits

    def forward(
        self, images: Tensor, target: Tensor, partner: Tensor | None = None, kept: float = 1.0
    ) -> dict[str, Tensor]:
        """Return the training loss; of mixed images the losses of both labels, by their share.

        Args:
            images: Shape (B, C, *spatial).
            target: Shape (B,), int64: 0 or 1 for one output, else the class index.
            partner: Shape (B,), int64: labels of what was pasted into the images.
            kept: Share of an image that is its own.
        """
        logits = self.logits(images)
        loss = _cross_entropy(logits, target)
        if partner is not None:
            loss = kept * loss + (1 - kept) * _cross_entropy(logits, partner)
        return {"total": loss}


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype))
    return F.cross_entropy(logits, target)


def probabilities(logits: Tensor) -> Tensor:
    """Return class probabilities: (B,) for one output, else (B, K)."""
    return logits[:, 0].sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
