"""The one number of a fold, against scipy and scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medssl.config.task import Task
from medssl.training import quick_look

RNG = np.random.default_rng(4)


def table(columns, part="test"):
    """Rows of ``columns``: name -> (labels, scores)."""
    names = [name for name, (label, _) in columns.items() for _ in label]
    label, score = (np.concatenate([pair[k] for pair in columns.values()]) for k in (0, 1))
    return pa.table({"target": names, "label": label.astype(float), "score": score,
                     "part": [part] * len(names)})  # fmt: skip


def random_column(n=30):
    return np.arange(n) % 2, RNG.normal(size=n)


def test_of_several_targets_it_is_the_mean_auroc_of_those_that_have_one():
    task = Task(kind="multi_label", targets=("a", "b", "c"))
    columns = {"a": random_column(), "b": random_column(20), "c": (np.ones(5), RNG.normal(size=5))}
    expected = np.mean([roc_auc_score(*columns[name]) for name in "ab"])
    assert quick_look.measure(task) == "AUROC"
    assert quick_look.value(table(columns), task) == pytest.approx(expected)


def test_of_classes_each_is_against_the_rest():
    task = Task(kind="ordinal", targets=("a",), classes=("1", "2", "3"))
    columns = {f"a={k}": random_column() for k in (1, 2, 3)}
    expected = np.mean([roc_auc_score(*pair) for pair in columns.values()])
    assert quick_look.value(table(columns), task) == pytest.approx(expected)


def test_amounts_are_looked_at_by_their_order():
    task = Task(kind="regression", targets=("a",))
    label, score = RNG.normal(size=25), RNG.normal(size=25)
    assert quick_look.measure(task) == "rank correlation"
    found = quick_look.value(table({"a": (label, score)}), task)
    assert found == pytest.approx(stats.spearmanr(label, score)[0])
    assert np.isnan(quick_look.value(table({"a": (label, np.ones(25))}), task))


def test_only_what_was_tested_counts():
    task = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
    right, wrong = (
        (np.array([0, 1]), np.array([0.1, 0.9])),
        (np.array([0, 1]), np.array([0.9, 0.1])),
    )
    both = pa.concat_tables([table({"a": right}), table({"a": wrong}, part="inner")])
    assert quick_look.value(both, task) == 1
    assert np.isnan(quick_look.value(table({"a": wrong}, part="inner"), task))
