"""Settings of `medssl compare`."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from medssl.config.judging import Judging
from medssl.foundation.errors import UsageError


class CompareSettings(Judging):
    """Everything that decides a comparison: which runs, and how they are judged."""

    runs: tuple[Path, ...] = Field(description="two or more runs of `medssl finetune`")
    names: tuple[str, ...] = ()  # what the runs are called; empty: their folders
    all_pairs: bool = False  # every pair of runs, not only each with the first

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if len(self.runs) < 2:
            raise UsageError(
                f"compare needs at least two runs, got {len(self.runs)}",
                where="runs",
                fix="for example `medssl compare runs/finetune/a runs/finetune/b`",
            )
        if self.names and len(self.names) != len(self.runs):
            raise UsageError(
                f"{len(self.names)} names for {len(self.runs)} runs",
                where="names",
                fix="give one name per run, in the same order",
            )
        if len(set(self.names)) < len(self.names):
            raise UsageError("a name stands twice", where="names", fix="name each run apart")
        return self

    def called(self) -> tuple[str, ...]:
        """Return a name for each run: as given, else its folder, with as much as tells it apart."""
        if self.names:
            return self.names
        places = [run.resolve() for run in self.runs]
        names = [place.name for place in places]
        for n, place in enumerate(places):
            if any(other.name == place.name and other != place for other in places):
                names[n] = f"{place.parent.name}/{place.name}"
        return tuple(
            f"{name} ({names[: n + 1].count(name)})" if names.count(name) > 1 else name
            for n, name in enumerate(names)
        )
