"""Settings of `medssl tune`: those of a fine-tuning, and which of them are chosen among what."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from medssl.config import loading
from medssl.config.finetune import FinetuneSettings
from medssl.config.settings import Settings
from medssl.config.training import AtLeast1, AtLeast2
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

TUNABLE = (  # of which a trial depends on and nothing else does; of a nested one, all below it
    "schedule", "schedule_options", "epochs", "probe_epochs", "probe", "loss", "loss_options",
    "loss_weights", "mixup", "cutmix", "sampling", "smote", "norms", "random_views", "batch_size",
    "dropout", "optim", "views", "inner.patience",
)  # fmt: skip
_OPTIONS = ("schedule_options", "loss_options")  # their keys are those of a plugin
_SMOKE_TRIALS = 2
_SMOKE_FOLDS = 2
Number = int | float


class Dimension(Settings):
    """One setting that is chosen: among some values, or from a range."""

    setting: str  # as `--set` takes it, such as optim.weight_decay
    choices: tuple[Any, ...] = ()
    low: Number | None = None  # whole numbers at both ends: so is what is drawn
    high: Number | None = None
    log: bool = False  # even over the orders of magnitude

    @property
    def ends(self) -> tuple[Number, Number]:
        """Lowest and highest value of a range."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @property
    def samples(self) -> tuple[Any, ...]:
        """All choices, or the ends of the range."""
        return self.choices or self.ends

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        where = f"space.{self.setting}"
        ranged = self.low is not None or self.high is not None or self.log
        if bool(self.choices) == ranged:
            raise UsageError(
                "neither values to choose from nor a range, or both",
                where=where,
                fix="give a list, such as [10, 20], or {low: 1e-5, high: 1e-2, log: true}",
            )
        if ranged and (self.low is None or self.high is None or not self.low < self.high):
            raise UsageError(
                "a range needs a low end below its high end",
                where=where,
                fix="give both, as {low: 1e-5, high: 1e-2}",
            )
        if self.log and self.ends[0] <= 0:
            raise UsageError(
                f"orders of magnitude start above 0, got {self.low}",
                where=where,
                fix="give a low end above 0, or leave out log",
            )
        return self


def _dimensions(given: object) -> object:
    """Return a mapping of settings to choices or ranges as a list of dimensions."""
    if not isinstance(given, Mapping):
        return given
    found = []
    for setting, among in _flat(given):
        ranged = isinstance(among, Mapping)
        values = dict(among) if ranged else {"choices": among}
        found.append({"setting": setting, **values})
    return found


def _flat(given: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings with what they are chosen among; groups of them may be nested or dotted."""
    for key, value in given.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, Mapping):
            yield name, {end: _number(item) for end, item in value.items()}
        elif isinstance(value, list | tuple):
            yield name, tuple(map(_number, value))
        else:
            raise UsageError(
                f"neither a list nor a range: {value!r}",
                where=f"space.{name}",
                fix=f"[{value}] for this value alone",
            )


def _number(value: object) -> object:
    """Return a number that YAML 1.1 reads as text, such as 1e-3."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Space = Annotated[tuple[Dimension, ...], BeforeValidator(_dimensions), Field(min_length=1)]
DEFAULT = (
    Dimension(setting="schedule", choices=("linear_probe", "lp_ft", "progressive", "full")),
    Dimension(setting="epochs", choices=(10, 20)),
    Dimension(setting="cutmix.probability", choices=(0.0, 0.5)),
    Dimension(setting="optim.weight_decay", low=1e-5, high=1e-2, log=True),
    Dimension(setting="dropout", choices=(0.0, 0.1, 0.3)),
)


class TuneSettings(FinetuneSettings):
    """Everything that decides what is tried, what is chosen and the models made of it."""

    trials: AtLeast1 = 20  # configurations proposed for each fold
    inner_folds: AtLeast2 = 3  # of the training patients of a fold, on which they are compared
    space: Space = DEFAULT

    @model_validator(mode="after")
    def _is_one_run(self) -> Self:
        if self.baselines or len(self.fractions) > 1:
            raise UsageError(
                "a tuned run has no others beside it",
                where="baselines" if self.baselines else "fractions",
                fix="run `medssl tune` once for each, and `medssl compare` them",
            )
        return self

    @model_validator(mode="after")
    def _may_be_tuned(self) -> Self:
        named: set[str] = set()
        for dimension in self.space:
            if dimension.setting in named:
                raise UsageError(
                    "given twice",
                    where=f"space.{dimension.setting}",
                    fix="join the two",
                )
            named.add(dimension.setting)
            require_tunable(dimension.setting)
            for value in dimension.samples:
                with_values(self, {dimension.setting: value})
        return self


def require_tunable(setting: str) -> None:
    """Check that a setting exists, and that a trial may choose it.

    Raises:
        UsageError: There is none, or it decides folds, labels or input.
    """
    here: Any = FinetuneSettings
    parts = setting.split(".")
    for depth, part in enumerate(parts):
        if parts[depth - 1] in _OPTIONS and depth == 1:
            break
        known = list(here.model_fields) if _is_group(here) else []
        if part not in known:
            near = [".".join((*parts[:depth], name)) for name in known]
            raise UsageError(
                f"no setting called {setting!r}",
                where="space",
                fix=plugins.suggest(setting, near) if near else f"{parts[0]} has nothing below it",
            )
        here = here.model_fields[part].annotation
    if not any(setting == name or setting.startswith(f"{name}.") for name in TUNABLE):
        raise UsageError(
            f"{setting} is the same for all trials: it decides folds, labels or what models are "
            "fed with, or has no part in the score",
            where="space",
            fix="set it once; choose among " + ", ".join(TUNABLE),
        )
    if _is_group(here) or setting in _OPTIONS:
        raise UsageError(
            f"{setting} is a group of settings",
            where="space",
            fix=f"name one of it, such as {setting}."
            + (next(iter(here.model_fields)) if _is_group(here) else "OPTION"),
        )


def _is_group(annotation: Any) -> bool:  # noqa: ANN401 - a type
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def with_values(settings: FinetuneSettings, values: Mapping[str, Any]) -> FinetuneSettings:
    """Return the settings of a fine-tuning with some values in the place of others.

    Options of a plugin go where another plugin is chosen, as they do where settings are read.

    Args:
        settings: Of a fine-tuning, or of its tuning.
        values: Setting as `--set` takes it -> value.

    Raises:
        UsageError: A value is wrong; the message names it.
    """
    plain = {name: getattr(settings, name) for name in FinetuneSettings.model_fields}
    plain = {
        name: value.model_dump() if isinstance(value, BaseModel) else value
        for name, value in plain.items()
    }
    for plugin in ("schedule", "loss"):
        if plugin in values and values[plugin] != plain[plugin]:
            plain[f"{plugin}_options"] = {}
    for setting, value in values.items():
        *above, last = setting.split(".")
        inside = plain
        for part in above:
            inside[part] = dict(inside[part])
            inside = inside[part]
        inside[last] = value
    told = ", ".join(f"{setting}={value}" for setting, value in values.items())
    return loading.validate(FinetuneSettings, plain, where=f"space: {told}")


def shortened(settings: TuneSettings) -> TuneSettings:
    """Return the settings of a run that only tries the whole path."""
    if not settings.smoke:
        return settings
    update = {
        "trials": min(settings.trials, _SMOKE_TRIALS),
        "inner_folds": min(settings.inner_folds, _SMOKE_FOLDS),
    }
    return settings.model_copy(update=update)


def read_space(path: Path) -> tuple[Dimension, ...]:
    """Return the space of a YAML file: setting -> list of choices, or {low, high, log}.

    Raises:
        UsageError: It cannot be read, or holds no space.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            "cannot read the file", where=str(path), fix="check the path of --space"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            "not valid YAML", where=str(path), fix="for example `epochs: [10, 20]`"
        ) from error
    if not isinstance(values, dict) or not values:
        raise UsageError(
            "expected settings, each with what to choose among",
            where=str(path),
            fix="for example `epochs: [10, 20]`",
        )
    found = _dimensions(values)
    assert isinstance(found, list)
    return tuple(loading.validate(Dimension, one, where=str(path)) for one in found)
