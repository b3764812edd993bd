"""What is wrong with settings, and what to give instead: pydantic's findings in users' words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from medssl.foundation import plugins
from medssl.foundation.wording import alternatives

_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_WANTED = {  # kinds of findings, by how they begin -> what to give
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "finite": "a finite number",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "one word",
    "path": "a path",
    "too_short": "{min_length} or more",
    "too_long": "{max_length} at most",
}


def explain(model: type[Any], error: ValidationError) -> tuple[str, str]:
    """Return what is wrong and what to give instead, one clause per wrong key in each.

    What a union would accept is said in one breath.
    """
    found: dict[str, _Mistake] = {}
    for item in error.errors():
        parts, known = _locate(model, item["loc"])
        key = ".".join(parts) or "settings"
        found.setdefault(key, _Mistake(model, parts, known)).add(item)
    told = [m for key, m in found.items() if not any(k.startswith(f"{key}.") for k in found)]
    alone = len(told) == 1
    fixes = [m.fix() if alone else f"{m.key}: {m.fix()}" for m in told]
    return "; ".join(m.problem() for m in told), "; ".join(fixes)


def wrong_keys(model: type[Any], error: ValidationError) -> list[list[str]]:
    """Return the parts of every wrong key."""
    return [_locate(model, item["loc"])[0] for item in error.errors()]


class _Mistake:
    """All that was found wrong at one key."""

    def __init__(self, model: type[Any], parts: list[str], known: list[str]) -> None:
        self.key = ".".join(parts) or "settings"
        self._model, self._parts, self._known = model, parts, known
        self._items: list[Any] = []

    def add(self, item: Any) -> None:  # noqa: ANN401 - one of pydantic's findings
        self._items.append(item)

    def problem(self) -> str:
        """Return what is wrong, with the value."""
        last = self._items[-1]
        if last["type"] in _UNKNOWN:
            return f"unknown key {self.key!r}"
        if last["type"] == "missing":
            return f"{self.key} is needed"
        messages = [item["msg"].removeprefix("Value error, ") for item in self._items]
        said = " or ".join(message[:1].lower() + message[1:] for message in messages)
        return f"{self.key}: {said}, got {last['input']!r}"

    def fix(self) -> str:
        """Return what to give instead."""
        last = self._items[-1]
        if last["type"] in _UNKNOWN:
            return suggest_key(self._model, self._parts, self._known)
        if last["type"] == "missing":
            return self._missing()
        choices = [c for item in self._items for c in _choices(item)]
        values = [text for item in self._items if (text := _wanted(item))]
        nested = isinstance(last["input"], Mapping) and self._options(last["input"])
        if nested:
            return nested
        if choices and not values:
            return plugins.suggest(str(last["input"]), choices)
        if values:
            return f"give {_either([*dict.fromkeys(values), *choices])}"
        return self._example()

    def _missing(self) -> str:
        if self._parts[-1].isdigit():
            return f"give {int(self._parts[-1]) + 1} values"
        info = getattr(self._model, "model_fields", {}).get(self._parts[0])
        described = info.description if info is not None else None
        return f"give {described}" if described else f"give {self.key}"

    def _options(self, given: Mapping[str, Any]) -> str:
        """Suggest `encoder_options.norm` for `encoder.options.norm`."""
        names = [f"{self._parts[-1]}_{name}" for name in given]
        fitting = [name for name in names if name in self._known]
        return f"did you mean {'.'.join([*self._parts[:-1], fitting[0]])!r}?" if fitting else ""

    def _example(self) -> str:
        value = _default(self._model, self._parts)
        if isinstance(value, BaseModel) or is_dataclass(value):
            return (
                f"set one of its keys: {', '.join(f'{self.key}.{k}' for k in _keys(type(value)))}"
            )
        if isinstance(value, tuple) and value:
            return f"give as many values as in --set {self.key}=[{','.join(map(str, value))}]"
        return f"give keys and values, such as --set {self.key}.NAME=VALUE"


def suggest_key(model: type[Any], parts: Sequence[str], beside: list[str]) -> str:
    """Return the words for a fix line: the key that was meant, or those that stand beside it."""
    prefix = ".".join(parts[:-1])
    names = [f"{prefix}.{name}" if prefix else name for name in beside]
    same = [key for key in _leaves(model) if key.rpartition(".")[2] == parts[-1]]
    close = plugins.closest(parts[-1], beside)
    if close is None and same:
        return f"did you mean {alternatives([repr(key) for key in same])}?"
    if close is None:
        return f"choose from {', '.join(names)}"
    return f"did you mean {names[beside.index(close)]!r}?"


def _choices(item: Any) -> list[str]:  # noqa: ANN401 - one of pydantic's findings
    """Return the words that a setting takes."""
    if item["type"] != "literal_error":
        return []
    return [
        word or number for word, number in re.findall(r"'([^']*)'|(\d+)", item["ctx"]["expected"])
    ]


def _wanted(item: Any) -> str:  # noqa: ANN401 - one of pydantic's findings
    for start, text in _WANTED.items():
        if item["type"].startswith(start):
            limits = item.get("ctx", {}).items()
            told = {k: f"{v:g}" if isinstance(v, float) else v for k, v in limits}
            return text.format(**told)
    return ""


def _either(things: list[str]) -> str:
    """Return things of which one is meant; a comma where one of them has an `or` of its own."""
    if any(" or " in thing for thing in things):
        return ", or ".join(things)
    return alternatives(things)


def _default(model: type[Any], parts: Sequence[str]) -> Any:  # noqa: ANN401 - any setting
    info = getattr(model, "model_fields", {}).get(parts[0]) if parts else None
    if info is not None:
        value = info.get_default(call_default_factory=True)
    else:
        plain = fields(model) if is_dataclass(model) else ()
        value = next((f.default for f in plain if parts and f.name == parts[0]), None)
    for part in parts[1:]:
        value = getattr(value, part, None)
    return None if value is MISSING else value


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


def _leaves(model: Any, prefix: str = "") -> list[str]:  # noqa: ANN401 - a type
    """Return every key of a settings model as users write it."""
    found: list[str] = []
    for name, annotation in _keys(model).items():
        below = [key for part in (annotation, *get_args(annotation)) for key in _keys(part)]
        found += [f"{prefix}{name}", *(f"{prefix}{name}.{key}" for key in below)]
    return found
