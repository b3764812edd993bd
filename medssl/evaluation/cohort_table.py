"""Table 1: who was judged, in all and in each test fold, by what is known of them.

Age band, sex and site are those of patients, whatever concerns the acquisition is that of images.
Nothing is tested: a p-value between folds that were drawn by lot would say nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from medssl.config import subgroups as known_attributes
from medssl.evaluation import attributes
from medssl.evaluation.attributes import Attribute
from medssl.evaluation.judged import Judged
from medssl.evaluation.metrics import Floats
from medssl.evaluation.subgroups import ordered
from medssl.evaluation.units import NO_FOLD, Ints, Units

OF_PATIENTS = ("age_band", "sex", "site")
NAMES = (*OF_PATIENTS, "view", "manufacturer", "modality")
MOST_FOLDS = 12  # beside each other; of more there is the sum only
MOST_CATEGORIES = 12  # of one attribute; the rarest are counted together
Counted = Literal["patients", "images"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """How many there are of one kind."""

    variable: str  # patients, images, positive, or an attribute
    category: str  # which of it; a column where it is positive; empty where it is everybody
    counted: Counted
    count: int
    total: int  # of whom
    by_fold: tuple[int, ...]  # (F,)
    total_by_fold: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How an amount spreads."""

    column: str
    mean: float
    sd: float
    mean_by_fold: tuple[float, ...]  # (F,)
    sd_by_fold: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CohortTable:
    """The rows, and the names of the test folds of the first repeat."""

    folds: tuple[str, ...] = ()  # (F,) empty where there are none or too many
    n_folds: int = 0  # there are
    n_without: int = 0  # images that the first repeat does not test: in the sum only
    rows: tuple[Row, ...] = ()
    amounts: tuple[Amount, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)  # attribute -> why it is not known


@dataclass(frozen=True, kw_only=True)
class _Entities:
    """Patients or images in sorted order of their names, and where the first repeat tests them."""

    counted: Counted
    place: Ints  # (N,) of the fold among those shown; NO_FOLD: in none
    n_folds: int

    def row(self, variable: str, category: str, held: np.ndarray, among: np.ndarray) -> Row:
        """Return how many are held, among those of whom it is known; both of shape (N,)."""
        return Row(
            variable=variable,
            category=category,
            counted=self.counted,
            count=int(held.sum()),
            total=int(among.sum()),
            by_fold=self._by_fold(held),
            total_by_fold=self._by_fold(among),
        )

    def _by_fold(self, held: np.ndarray) -> tuple[int, ...]:
        return tuple(int((held & (self.place == fold)).sum()) for fold in range(self.n_folds))


def find(judged: Judged) -> CohortTable:
    """Return the table of everybody who is judged."""
    units = judged.units
    folds = sorted(set(units.fold[:, 0].tolist()) - {NO_FOLD})
    known = judged.source.external is None  # the folds of the cohort tell nothing of others
    shown = folds if known and len(folds) <= MOST_FOLDS else []
    images, patients = _entities(judged, shown)
    of_units = patients if units.kind == "patient" else images
    everybody = [patients] * units.grouped + [images]
    rows = [
        entities.row(entities.counted, "", _all(entities), _all(entities)) for entities in everybody
    ]
    if units.task != "regression":
        rows += _positives(units, of_units)
    unknown: dict[str, str] = {}
    for one in _known(judged):
        if one.reason:
            unknown[one.name] = one.reason
        else:
            rows += _categories(one, patients if _is_of_patients(one.name, units) else images)
    return CohortTable(
        folds=_names(judged, shown),
        n_folds=len(folds) if known else 0,
        n_without=int((images.place == NO_FOLD).sum()) if shown else 0,
        rows=tuple(rows),
        amounts=tuple(_amounts(units, of_units)) if units.task == "regression" else (),
        unknown=unknown,
    )


def _entities(judged: Judged, shown: Sequence[int]) -> tuple[_Entities, _Entities]:
    """Return the images and the patients that are tested."""
    rows = judged.table.filter(pc.equal(judged.table["part"], "test"))
    names = ("image_id", "patient_key", "repeat", "fold")
    first = pc.min(rows["repeat"]).as_py()
    fold_of: dict[str, int] = {}
    fold_of_patient: dict[str, int] = {}
    cells = (rows[name].to_pylist() for name in names)
    for image, patient, repeat, fold in zip(*cells, strict=True):
        tested = repeat == first and fold in shown
        place = shown.index(fold) if tested else NO_FOLD
        fold_of[image] = max(place, fold_of.get(image, NO_FOLD))
        fold_of_patient[patient] = max(place, fold_of_patient.get(patient, NO_FOLD))
    images, patients = (
        np.array([places[name] for name in sorted(places)], dtype=np.int64)
        for places in (fold_of, fold_of_patient)
    )
    return (
        _Entities(counted="images", place=images, n_folds=len(shown)),
        _Entities(counted="patients", place=patients, n_folds=len(shown)),
    )


def _all(entities: _Entities) -> np.ndarray:
    return np.ones(len(entities.place), dtype=bool)


def _positives(units: Units, entities: _Entities) -> Iterator[Row]:
    for k, name in enumerate(units.columns):
        yield entities.row("positive", name, units.truth[:, k] == 1, units.known(k))


def _amounts(units: Units, entities: _Entities) -> Iterator[Amount]:
    for k, name in enumerate(units.columns):
        values = units.truth[:, k]
        parts = [values[entities.place == fold] for fold in range(entities.n_folds)]
        yield Amount(
            column=name,
            mean=_mean(values),
            sd=_sd(values),
            mean_by_fold=tuple(_mean(part) for part in parts),
            sd_by_fold=tuple(_sd(part) for part in parts),
        )


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _sd(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def _known(judged: Judged) -> list[Attribute]:
    """Return what is known of patients, and of images, in the order of the table."""
    units, source = judged.units, judged.source
    of_table = source.run is None
    asked = known_attributes.chosen(judged.settings.subgroups, of_table=of_table)
    names = dict.fromkeys((*(() if of_table else NAMES), *known_attributes.columns_of(asked)))
    names |= {"site": None}
    return [
        attributes.read(
            [name],
            judged.table,
            replace(units, kind="patient" if _is_of_patients(name, units) else "image"),
            source,
        )[0]
        for name in names
    ]


def _is_of_patients(name: str, units: Units) -> bool:
    return units.grouped and name in OF_PATIENTS


def _categories(one: Attribute, entities: _Entities) -> Iterator[Row]:
    """Yield a row per word, those without one last."""
    values = np.array([value or "" for value in one.values])
    ranked = [name for name, _ in Counter(sorted(values[values != ""].tolist())).most_common()]
    common = ranked if len(ranked) <= MOST_CATEGORIES else ranked[: MOST_CATEGORIES - 1]
    everybody = _all(entities)
    for name in ordered(set(common)):
        yield entities.row(one.name, name, values == name, everybody)
    if rare := ranked[len(common) :]:
        yield entities.row(one.name, f"{len(rare)} others", np.isin(values, rare), everybody)
    if (values == "").any():
        yield entities.row(one.name, _without(one), values == "", everybody)


def _without(one: Attribute) -> str:
    """Return what keeps an entity from having a word."""
    said = ["not known"] * bool(one.n_unknown) + ["differs between images"] * bool(one.n_several)
    return " or ".join(said)


def _names(judged: Judged, shown: Sequence[int]) -> tuple[str, ...]:
    plan = judged.source.splits
    if plan is None:
        return tuple(f"fold {fold}" for fold in shown)
    return tuple(plan.names[k] if k < len(plan.names) else f"fold {k + 1}" for k in shown)
