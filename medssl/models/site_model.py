"""The model of a site: an encoder and a head, in named layer groups that can be frozen.

Frozen means frozen: no gradient for the parameters, and evaluation mode, so that the running
statistics of batch norm do not drift either.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from medssl.config.task import Task
from medssl.models import heads
from medssl.models.encoders._contract import Encoder
from medssl.models.norms import EstimatedBatchNorm

HEAD = "head"
NORMS = ".norms"  # "layer4.norms": scale and shift of its norms alone


class Loss(Protocol):
    """A loss of `losses/` with its options bound."""

    def __call__(self, logits: Tensor, target: Tensor, features: Tensor) -> Tensor:
        """Return the loss of predictions, a scalar."""
        ...


class Pooling(Protocol):
    """What makes one row of features of the slices of a series (`models/pooling.py`)."""

    dim: int

    def __call__(self, features: Tensor, mask: Tensor, position_mm: Tensor) -> Tensor:
        """Return (B, dim) of features (B, S, F), which slices there are, and where they lie."""
        ...


class SiteModel(nn.Module):
    """Encoder, pooling of slices if there is one, and head.

    Args:
        encoder: Any encoder; it is registered as a submodule.
        task: What is predicted.
        dropout: Before the linear head.
        loss: What `forward` returns.
        pooling: Of the slices of a series; None: an image or a volume is one row.
        norms_follow: Running statistics of released batch norms follow the batches.
    """

    def __init__(
        self,
        encoder: Encoder,
        task: Task,
        dropout: float,
        *,
        loss: Loss | None = None,
        pooling: nn.Module | None = None,
        norms_follow: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.pooling, self.task = encoder, pooling, task
        dim = encoder.dim if pooling is None else int(pooling.dim)  # type: ignore[arg-type]
        ordinal = task.kind == "ordinal"
        self.head = heads.classifier(dim, task.n_outputs, dropout, ordinal=ordinal)
        self._loss, self._norms_follow = loss, norms_follow
        self._frozen: frozenset[str] = frozenset()
        for module in encoder.modules():  # type: ignore[attr-defined]
            if isinstance(module, nn.GroupNorm):
                module.register_forward_pre_hook(_differentiable)
        # amounts are learned in units of their spread; see `scale`
        self.centre = nn.Buffer(torch.zeros(len(task.targets)))
        self.spread = nn.Buffer(torch.ones(len(task.targets)))

    def groups(self) -> dict[str, list[nn.Module]]:
        """Return the named layer groups, from the head down to the stem."""
        below = dict(reversed(self.encoder.groups().items()))
        top: list[nn.Module] = [self.head] if self.pooling is None else [self.head, self.pooling]
        return {HEAD: top, **below}

    def release_only(self, names: Iterable[str]) -> None:
        """Make exactly these groups trainable and freeze every other one.

        Args:
            names: Layer groups, or ``group.norms`` for the scales and shifts of its norms alone.
        """
        groups = self.groups()
        chosen = set(names)
        if unknown := {name.removesuffix(NORMS) for name in chosen} - set(groups):
            raise ValueError(f"no layer groups called {sorted(unknown)}")
        self._frozen = frozenset(set(groups) - chosen)
        for name, modules in groups.items():
            for module in modules:
                module.requires_grad_(name in chosen)
            if f"{name}{NORMS}" in chosen:
                for norm in norms_of(modules):
                    norm.requires_grad_()
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Switch to training mode, all but the frozen groups and, unless they follow, all norms."""
        super().train(mode)
        groups = self.groups()
        for name, modules in groups.items():
            for module in modules:
                if name in self._frozen:
                    module.eval()
            if not self._norms_follow:
                for norm in norms_of(modules):
                    norm.eval()
        return self

    def scale(self, target: Tensor) -> None:
        """Learn amounts in units of their mean and spread among training labels (N, T).

        An amount that never differs has a spread of 1.

        Raises:
            ValueError: A target has no label.
        """
        if self.task.kind == "regression":
            for k, column in enumerate(target.double().unbind(dim=1)):
                known = column[column.isfinite()]
                if not len(known):
                    raise ValueError(f"no label of {self.task.targets[k]!r} to learn from")
                spread = known.std(correction=0)
                self.centre[k] = known.mean()
                self.spread[k] = spread if spread > 0 else 1

    def features(self, images: Tensor, **slices: Tensor) -> Tensor:
        """Return what the head sees, (B, F), of images (B, C, *spatial).

        Args:
            images: Or with a pooling slices as channels, (B, S * C, rows, columns).
            slices: Then ``mask`` (B, S) of the slices there are, and their ``position_mm``.
        """
        if self.pooling is None:
            found: Tensor = self.encoder(images)  # type: ignore[operator]
            return found
        pooled: Tensor = self.pooling(self.rows(images, slices["mask"]), **slices)
        return pooled

    def rows(self, images: Tensor, mask: Tensor) -> Tensor:
        """Return the features of every slice, (B, S, F), of slices as channels."""
        n, count = mask.shape
        single = images.reshape(n * count, -1, *images.shape[2:])
        rows: Tensor = self.encoder(single)  # type: ignore[operator]
        return rows.reshape(n, count, -1)

    def logits(self, images: Tensor, **slices: Tensor) -> Tensor:
        """Return logits (B, n_outputs); see `features`."""
        return self.judge(self.features(images, **slices))

    def judge(self, features: Tensor) -> Tensor:
        """Return logits (B, n_outputs) of features (B, F)."""
        logits: Tensor = self.head(features)
        return logits

    def forward(
        self,
        images: Tensor,
        target: Tensor,
        *,
        partner: Tensor | None = None,
        kept: float = 1.0,
        slices: Mapping[str, Tensor] | None = None,
        are_features: bool = False,
    ) -> dict[str, Tensor]:
        """Return the training loss; of mixed images the losses of both labels, by their share.

        Args:
            images: As `features` takes them, or features themselves.
            target: Shape (B, T), as `data.cohort.Cohort` has them.
            partner: Shape (B, T): labels of what was mixed into the images.
            kept: Share of an image that is its own.
            slices: What `features` takes besides.
            are_features: ``images`` are features already, (B, F).
        """
        assert self._loss is not None
        features = images if are_features else self.features(images, **(slices or {}))
        logits = self.judge(features)
        loss = self._loss(logits, self._scaled(target), features)
        if partner is not None:
            loss = kept * loss + (1 - kept) * self._loss(logits, self._scaled(partner), features)
        return {"total": loss}

    def _scaled(self, target: Tensor) -> Tensor:
        return (target - self.centre) / self.spread if self.task.kind == "regression" else target

    def predictions(self, logits: Tensor) -> Tensor:
        """Return probabilities or amounts, shape (B, columns of the task), of logits."""
        if self.task.kind == "regression":
            return logits * self.spread + self.centre
        if self.task.kind == "multi_class":
            return logits.softmax(dim=1)
        above = logits.sigmoid()
        if self.task.kind != "ordinal":
            return above
        edges = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], 1)
        return edges[:, :-1] - edges[:, 1:]


def _differentiable(norm: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the input of a group norm as something to differentiate, if the norm trains.

    torch 2.13 crashes on a CPU where the input, channels last, needs no gradient and the weights
    do: behind a frozen layer, when norms train alone.
    """
    trains = norm.weight is not None and norm.weight.requires_grad  # type: ignore[redundant-expr]
    if trains and torch.is_grad_enabled() and not inputs[0].requires_grad:
        return (inputs[0].detach().requires_grad_(), *inputs[1:])
    return inputs


def norms_of(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the normalisation layers inside some modules: what has parameters of one dimension.

    Batch, instance, group and layer norms all have ``weight`` and ``bias``, or neither.
    """
    kinds: tuple[Any, ...] = (
        EstimatedBatchNorm,
        nn.modules.batchnorm._BatchNorm,
        nn.modules.instancenorm._InstanceNorm,
        nn.GroupNorm,
        nn.LayerNorm,
    )
    found = [part for module in modules for part in module.modules()]
    return [part for part in found if isinstance(part, kinds)]
