"""SwAV: predict which cluster another view of the image fell into (Caron et al., arXiv:2006.09882).

Clusters are prototypes on the sphere. Codes share the images of a batch out among them evenly
(Sinkhorn-Knopp, in the logarithm: with exponentials it overflows). Small additional views only
predict. Two ways it goes wrong can be seen: the loss stays at ln K, the logarithm of the number of
prototypes, or few prototypes are used.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.methods import _projections, _queue
from medssl.models import heads
from medssl.models.encoders._contract import Encoder

ENCODER = "any"
_IMAGES_PER_PROTOTYPE, _FEWEST, _MOST = 100, 16, 3000
_PAPERS_ON_CT = 500  # prototypes, arXiv:2410.14524 and 2308.06534


@dataclass(frozen=True, kw_only=True)
class Config:
    """Temperatures and sizes are the paper's.

    With fewer images in a batch than prototypes the codes are poor: then a ``queue`` of ten to
    thirty batches of earlier images takes part in them. If the loss stays at ln K, lower
    ``epsilon`` to 0.03.
    """

    prototypes: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"  # see `capped`
    projector_hidden: Annotated[int, Field(ge=1)] = 2048
    projector_dim: Annotated[int, Field(ge=2)] = 128
    temperature: Annotated[float, Field(gt=0)] = 0.1
    epsilon: Annotated[float, Field(gt=0)] = 0.05  # the lower, the harder the codes
    iterations: Annotated[int, Field(ge=1)] = 3
    n_local_views: Annotated[int, Field(ge=0)] = 6
    freeze_prototypes: Annotated[float, Field(ge=0, le=1)] = 0.01  # for this share of the run
    queue: Annotated[int, Field(ge=0)] = 0  # images; 0: none
    queue_from: Annotated[float, Field(ge=0, le=1)] = 0.05  # used after this share of the run
    projector_norm: heads.Norm = "batch"


def capped(config: Config, n_images: int, batch: int) -> Config:
    """Return the options with `auto` replaced and a queue of whole batches that the archive fills.

    Args:
        config: As the user gave them.
        n_images: Images to pretrain on: one prototype per hundred, 16 to 3000, and half of them
            are the most a queue holds.
        batch: Images per step, over all processes.
    """
    prototypes = config.prototypes
    if prototypes == "auto":
        prototypes = min(_MOST, max(_FEWEST, n_images // _IMAGES_PER_PROTOTYPE))
    queue = _queue.whole_batches(min(config.queue, n_images // 2), batch)
    return dataclasses.replace(config, prototypes=prototypes, queue=queue)


class Method(nn.Module):
    """Two views and some smaller ones in, one loss out.

    Args:
        encoder: The network to train.
        config: Its options; 500 prototypes where their number is still `auto`.
    """

    n_views = 2
    moving: Tensor  # (), 1 once the prototypes may move, 0 before
    queue_in_use: Tensor  # (), bool

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__()
        dims = (encoder.dim, config.projector_hidden, config.projector_dim)
        count = _PAPERS_ON_CT if config.prototypes == "auto" else config.prototypes
        self.n_local_views = config.n_local_views
        self.encoder = encoder
        self.projector = heads.projector(dims, config.projector_norm)
        start = torch.randn(count, config.projector_dim)
        self.prototypes = nn.Parameter(_projections.directions(start))  # (K, F)
        self.register_buffer("moving", torch.ones(()))
        self.register_buffer("queue_in_use", torch.zeros((), dtype=torch.bool))
        shape = (self.n_views, config.projector_dim)
        self.queue = _queue.Queue(config.queue, *shape) if config.queue else None
        self.config = config

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return ``scores`` of all views and ``projections`` of the full ones.

        Views of one size go through the encoder together, as in the authors' code: norms take
        their statistics over all of them.

        Args:
            views: Two (B, C, *spatial), then the smaller ones.

        Returns:
            Cosine similarities to the prototypes (B, views, K), full views first, and rows of
            length 1 (B, 2, F).
        """
        by_size = (views[: self.n_views], views[self.n_views :])
        features = [self.encoder(torch.cat(same)) for same in by_size if same]  # type: ignore[operator]
        z = _projections.directions(self.projector(torch.cat(features)))
        z = z.reshape(len(views), -1, z.shape[1]).transpose(0, 1)  # (B, views, F)
        still = self.prototypes.detach()
        prototypes = still + self.moving * (self.prototypes - still)  # the gradient is 0 or whole
        with _projections.exact_products(z):
            scores = z @ prototypes.T
        return {"scores": scores, "projections": z[:, : self.n_views].detach()}

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total``, averaged over pairs of views, and whether it goes wrong.

        Whose images they are does not matter. ``share_of_ln_k`` stays at 1 if nothing is learned,
        ``prototypes_used`` is the share of prototypes that is the nearest of some view, and
        ``projection_std`` falls to 0 in a collapse. In training mode full views join the queue.
        """
        scores, projections = embedded["scores"], embedded["projections"]
        codes = self._codes(scores[:, : self.n_views], projections)
        if self.queue is not None and self.training:
            self.queue.put(projections, patients)
        total = swapped_prediction(codes, scores, self.config.temperature)
        return {
            "total": total,
            "share_of_ln_k": total / math.log(scores.shape[2]),
            "prototypes_used": _share_used(scores),
            "projection_std": _projections.spread(projections.flatten(0, 1)),
        }

    @torch.no_grad()
    def _codes(self, scores: Tensor, projections: Tensor) -> Tensor:
        """Return codes (B, V, K) of full views, with the queue's help where it is in use."""
        taking_part = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
        if self.queue is not None:
            with _projections.exact_products(projections):
                earlier = self.queue.rows @ self.prototypes.T  # (queue, V, K)
            scores = torch.cat([scores, earlier])
            taking_part = torch.cat([taking_part, self.queue.filled & self.queue_in_use])
        codes = sinkhorn(scores, taking_part, self.config.epsilon, self.config.iterations)
        return codes[: len(projections)]

    def before_step(self, progress: float) -> None:
        """Scale prototypes back to length 1; decide whether they may move and the queue is used."""
        with torch.no_grad():
            self.prototypes.copy_(_projections.directions(self.prototypes))
        self.moving.fill_(float(progress >= self.config.freeze_prototypes))
        self.queue_in_use.fill_(progress >= self.config.queue_from)


def sinkhorn(scores: Tensor, taking_part: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Return soft assignments that use all prototypes about equally (arXiv:1306.0895).

    After a few iterations rows add up to 1 exactly, columns to the same only nearly.

    Args:
        scores: Similarities of images and prototypes, shape (N, V, K); views are apart.
        taking_part: Shape (N,). The other images get assignments and have no say in them.
        epsilon: Divides the similarities.
        iterations: At least 1.

    Returns:
        Shape (N, V, K), adding up to 1 over K.
    """
    silent = ~taking_part[:, None, None]
    logs = _projections.widened(scores) / epsilon
    for _ in range(iterations):
        logs = logs - logs.masked_fill(silent, -torch.inf).logsumexp(dim=0, keepdim=True)
        logs = logs - logs.logsumexp(dim=2, keepdim=True)
    return logs.exp()


def swapped_prediction(codes: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of codes and the predictions of other views, averaged over pairs.

    Args:
        codes: Shape (B, V, K).
        scores: Shape (B, W, K), W >= V: similarities of all views, those with codes first.
        temperature: Divides the similarities.
    """
    guesses = torch.log_softmax(_projections.widened(scores) / temperature, dim=2)
    with _projections.exact_products(guesses):
        surprise = -torch.einsum("bvk,bwk->vw", codes, guesses) / len(codes)  # (V, W)
    own = surprise.diagonal()
    return (surprise.sum() - own.sum()) / (surprise.numel() - len(own))


def _share_used(scores: Tensor) -> Tensor:
    """Return the share of K prototypes that is the nearest of some view; scores: (B, W, K)."""
    nearest = scores.argmax(dim=2).flatten()
    used = torch.zeros(scores.shape[2], device=scores.device)
    return used.index_fill(0, nearest, 1.0).mean()
