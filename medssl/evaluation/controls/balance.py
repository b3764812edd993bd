"""Who is tested in each fold: how many, of which classes, from which sites."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medssl.evaluation.controls.sides import Sides


@dataclass(frozen=True, kw_only=True)
class FoldCounts:
    """Whom one fold tests."""

    repeat: int
    fold: int
    name: str  # of the site that is tested; empty: a fold has none
    n_patients: int
    n_images: int  # or series
    classes: Mapping[str, int]  # patients who have a row of each
    sites: Mapping[str, int]  # patients of each


def count(
    sides: Sides,
    owners: Sequence[str],
    classes: Sequence[Sequence[str]],
    sites: Sequence[str | None],
    names: Sequence[str] = (),
) -> tuple[FoldCounts, ...]:
    """Return the counts of every fold of every repeat.

    Args:
        sides: Of N rows.
        owners: Patient of each row.
        classes: Names of the classes of each row.
        sites: Of each row.
        names: Of the folds, where they have one.
    """
    found = []
    for repeat, fold in sides.parts():
        rows = np.flatnonzero(sides.test(repeat, fold)).tolist()
        held = {(owners[row], name) for row in rows for name in classes[row]}
        seen = {(owners[row], sites[row] or "unknown") for row in rows}
        found.append(
            FoldCounts(
                repeat=repeat,
                fold=fold,
                name=names[fold] if names else "",
                n_patients=len({owners[row] for row in rows}),
                n_images=len(rows),
                classes=dict(sorted(Counter(name for _, name in held).items())),
                sites=dict(sorted(Counter(name for _, name in seen).items())),
            )
        )
    return tuple(found)


def shares(counts: Sequence[FoldCounts], *, of: str) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest share of a fold's patients, of each class or each site.

    Args:
        counts: From `count`.
        of: ``classes`` or ``sites``.
    """
    names = sorted({name for row in counts for name in getattr(row, of)})
    return {
        name: (min(found), max(found))
        for name in names
        for found in [[getattr(row, of).get(name, 0) / row.n_patients for row in counts]]
    }
