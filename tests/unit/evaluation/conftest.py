"""Tables of predictions, and units made of them, from a few lists."""

import numpy as np
import pytest

from medssl.artifacts import predictions, tables
from medssl.evaluation import units


def table_of(patients, labels, scores, **columns):
    """A table with one row per entry; ``columns`` are lists, or one value for all rows."""
    count = len(patients)
    rows = {
        "image_id": [f"i{n:05d}" for n in range(count)],
        "site": None,
        "target": "finding",
        "repeat": 0,
        "fold": None,
        "seed": 0,
        "part": "test",
        **columns,
        "patient_key": list(patients),
        "label": [float(label) for label in labels],
        "score": [float(score) for score in scores],
    }
    filled = {k: v if isinstance(v, list) else [v] * count for k, v in rows.items()}
    return tables.build(
        [dict(zip(filled, cells, strict=True)) for cells in zip(*filled.values(), strict=True)],
        predictions.PREDICTIONS,
    )


@pytest.fixture(name="table_of")
def _table_of():
    return table_of


@pytest.fixture
def units_of():
    """`table_of` and `units.build` in one."""

    def build(patients, labels, scores, *, of="finding", aggregate="mean", grouped=True, **columns):
        table = table_of(patients, labels, scores, **columns)
        return units.build(table, target=of, aggregate=aggregate, where="table", grouped=grouped)

    return build


@pytest.fixture
def one_each(units_of):
    """A cohort with one image per patient: (number of patients, seed) -> units."""

    def build(count, seed, *, shift=1.0, n_folds=5, repeats=1):
        rng = np.random.default_rng(seed)
        label = np.arange(count) % 3 == 0
        logit = rng.normal(size=count) + shift * label + 0.4 * rng.normal(size=(repeats, count))
        score = 1 / (1 + np.exp(-logit))
        return units_of(
            [f"k{n:04d}" for n in range(count)] * repeats,
            np.tile(label, repeats),
            score.ravel(),
            image_id=[f"i{n:05d}" for n in range(count)] * repeats,
            repeat=[r for r in range(repeats) for _ in range(count)],
            fold=[n // 3 % n_folds for n in range(count)] * repeats,
        )

    return build
