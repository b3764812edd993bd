"""What a pretraining shows its method: which images, of whom, and which of them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from medssl.config.pretrain import PretrainSettings
from medssl.data import sampling
from medssl.data.batches import TrainingBatches, plain_batches
from medssl.data.opening import Store, open_store
from medssl.data.sampling import Neighbours, OnePerGroup, Partners, SamePatient, Sampler, Shuffled
from medssl.foundation import seeding
from medssl.foundation.errors import UsageError
from medssl.foundation.wording import counted, plural, verb
from medssl.methods._contract import Method
from medssl.training import embed
from medssl.training.runtime import Runtime

_THUMBNAIL = 16  # px
_CLUSTERS_PER_IMAGE = 4  # of a batch: with fewer, the smallest cluster ends an epoch early
_LEAST_IN_CLUSTER = 4


@dataclass(frozen=True, kw_only=True)
class Views:
    """How many views a method wants."""

    full: int
    local: int


def wanted(method: nn.Module) -> Views:
    """Return how many views ``method`` wants."""
    known = cast(Method, method)
    return Views(full=known.n_views, local=known.n_local_views)


def batches(
    runtime: Runtime,
    settings: PretrainSettings,
    table: pa.Table,
    views: Views,
    encoder: nn.Module | None = None,
) -> TrainingBatches:
    """Return the batches of a pretraining.

    Args:
        runtime: Where views are made, and for which process.
        settings: Resolved settings.
        table: The images or volumes to train on.
        views: How many of each.
        encoder: Trained already, to find look-alikes by; None: by their pixels.

    Raises:
        UsageError: The settings ask for what the method or the images do not have.
        DataError: There are fewer groups than a batch has images.
    """
    store = open_store(settings.archive, table, settings.spatial_dims)
    seed = seeding.derive(settings.seed, "batches")
    patients = sampling.numbered(table["patient_key"])
    return TrainingBatches(
        store,
        _sampler(runtime, settings, table, store, encoder),
        device=runtime.device,
        intensity=settings.intensity,
        views=settings.views,
        shape=settings.shape,
        seed=seed,
        n_views=views.full,
        n_local_views=views.local,
        patients=patients if settings.negatives == "other_patients" else None,
        partners=_partners(settings, table),
        part=runtime,
    )


def foretold(settings: PretrainSettings, table: pa.Table) -> tuple[str, ...]:
    """Return what the sampling leaves out, and how many images have a partner.

    Args:
        settings: Resolved settings.
        table: The images or volumes to train on.
    """
    said: tuple[str, ...] = ()
    if settings.one_per in {"series", "patient"} and not settings.smoke:
        size = min(int(settings.batch_size), table.num_rows)
        sampler = OnePerGroup(_groups(settings, table), size, settings.seed)
        said += (_left_out(settings, table.num_rows, sampler),)
    partners = _partners(settings, table)
    if partners is not None:
        share, things = partners.share_with_partner, plural(settings.unit)
        said += (f"positives {settings.positives}: {share:.0%} of the {things} have another one",)
    return said


def notes(settings: PretrainSettings, shown: TrainingBatches) -> tuple[str, ...]:
    """Return what the sampling leaves out, where the images had to be looked at to know."""
    if settings.one_per != "cluster" or not isinstance(shown.sampler, OnePerGroup):
        return ()
    return (_left_out(settings, len(shown.store), shown.sampler),)


def _left_out(settings: PretrainSettings, n: int, sampler: OnePerGroup) -> str:
    steps = sampler.steps_per_epoch
    seen = steps * sampler.batch_size
    return (
        f"one_per {settings.one_per}: {counted(steps, 'step')} an epoch {verb(steps, 'show')} "
        f"{seen} of {counted(n, settings.unit)}; large groups take turns"
    )


def _groups(settings: PretrainSettings, table: pa.Table) -> NDArray[np.int64]:
    return sampling.numbered(table[f"{settings.one_per}_key"])


def _sampler(
    runtime: Runtime,
    settings: PretrainSettings,
    table: pa.Table,
    store: Store,
    encoder: nn.Module | None,
) -> Sampler:
    seed = seeding.derive(settings.seed, "batches")
    size = min(int(settings.batch_size), len(store))
    if settings.one_per == "image" or settings.smoke:  # a few images hold too few groups
        return Shuffled(len(store), size, seed)
    if settings.one_per == "cluster":
        groups = _look_alikes(runtime, settings, store, size, encoder)
    else:
        groups = _groups(settings, table)
    return OnePerGroup(groups, size, seed)


def _look_alikes(
    runtime: Runtime,
    settings: PretrainSettings,
    store: Store,
    batch_size: int,
    encoder: nn.Module | None,
) -> NDArray[np.int64]:
    """Return the cluster of every image, by the features of an encoder or by small pictures."""
    where: Mapping[str, Any] = {"device": runtime.device, "intensity": settings.intensity}
    if encoder is not None:
        found = embed.features(encoder, store, shape=settings.shape, **where)
    else:
        shape = (_THUMBNAIL,) * settings.spatial_dims
        parts = plain_batches(store, shape=shape, batch_size=embed.BATCH, **where)
        found = torch.cat([part.flatten(1).cpu() for part in parts]).numpy()
    most = max(2 * batch_size, len(store) // _LEAST_IN_CLUSTER)
    count = min(len(store), most, _CLUSTERS_PER_IMAGE * batch_size)
    return sampling.look_alikes(found, count, seeding.derive(settings.seed, "clusters"))


def require_views(settings: PretrainSettings, views: Views) -> None:
    """Check that there is a second view to show something else, if it is to.

    Raises:
        UsageError: There is none, or nothing else to show.
    """
    if settings.positives != "view" and views.full < 2:
        raise UsageError(
            f"{settings.method} sees one view of an image, so nothing can be its positive",
            where="positives",
            fix="leave it at view, or choose a method that compares views",
        )
    if settings.positives == "slice" and settings.spatial_dims == 3:
        raise UsageError(
            "a volume has no neighbouring slice", where="positives", fix="choose view or patient"
        )


def _partners(settings: PretrainSettings, table: pa.Table) -> Partners | None:
    if settings.positives == "view":
        return None
    patient, series = (sampling.numbered(table[name]) for name in ("patient_key", "series_key"))
    if settings.positives == "patient":
        return SamePatient(patient, series)
    return Neighbours(series, sampling.positions(table), settings.neighbour_mm)
