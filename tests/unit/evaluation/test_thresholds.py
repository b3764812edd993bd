"""Thresholds chosen on inner parts: what they reach elsewhere, and what is refused."""

import math

import numpy as np
import pytest

from medssl.evaluation import chosen_calls, intervals, thresholds, units
from medssl.evaluation.thresholds import Target
from medssl.foundation.errors import DataError, UsageError

SENSITIVE = Target(metric="sensitivity", at_least=0.9)
SPECIFIC = Target(metric="specificity", at_least=0.8)


def scores(n, rng, *, shift=1.5, scale=1.0):
    label = np.arange(n) % 2
    return label, 1 / (1 + np.exp(-scale * (rng.normal(size=n) + shift * label - 0.7)))


def parts(table_of, *, n=60, models=((0, 0), (0, 1)), seed=0, scale=(1.0, 3.0)):
    """A table with a test and an inner part of other patients for every model."""
    rng = np.random.default_rng(seed)
    rows = {name: [] for name in ("keys", "label", "score", "repeat", "fold", "part", "image_id")}
    for repeat, fold in models:
        for part, first in (("test", fold * n), ("inner", (1 - fold) * n)):
            label, score = scores(n, rng, scale=scale[fold])
            rows["keys"] += [f"k{first + i:03d}" for i in range(n)]
            rows["image_id"] += [f"i{first + i:03d}" for i in range(n)]
            rows["label"] += label.tolist()
            rows["score"] += score.tolist()
            rows["repeat"] += [repeat] * n
            rows["fold"] += [fold] * n
            rows["part"] += [part] * n
    more = {name: rows[name] for name in ("repeat", "fold", "part", "image_id")}
    return table_of(rows["keys"], rows["label"], rows["score"], **more), rows


def judged_of(table):
    return units.build(table, target="finding", aggregate="mean", where="table")


def chosen_of(table, target=SENSITIVE):
    return thresholds.choose(table, judged_of(table), target, aggregate="mean", where="table")


def judge(table, target=SENSITIVE, **more):
    judged = judged_of(table)
    draws = intervals.draw_both(judged.stratum, 300, np.random.default_rng(0))
    chosen = chosen_of(table, target)
    return chosen_calls.judge(judged, target, chosen, draws, 0.95, **({"leave_out": False} | more))


@pytest.mark.parametrize("target", [SENSITIVE, SPECIFIC])
def test_the_threshold_of_a_fold_follows_from_its_inner_rows(table_of, target):
    """By counting: 28 of 30 positives (0.9 * 31), or 25 of 30 negatives (0.8 * 31)."""
    table, rows = parts(table_of)
    for one in chosen_of(table, target):
        own = [
            (label, score)
            for label, score, fold, part in zip(
                rows["label"], rows["score"], rows["fold"], rows["part"], strict=True
            )
            if (fold, part) == (one.fold, "inner")
        ]
        positives = sorted((s for y, s in own if y == 1), reverse=True)
        negatives = sorted(s for y, s in own if y == 0)
        if target is SENSITIVE:
            assert one.threshold == positives[27]
            assert one.inner_sensitivity == 28 / 30
        else:
            assert negatives[24] < one.threshold < negatives[25]
            assert one.inner_specificity == 25 / 30
        assert (one.inner_positives, one.inner_negatives) == (30, 30)


def test_each_model_is_called_by_its_own_threshold(table_of):
    table, rows = parts(table_of)
    chosen = chosen_of(table)
    assert [(one.repeat, one.fold) for one in chosen] == [(0, 0), (0, 1)]
    assert abs(chosen[0].threshold - chosen[1].threshold) > 0.05  # the folds score differently
    at = {one.fold: one.threshold for one in chosen}
    cells = {(y, c): 0 for y in (0, 1) for c in (False, True)}
    for label, score, fold, part in zip(
        rows["label"], rows["score"], rows["fold"], rows["part"], strict=True
    ):
        if part == "test":
            cells[label, score >= at[fold]] += 1
    found = judge(table)
    counts = {row.metric: row.value for row in found.shares}
    assert found.true_positives == cells[1, True]
    assert found.false_positives == cells[0, True]
    assert counts["sensitivity"] == cells[1, True] / 60
    assert counts["specificity"] == cells[0, False] / 60
    assert counts["ppv"] == cells[1, True] / (cells[1, True] + cells[0, True])
    assert counts["npv"] == cells[0, False] / (cells[0, False] + cells[1, False])
    for row in found.shares:
        assert row.low < row.value < row.high


def test_test_labels_and_scores_choose_nothing(table_of):
    table, _ = parts(table_of)
    rows = table.to_pylist()
    for row in rows:
        if row["part"] == "test":
            row["label"], row["score"] = 1 - row["label"], row["score"] ** 3
    changed = type(table).from_pylist(rows, schema=table.schema)
    assert chosen_of(changed) == chosen_of(table)


def test_the_order_of_rows_does_not_matter(table_of):
    table, _ = parts(table_of)
    mixed = table.take(np.random.default_rng(3).permutation(len(table)))
    assert chosen_of(mixed) == chosen_of(table)


@pytest.mark.parametrize(
    "target", [SENSITIVE, SPECIFIC, Target(metric="sensitivity", at_least=0.5)]
)
def test_a_new_patient_is_called_rightly_as_often_as_declared(target):
    """From 20 inner patients of a class; the plain share of those would fall short."""
    rng = np.random.default_rng(1)
    met = []
    for _ in range(2000):
        label, score = scores(40, rng)
        at = thresholds.reaching(score, label == 1, target)
        new_label, new = scores(40, rng)
        own = new_label == (target.metric == "sensitivity")
        met.append(((new >= at) == new_label)[own].mean())
    error = np.std(met) / math.sqrt(len(met))
    assert np.mean(met) >= target.at_least - 3 * error
    assert np.mean(met) <= target.at_least + 1 / 21 + 3 * error  # at most one rank too careful


def test_repeats_are_averaged_and_do_not_narrow_intervals(table_of):
    """Four equal repeats say what one says."""
    one, _ = parts(table_of)
    rows = one.to_pylist()
    many = type(one).from_pylist(
        [row | {"repeat": n} for n in range(4) for row in rows], schema=one.schema
    )
    assert judge(many).shares == judge(one).shares
    assert judge(many).true_positives == judge(one).true_positives


def test_repeats_that_differ_count_by_their_share(table_of):
    table, _ = parts(table_of, models=((0, 0), (0, 1), (1, 0), (1, 1)))
    both = judge(table)
    repeat = table["repeat"].to_numpy()
    alone = [judge(table.filter(repeat == n)) for n in (0, 1)]
    mean = np.mean([one.shares[1].value for one in alone])
    assert alone[0].shares[1].value != alone[1].shares[1].value
    assert both.shares[1].value == pytest.approx(mean, abs=1e-12)


def test_perfect_calls_get_the_interval_of_wilson(table_of):
    table, _ = parts(table_of)
    rows = [row | {"score": 0.2 + 0.6 * row["label"]} for row in table.to_pylist()]
    ideal = type(table).from_pylist(rows, schema=table.schema)
    for row in judge(ideal, leave_out=True).shares:
        assert (row.value, row.interval) == (1.0, "wilson")
        assert row.low == pytest.approx(60 / (60 + 1.959964**2), abs=1e-6)


def test_bca_differs_from_percentiles_a_little(table_of):
    table, _ = parts(table_of)
    plain, corrected = judge(table), judge(table, leave_out=True)
    assert {row.interval for row in corrected.shares} == {"bca"}
    for a, b in zip(plain.shares, corrected.shares, strict=True):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.05)


def test_what_cannot_be_chosen_honestly_is_refused(table_of):
    table, _ = parts(table_of)
    part, fold = np.array(table["part"].to_pylist()), table["fold"].to_numpy()
    with pytest.raises(DataError, match="no inner predictions") as caught:
        chosen_of(table.filter((part == "test") | (fold == 0)))
    assert caught.value.exit_code == 3
    assert caught.value.where == "table, repeat 0, fold 1"
    rows = table.to_pylist()
    leaky = [row | {"fold": 0} if row["part"] == "inner" else row for row in rows]
    leaky = [row for row in leaky if row["part"] == "test" or row["patient_key"] < "k060"]
    with pytest.raises(DataError, match="leakage: 60 patients"):
        chosen_of(type(table).from_pylist(leaky, schema=table.schema))
    small, _ = parts(table_of, n=18)
    with pytest.raises(DataError, match="9 positive and 9 negative"):
        chosen_of(small, Target(metric="sensitivity", at_least=0.5))
    with pytest.raises(DataError, match=r"sensitivity of 0.97 needs 33 \(of 30\)"):
        chosen_of(table, Target(metric="sensitivity", at_least=0.97))


def test_several_classes_have_no_one_threshold(table_of, units_of):
    label = np.tile([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (10, 1))
    keys, names = [f"k{n:02d}" for n in range(30)], ["finding=a", "finding=b", "finding=c"]
    columns = {"target": names * 30, "image_id": [f"i{n:02d}" for n in range(30) for _ in range(3)]}
    rows = [key for key in keys for _ in range(3)]
    judged = units_of(rows, label.ravel(), (label * 0.4 + 0.2).ravel(), **columns)
    table = table_of(rows, label.ravel(), (label * 0.4 + 0.2).ravel(), **columns)
    with pytest.raises(UsageError, match="two classes"):
        thresholds.choose(table, judged, SENSITIVE, aggregate="mean", where="table")


def test_images_of_patients_who_differ_are_units_in_the_inner_part_as_well(table_of):
    """Inner and test units are of one kind, even if no inner patient has two labels."""
    table, _ = parts(table_of)
    rows = table.to_pylist()
    extra = next(row for row in rows if row["part"] == "test")
    rows.append(extra | {"image_id": "again", "label": 1 - extra["label"]})
    inner = next(row for row in rows if row["part"] == "inner" and row["label"] == 1)
    rows += [inner | {"image_id": f"more{n}", "score": 0.999} for n in range(40)]
    mixed = type(table).from_pylist(rows, schema=table.schema)
    assert judged_of(mixed).kind == "image"
    first = chosen_of(mixed)[inner["fold"]]
    assert first.inner_positives == 30
    assert first.inner_sensitivity == 64 / 70  # of images: ceil(0.9 * 71)
