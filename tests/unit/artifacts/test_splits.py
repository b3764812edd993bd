"""A plan reads back equal, and its digest compares folds and nothing else."""

import itertools
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.artifacts import records, splits
from medssl.config.task import Task
from medssl.foundation.errors import ArtifactError

TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
PLAN = splits.Splits(
    task=TASK,
    seed=0,
    group="patient",
    by="folds",
    n_folds=2,
    test_fold=({"p1": 0, "p2": 1}, {"p1": 1, "p2": 0}),
)
plans = st.lists(
    st.dictionaries(st.text("pq12", min_size=1, max_size=3), st.integers(0, 4), max_size=4),
    max_size=3,
).map(tuple)


@given(test_fold=plans)
def test_what_is_written_is_read(tmp_path_factory, test_fold):
    path = tmp_path_factory.mktemp("splits") / "splits.json"
    plan = replace(PLAN, test_fold=test_fold, names=("north", "south"), balanced_test=True)
    splits.write(path, plan)
    assert splits.read(path) == plan
    assert splits.read(path).digest == plan.digest


@given(first=plans, second=plans)
def test_equal_folds_have_equal_digests_and_only_they(first, second):
    # A repeat without patients has no folds to compare.
    filled = [tuple(p for p in plan if p) for plan in (first, second)]
    digests = [replace(PLAN, test_fold=plan).digest for plan in filled]
    assert (digests[0] == digests[1]) == (filled[0] == filled[1])


def test_the_digest_ignores_order_seed_and_name():
    turned = tuple(dict(reversed(plan.items())) for plan in PLAN.test_fold)
    assert (
        replace(
            PLAN,
            test_fold=turned,
            seed=9,
            task=replace(TASK, targets=("other",)),
            by="file",
            inner=((("p1",), ()),),
        ).digest
        == PLAN.digest
    )


def test_the_digest_sees_every_fold():
    digests = set()
    for folds in itertools.product(range(2), repeat=4):
        a, b, c, d = folds
        plan = replace(PLAN, test_fold=({"p1": a, "p2": b}, {"p1": c, "p2": d}))
        digests.add(plan.digest)
    assert len(digests) == 16


def test_an_absent_plan_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        splits.read(tmp_path / "splits.json")


GROUPS = ((("p1", "p3"), ()), ((), ("p2",)))


def test_who_is_left_out_is_read_as_written(tmp_path):
    plan = replace(PLAN, inner=GROUPS, unused=GROUPS[::-1], barred=GROUPS)
    splits.write(tmp_path / "splits.json", plan)
    assert splits.read(tmp_path / "splits.json") == plan


def test_a_plan_of_the_first_version_is_read(tmp_path):
    old = {
        "target": "finding",
        "classes": ["0", "1", "2"],
        "positive": None,
        "seed": 4,
        "group": "none",
        "n_folds": 2,
        "test_fold": [{"p1": 0, "p2": 1}],
    }
    records.write(tmp_path / "splits.json", "medssl.splits/1", old)
    plan = splits.read(tmp_path / "splits.json")
    assert plan.task == Task(kind="multi_class", targets=("finding",), classes=("0", "1", "2"))
    assert (plan.by, plan.group, plan.seed, plan.inner) == ("folds", "none", 4, ())


@pytest.mark.parametrize("key", ["task", "test_fold", "by"])
def test_a_plan_without_a_key_is_refused(tmp_path, key):
    record = {"task": asdict(TASK), "seed": 0, "group": "patient", "by": "folds", "n_folds": 2,
              "test_fold": [{}]}  # fmt: skip
    del record[key]
    records.write(tmp_path / "splits.json", splits.SCHEMA, record)
    with pytest.raises(ArtifactError, match=f"lacks the keys {key}"):
        splits.read(tmp_path / "splits.json")
