"""Where settings come from: defaults < `--preset` < `-c FILE` < `--set a.b=c` < flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from medssl.config import mistakes
from medssl.config.settings import Settings
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError
from medssl.foundation.wording import alternatives

STAGES = ("ingest", "reduce", "pretrain", "finetune", "evaluate")
S = TypeVar("S", bound=Settings)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the user gave besides flags."""

    preset: str | None = None
    files: Sequence[Path] = ()
    sets: Sequence[str] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value; None = not given


def resolve(model: type[S], stage: str, sources: Sources) -> S:
    """Return the settings of one stage.

    Raises:
        UsageError: A file, key or value is wrong; the message names it and suggests the right one.
    """
    merged: dict[str, Any] = {}
    files: dict[str, dict[str, Any]] = {}
    if sources.preset:
        merged = read_preset(stage, sources.preset)
    for path in sources.files:
        files[str(path)] = _relative_paths(model, _read_yaml(path), path.parent)
        merged = _overlay(merged, files[str(path)])
    given: dict[str, Any] = {}
    for text in sources.sets:
        given = _merge(given, _parse_set(text))
    for key, value in sources.flags.items():
        if value is not None:
            given = _merge(given, _nest(key, value))
    try:
        return TypeAdapter(model).validate_python(_overlay(merged, given))
    except ValidationError as error:
        problem, fix = mistakes.explain(model, error)
        where = _origin(mistakes.wrong_keys(model, error), files, given)
        raise UsageError(problem, where=where, fix=fix) from error


def validate(model: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Return ``values`` as a settings model or a plugin's `Config`.

    Raises:
        UsageError: Every wrong key or value, one line each.
    """
    try:
        return TypeAdapter(model).validate_python(dict(values))
    except ValidationError as error:
        problem, fix = mistakes.explain(model, error)
        raise UsageError(problem, where=where, fix=fix) from error


def decode(config: type[T], options: Mapping[str, Any], *, where: str) -> T:
    """Return a plugin's options as its frozen `Config` dataclass.

    Raises:
        UsageError: An option is unknown or has a wrong value.
    """
    known = [f.name for f in fields(config)]  # type: ignore[arg-type]  # a dataclass by contract
    for key in options:
        if key not in known:
            raise UsageError(
                f"unknown option {key!r}", where=where, fix=plugins.suggest(key, known)
            )
    return validate(config, options, where=where)


def presets(stage: str) -> list[str]:
    """Return the names of the presets of a stage."""
    folder = resources.files("medssl.config").joinpath("presets", stage)
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def read_preset(stage: str, name: str) -> dict[str, Any]:
    """Return the values of a preset.

    Raises:
        UsageError: The stage has no such preset.
    """
    known = presets(stage)
    if name not in known:
        raise UsageError(f"no {stage} preset called {name!r}", fix=_other_preset(name, stage))
    text = resources.files("medssl.config").joinpath("presets", stage, f"{name}.yaml").read_text()
    return dict(yaml.safe_load(text))


def _other_preset(name: str, stage: str) -> str:
    known = presets(stage)
    owners = [f"`medssl {other}`" for other in STAGES if name in presets(other)]
    if owners:
        choice = f"; {plugins.suggest(name, known)}" if known else ""
        return f"it is a preset of {alternatives(owners)}{choice}"
    return plugins.suggest(name, known) if known else f"leave it out: {stage} has no presets"


def _origin(
    wrong: Sequence[Sequence[str]], files: dict[str, dict[str, Any]], given: Mapping[str, Any]
) -> str:
    """Return the settings file that holds a wrong key, if the command line does not."""
    of_files = [parts for parts in wrong if not _holds(given, parts)]
    for path, values in reversed(files.items()):
        if any(_holds(values, parts) for parts in of_files):
            return path
    return "settings"


def _holds(values: Any, parts: Sequence[str]) -> bool:  # noqa: ANN401 - nested plain values
    """Return whether a key stands in nested values; the items of a list count as the list."""
    for part in parts:
        if not isinstance(values, Mapping):
            return True
        if part not in values:
            return False
        values = values[part]
    return True


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            "cannot read the settings file",
            where=str(path),
            fix="give a YAML file that is there, such as the config.yaml of a run",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        fix = "write it as UTF-8, one `key: value` a line"
        raise UsageError("not valid YAML", where=where, fix=fix) from error
    if not isinstance(values, dict):
        fix = "write one `key: value` a line, such as `seed: 1`"
        raise UsageError("expected keys and values", where=str(path), fix=fix)
    return values


def _relative_paths(model: type[BaseModel], values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read path settings of a file relative to that file, as they are written."""
    read = dict(values)
    for name, info in model.model_fields.items():
        value = read.get(name)
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if isinstance(value, dict):
                read[name] = _relative_paths(annotation, value, folder)
            continue
        if not _holds_path(annotation):
            continue
        if isinstance(value, str) and not _is_word(annotation, value):
            read[name] = _beside(folder, value)
        elif isinstance(value, list):
            read[name] = [_beside(folder, i) if isinstance(i, str) else i for i in value]
    return read


def _beside(folder: Path, value: str) -> Path:
    try:
        return _tidy(folder / Path(value).expanduser())
    except RuntimeError as error:
        raise UsageError(
            f"whose home folder is meant by {value!r}?", fix="write the path without ~"
        ) from error


def _tidy(path: Path) -> Path:
    """Return a path without `..`, from where one stands if it lies below."""
    if ".." not in path.parts:
        return path
    resolved, here = path.resolve(), Path.cwd()
    return resolved.relative_to(here) if resolved.is_relative_to(here) else resolved


def _holds_path(annotation: Any) -> bool:  # noqa: ANN401 - a type
    return annotation is Path or any(_holds_path(part) for part in get_args(annotation))


def _is_word(annotation: Any, value: str) -> bool:  # noqa: ANN401 - a type
    return any(part == value or _is_word(part, value) for part in get_args(annotation))


def _parse_set(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(
            f"--set needs key=value, got {text!r}", fix="for example --set optim.lr=1e-3"
        )
    try:
        return _nest(key.strip(), _scalar(value))
    except yaml.YAMLError as error:
        fix = "close its brackets and quotes, as in --set views.scale=[0.5,1]"
        raise UsageError(f"not a value: {value!r}", where=f"--set {key}", fix=fix) from error


def _scalar(text: str) -> Any:  # noqa: ANN401 - any YAML value
    value = yaml.safe_load(text)
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _nest(key: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting
    head, dot, tail = key.partition(".")
    return {head: _nest(tail, value) if dot else value}


def _overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sources; where ``top`` names another plugin, the options of the old one go."""
    gone = {f"{key}_options" for key, name in top.items() if key in base and base[key] != name}
    return _merge({key: value for key, value in base.items() if key not in gone}, top)


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
