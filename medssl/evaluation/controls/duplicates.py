"""Images of two patients that are one image, and whether a split has them on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medssl.artifacts.aliases import ALIAS
from medssl.evaluation.controls.sides import Ints, Sides, across
from medssl.evaluation.controls.verdicts import Verdict
from medssl.foundation.wording import counted

MOST = 0.01  # of the tested patients; more of them on both sides is a failure, not a caution


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Two patients who share an image, most similar first."""

    image_id: str
    other_image_id: str
    patient_key: str
    other_patient_key: str
    n_pairs: int  # images that look the same
    similarity: float
    metric: str  # exact: the same pixels
    kind: str  # alias, or shared: many patients share these images, a blank or a phantom


def on_both_sides(
    twins: Sequence[Twins], sides: Sides, place: dict[str, int]
) -> tuple[list[Twins], Ints]:
    """Return those of which one is tested by a model that learned from the other, and who is.

    Images that many patients share are left out: they say nothing about a patient.

    Args:
        twins: What was found.
        sides: Of patients.
        place: Patient key -> number in ``sides``.

    Returns:
        The twins, and the numbers of the patients concerned who are tested.
    """
    known = [
        twin
        for twin in twins
        if twin.kind == ALIAS and {twin.patient_key, twin.other_patient_key} <= place.keys()
    ]
    left = np.array([place[twin.patient_key] for twin in known], dtype=np.int64)
    right = np.array([place[twin.other_patient_key] for twin in known], dtype=np.int64)
    apart = across(sides, left, right)
    concerned = np.unique(np.concatenate([left[apart], right[apart]]))
    tested = np.asarray((sides.tested >= 0).any(axis=0))
    found = [twin for twin, is_apart in zip(known, apart, strict=True) if is_apart]
    return found, concerned[tested[concerned]]


def judge(twins: Sequence[Twins], sides: Sides, place: dict[str, int]) -> Verdict:
    """Return how many tested patients share an image with one whom the model learned from."""
    found, concerned = on_both_sides(twins, sides, place)
    n_tested = int((sides.tested >= 0).any(axis=0).sum())
    exact = sum(twin.metric == "exact" for twin in found)
    n = len(concerned)
    text = f"{n} of {counted(n_tested, 'tested patient')} share an image with a patient on the "
    text += "other side"
    if found:
        text += f" ({counted(exact, 'pair')} with the same pixels, {len(found) - exact} that look "
        text += "the same)"
    return Verdict(
        name="duplicates",
        light="pass" if not found else "fail" if n > MOST * n_tested else "warn",
        said=text,
        value=n,
        details={
            "tested_patients": n_tested,
            "pairs": len(twins),
            "pairs_on_both_sides": len(found),
            "exact_on_both_sides": exact,
        },
    )
