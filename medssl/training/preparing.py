"""From the settings of a pretraining to what is trained: encoder, method and images."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from medssl import methods
from medssl.artifacts import archive
from medssl.config.loading import decode
from medssl.config.pretrain import Facts, PretrainSettings
from medssl.data.batches import local_shape
from medssl.data.opening import open_store
from medssl.foundation import plugins, seeding
from medssl.foundation.errors import UsageError
from medssl.foundation.wording import counted
from medssl.models import patches
from medssl.training import embed, encoders, held_out, jobs, monitors, showing, ssl
from medssl.training import runtime as runtimes
from medssl.training.held_out import Parts
from medssl.training.runtime import Runtime

_IN_CLUSTER = 8  # images, at least, where a batch has one of each
_FEW_CELLS = 16  # of a view: below, masks hardly differ from each other
_CELLS = {2: 7, 3: 4}  # along each side: the paper's at 224 px; what a small volume may have
_ABILITY = {"convolutional": "stages", "transformer": "tokens"}  # that a method of the kind needs
_FITTING = {"convolutional": "resnet18", "transformer": "vit_s"}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A pretraining before its first step."""

    parts: Parts
    encoder: nn.Module
    source: encoders.Source | None  # of its first weights
    method: nn.Module
    images: ssl.Images
    notes: tuple[str, ...]  # that could not be told before


def facts(settings: PretrainSettings, parts: Parts, n_whole: int, *, gpu: bool) -> Facts:
    """Return what the `auto` settings depend on."""
    store = open_store(settings.archive, parts.train, settings.spatial_dims)
    job = jobs.find("auto")
    first = None if settings.init_from == "none" else encoders.open_source(settings.init_from).info
    return Facts(
        n_images=parts.train.num_rows,
        n_whole=n_whole,
        n_patients=parts.n_patients,
        side=store.side,
        gpu=gpu,
        depth_share=getattr(store, "depth_share", 1.0),
        n_groups=_n_groups(settings, parts),
        n_processes=1 if job is None else job.size,
        source=None if first is None else (first.encoder, first.options),
        encoder_kind=lambda name: str(plugins.load(methods, name).ENCODER),
    )


def fit(settings: PretrainSettings, n_images: int) -> tuple[PretrainSettings, tuple[str, ...]]:
    """Return the settings fitted to the method and its options to the archive, and what changed.

    Raises:
        UsageError: There is no such method, or it does not know an option.
    """
    plugin = plugins.load(methods, settings.method)
    config = decode(plugin.Config, settings.method_options, where="method_options")
    views = {
        name: value
        for name, value in getattr(plugin, "VIEWS", {}).items()
        if name not in settings.views.model_fields_set
    }
    notes = [f"{settings.method}: views.{name} {value}" for name, value in views.items()]
    options: dict[str, Any] = {}
    if hasattr(plugin, "capped"):
        before = asdict(config)
        after = asdict(plugin.capped(config, n_images, int(settings.batch_size)))
        options = {name: value for name, value in after.items() if value != before[name]}
        there = counted(n_images, settings.unit)
        notes += [
            f"{settings.method}: {name} {value} (was {before[name]}; {there})"
            for name, value in options.items()
        ]
    update = {
        "method_options": {**settings.method_options, **options},
        "views": settings.views.model_copy(update=views),
    }
    return settings.model_copy(update=update), tuple(notes)


def make_encoder(
    settings: PretrainSettings,
) -> tuple[nn.Module, encoders.Source | None, tuple[str, ...]]:
    """Return the encoder to train, where its first weights came from, and what they left out.

    Raises:
        UsageError: There is no such encoder, or the method cannot train it.
        ArtifactError: The first weights are missing or do not fit.
    """
    source = None if settings.init_from == "none" else encoders.open_source(settings.init_from)
    make = encoders.factory(
        settings.encoder,
        settings.encoder_options,
        in_channels=archive.read_info(settings.archive).channels,
        spatial_dims=settings.spatial_dims,
        source=source,
        allow_partial=settings.allow_partial,
    )
    torch.manual_seed(seeding.derive(settings.seed, "encoder"))
    encoder = make()
    notes = make.notes
    if source is not None and source.info is not None:
        before = dict(source.info.options)
        if settings.encoder == source.info.encoder and settings.encoder_options != before:
            notes += (f"the starting weights were trained with encoder_options {before}",)
    kind = plugins.load(methods, settings.method).ENCODER
    if kind in _ABILITY and not hasattr(encoder, _ABILITY[kind]):
        raise UsageError(
            f"{settings.method} trains {kind} encoders, and {settings.encoder} is none",
            where="encoder",
            fix=f"choose --encoder {_FITTING[kind]}, or another --method",
        )
    return encoder, source, notes


def masked(settings: PretrainSettings, encoder: nn.Module) -> tuple[str, ...]:
    """Return how much of a view a masking method hides, and what to do where cells are few.

    Raises:
        UsageError: The view does not divide into cells, or is one.
    """
    plugin: Any = plugins.load(methods, settings.method)
    config = decode(plugin.Config, settings.method_options, where="method_options")
    if not hasattr(config, "mask_ratio"):
        return ()
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        method = plugin.Method(encoder, config)
    find = method.grid if hasattr(method, "grid") else encoder.grid
    grid: tuple[int, ...] = find(torch.Size(settings.shape))  # type: ignore[operator]
    n_cells = math.prod(grid)
    n_hidden = n_cells - patches.n_visible(n_cells, config.mask_ratio)
    sides = [side // cells for side, cells in zip(settings.shape, grid, strict=True)]
    said = (
        f"{settings.method}: {n_hidden} of {n_cells} cells of a view are hidden "
        f"({_by(grid)} cells of {_by(sides)} px)"
    )
    if n_cells < _FEW_CELLS:
        along = _CELLS[settings.spatial_dims]
        wanted = f"image_size {along * sides[-1]}"
        if settings.depth is not None:
            wanted += f" and depth {along * sides[0]}"
        said += (
            f": few to learn from. {wanted} would give {_by([along] * len(grid))}, if the images "
            "are stored as large; else a transformer with small patches, or a method without masks"
        )
    return (said,)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def prepare(
    runtime: Runtime, settings: PretrainSettings, steps_per_epoch: int, *, compiled: bool = False
) -> Prepared:
    """Return all that `ssl.run` trains and measures.

    Args:
        runtime: Where it will run.
        settings: Resolved settings.
        steps_per_epoch: What counts as an epoch.
        compiled: Compile the encoder.

    Raises:
        MedSSLError: The settings do not fit each other, the archive or the weights.
    """
    encoder, source, _ = make_encoder(settings)
    method = _method(settings, encoder)
    views = showing.wanted(method)
    showing.require_views(settings, views)
    _require_fitting_views(method, views, settings)
    parts, _ = held_out.read(settings)
    guide = encoder.to(runtime.device) if source is not None else None
    shown = showing.batches(runtime, settings, parts.train, views, guide)
    _require_even(runtime, shown.batch_size, settings.pieces)
    watch = monitors.choose(settings, parts)
    if compiled:
        runtimes.compile_module(encoder, gpu=runtime.device.type == "cuda")
    return Prepared(
        parts=parts,
        encoder=encoder,
        source=source,
        method=method,
        images=ssl.Images(
            batches=shown,
            monitors=monitors.Monitors(runtime, settings, watch, parts, views),
            steps_per_epoch=steps_per_epoch,
        ),
        notes=showing.notes(settings, shown),
    )


def _method(settings: PretrainSettings, encoder: nn.Module) -> nn.Module:
    plugin: Any = plugins.load(methods, settings.method)
    config = decode(plugin.Config, settings.method_options, where="method_options")
    return ssl.build_method(plugin, encoder, config, settings.seed)


def _require_fitting_views(
    method: nn.Module, views: showing.Views, settings: PretrainSettings
) -> None:
    """Have the method embed two blank images: it says what is wrong with their size."""
    channels = archive.read_info(settings.archive).channels
    small = local_shape(settings.shape, settings.views.local_size)
    shapes = [settings.shape] * views.full + [small] * views.local
    with embed.unchanged(method), torch.random.fork_rng(devices=[]), torch.no_grad():
        method.embed([torch.zeros(2, channels, *shape) for shape in shapes])  # type: ignore[operator]


def _n_groups(settings: PretrainSettings, parts: Parts) -> int | None:
    """Return how many groups there are of which a batch may hold one image each."""
    if settings.one_per == "image":
        return None
    if settings.one_per == "cluster":
        return max(2, int(parts.train.num_rows) // _IN_CLUSTER)
    return len(set(parts.train[f"{settings.one_per}_key"].to_pylist()))


def _require_even(runtime: Runtime, batch_size: int, pieces: int) -> None:
    """Check that the images of a step can be shared by processes and cut into pieces.

    Raises:
        UsageError: They cannot.
    """
    if batch_size % runtime.world_size:
        fitting = max(1, batch_size // runtime.world_size) * runtime.world_size
        raise UsageError(
            f"a step of {batch_size} images cannot be shared by {runtime.world_size} processes",
            where="batch_size",
            fix=f"choose a multiple, such as {fitting}",
        )
    own = batch_size // runtime.world_size
    if own < 2 * pieces and pieces > 1:
        raise UsageError(
            f"{pieces} pieces of {own} images: each needs two or more",
            where="pieces",
            fix=f"use at most {max(1, own // 2)}",
        )
