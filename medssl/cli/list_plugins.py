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
_WHAT = {
    "methods": "how `medssl pretrain` learns without labels: --method",
    "encoders": "networks that turn images into features: --encoder",
    "schedules": "which layers `medssl finetune` trains when: --schedule",
    "losses": "what `medssl finetune` makes small: --loss",
    "strategies": "how `medssl reduce` finds redundant images: --by",
    "presets": "named settings of a stage: --preset",
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
    kind: Annotated[
        Kind | None,
        typer.Argument(help="What to list; left out: what can be listed.", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List what can be chosen, for example methods."""
    rows = _rows(kind)
    if as_json:
        items = [{"name": name, "what": what} for name, what in rows]
        command = f"list {kind}" if kind else "list"
        console.show(command, {"items": items}, [], as_json=True)
    else:
        console.table(["name", "what it is"], rows)


def _rows(kind: Kind | None) -> list[tuple[str, str]]:
    if kind is None:
        return [(one.value, _WHAT[one]) for one in Kind]
    return _presets() if kind is Kind.PRESETS else _plugins(_FOLDERS[kind])


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
