"""What a selector decides about a set of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from medssl.thinning.metrics import Rows

LEADER, PROTECTED, FLOOR = "leader", "protected", "floor"  # why an image is kept


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How much of what is alike a search found that does not compare everything."""

    scopes: int  # that were searched so
    drawn: int  # images of them that were looked at afterwards, one by one
    covered: int  # of those: an image kept before stands for it
    found: int  # of those: dropped; the others are kept although they need not be

    @property
    def share(self) -> float | None:
        """Share of the images to be dropped that were; None where there were none."""
        return self.found / self.covered if self.covered else None


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """Row numbers of kept and dropped images, ascending, and what stands for the dropped ones."""

    kept: Rows
    dropped: Rows
    representative: Rows  # a kept image for each dropped one
    similarity: NDArray[np.float64]  # of the two
    stage: NDArray[np.int32]  # which metric of the chain found it
    tau: NDArray[np.float64]  # the threshold of that metric
    restored: Rows  # kept only because their patient or series would have too few images
    recall: Recall | None = None  # None: every image was compared with all kept before it

    def restore(self, rows: Rows) -> Self:
        """Return the selection with some dropped images kept after all."""
        stays = ~np.isin(self.dropped, rows)
        return replace(
            self,
            kept=np.union1d(self.kept, rows),
            dropped=self.dropped[stays],
            representative=self.representative[stays],
            similarity=self.similarity[stays],
            stage=self.stage[stays],
            tau=self.tau[stays],
            restored=np.union1d(self.restored, rows),
        )

    def reasons(self, protected: NDArray[np.bool_]) -> list[str]:
        """Return why each kept image is kept."""
        restored = set(self.restored.tolist())
        return [
            PROTECTED if protected[row] else FLOOR if row in restored else LEADER
            for row in self.kept.tolist()
        ]


def build(
    kept: Rows,
    dropped: Rows,
    representative: Rows,
    similarity: NDArray[np.float64],
    stage: NDArray[np.integer] | int,
    tau: NDArray[np.float64] | float,
) -> Thinned:
    """Return a selection from its columns in any order; the last two may be one value for all."""
    order = np.argsort(dropped)
    return Thinned(
        kept=np.sort(kept),
        dropped=dropped[order],
        representative=representative[order],
        similarity=similarity[order],
        stage=np.broadcast_to(stage, dropped.shape)[order].astype(np.int32),
        tau=np.broadcast_to(tau, dropped.shape)[order].astype(np.float64),
        restored=np.zeros(0, dtype=np.int64),
    )


def join(parts: Sequence[Thinned]) -> Thinned:
    """Return selections of separate images as one."""
    whole = build(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("kept", "dropped", "representative", "similarity", "stage", "tau")
        )
    )
    return replace(whole, restored=np.sort(np.concatenate([part.restored for part in parts])))
