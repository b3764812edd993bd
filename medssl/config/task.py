"""What a cohort asks of a model: which targets, of which kind, with which classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["binary", "multi_class", "multi_label", "ordinal", "regression"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question, or for `multi_label` and `regression` several at once."""

    kind: Kind
    targets: tuple[str, ...]
    classes: tuple[str, ...] = ()  # sorted, or in their order if ordinal; none for regression
    positive: str | None = None  # of two classes; None for more, and for regression

    @property
    def name(self) -> str:
        """What the task is called: its target, or all of them."""
        return ", ".join(self.targets)

    @property
    def n_outputs(self) -> int:
        """Outputs of the head: of K ordered classes, K - 1 thresholds."""
        if self.kind == "binary":
            return 1
        if self.kind == "ordinal":
            return len(self.classes) - 1
        return len(self.classes) if self.kind == "multi_class" else len(self.targets)

    @property
    def columns(self) -> tuple[str, ...]:
        """Targets of `predictions.parquet`, in the order of what a model predicts."""
        if self.kind in ("multi_class", "ordinal"):
            return tuple(f"{self.targets[0]}={name}" for name in self.classes)
        return self.targets

    @property
    def has_probabilities(self) -> bool:
        """Whether a model of it predicts probabilities, and not amounts."""
        return self.kind != "regression"


def from_record(values: Mapping[str, Any]) -> Task:
    """Return the task that `dataclasses.asdict` made ``values`` of."""
    return Task(
        kind=values["kind"],
        targets=tuple(values["targets"]),
        classes=tuple(values["classes"]),
        positive=values["positive"],
    )


def of_one_target(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a task from records that knew one target with its classes only."""
    two = values["positive"] is not None
    return {
        "kind": "binary" if two else "multi_class",
        "targets": (values["target"],),
        "classes": values["classes"],
        "positive": values["positive"],
    }
