"""Where settings come from: defaults < `--preset` < `-c FILE` < `--set a.b=c` < flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from medssl.config.settings import Settings
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

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
    origin = "settings"
    if sources.preset:
        merged = _merge(merged, read_preset(stage, sources.preset))
    for path in sources.files:
        merged = _merge(merged, _relative_paths(model, _read_yaml(path), path.parent))
        origin = str(path)
    for text in sources.sets:
        merged = _merge(merged, _parse_set(text))
    for key, value in sources.flags.items():
        if value is not None:
            merged = _merge(merged, _nest(key, value))
    return validate(model, merged, where=origin)


def validate(model: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Return ``values`` as a settings model or a plugin's `Config`.

    Raises:
        UsageError: Every wrong key or value, one line each.
    """
    try:
        return TypeAdapter(model).validate_python(dict(values))
    except ValidationError as error:
        raise UsageError(_explain(model, error), where=where) from error


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
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir())


def read_preset(stage: str, name: str) -> dict[str, Any]:
    """Return the values of a preset.

    Raises:
        UsageError: The stage has no such preset.
    """
    known = presets(stage)
    if name not in known:
        fix = plugins.suggest(name, known) if known else f"{stage} has no presets"
        raise UsageError(f"no {stage} preset called {name!r}", fix=fix)
    text = resources.files("medssl.config").joinpath("presets", stage, f"{name}.yaml").read_text()
    return dict(yaml.safe_load(text))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("cannot read the settings file", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError("not valid YAML", where=where) from error
    if not isinstance(values, dict):
        raise UsageError("expected keys and values", where=str(path))
    return values


def _relative_paths(model: type[BaseModel], values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read path settings of a file relative to that file, as they are written."""
    read = dict(values)
    for name, info in model.model_fields.items():
        value = read.get(name)
        annotation = info.annotation
        if not _holds_path(annotation):
            continue
        if isinstance(value, str) and not _is_word(annotation, value):
            read[name] = folder / value
        elif isinstance(value, list):
            read[name] = [folder / item for item in value]
    return read


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
        raise UsageError(f"not a value: {value!r}", where=f"--set {key}") from error


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


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _explain(model: type[Any], error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "settings"
        if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            known = _known_keys(model, item["loc"][:-1])
            lines.append(f"unknown key {key!r}; {plugins.suggest(str(item['loc'][-1]), known)}")
        elif item["type"] == "missing":
            lines.append(f"{key} is needed")
        else:
            lines.append(f"{key}: {item['msg'].lower()}, got {item['input']!r}")
    return "; ".join(lines)


def _known_keys(model: type[Any], path: Sequence[str | int]) -> list[str]:
    for part in path:
        if not issubclass(model, BaseModel):
            break
        model = model.model_fields[str(part)].annotation  # type: ignore[assignment]
    if issubclass(model, BaseModel):
        return list(model.model_fields)
    return [f.name for f in fields(model)]
