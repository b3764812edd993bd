"""Where settings come from: defaults < `--preset` < `-c FILE` < `--set a.b=c` < flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from medssl.config.settings import Settings
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

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
    origin = "settings"
    if sources.preset:
        merged = read_preset(stage, sources.preset)
    for path in sources.files:
        merged = _overlay(merged, _relative_paths(model, _read_yaml(path), path.parent))
        origin = str(path)
    given: dict[str, Any] = {}
    for text in sources.sets:
        given = _merge(given, _parse_set(text))
    for key, value in sources.flags.items():
        if value is not None:
            given = _merge(given, _nest(key, value))
    return validate(model, _overlay(merged, given), where=origin)


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
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


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
        return folder / Path(value).expanduser()
    except RuntimeError as error:
        raise UsageError(f"whose home folder is meant by {value!r}?") from error


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


def _explain(model: type[Any], error: ValidationError) -> str:
    """Return one clause per wrong key; what a union would accept is said in one breath."""
    lines: dict[str, str] = {}
    wrong: dict[str, list[str]] = {}
    for item in error.errors():
        parts, known = _locate(model, item["loc"])
        key = ".".join(parts) or "settings"
        if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            lines[key] = f"unknown key {key!r}; {plugins.suggest(parts[-1], known)}"
        elif item["type"] == "missing":
            lines[key] = f"{key} is needed{_description(model, parts[0])}"
        else:
            message = item["msg"][:1].lower() + item["msg"][1:]
            wrong.setdefault(key, []).append(message)
            lines[key] = f"{key}: {' or '.join(wrong[key])}, got {item['input']!r}"
    return "; ".join(
        line for key, line in lines.items() if not any(k.startswith(f"{key}.") for k in lines)
    )


def _locate(model: type[Any], loc: Sequence[str | int]) -> tuple[list[str], list[str]]:
    """Return the key as users write it, and the keys known beside its last part.

    Where a setting may be one of several types, pydantic names the type it tried in ``loc``.
    """
    parts: list[str] = []
    known: list[str] = []
    here: Any = model
    for part in loc:
        choices = [choice for choice in get_args(here) if choice is not NoneType]
        if _is_union(here) and len(choices) > 1:
            here = next((c for c in choices if getattr(c, "__name__", "") == part), None)
            continue
        here = choices[0] if _is_union(here) else here
        keys = _keys(here)
        parts, known = [*parts, str(part)], list(keys)
        here = keys.get(str(part))
    return parts, known


def _is_union(annotation: Any) -> bool:  # noqa: ANN401 - a type
    return get_origin(annotation) in {Union, UnionType}


def _keys(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a type
    """Return the keys of a settings model or a plugin's `Config`, each with its type."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return {f.name: f.type for f in fields(model)} if is_dataclass(model) else {}


def _description(model: type[Any], key: str) -> str:
    info = getattr(model, "model_fields", {}).get(key)
    return f": {info.description}" if info is not None and info.description else ""
