"""Bring probabilities to the frequencies seen among patients set apart for it.

Temperature scaling (Guo et al., arXiv:1706.04599) divides logits by one number and keeps their
order; isotonic regression (Zadrozny & Elkan, KDD 2002) fits a staircase, which takes more patients.
Neither sees a tested patient: each model is calibrated on the inner part of its own fold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.isotonic import IsotonicRegression

Floats = NDArray[np.float64]
Kind = Literal["temperature", "isotonic"]
_CLIP = 1e-6
_WIDEST = np.log(20.0)  # of a temperature, either way


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """How the probabilities of one model are corrected."""

    kind: str  # temperature, isotonic, or none
    temperature: float = 1.0
    low: tuple[float, ...] = ()  # isotonic: probabilities, ascending
    high: tuple[float, ...] = ()  # and what they become

    def apply(self, score: Floats) -> Floats:
        """Return the corrected probabilities of (N, 1) of the positive class, or (N, K)."""
        if self.kind == "isotonic":
            return np.interp(score, self.low, self.high)
        if self.kind == "none":
            return score
        if score.shape[1] == 1:
            return np.asarray(expit(_logit(score) / self.temperature))
        return np.asarray(softmax(np.log(np.clip(score, _CLIP, 1)) / self.temperature, axis=1))


UNCHANGED = Calibrator(kind="none")


def fit(kind: Kind, score: Floats, label: NDArray[np.int64]) -> Calibrator:
    """Return the calibrator of a model, from patients it did not learn from.

    Args:
        kind: How it corrects.
        score: Probabilities, (N, 1) of the positive class or (N, K).
        label: Shape (N,), the class.

    Returns:
        `UNCHANGED` where a class is missing: nothing can be said then.
    """
    if len(np.unique(label)) < 2:
        return UNCHANGED
    if kind == "isotonic":
        return _isotonic(score, label)
    found = minimize_scalar(
        lambda log_t: _loss(score, label, float(np.exp(log_t))),
        bounds=(-_WIDEST, _WIDEST),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return Calibrator(kind="temperature", temperature=float(np.exp(found.x)))


def from_record(values: Mapping[str, Any]) -> Calibrator:
    """Return the calibrator that `dataclasses.asdict` made ``values`` of."""
    return Calibrator(
        kind=values["kind"],
        temperature=values["temperature"],
        low=tuple(values["low"]),
        high=tuple(values["high"]),
    )


def _isotonic(score: Floats, label: NDArray[np.int64]) -> Calibrator:
    if score.shape[1] != 1:
        raise ValueError("isotonic regression is for two classes")
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score[:, 0], label)
    return Calibrator(
        kind="isotonic",
        low=tuple(map(float, model.X_thresholds_)),
        high=tuple(map(float, model.y_thresholds_)),
    )


def _loss(score: Floats, label: NDArray[np.int64], temperature: float) -> float:
    if score.shape[1] == 1:
        scaled = _logit(score[:, 0]) / temperature
        return float(np.logaddexp(0, np.where(label == 1, -scaled, scaled)).mean())
    likely = log_softmax(np.log(np.clip(score, _CLIP, 1)) / temperature, axis=1)
    return float(-likely[np.arange(len(label)), label].mean())


def _logit(score: Floats) -> Floats:
    return np.asarray(logit(np.clip(score, _CLIP, 1 - _CLIP)))
