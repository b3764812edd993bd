"""The base of all settings models, and how they become plain values for YAML."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class PathText(str):
    """A path as text, so that it can be told from other strings and written relative."""

    __slots__ = ()


def to_plain(settings: BaseModel) -> dict[str, Any]:
    """Return settings as dicts, lists and scalars; paths as `PathText`."""
    return {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}


def relative_to(folder: Path, value: Any) -> Any:  # noqa: ANN401 - nested plain values
    """Return ``value`` with every `PathText` in it written relative to ``folder``."""
    if isinstance(value, PathText):
        return os.path.relpath(Path(value).resolve(), folder.resolve())
    if isinstance(value, dict):
        return {key: relative_to(folder, item) for key, item in value.items()}
    if isinstance(value, list):
        return [relative_to(folder, item) for item in value]
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401 - any settings value
    if isinstance(value, BaseModel):
        return to_plain(value)
    if isinstance(value, Path):
        return PathText(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
