"""What a control found, as a light with the number behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Light = Literal["pass", "warn", "fail", "not assessed"]

TITLES = {
    "split": "Patients on one side",
    "duplicates": "Same image on both sides",
    "pretraining": "Pretraining overlap",
    "label_shuffle": "Shuffled labels",
    "metadata": "Metadata alone",
    "site": "Site alone",
    "sample_size": "Sample size",
    "calibration": "Calibration",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One light of a report. A control that could not run says why, and never passes."""

    name: str
    light: Light
    said: str  # one sentence
    value: float | None = None  # the number behind it: a count, or an AUROC
    low: float | None = None  # of its interval, where it has one
    high: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # further numbers, for JSON

    @property
    def title(self) -> str:
        """What the light is called."""
        return TITLES[self.name]


def not_assessed(name: str, why: str) -> Verdict:
    """Return the light of a control that did not run."""
    return Verdict(name=name, light="not assessed", said=why)
