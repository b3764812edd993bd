"""Methods that hide patches and paint them: the loss, and the pictures of what was painted."""

from abc import abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from medssl.models import patches


class Options(Protocol):
    """What the options of such a method have in common."""

    @property
    def skip_flat(self) -> bool:
        """Whether hidden patches of nearly equal pixels cost nothing."""


class Painting(nn.Module):
    """One view in, one loss out; a method adds `predict`.

    Args:
        config: The method's options.
    """

    n_views = 1
    n_local_views = 0

    def __init__(self, config: Options) -> None:
        super().__init__()
        self._skip_flat = config.skip_flat

    @abstractmethod
    def predict(self, view: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor, patches.Grid]:
        """Hide patches of a view and paint them.

        Args:
            view: Shape (B, C, *spatial).
            seed: Decides what is hidden; None: torch's generator draws.

        Returns:
            Standardised patches (B, N, P x C), which are visible (B, N), and their grid.
        """

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return ``error`` and ``weight``, (B,) each, of a view (B, C, *spatial).

        Raises:
            UsageError: A side is no multiple of the encoder's patch, or the view is one patch.
        """
        (view,) = views
        predicted, visible, grid = self.predict(view)
        actual = patches.split(view, grid)
        return patches.error_rows(predicted, actual, visible, skip_flat=self._skip_flat)

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total`` and ``counted``, the share of hidden patches that are not flat."""
        del patients
        return patches.average(embedded)

    def before_step(self, progress: float) -> None:
        """Do nothing."""

    @torch.no_grad()
    def reconstruct(self, view: Tensor, seed: int = 0) -> dict[str, Tensor]:
        """Return ``image``, ``masked``, ``hidden`` and ``painted``, see `patches.paint`.

        Args:
            view: Shape (B, C, *spatial).
            seed: Decides what is hidden.

        Raises:
            UsageError: As `embed`.
        """
        was_training = self.training
        self.eval()
        try:
            predicted, visible, grid = self.predict(view, seed)
        finally:
            self.train(was_training)
        return patches.paint(view, grid, visible, predicted)
