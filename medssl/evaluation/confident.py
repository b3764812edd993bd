"""Units by how they were called, the most confident first: one rule for every list of examples."""

from collections.abc import Mapping

import numpy as np

from medssl.evaluation.units import Ints, Units

KINDS = ("true positive", "false positive", "false negative", "true negative")
CALLED_POSITIVE = KINDS[:2]
EXTREMES = ("highest score", "lowest score")  # where nothing is called


def by_call(units: Units, column: int, threshold: float) -> Mapping[str, Ints]:
    """Return the rows of the units of each kind, the most confident first.

    That is the highest score of those called positive, and the lowest of the others. Of equal
    scores the first in sorted order of pseudonyms comes first.

    Args:
        units: What was observed; without a label in the column a unit is in no list.
        column: Number of the column.
        threshold: From which score on a unit is called positive.
    """
    score, truth = units.score[:, column], units.truth[:, column]
    high = score >= threshold
    parts = ((truth == 1) & high, (truth == 0) & high, (truth == 1) & ~high, (truth == 0) & ~high)
    return {
        kind: _ordered(np.flatnonzero(part), score, highest=kind in CALLED_POSITIVE)
        for kind, part in zip(KINDS, parts, strict=True)
    }


def extremes(units: Units, column: int) -> Mapping[str, Ints]:
    """Return the rows of all units with a label, from the highest score and from the lowest."""
    score, known = units.score[:, column], np.flatnonzero(units.known(column))
    return {name: _ordered(known, score, highest=name == EXTREMES[0]) for name in EXTREMES}


def _ordered(rows: Ints, score: np.ndarray, *, highest: bool) -> Ints:
    key = -score[rows] if highest else score[rows]
    return np.asarray(rows[np.argsort(key, kind="stable")])
