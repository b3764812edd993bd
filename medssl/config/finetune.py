"""Settings of `medssl finetune`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from medssl.config.settings import Settings
from medssl.config.task import Kind
from medssl.config.training import (
    AtLeast1,
    AtLeast2,
    Auto,
    CutMix,
    Intensity,
    MixUp,
    Optim,
    Precision,
    Rate,
    Side,
    Views,
)
from medssl.foundation.errors import UsageError

_INNER = 0.2  # of the training patients
_FEWEST_FOR_INNER = 25  # patients of the rarest class: 20 % of four fifths of them are four
_DEPTH_STEP = 16  # slices

FINETUNE_VIEWS = Views(
    scale=(0.8, 1.0),
    ratio=(0.9, 1.1),
    rotation_deg=5.0,
    contrast=0.1,
    gamma=0.1,
    noise=0.05,
    blur=0.1,
)


class FinetuneOptim(Optim):
    """AdamW; the freezing schedule says how fast each layer group learns."""

    lr_schedule: Literal["warmup_cosine", "one_cycle"] = "warmup_cosine"
    cycle: Literal["run", "release"] = "run"  # release: a layer group's rate starts its rise when
    # the group is released, not when the run begins
    head_weight_decay: float | None = Field(default=None, ge=0)  # None: as everything else
    decay_all: bool = False  # biases and norm weights too
    group_lr: dict[str, Rate] = {}  # peaks of layer groups, in the place of the schedule's
    group_weight_decay: dict[str, Annotated[float, Field(ge=0)]] = {}


class Probe(Settings):
    """The linear-probe phase before the schedule: the head alone, at a constant rate."""

    lr: Rate | Auto = "auto"  # what the schedule wants, else 1e-3
    weight_decay: float = Field(default=1e-4, ge=0)


class Split(Settings):
    """Which patients are tested by a model that never saw them."""

    by: Literal["folds", "site", "hold_out", "time", "file"] = "folds"
    stratify: Literal["class", "class_and_site"] = "class"  # folds
    balanced_test: bool = False  # folds tested with as many patients of either class, as in
    # arXiv:2507.12269: not the prevalence of the clinic
    hold_out: tuple[str, ...] = ()  # sites that are tested and never trained on
    time_target: str | None = None  # time: label column with a number or a day (2024-03-31) that
    # tells earlier images from later ones; archives hold no dates
    test_share: float = Field(default=0.3, gt=0, lt=1)  # time: of the patients, those seen last
    file: Path | None = None  # splits.json, its run, or a CSV table of patient, repeat and fold
    key_file: Path | None = None  # file: institution's key for its patient ids; None: the default

    @model_validator(mode="after")
    def _what_it_needs(self) -> Self:
        if (self.by == "hold_out") != bool(self.hold_out):
            raise UsageError(
                "a hold-out test needs the sites that are held out, and nothing else does",
                where="split.hold_out",
                fix="--split hold_out --hold-out SITE",
            )
        if (self.by == "file") != (self.file is not None):
            raise UsageError(
                "imported splits need their file, and nothing else does",
                where="split.file",
                fix="--split file --set split.file=FILE",
            )
        if (self.by == "time") != (self.time_target is not None):
            raise UsageError(
                "a split by time needs a label column that orders patients, and nothing else does",
                where="split.time_target",
                fix="--split time --set split.time_target=COLUMN, ingested with --label COLUMN: an "
                "archive keeps no dates, only days since each patient's own first study",
            )
        return self

    @model_validator(mode="after")
    def _only_of_folds(self) -> Self:
        special = [
            name
            for name, chosen in (
                ("balanced_test", self.balanced_test),
                ("stratify", self.stratify != "class"),
            )
            if chosen
        ]
        if special and (self.by != "folds" or len(special) > 1):
            raise UsageError(
                f"split.{special[0]} draws folds by class"
                if self.by == "folds"
                else f"split.{special[0]} draws folds, and a split by {self.by} draws none",
                where=f"split.{special[0]}",
                fix="leave it out, or --split folds with one of the two",
            )
        return self


class Inner(Settings):
    """Patients of the training part whom a model does not learn from.

    On them is chosen what is chosen: when to stop, thresholds, temperature.
    """

    share: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    patience: AtLeast1 | None = None  # epochs without a lower inner loss; None: no early stopping

    @model_validator(mode="after")
    def _stops_on_somebody(self) -> Self:
        if self.patience is not None and self.share == 0:
            raise UsageError(
                "nobody is set apart to see when to stop",
                where="inner.patience",
                fix="--inner 0.2, or leave out --patience",
            )
        return self


def _listed(given: object) -> object:
    return (given,) if isinstance(given, str) and given != "auto" else given


def _written(given: object) -> object:
    return str(given) if isinstance(given, int | float) else given


Targets = Annotated[tuple[str, ...] | Auto, BeforeValidator(_listed)]
Value = Annotated[str, BeforeValidator(_written)]  # of a label, which YAML may take for a number


class FinetuneSettings(Settings):
    """Everything that decides the models of a site and the predictions they are judged by."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    init_from: Path | Literal["none"] = Field(
        description="--init-from RUN, a weight file, or none for random weights"
    )
    allow_partial: bool = False  # accept weights that do not fill the encoder
    target: Targets = "auto"  # label columns; auto: the only one there is
    task: Kind | Auto = "auto"  # auto: from the labels
    order: tuple[Value, ...] = ()  # classes of an ordinal target, lowest first; empty: sorted
    positive: Value | None = None  # None: 1 or true, else the last class in sort order
    spatial_dims: Literal[2, 3] | Auto = "auto"  # auto: as pretrained, else 2
    pooling: Literal["none", "mean", "max", "attention"] = "none"  # one score of a series from
    # its slices
    slices: AtLeast2 = 16  # of a series, where they are pooled; evenly spaced
    group: Literal["patient", "none"] = "patient"  # none: every series, or loose image, is its
    # own patient
    aliases: Path | None = None  # a reduce run or its probable_alias.csv, looked at by a person:
    # ids of one patient count as one
    schedule: str = "full"
    schedule_options: dict[str, Any] = {}
    encoder: str = "auto"
    encoder_options: dict[str, Any] = {}
    split: Split = Split()
    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=1, ge=1)
    seeds: AtLeast1 = 1  # trainings of every fold that differ in all that is drawn but the folds
    inner: Inner = Inner()
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (1.0,)  # of the training patients
    baselines: tuple[Path | Literal["random", "none"], ...] = ()  # other weights on the same folds
    epochs: AtLeast1 | Auto = "auto"  # of the schedule; probe_epochs come before them
    probe_epochs: Annotated[int, Field(ge=0)] | Auto = "auto"  # auto: what the schedule wants
    probe: Probe = Probe()
    loss: str = "auto"  # auto: the likelihood of the task
    loss_options: dict[str, Any] = {}
    loss_weights: Literal["none", "balanced", "sqrt"] = "none"  # of the classes; balanced: as if
    # they were equally frequent
    mixup: MixUp = MixUp()  # off in the probe phase
    cutmix: CutMix = CutMix()  # off in the probe phase
    sampling: Literal["natural", "balanced", "sqrt"] = "natural"  # balanced draws every
    # class as often, sqrt goes half that way
    prior_correction: bool = True  # probabilities for the classes as frequent as in the cohort
    calibration: Literal["none", "temperature", "isotonic"] = "temperature"  # of probabilities, on
    # the inner part of each fold; predictions are kept as they are, with what corrects them
    gate: bool = True  # keep what the training images look like, to notice others later
    smote: bool = False  # synthetic patients of the rarer classes, in a linear probe
    norms: Literal["follow", "frozen"] = "follow"  # running statistics of released batch norms:
    # frozen keeps them as pretrained; those of frozen layers never move
    random_views: bool = True  # False: images as they are, and features of frozen layers are kept
    batch_size: AtLeast2 | Auto = "auto"  # images per optimiser step
    image_size: Side | Auto = "auto"  # px, side of the square the encoder sees
    depth: AtLeast1 | Auto | None = "auto"  # slices of a volume the encoder sees; None in 2D
    dropout: float = Field(default=0.1, ge=0, lt=1)  # before the linear head
    precision: Precision = "auto"
    seed: int = 0
    optim: FinetuneOptim = FinetuneOptim()
    intensity: Intensity | Auto = "auto"
    views: Views = FINETUNE_VIEWS
    smoke: bool = False  # two steps, two folds and 16 patients, to try the whole path

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the encoder sees, px: (rows, columns) or (slices, rows, columns); resolved."""
        side = int(self.image_size)
        return (side, side) if self.spatial_dims == 2 else (int(self.depth or 1), side, side)

    @model_validator(mode="after")
    def _repeats_differ(self) -> Self:
        if self.split.by != "folds" and self.repeats > 1:
            raise UsageError(
                f"a split by {self.split.by} has nothing to draw anew in {self.repeats} repeats",
                where="repeats",
                fix="--repeats 1; the file says how many there are"
                if self.split.by == "file"
                else "--repeats 1, or --split folds",
            )
        return self

    @model_validator(mode="after")
    def _aliases_of_patients(self) -> Self:
        if self.aliases is not None and self.group == "none":
            raise UsageError(
                "no patients to merge where every series is its own patient",
                where="aliases",
                fix="leave out --aliases, or --group none",
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What `auto` values follow from."""

    n_train: int  # images, or series, a fold trains on
    fewest: int  # patients of the rarest class, or half of all where there are no classes
    side: int  # longest side of the stored images, px
    depth_share: float = 1.0  # physical depth over width of a typical volume
    gpu: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)  # what the pretrained encoder was
    # trained with (`encoder`, `encoder_options`, `image_size`, `depth`, `intensity`,
    # `spatial_dims`); empty for random weights and bare files


def resolve_dims(settings: FinetuneSettings, source: Mapping[str, Any]) -> tuple[int, str]:
    """Return whether images or volumes are trained on, and why.

    Raises:
        UsageError: Slices are to be pooled, or images trained on, with an encoder of volumes; or
            images are to have a depth.
    """
    known = source.get("spatial_dims")
    if settings.spatial_dims == "auto":
        found = (known or 2, "as pretrained" if known else "images")
    else:
        found = (settings.spatial_dims, "as asked for")
    if known == 3 and found[0] == 2:  # filters of images fit into volumes, not the other way
        raise UsageError(
            "the encoder was trained in 3D and the cohort is to be read in 2D",
            where="spatial_dims",
            fix="--spatial-dims 3, or pretrain in 2D",
        )
    if found[0] == 3 and settings.pooling != "none":
        raise UsageError(
            "a volume is one input: there are no slices to pool",
            where="pooling",
            fix="--pooling none, or an encoder of images",
        )
    if found[0] == 2 and settings.depth not in ("auto", None):
        raise UsageError(
            "images have no depth",
            where="depth",
            fix="leave out --depth, or --spatial-dims 3",
        )
    return found


def resolve(settings: FinetuneSettings, facts: Facts) -> tuple[FinetuneSettings, list[str]]:
    """Return the settings with every `auto` but target and task replaced, and a reason for each.

    Args:
        settings: As the user gave them.
        facts: About cohort, weights and machine.
    """
    where = "on a GPU" if facts.gpu else "on a CPU"
    source, n_train = facts.source, facts.n_train
    like = "as pretrained"
    dims, why = resolve_dims(settings, source)
    side = source.get("image_size", min(facts.side, 224 if facts.gpu else 64))
    heavy = dims == 3 or settings.pooling != "none"
    batch = min(8 if heavy else 32, max(2, n_train // 4))
    share = _INNER if facts.fewest >= _FEWEST_FOR_INNER else 0.0
    found: dict[str, tuple[Any, str]] = {
        "spatial_dims": (dims, why),
        "encoder": (source.get("encoder", "resnet18"), like if source else "small cohort"),
        "image_size": (side, like if source else f"{where}, images stored at {facts.side} px"),
        "intensity": (
            Intensity(**source.get("intensity", {})),
            like if source else "CT window, everything else standardised",
        ),
        "batch_size": (batch, f"{n_train} training {'series' if heavy else 'images'}"),
        "epochs": (20, "the paper's length for a small cohort"),
        "precision": ("bf16" if facts.gpu else "32", where),
    }
    if dims == 3:
        whole = math.ceil(side * facts.depth_share / _DEPTH_STEP - 0.25) * _DEPTH_STEP
        depth = source.get("depth") or min(side, max(_DEPTH_STEP, whole))
        why = like if source.get("depth") else f"{facts.depth_share:.2g} as deep as wide"
        found["depth"] = (depth, why)
    update = {k: v for k, (v, _) in found.items() if getattr(settings, k) == "auto"}
    reasons = [f"{k} {v} (auto: {found[k][1]})" for k, v in update.items()]
    if dims == 2:
        update["depth"] = None
    if settings.inner.share == "auto":
        update["inner"] = settings.inner.model_copy(update={"share": share})
        reasons.append(
            f"inner.share {share:g} (auto: {facts.fewest} patients of the rarest class"
            + ("" if share else ", too few to set some apart")
            + ")"
        )
    if source and settings.encoder == "auto":
        update["encoder_options"] = {**source["encoder_options"], **settings.encoder_options}
    return settings.model_copy(update=update), reasons
