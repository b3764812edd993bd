"""How well features tell classes apart without any training: weighted k nearest neighbours.

The classifier of Wu et al. (CVPR 2018, arXiv:1805.01978): the k nearest labelled images by cosine
vote with the weight exp(cosine / 0.07). It reads labels and changes nothing.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.artifacts import archive as archives
from medssl.data import cohort as cohorts
from medssl.evaluation import metrics
from medssl.training import held_out, spread
from medssl.training.held_out import Parts

NEIGHBOURS = 20
LEAST_PATIENTS = 10  # of a class, or its AUROC says nothing
MOST_BANK = 2048  # labelled training images
MOST_QUERIES = 512  # labelled validation images
MOST_TARGETS = 3
_TEMPERATURE = 0.07

Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One target: labelled training images, and labelled validation images to be classified."""

    name: str  # of the metric
    bank: tuple[str, ...]  # image ids
    bank_class: tuple[str, ...]
    query: tuple[str, ...]
    query_class: tuple[str, ...]
    scored: tuple[str, ...]  # classes with enough patients among the queries

    def auroc(self, bank: Floats, query: Floats) -> float:
        """Return the AUROC per image, one class against the rest, averaged over the classes.

        Args:
            bank: Features of the bank, shape (M, F).
            query: Features of the queries, shape (Q, F).
        """
        classes = sorted({*self.bank_class, *self.query_class})
        labels = np.array([classes.index(name) for name in self.bank_class])
        shares = class_shares(bank, labels, query, len(classes))
        truth = np.array(self.query_class)
        values = [metrics.auroc(truth == c, shares[:, classes.index(c)]) for c in self.scored]
        return float(np.mean(values))


def probes(archive: Path, parts: Parts, seed: int) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """Return a probe for each of the first targets with two classes, and what there is to say.

    Args:
        archive: Archive folder.
        parts: Who is trained on and who is watched.
        seed: Draws the images.
    """
    counts = archives.read_info(archive).targets
    targets = [name for name in sorted(counts) if len(counts[name]) > 1][:MOST_TARGETS]
    if not targets:
        return (), ()
    if not parts.validation.num_rows:
        return (), ("kNN probe: off, as no patients are held out",)
    several = len(targets) > 1
    found, notes = [], []
    for target in targets:
        name = f"knn_auroc.{target}" if several else "knn_auroc"
        probe = _probe(archive, target, parts, seed, name)
        notes.append(_note(target, probe))
        if len(probe.scored) > 1:
            found.append(probe)
    return tuple(found), tuple(notes)


def class_shares(
    bank: Floats, labels: NDArray[np.int64], query: Floats, n_classes: int
) -> NDArray[np.float64]:
    """Return the weighted share of each class among the nearest neighbours, shape (Q, K).

    Args:
        bank: Shape (M, F), any length.
        labels: Class of each of them, shape (M,).
        query: Shape (Q, F).
        n_classes: K.
    """
    cosine = spread.directions(query) @ spread.directions(bank).T  # (Q, M)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
    closeness = np.take_along_axis(cosine, nearest, axis=1)
    weight = np.exp((closeness - closeness[:, :1]) / _TEMPERATURE)
    votes = weight[:, :, None] * (labels[nearest][:, :, None] == np.arange(n_classes))
    shares = votes.sum(axis=1) / weight.sum(axis=1, keepdims=True)
    # 1e-20 and 2e-20 differ, 1 less the one and 1 less the other do not: ties for either class
    return np.asarray(shares.round(9), dtype=np.float64)


def _probe(archive: Path, target: str, parts: Parts, seed: int, name: str) -> Probe:
    cohort = cohorts.read(archive, target, None)
    value = dict(zip(cohort.table["image_id"].to_pylist(), cohort.class_names, strict=True))
    bank, query = (
        tuple(held_out.draw((i for i in part["image_id"].to_pylist() if i in value), most, seed))
        for part, most in ((parts.train, MOST_BANK), (parts.validation, MOST_QUERIES))
    )
    patient = dict(zip(cohort.table["image_id"].to_pylist(), cohort.patients, strict=True))
    members = Counter(kind for _, kind in {(patient[i], value[i]) for i in query})
    known = {value[i] for i in bank}
    return Probe(
        name=name,
        bank=bank,
        bank_class=tuple(value[i] for i in bank),
        query=query,
        query_class=tuple(value[i] for i in query),
        scored=tuple(c for c in cohort.classes if members[c] >= LEAST_PATIENTS and c in known),
    )


def _note(target: str, probe: Probe) -> str:
    if len(probe.scored) < 2:
        return (
            f"kNN probe of {target}: off, as fewer than {LEAST_PATIENTS} labelled patients of two "
            "classes are held out"
        )
    whole = set(probe.scored) == set(probe.query_class)
    of = "" if whole else f" of {', '.join(probe.scored)}"
    return (
        f"kNN probe of {target}: AUROC{of} on {len(probe.query)} validation images, by "
        f"{NEIGHBOURS} neighbours among {len(probe.bank)} training images"
    )
