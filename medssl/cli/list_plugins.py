"""`medssl list`."""

from enum import StrEnum
from types import ModuleType
from typing import Annotated

import typer

from medssl import freezing, losses, methods, reduction
from medssl.cli import console, options
from medssl.foundation import plugins
from medssl.models import encoders

_FOLDERS: dict[str, ModuleType] = {
    "methods": methods,
    "encoders": encoders,
    "schedules": freezing,
    "losses": losses,
    "strategies": reduction,
}


class Kind(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    ENCODERS = "encoders"
    SCHEDULES = "schedules"
    LOSSES = "losses"
    STRATEGIES = "strategies"
    PRESETS = "presets"


def list_plugins(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: options.AsJson = False,
) -> None:
    """List what can be chosen, for example methods."""
    rows = _presets() if kind is Kind.PRESETS else _plugins(_FOLDERS[kind])
    if as_json:
        console.show(f"list {kind}", {"items": [{"name": n, "what": w} for n, w in rows]}, [],
                     as_json=True)  # fmt: skip
    else:
        console.table(["name", "what it is"], rows)


def _plugins(package: ModuleType) -> list[tuple[str, str]]:
    return [(name, plugins.summary(package, name)) for name in plugins.names(package)]


def _presets() -> list[tuple[str, str]]:
    from medssl.config import loading

    rows = []
    for stage in loading.STAGES:
        for name in loading.presets(stage):
            values = loading.read_preset(stage, name).items()
            rows.append((name, f"{stage}: " + ", ".join(f"{key} {value}" for key, value in values)))
    return rows
