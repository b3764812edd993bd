"""Gradients of one self-supervised step, whole or in pieces.

In pieces, the images are embedded once without gradients, the loss of all of them is computed, and
each piece is embedded again to take its share of the gradient (Gao et al., RepL4NLP 2021,
arXiv:2101.06983). The gradient is that of the whole step, but for norms that take statistics of a
batch: they see a piece. It costs one more forward pass and the memory of one piece.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from medssl.data.batches import Shown
from medssl.foundation import seeding
from medssl.foundation.errors import ResourceError
from medssl.foundation.reporting import Reporter
from medssl.methods._contract import Method
from medssl.training import runtime as runtimes
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState
from medssl.training.step import Step

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class StepUpdate:
    """The update of a `Step`; where memory runs out, it goes on in twice as many pieces.

    Args:
        runtime: Where it runs.
        state: The model in training; its module was set up from ``step``.
        step: The module before it was set up.
        n_steps: Of the whole run.
        reporter: Told when pieces get smaller.
    """

    def __init__(
        self, runtime: Runtime, state: TrainState, step: Step, n_steps: int, reporter: Reporter
    ) -> None:
        self._runtime, self._state, self._step = runtime, state, step
        self._n_steps, self._reporter = n_steps, reporter
        self._kept = [buffer.clone() for buffer in step.buffers()]

    def __call__(self, shown: Shown) -> dict[str, Tensor]:
        """Add the gradients of a step and return its losses.

        Raises:
            ResourceError: It does not fit the memory in pieces of two images either.
        """
        state = self._state
        cast(Method, self._step.method).before_step(state.step / self._n_steps)
        self._remember()
        while True:
            try:
                return self._whole(shown) if state.pieces == 1 else self._in_pieces(shown)
            except RuntimeError as error:
                if not runtimes.is_out_of_memory(error):
                    raise
            self._make_smaller(len(shown.patients))  # the failed step is let go of by now
            self._recall()

    def _whole(self, shown: Shown) -> dict[str, Tensor]:
        self._seed(0)
        losses: dict[str, Tensor] = self._state.module(shown.views, shown.patients)
        self._runtime.backward(losses["total"])
        return losses

    def _in_pieces(self, shown: Shown) -> dict[str, Tensor]:
        pieces = list(_pieces(shown, self._state.pieces))
        with torch.no_grad(), self._runtime.autocast(), _statistics_kept(self._step):
            parts = []
            for number, piece in enumerate(pieces):
                self._seed(number)
                parts.append(self._step.embed(piece.views))
        rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        moved = [name for name, value in rows.items() if value.is_floating_point()]
        for name in moved:  # gradients of single rows are too small for half precision
            wide = rows[name] if rows[name].dtype == torch.float64 else rows[name].float()
            rows[name] = wide.requires_grad_()
        with self._runtime.autocast():
            losses = self._step.compare(rows, shown.patients)
        inputs = [rows[name] for name in moved]
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            losses["total"], inputs, allow_unused=True
        )
        gradients = {
            name: gradient.tensor_split(len(pieces))
            for name, gradient in zip(moved, found, strict=True)
            if gradient is not None  # keys and targets take none
        }
        for number, piece in enumerate(pieces):
            self._seed(number)
            own = {name: parts[number] for name, parts in gradients.items()}
            waits = number < len(pieces) - 1  # the gradients of all pieces travel once
            with self._runtime.no_sync(self._state.module, enabled=waits):
                partial = self._state.module(piece.views, piece.patients, own)
                self._runtime.backward(partial["total"])
        return {name: loss.detach() for name, loss in losses.items()}

    def _remember(self) -> None:
        """Keep running statistics and queues as they are before a step, which may not fit."""
        with torch.no_grad():
            for kept, buffer in zip(self._kept, self._step.buffers(), strict=True):
                kept.copy_(buffer)

    def _recall(self) -> None:
        """Undo what a step that did not fit has done to them."""
        with torch.no_grad():
            for kept, buffer in zip(self._kept, self._step.buffers(), strict=True):
                buffer.copy_(kept)

    def _seed(self, piece: int) -> None:
        """Seed what a piece draws: dropout, masks."""
        where = (self._runtime.rank, piece)
        own = where if any(where) else ()
        torch.manual_seed(seeding.derive(self._state.seed, "step", self._state.step, *own))

    def _make_smaller(self, n_images: int) -> None:
        state = self._state
        state.optimizer.zero_grad(set_to_none=True)
        if n_images // (2 * state.pieces) < 2:
            raise ResourceError("out of memory", fix="lower image_size, or take a smaller encoder")
        if self._runtime.world_size > 1:  # the others are waiting for this one
            raise ResourceError(
                "out of memory on one of the processes",
                fix=f"start again with --set pieces={2 * state.pieces}, or a smaller batch_size",
            )
        state.pieces *= 2
        if self._runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        self._reporter.warn(
            f"out of memory: steps of {n_images} images go on in {state.pieces} pieces"
        )


def _pieces(shown: Shown, count: int) -> Iterator[Shown]:
    """Yield the images of a step in ``count`` parts, as even as can be."""
    views = zip(*(view.tensor_split(count) for view in shown.views), strict=True)
    for part, patients in zip(views, shown.patients.tensor_split(count), strict=True):
        yield Shown(views=list(part), patients=patients, target=None)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Put the running statistics of norms back when the block ends: they are to move once."""
    buffers = [b for name, b in module.named_buffers() if name.endswith(_STATISTICS)]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
