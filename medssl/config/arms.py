"""One finetune run beside others that differ in one thing: weights, or how many patients."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medssl.config.finetune import FinetuneSettings
from medssl.foundation.errors import UsageError

RANDOM = "random"  # baseline: random weights
NO_BASELINES = "none"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Settings of one run, and what it is called among the others."""

    name: str
    init: str  # random, or the weights it starts from
    fraction: float  # of the training patients
    settings: FinetuneSettings


def spread(settings: FinetuneSettings) -> tuple[Arm, ...]:
    """Return the runs that settings with baselines and fractions stand for, all but the main one.

    The main run, see `main`, has the weights of ``init_from`` and the largest fraction. All have
    the same test folds, and everything else in common too.

    Raises:
        UsageError: Baselines repeat each other or the main run.
    """
    whole = max(settings.fractions)
    starts: dict[str, Path | Literal["none"]]
    starts = {_name(settings.init_from): settings.init_from}
    for given in settings.baselines:
        if given == NO_BASELINES and len(settings.baselines) == 1:
            continue
        start: Path | Literal["none"] = Path(given) if isinstance(given, Path) else "none"
        name = _name(start)
        if start in starts.values() or given == NO_BASELINES:
            raise UsageError(
                f"{str(given)!r} is no other run than one of the others",
                where="baselines",
                fix="give random, or weights other than --init-from, each once",
            )
        while name in starts:
            name += "-2"
        starts[name] = start
    return tuple(
        Arm(
            name=f"{name}-{fraction:g}",
            init=RANDOM if start == "none" else str(start),
            fraction=fraction,
            settings=_of(settings, start, fraction),
        )
        for name, start in starts.items()
        for fraction in sorted(set(settings.fractions), reverse=True)
        if not (start == settings.init_from and fraction == whole)
    )


def main(settings: FinetuneSettings) -> FinetuneSettings:
    """Return the settings of the main run alone."""
    return _of(settings, settings.init_from, max(settings.fractions))


def _of(settings: FinetuneSettings, start: Path | str, fraction: float) -> FinetuneSettings:
    update = {"init_from": start, "baselines": (), "fractions": (fraction,)}
    return settings.model_copy(update=update)


def _name(start: Path | str) -> str:
    if start == "none":
        return RANDOM
    name = Path(start).name if Path(start).name not in ("export", "") else Path(start).parent.name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name.split(".")[0]).strip("-") or "weights"
