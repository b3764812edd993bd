"""Options that several commands share, and how they become settings."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from medssl import config
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

if TYPE_CHECKING:
    from medssl.config.settings import Settings

S = TypeVar("S", bound="Settings")

ConfigFiles = Annotated[
    list[Path] | None, typer.Option("--config", "-c", help="YAML settings; may be repeated.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Any setting, as key=value; may be repeated."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, show what would be done, write nothing."),
]
Smoke = Annotated[
    bool | None, typer.Option("--smoke/--no-smoke", help="Try the whole path on very little.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in --out.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Archive = Annotated[
    Path | None, typer.Argument(help="Archive written by `medssl ingest`.", show_default=False)
]
RunOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="Run folder; default runs/STAGE/DATE-TIME.")
]

Seed = Annotated[int | None, typer.Option(help="Decides everything that is drawn; default 0.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images per step; default auto.")]
Precision = Annotated[str | None, typer.Option(help="auto, 32, bf16 or 16; default auto.")]
AllowPartial = Annotated[
    bool | None, typer.Option("--allow-partial", help="Accept weights that do not fill it.")
]


def settings(
    model: type[S],
    stage: str,
    flags: Mapping[str, Any],
    *,
    files: list[Path] | None = None,
    sets: list[str] | None = None,
    preset: str | None = None,
) -> S:
    """Return the settings of a stage from everything the user gave.

    Raises:
        UsageError: A file, key or value is wrong.
    """
    from medssl.config import loading  # pydantic loads here: --help stays fast

    sources = loading.Sources(preset=preset, files=files or (), sets=sets or (), flags=flags)
    return loading.resolve(model, stage, sources)


def run_folder(out: Path | None, stage: str, *, resume: bool = False) -> Path:
    """Return ``out``, or a new folder under `runs/`.

    Raises:
        UsageError: A run is to be continued, and it is not said which.
    """
    if out is None and resume:
        begun = sorted(Path("runs", stage).glob("*/status.json"))
        last = f"the last one here is {begun[-1].parent}" if begun else "none is under runs/ here"
        raise UsageError(
            "--resume continues a run, and it is not said which",
            where="--out",
            fix=f"name its folder with -o; {last}",
        )
    return out or Path("runs", stage, f"{datetime.now():%Y%m%d-%H%M%S}")


def several(text: str | None) -> tuple[str, ...] | None:
    """Return the parts of a comma-separated option, None where it was not given."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def choices(package: ModuleType, default: str = "auto") -> str:
    """Return help text that lists the files of a plugin folder."""
    return f"{package.KIND.capitalize()}: {', '.join(plugins.names(package))}; default {default}."


def presets(stage: str) -> str:
    """Return help text that lists the presets of a stage, read from their folder."""
    folder = Path(config.__path__[0], "presets", stage)
    return f"Named settings: {', '.join(sorted(path.stem for path in folder.glob('*.yaml')))}."


def seconds(text: str | None) -> float | None:
    """Return a length of time such as ``90m``, ``23h50m`` or ``45s`` in seconds.

    >>> seconds("1h30m"), seconds("45s"), seconds(None)
    (5400.0, 45.0, None)

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip())
    if not text.strip() or found is None:
        raise UsageError(f"no length of time: {text!r}", fix="write it like 90m, 23h50m or 45s")
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
