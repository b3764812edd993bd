"""MoCo v2: find the other view among many images seen before (Chen et al., arXiv:2003.04297).

Negatives come from a queue of earlier images, embedded by a slow copy of the network, so a small
batch has as many as a large one. A queue as long as the archive would hold every image itself:
`capped` keeps it below. Images of the same patient are no negatives here; the paper has no
patients. The first step of a run meets an empty queue and teaches nothing.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.methods import _momentum, _projections, _queue
from medssl.models import heads
from medssl.models.encoders._contract import Encoder

ENCODER = "any"
_LEAST_GROUP = 8  # images; batch norm over fewer is mostly noise


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes, temperature, momentum and queue are the paper's; so are eight groups.

    A network with batch norm can tell from the statistics of its batch which key belongs to a
    query, and learns that instead. The authors shuffle keys over their eight GPUs; ``split_bn`` is
    the same on one device: keys are embedded in so many random groups, or in fewer where a batch
    does not divide evenly into groups of at least 8. Without batch norm it changes nothing.
    """

    projector_hidden: Annotated[int, Field(ge=0)] = 2048  # 0: one linear layer, as in MoCo v1
    projector_dim: Annotated[int, Field(ge=2)] = 128
    temperature: Annotated[float, Field(gt=0)] = 0.2
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.999
    queue: Annotated[int, Field(ge=1)] = 65_536  # images; see `capped`
    split_bn: Annotated[int, Field(ge=1)] = 8  # groups; 1: off
    projector_norm: heads.Norm = "batch"


def capped(config: Config, n_images: int, batch: int) -> Config:
    """Return the options with a queue of whole batches and at most half of the images.

    Args:
        config: As the user gave them.
        n_images: Images to pretrain on.
        batch: Images per step, over all processes. A queue shorter than that is kept as it is.
    """
    most = min(config.queue, max(batch, n_images // 2))
    return dataclasses.replace(config, queue=_queue.whole_batches(most, batch) or most)


class Method(nn.Module):
    """Two views in, one loss out: the first asks, the second is to be found.

    Args:
        encoder: The network to train.
        config: Length of the queue, temperature, momentum and the sizes of the projector.
    """

    n_views = 2
    n_local_views = 0

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__()
        hidden = (config.projector_hidden,) if config.projector_hidden else ()
        dims = (encoder.dim, *hidden, config.projector_dim)
        self.encoder = encoder
        self.projector = heads.projector(dims, config.projector_norm)
        self.key_encoder = _momentum.follower(encoder)  # type: ignore[arg-type]
        self.key_projector = _momentum.follower(self.projector)
        self.queue = _queue.Queue(config.queue, config.projector_dim)
        self.config = config

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return ``query`` and ``key``, (B, F) each, of two views (B, C, *spatial)."""
        query = self.projector(self.encoder(views[0]))  # type: ignore[operator]
        with torch.no_grad():
            return {"query": query, "key": self._keys(views[1])}

    def _keys(self, images: Tensor) -> Tensor:
        n = len(images)
        groups = _n_groups(n, self.config.split_bn) if self.training else 1
        if groups == 1:
            keys: Tensor = self.key_projector(self.key_encoder(images))
            return keys
        order = torch.rand(n, device=images.device).argsort()
        parts = images[order].chunk(groups)
        keys = torch.cat([self.key_projector(self.key_encoder(part)) for part in parts])
        return keys[order.argsort()]

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total``, and whether it is learning what it should.

        ``agreement`` is the mean cosine similarity of query and key, ``top1`` the share of queries
        that are nearest to their key, ``queue_filled`` the share of the queue in use and
        ``projection_std`` falls to 0 in a collapse. In training mode the keys join the queue.
        """
        query = _projections.directions(embedded["query"])
        key = _projections.directions(embedded["key"].detach())
        usable = self.queue.filled & (self.queue.patients != patients[:, None])  # (B, K)
        earlier = self.queue.rows.clone()  # the backward pass wants them as they are now
        losses = info_nce(query, key, earlier, usable, self.config.temperature)
        losses["queue_filled"] = self.queue.filled.float().mean()
        if self.training:
            self.queue.put(key, patients)
        return losses | {"projection_std": _projections.spread(query)}

    def before_step(self, progress: float) -> None:
        """Move the key network after the query network, always at the same momentum."""
        del progress
        _momentum.follow(
            [self.key_encoder, self.key_projector],
            [self.encoder, self.projector],  # type: ignore[list-item]
            self.config.momentum,
        )


def info_nce(
    query: Tensor, key: Tensor, earlier: Tensor, usable: Tensor, temperature: float
) -> dict[str, Tensor]:
    """Return the loss of arXiv:1911.05722, eq. 1, with ``agreement`` and ``top1``.

    Args:
        query: Shape (B, F), of length 1.
        key: Shape (B, F), of length 1; row i belongs to row i of ``query``.
        earlier: Shape (K, F), of length 1: candidates that are wrong.
        usable: Shape (B, K), which of them count for which query. With none the loss is 0.
        temperature: Divides the cosine similarities.
    """
    agreement = (query * key).sum(dim=1, keepdim=True)  # (B, 1)
    with _projections.exact_products(query):
        similarity = query @ earlier.T  # (B, K)
    similarity = similarity.masked_fill(~usable, -torch.inf)
    candidates = torch.cat([agreement, similarity], dim=1) / temperature
    loss = torch.logsumexp(candidates, dim=1) - candidates[:, 0]
    with torch.no_grad():
        top1 = (candidates.argmax(dim=1) == 0).float().mean()
    return {"total": loss.mean(), "agreement": agreement.mean(), "top1": top1}


def _n_groups(n: int, most: int) -> int:
    """Return into how many groups of equal size ``n`` images are split, at most ``most``."""
    whole = (g for g in range(most, 1, -1) if n % g == 0 and n // g >= _LEAST_GROUP)
    return next(whole, 1)
