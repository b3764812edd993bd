"""Runs that differ in where they started from and how many patients they learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medssl.artifacts.origin import Origin
from medssl.evaluation import fold_differences

RANDOM = "random weights"
FOREIGN = "other weights"
WHOLE = "pretrained on all images"
REDUCED = "pretrained on a selection"
BY_CHANCE = "pretrained on a random selection"
PRETRAINED = "pretrained, on which images is not recorded"
ABLATION = (RANDOM, WHOLE, REDUCED, BY_CHANCE)  # what shows whether a reduction gains anything
_CHANCE = ("random",)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One run among others on the same test folds."""

    run: str
    kind: str  # of start: one of the constants above
    start: str  # and which one
    schedule: str
    patients: float  # learned from, mean over folds
    fraction: float = 1.0  # of the training patients the run was allowed

    @property
    def line(self) -> tuple[str, str]:
        """What is the same along a curve."""
        return self.start, self.schedule


def arm(run: str, origin: Origin) -> Arm:
    """Return what a run is among others, from what it recorded."""
    init = origin.models.init if origin.models else {}
    kind = kind_of(init)
    assert origin.splits is not None  # every finetune run has folds
    cohort = origin.models.n_patients if origin.models else None
    _, learned = fold_differences.trained_on(origin.splits, cohort)
    return Arm(
        run=run,
        kind=kind,
        start=_named(kind, init),
        schedule=origin.models.schedule if origin.models else "",
        patients=float(learned.mean()),
        fraction=max(origin.settings.get("fractions") or (1.0,)),
    )


def kind_of(init: Mapping[str, Any]) -> str:
    """Return what kind of start the record of an encoder's weights tells of."""
    if not init:
        return RANDOM
    if "method" not in init:
        return FOREIGN
    selection = init.get("selection")
    if selection is None:
        return PRETRAINED
    if not selection:
        return WHOLE
    return BY_CHANCE if tuple(selection["by"]) == _CHANCE else REDUCED


def pairs(arms: Sequence[Arm]) -> tuple[tuple[str, str], ...]:
    """Return which run is compared with which, as (run, against).

    With as many training patients the others are compared with the one from random weights, or
    with the first start where none is random; and what was pretrained on a selection with what was
    on a random one. Where there is one start, what learned from fewer patients is compared with
    what learned from the most.
    """
    starts = list(dict.fromkeys(one.line for one in arms))
    if len(starts) == 1:
        most = max(arms, key=lambda one: one.patients)
        return tuple((one.run, most.run) for one in arms if one is not most)
    reference = next((one.line for one in arms if one.kind == RANDOM), starts[0])
    with_first = (
        (one.run, other.run)
        for one in arms
        for other in arms
        if other.line == reference != one.line and other.patients == one.patients
    )
    with_chance = (
        (one.run, other.run)
        for one in arms
        for other in arms
        if (one.kind, other.kind) == (REDUCED, BY_CHANCE)
        and (other.patients, other.schedule) == (one.patients, one.schedule)
    )
    return tuple(dict.fromkeys((*with_first, *with_chance)))


def are_curves(arms: Sequence[Arm]) -> bool:
    """Say whether the runs are points of curves: several sizes, each once for a start."""
    points = {(one.line, one.patients) for one in arms}
    return len(points) == len(arms) and len({one.patients for one in arms}) > 1


def _named(kind: str, init: Mapping[str, Any]) -> str:
    if kind in {RANDOM, FOREIGN}:
        return kind
    by = (init.get("selection") or {}).get("by", ())
    chosen = f" by {', '.join(by)}" if kind == REDUCED else ""
    return f"{init['method']}, {kind}{chosen}"
