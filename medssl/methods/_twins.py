"""A network and a projector that two views of every image go through alike."""

from torch import Tensor, nn

from medssl.models import heads
from medssl.models.encoders._contract import Encoder


class Twins(nn.Module):
    """Two views in; a method adds the loss.

    Args:
        encoder: The network to train.
        sizes: Of the projector's hidden layers and of its output.
        norm: Of the projector's hidden layers.
    """

    n_views = 2
    n_local_views = 0

    def __init__(self, encoder: Encoder, sizes: tuple[int, ...], norm: heads.Norm) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = heads.projector((encoder.dim, *sizes), norm)

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return the projections ``a`` and ``b``, (B, F) each, of two views (B, C, *spatial)."""
        a, b = (self.projector(self.encoder(view)) for view in views)  # type: ignore[operator]
        return {"a": a, "b": b}

    def before_step(self, progress: float) -> None:
        """Do nothing."""
