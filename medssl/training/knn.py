"""How well features tell classes apart without any training: weighted k nearest neighbours.

The classifier of Wu et al. (CVPR 2018, arXiv:1805.01978): the k nearest labelled images by cosine
vote with the weight exp(cosine / 0.07). It reads labels and changes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts import archive as archives
from medssl.data import cohort as cohorts
from medssl.data.cohort import Cohort
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
Label = tuple[str, str]  # class and patient


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


def probes(
    archive: Path, parts: Parts, seed: int, *, volumes: bool = False
) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """Return a probe for each of the first targets with two classes, and what there is to say.

    Args:
        archive: Archive folder.
        parts: Who is trained on and who is watched.
        seed: Draws the images.
        volumes: The images are volumes: one counts as labelled where all labels in it agree.
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
        cohort = cohorts.read(archive, (target,), kind="multi_class")
        label = _of_volumes(cohort, parts) if volumes else _of_images(cohort)
        probe = _probe(label, parts, seed, name)
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


def cautions(course: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """Return a line for each probe that ended below its value before the training.

    Args:
        course: What was measured, the first before the first step.
    """
    before, last = course[0], course[-1]
    said = []
    for name in sorted(before.keys() & last.keys()):
        if not name.startswith("knn_auroc") or last[name] >= before[name]:
            continue
        best = max(point[name] for point in course[1:] if name in point)
        text = f"{name} ended at {last[name]:.3f}, below {before[name]:.3f} of the first weights"
        if best > before[name]:
            text += f"; it was {best:.3f} in between, so a shorter run may give a better encoder"
        else:
            text += "; no measurement was above: by this probe the training did not help"
        said.append(f"{text}. The probe is small and has no interval: compare fine-tuned models")
    return tuple(said)


def _of_images(cohort: Cohort) -> dict[str, Label]:
    """Return the label of each labelled image, by its id."""
    ids = cohort.table["image_id"].to_pylist()
    return dict(
        zip(
            ids, zip((name for (name,) in cohort.strata), cohort.patients, strict=True), strict=True
        )
    )


def _of_volumes(cohort: Cohort, parts: Parts) -> dict[str, Label]:
    """Return the label of each volume all of whose labelled images agree, by its id."""
    found: dict[str, set[Label]] = {}
    for series, label in zip(
        cohort.table["series_key"].to_pylist(), _of_images(cohort).values(), strict=True
    ):
        found.setdefault(series, set()).add(label)
    volumes = pa.concat_tables([parts.train, parts.validation]).select(["image_id", "series_key"])
    labels = ((row["image_id"], found.get(row["series_key"], set())) for row in volumes.to_pylist())
    return {name: next(iter(several)) for name, several in labels if len(several) == 1}


def _probe(label: Mapping[str, Label], parts: Parts, seed: int, name: str) -> Probe:
    bank, query = (
        tuple(held_out.draw((i for i in part["image_id"].to_pylist() if i in label), most, seed))
        for part, most in ((parts.train, MOST_BANK), (parts.validation, MOST_QUERIES))
    )
    bank_class, query_class = (tuple(label[i][0] for i in ids) for ids in (bank, query))
    members = Counter(kind for kind, _ in {label[i] for i in query})
    return Probe(
        name=name,
        bank=bank,
        bank_class=bank_class,
        query=query,
        query_class=query_class,
        scored=tuple(
            kind
            for kind in sorted({kind for kind, _ in label.values()})
            if members[kind] >= LEAST_PATIENTS and kind in bank_class
        ),
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
