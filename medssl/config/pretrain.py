"""Settings of `medssl pretrain`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from medssl.config.settings import Settings
from medssl.config.training import (
    AtLeast1,
    AtLeast2,
    Auto,
    Intensity,
    Optim,
    Precision,
    Rate,
    Side,
    Views,
)
from medssl.foundation.wording import counted

_SMALL_ARCHIVE = 40  # patients: below, all of them are needed for training
_SMALL_BATCH = 32  # images: below, methods that compare them have too few to compare
_TINY_BATCH = 16  # below, statistics of a batch are poor
_FEW_PATIENTS = 8  # below, most negatives of a batch would be left out
_SMALL_VIEW = 96  # px: below, patches of 16 px would be few
_CUT = 0.2  # of a cell may be missing at the ends of a volume
_PATCH = 16  # px: views of a transformer are a multiple of it
_STRIDE = 32  # px: views of methods that mask cells or patches are a multiple of it
_MASKING = ("spark", "mae")
_BASE_RATES = {  # at batch 256, and whether it grows with the root of the batch or with the batch
    "adamw": (1e-3, True),
    "sgd": (0.03, False),  # He et al., MoCo
    "lars": (0.3, False),  # Chen et al., SimCLR
    "lamb": (2e-4, False),  # Tian et al., SparK
}
_Share = Annotated[float, Field(ge=0, lt=0.5)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class PretrainOptim(Optim):
    """One learning rate for all parameters."""

    name: Literal["adamw", "sgd", "lars", "lamb"] = "adamw"
    lr: Rate | Auto = "auto"  # peak
    final: float = Field(default=0.0, ge=0, le=1)  # of the cosine, as a share of the peak
    weight_decay_end: float | None = Field(default=None, ge=0)  # at the last step, along a cosine
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd and lars
    betas: tuple[Beta, Beta] = (0.9, 0.999)  # of adamw and lamb


class PretrainSettings(Settings):
    """Everything that decides the outcome of a pretraining run; nothing that does not."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    selection: Path | None = None  # a reduce run; None: all images
    init_from: Path | Literal["none"] = "none"  # a run or a weight file; none: random weights
    allow_partial: bool = False  # accept weights that do not fill the encoder
    method: str = "auto"
    method_options: dict[str, Any] = {}
    encoder: str = "auto"
    encoder_options: dict[str, Any] = {}
    epochs: AtLeast1 | Auto = "auto"  # passes over the images; but see budget_mode
    budget_mode: Literal["epochs", "updates"] = "epochs"  # updates: an epoch of a selection has as
    # many steps as one of all images, so that selections of any size are trained equally long
    batch_size: AtLeast2 | Auto = "auto"  # images per optimiser step, over all pieces and devices;
    # at most those there are
    pieces: AtLeast1 = 1  # a step is embedded in so many pieces where memory is short
    one_per: Literal["image", "series", "patient", "cluster"] = "image"  # a batch holds at most one
    # image of each; clusters are of images that look alike (G-SimCLR)
    positives: Literal["view", "slice", "patient"] = "view"  # what the second view shows: the same
    # image, a neighbouring slice, or another image of the patient
    neighbour_mm: Rate = 10.0  # how far away a neighbouring slice may be
    negatives: Literal["other_patients", "all"] | Auto = "auto"
    spatial_dims: Literal[2, 3] = 2  # 3: whole series as volumes
    image_size: Side | Auto = "auto"  # px, side of a view
    depth: Side | Auto | None = "auto"  # slices of a view of a volume; None in 2D
    precision: Precision = "auto"
    seed: int = 0
    optim: PretrainOptim = PretrainOptim()
    intensity: Intensity = Intensity()
    views: Views = Views()
    validation: _Share | Auto = "auto"  # share of the patients to watch and never train on
    monitor_every: AtLeast1 | Auto = "auto"  # epochs; the features are measured, see metrics.jsonl
    checkpoint_every: int = Field(default=1, ge=1)  # epochs
    smoke: bool = False  # two steps, to try the whole path

    @property
    def unit(self) -> str:
        """What is trained on: an image, or in 3D a series."""
        return "series" if self.spatial_dims == 3 else "image"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a view, px: (rows, columns) or (slices, rows, columns); resolved settings only."""
        side = int(self.image_size)
        return (side, side) if self.depth is None else (int(self.depth), side, side)


def resolve_validation(
    settings: PretrainSettings, n_patients: int
) -> tuple[PretrainSettings, list[str]]:
    """Return the settings with the share of patients to hold out, and the reason if it was `auto`.

    It comes before `resolve`: how many images are trained on depends on it.

    Args:
        settings: As the user gave them.
        n_patients: Patients of the whole archive, whatever selection is trained on.
    """
    if settings.validation != "auto":
        return settings, []
    share = 0.1 if n_patients >= _SMALL_ARCHIVE else 0.0
    reason = f"validation {share:g} (auto: {n_patients} patients; none below {_SMALL_ARCHIVE})"
    return settings.model_copy(update={"validation": share}), [reason]


def steps_per_epoch(settings: PretrainSettings, *, n_images: int, n_whole: int) -> int:
    """Return how many optimiser steps count as an epoch.

    Args:
        settings: With the batch size resolved.
        n_images: Images to pretrain on.
        n_whole: The same without a selection.
    """
    n = n_whole if settings.budget_mode == "updates" else n_images
    return max(1, n // int(settings.batch_size))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What `auto` depends on."""

    n_images: int  # to pretrain on; volumes in 3D
    n_whole: int  # the same without a selection; counts where the updates are to be as many
    n_patients: int  # they are of
    side: int  # longest side of the stored images, px
    gpu: bool
    depth_share: float = 1.0  # physical depth over width of a typical volume
    n_groups: int | None = None  # series or patients, where a batch has at most one of each
    n_processes: int = 1  # that share a batch
    source: tuple[str, Mapping[str, Any]] | None = None  # encoder of the first weights, its options
    encoder_kind: Callable[[str], str]  # method -> any, convolutional or transformer


def resolve(settings: PretrainSettings, facts: Facts) -> tuple[PretrainSettings, list[str]]:
    """Return the settings with every other `auto` replaced, and a reason for each.

    Args:
        settings: As the user gave them, but for `resolve_validation`.
        facts: About the archive and the machine.
    """
    chosen, reasons = _existing_batch(settings, facts)
    for find in (_lengths, _networks, _sizes):
        values = find(chosen, facts)
        update = {k: v for k, (v, _) in values.items() if _is_auto(chosen, k)}
        reasons += [f"{k} {_shown(v)} (auto: {values[k][1]})" for k, v in update.items()]
        chosen = chosen.model_copy(update=update)
    if chosen.optim.lr == "auto":
        lr, reason = _rate(chosen, facts)
        chosen = chosen.model_copy(update={"optim": chosen.optim.model_copy(update={"lr": lr})})
        reasons.append(f"optim.lr {lr:g} (auto: {reason})")
    if chosen.spatial_dims == 2:
        chosen = chosen.model_copy(update={"depth": None})
    return chosen, reasons


def _existing_batch(settings: PretrainSettings, facts: Facts) -> tuple[PretrainSettings, list[str]]:
    """Return the settings with a batch of the images there are, if more were asked for.

    Where the budget is updates, a batch is one of all images, so that selections of any size take
    as many steps; a step of a smaller selection shows what it has.
    """
    asked = settings.batch_size
    n = facts.n_whole if settings.budget_mode == "updates" else facts.n_images
    if asked == "auto" or asked <= n:
        return settings, []
    batch = max(2, n - n % facts.n_processes)  # every process shows as many
    reason = (
        f"batch_size {batch} instead of {asked}: there are {counted(n, settings.unit)} to train on"
    )
    if settings.optim.lr != "auto":
        reason += f"; optim.lr {settings.optim.lr:g} is kept"
    return settings.model_copy(update={"batch_size": batch}), [reason]


_Found = dict[str, tuple[Any, str]]  # setting -> its value, and why


def _is_auto(settings: PretrainSettings, name: str) -> bool:
    if name == "depth":  # None is what a run in 2D was told
        return settings.depth in {"auto", None}
    if name == "encoder_options":  # those of an encoder that was not chosen either
        return settings.encoder_options == {}
    return bool(getattr(settings, name) == "auto")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    return str(value)


def _lengths(settings: PretrainSettings, facts: Facts) -> _Found:
    """Return what follows from how many images there are."""
    where = "on a GPU" if facts.gpu else "on a CPU"
    n = facts.n_whole if settings.budget_mode == "updates" else facts.n_images
    most = (16 if facts.gpu else 8) if settings.spatial_dims == 3 else (256 if facts.gpu else 64)
    batch = min(most, max(2, n // 4), max(2, facts.n_groups or n))
    batch = max(facts.n_processes, batch - batch % facts.n_processes)
    if settings.batch_size != "auto":
        batch = settings.batch_size
    budget = 20_000 if facts.gpu else 1_000
    epochs = min(800, max(20, math.ceil(budget / max(1, n // batch))))
    every = math.ceil((epochs if settings.epochs == "auto" else settings.epochs) / 10)
    several = facts.n_patients >= _FEW_PATIENTS
    return {
        "batch_size": (batch, f"{where}, {counted(n, settings.unit)}"),
        "epochs": (epochs, f"about {budget} steps {where}"),
        "precision": ("bf16" if facts.gpu else "32", where),
        "monitor_every": (every, "about ten times in the run"),
        "negatives": (
            "other_patients" if several else "all",
            f"{facts.n_patients} patients" + ("" if several else ": too few to leave some out"),
        ),
    }


def _networks(settings: PretrainSettings, facts: Facts) -> _Found:
    """Return method and encoder, which depend on each other and on the batch."""
    batch = int(settings.batch_size)
    small = batch < _SMALL_BATCH and (settings.spatial_dims == 3 or not settings.smoke)
    method, reason = "vicreg", f"no negatives and no memory of past images; a batch of {batch} does"
    known = facts.source[0] if settings.encoder == "auto" and facts.source else settings.encoder
    if known.startswith("vit"):
        method, reason = "mae", f"{known} is a transformer"
    elif small and (settings.image_size == "auto" or settings.image_size >= 2 * _STRIDE):
        method, reason = "spark", f"its loss compares no images, and a batch of {batch} is small"
    if settings.method != "auto":
        method = settings.method
    kind = facts.encoder_kind(method)
    transformer = kind == "transformer"
    found: _Found = {
        "method": (method, reason),
        "encoder": (
            "vit_s" if transformer else "resnet18",
            f"{method} masks patches" if transformer else "small enough for a small archive",
        ),
    }
    if facts.source is not None and settings.encoder in {"auto", facts.source[0]}:
        as_it_is = "as the weights it starts from"
        found["encoder"] = (facts.source[0], as_it_is)
        if facts.source[1]:
            found["encoder_options"] = (dict(facts.source[1]), as_it_is)
        return found
    tiny = small and batch < _TINY_BATCH and settings.init_from == "none"
    if settings.encoder == "auto" and tiny and not transformer:
        found["encoder_options"] = (
            {"norm": "group"},
            f"statistics of a batch of {batch} would be poor",
        )
    return found


def _sizes(settings: PretrainSettings, facts: Facts) -> _Found:
    """Return the shape of a view."""
    where = "on a GPU" if facts.gpu else "on a CPU"
    masks = settings.method in _MASKING
    patches = settings.encoder.startswith("vit")
    most = (96 if facts.gpu else 64) if settings.spatial_dims == 3 else (224 if facts.gpu else 64)
    side = min(facts.side, most)
    if masks:
        side = max(2 * _STRIDE, round(side / _STRIDE) * _STRIDE)  # one cell is all or nothing
    elif patches:
        side = max(2 * _PATCH, round(side / _PATCH) * _PATCH)
    if settings.image_size != "auto":
        side = settings.image_size
    found: _Found = {"image_size": (side, f"{where}, images stored at {facts.side} px")}
    if patches and settings.init_from == "none" and side <= _SMALL_VIEW:
        found["encoder_options"] = ({"patch_size": 8}, f"views of {side} px")
    if settings.spatial_dims == 3:
        step = _STRIDE if masks else _STRIDE // 2
        whole = (
            math.ceil(side * facts.depth_share / step - _CUT) * step
        )  # rather padded than shrunk
        depth = min(side, max(step, whole))
        found["depth"] = (depth, f"series are {facts.depth_share:.2g} as deep as wide")
    return found


def _rate(settings: PretrainSettings, facts: Facts) -> tuple[float, str]:
    batch = min(int(settings.batch_size), facts.n_images)
    base, root = _BASE_RATES[settings.optim.name]
    rate = base * (math.sqrt(batch / 256) if root else batch / 256)
    how = "square root of the batch size" if root else "proportional to the batch size"
    return float(f"{rate:.2g}"), f"{base:g} at batch 256, {how}"
