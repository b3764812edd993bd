"""Settings of `medssl compare`."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from medssl.config.judging import Judging
from medssl.foundation.errors import UsageError

SMOKE_SWAPS = 199
TESTABLE = Literal[
    "auroc", "average_precision", "brier", "scaled_brier",
    "mae", "rmse", "r2", "pearson", "spearman",
    "quadratic_kappa", "linear_kappa", "class_mae",
]  # fmt: skip


class CompareSettings(Judging):
    """Everything that decides a comparison: which runs, and how they are judged."""

    runs: tuple[Path, ...] = Field(description="two or more runs of `medssl finetune`")
    names: tuple[str, ...] = ()  # what the runs are called; empty: their folders
    all_pairs: bool = False  # every pair of runs, not only each with the first
    arms: bool = False  # the runs beside each run too; of one run alone they always are
    tests: tuple[TESTABLE, ...] = ()  # metrics with p-values; empty: auroc, of amounts mae. All
    # of them for all pairs are one family
    permutations: int = Field(default=9999, ge=99)  # swaps of patients between two runs

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if not self.runs:
            raise too_few(0)
        if len(set(self.names)) < len(self.names):
            raise UsageError("a name stands twice", where="names", fix="name each run apart")
        if self.names and not self.beside:
            self.require_names(len(self.runs))
        return self

    @property
    def beside(self) -> bool:
        """Whether the runs beside each run are compared too."""
        return self.arms or len(self.runs) == 1

    @property
    def swaps(self) -> int:
        """How often the scores of patients are swapped between two runs."""
        return min(self.permutations, SMOKE_SWAPS) if self.smoke else self.permutations

    def require_names(self, count: int) -> None:
        """Check that there are as many names as runs.

        Raises:
            UsageError: There are not.
        """
        if len(self.names) != count:
            raise UsageError(
                f"{len(self.names)} names for {count} runs",
                where="names",
                fix="give one name per run, in the same order",
            )

    def called(self) -> tuple[str, ...]:
        """Return a name for each run: as given, else its folder, with as much as tells it apart."""
        if self.names and not self.beside:
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


def too_few(count: int) -> UsageError:
    """Return the failure of a comparison with fewer than two runs."""
    return UsageError(
        f"compare needs at least two runs, got {count}",
        where="runs",
        fix="for example `medssl compare runs/finetune/a runs/finetune/b`, or one run made with "
        "--fractions or --baselines",
    )
