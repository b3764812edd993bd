"""Bring probabilities to the frequencies seen among patients set apart for it.

Temperature scaling (Guo et al., arXiv:1706.04599) divides logits by one number and keeps their
order; isotonic regression (Zadrozny & Elkan, KDD 2002) fits a staircase, which takes more patients.
Few patients are often told apart without a mistake, and then no temperature is low enough: so it is
fitted to the labels that Platt's rule of succession leaves of them (Platt 1999, "Probabilistic
outputs for support vector machines", section 2.2).

Neither sees a tested patient: each model is calibrated on the inner part of its own fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.isotonic import IsotonicRegression

from medssl.evaluation import sizes

Floats = NDArray[np.float64]
Kind = Literal["temperature", "isotonic"]
_CLIP = 1e-6
_BOUNDS = (np.log(0.2), np.log(20.0))  # of the log of a temperature; sharper is the riskier side
FEWEST: Mapping[str, int] = {"temperature": sizes.FEWEST_PATIENTS, "isotonic": 50}  # patients of
# each class


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


def fit(kind: Kind, score: Floats, label: NDArray[np.int64], patients: Sequence[str]) -> Calibrator:
    """Return the calibrator of a model, from patients it did not learn from.

    Args:
        kind: How it corrects.
        score: Probabilities, (N, 1) of the positive class or (N, K).
        label: Shape (N,), the class.
        patients: Key of each row, (N,).

    Returns:
        `UNCHANGED` where a class has fewer patients than `FEWEST` says.
    """
    n_classes = max(2, score.shape[1])
    held = set(zip(patients, label.tolist(), strict=True))
    holders = np.bincount([k for _, k in held], minlength=n_classes)
    if holders.min() < FEWEST[kind]:
        return UNCHANGED
    if kind == "isotonic":
        return _isotonic(score, label)
    wanted = _succession(label, holders)
    found = minimize_scalar(
        lambda log_t: _loss(score, wanted, float(np.exp(log_t))),
        bounds=_BOUNDS,
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


def _succession(label: NDArray[np.int64], holders: NDArray[np.int64]) -> Floats:
    """Return the probabilities (N, K) that a perfect model would be given after so few patients.

    Of a class with n patients that is (n + 1) / (n + K) for it, and 1 / (n + K) for each other.
    """
    n = holders[label].astype(np.float64)
    k = len(holders)
    wanted = np.repeat(1 / (n + k)[:, None], k, axis=1)
    wanted[np.arange(len(label)), label] = (n + 1) / (n + k)
    return wanted


def _loss(score: Floats, wanted: Floats, temperature: float) -> float:
    """Return the cross-entropy of scaled probabilities (N, 1) or (N, K) for wanted ones (N, K)."""
    if score.shape[1] == 1:
        scaled = _logit(score) / temperature
        likely = -np.logaddexp(0, np.concatenate([scaled, -scaled], axis=1))
    else:
        likely = log_softmax(np.log(np.clip(score, _CLIP, 1)) / temperature, axis=1)
    return float(-(wanted * likely).sum(axis=1).mean())


def _logit(score: Floats) -> Floats:
    return np.asarray(logit(np.clip(score, _CLIP, 1 - _CLIP)))
