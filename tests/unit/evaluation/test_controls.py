"""Controls find the defect that was planted, and stay quiet where there is none."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from medssl.artifacts.splits import Splits
from medssl.config import controls as names
from medssl.config.task import Task
from medssl.evaluation import intervals, metrics
from medssl.evaluation.controls import (
    balance,
    duplicates,
    facts,
    label_shuffle,
    metadata,
    pretraining,
    sides,
    site,
    strata,
    verdicts,
)
from medssl.evaluation.controls.duplicates import Twins
from medssl.evaluation.controls.sides import NOWHERE, Sides
from medssl.foundation.errors import UsageError

TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")


def sides_of(*tested, n_folds=None):
    found = np.array(tested)
    folds = n_folds or found.max() + 1
    return Sides(tested=found, left_out=np.zeros((len(found), folds, found.shape[1]), dtype=bool))


def counts_of(units, seed=0, resamples=300):
    return intervals.draw(units.stratum, resamples, np.random.default_rng(seed))


# --- what is on which side ---------------------------------------------------------------------


def test_sides_are_those_of_the_plan():
    plan = Splits(
        task=TASK, seed=0, group="patient", by="site", n_folds=2,
        test_fold=({"a": 0, "b": 1},), unused=((("c",), ()),), barred=(((), ("a",)),),
    )  # fmt: skip
    found = sides.of_splits(plan, ["a", "b", "c", "d", "a"])
    assert found.tested.tolist() == [[0, 1, NOWHERE, NOWHERE, 0]]
    assert found.train(0, 0).tolist() == [False, True, False, True, False]
    assert found.train(0, 1).tolist() == [False, False, True, True, False]
    assert found.parts() == [(0, 0), (0, 1)]


def test_a_patient_on_both_sides_is_found():
    whole = sides_of([0, 0, 1, 1, NOWHERE])
    assert not len(sides.torn(whole, np.array([0, 0, 1, 1, 2])))
    assert sides.torn(whole, np.array([0, 1, 1, 2, 2])).tolist() == [1, 2]
    assert sides.judge(whole, np.array([0, 1, 1, 2, 2])).light == "fail"
    assert sides.judge(whole, np.array([0, 0, 1, 1, 2])).light == "pass"
    assert sides.judge(whole, np.array([0, 0, 1, 1, 2]), unknown=5).light == "warn"


def test_whoever_is_barred_is_on_no_side():
    barred = np.zeros((1, 2, 3), dtype=bool)
    barred[0, 0, 1] = True
    found = Sides(tested=np.array([[0, 1, 1]]), left_out=barred)
    left, right = np.array([0, 0, 1]), np.array([1, 2, 2])
    # 0 is tested without 1 but learned from where 1 is tested; 1 and 2 are tested together
    assert sides.across(found, left, right).tolist() == [True, True, False]
    one = Sides(tested=np.array([[0, NOWHERE, NOWHERE]]), left_out=barred[:, :1])
    assert sides.across(one, left, right).tolist() == [False, True, False]


def test_who_has_no_patient_counts_by_series():
    rows = pa.table(
        {
            "patient_key": ["a", "a", "x", "y"],
            "series_key": ["s", "t", "u", "u"],
            "flags": [[], None, ["no_patient"], ["no_patient"]],
        }
    )
    patient, unknown = sides.true_patients(rows)
    assert unknown == 2
    assert patient[0] == patient[1] != patient[2]
    assert patient[2] == patient[3]


def test_folds_are_counted_in_patients():
    found = balance.count(
        sides_of([0, 0, 1, 1]), ["a", "a", "b", "c"], [("0",), ("1",), ("0",), ("0",)],
        ["north", "north", None, "south"],
    )  # fmt: skip
    assert [(row.n_patients, row.n_images) for row in found] == [(1, 2), (2, 2)]
    assert found[0].classes == {"0": 1, "1": 1}
    assert found[1].sites == {"south": 1, "unknown": 1}
    assert balance.shares(found, of="classes") == {"0": (1.0, 1.0), "1": (0.0, 1.0)}


# --- AUROC within groups -----------------------------------------------------------------------


def test_within_groups_only_pairs_of_a_group_count():
    rng = np.random.default_rng(0)
    target, score = rng.integers(0, 2, 40), rng.integers(0, 9, 40).astype(float)  # with ties
    group, weight = rng.integers(0, 4, 40), rng.integers(0, 3, (5, 40)).astype(float)
    for row in range(5):
        won = pairs = 0.0
        for a, b in itertools.product(range(40), repeat=2):
            if target[a] == 1 and target[b] == 0 and group[a] == group[b]:
                both = weight[row, a] * weight[row, b]
                pairs += both
                won += both * ((score[a] > score[b]) + (score[a] == score[b]) / 2)
        assert strata.auroc(target, score, group, weight)[row] == pytest.approx(won / pairs)
    same = np.zeros(40)
    assert strata.auroc(target, score, same) == pytest.approx(metrics.auroc(target, score))
    assert np.isnan(strata.auroc(target, score, np.arange(40)))


# --- labels drawn by lot -----------------------------------------------------------------------


def test_whole_patients_are_exchanged_within_a_fold():
    patient = np.repeat(np.arange(60), 3)
    fold = patient % 4
    label = (10 * patient + np.tile(np.arange(3), 60))[:, None]
    found = label_shuffle.shuffled(label, patient, fold, np.random.default_rng(3))[:, 0]
    source, rank = found // 10, found % 10
    assert rank.tolist() == [0, 1, 2] * 60
    assert (source[0::3] == source[1::3]).all()
    assert (source[0::3] == source[2::3]).all()
    assert sorted(source[::3]) == list(range(60))
    assert (source % 4 == fold).all()
    assert (source != patient).mean() > 0.8


def test_patients_in_several_folds_are_exchanged_among_themselves():
    patient = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    fold = np.array([0, 1, 0, 2, 0, 0, 1, 1])
    label = patient[:, None] * 1
    seen = set()
    for seed in range(50):
        found = label_shuffle.shuffled(label, patient, fold, np.random.default_rng(seed))[:, 0]
        assert {found[0], found[2]} == {0, 1}
        assert {found[4], found[5]} == {2, 3}
        assert {found[6], found[7]} == {4, 5}
        assert found[0] == found[1]
        seen.add(tuple(found))
    assert len(seen) == 8


@pytest.mark.parametrize("width", [5, 40])  # fewer and more features than rows
def test_scores_are_those_of_one_newton_step(width):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(24, width)) * 3 + 1, rng.integers(0, 2, (24, 2)).astype(float)
    train = np.arange(24) < 18
    found = label_shuffle.linear_scores(x, train, ~train, y)
    scaled = (x - x[train].mean(0)) / x[train].std(0)
    design = np.c_[scaled[train], np.ones(18)]
    penalty = np.diag([1.0] * width + [0.0])  # the intercept goes free
    for k in range(2):
        gradient = design.T @ (0.5 - y[train, k])
        step = np.linalg.solve(design.T @ design / 4 + penalty, -gradient)
        expected = np.c_[scaled[~train], np.ones(6)] @ step
        assert found[:, k] == pytest.approx(expected)


def _cohort(n_patients, each, seed, signal=0.0):
    """Features in which patients are recognised, labels by lot."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), each)
    own = rng.normal(size=(n_patients, 32))
    label = rng.permutation(np.arange(n_patients) % 2)[patient][:, None]
    features = own[patient] + 0.2 * rng.normal(size=(len(patient), 32))
    features[:, 0] += signal * label[:, 0]
    return features.astype(np.float32), label, patient, rng


def _drawn(features, label, patient, split):
    """Shuffles where the encoders of three folds are one."""
    by_fold = [(fold, features) for fold in range(3)]
    return label_shuffle.aurocs(by_fold, label, patient, split, np.random.default_rng(0))


def test_a_leaky_split_is_caught_by_shuffled_labels():
    features, label, patient, rng = _cohort(40, 6, seed=0)
    by_image = sides_of(rng.permutation(np.arange(len(patient)) % 3))
    _, values = _drawn(features, label, patient, by_image)
    found = label_shuffle.judge(0.5, values, 0.95)
    assert found.light == "fail"
    assert found.low > 0.6
    by_patient = sides_of(patient % 3)
    _, values = _drawn(features, label, patient, by_patient)
    found = label_shuffle.judge(0.5, values, 0.95)
    assert found.light == "pass"
    assert found.low < 0.5 < found.high
    assert abs(found.value - 0.5) < 0.03  # three standard errors of the mean of shuffles


def test_a_good_model_is_no_leak():
    features, label, patient, _ = _cohort(60, 2, seed=1, signal=6.0)
    true, values = _drawn(features, label, patient, sides_of(patient % 3))
    assert true > 0.9
    assert label_shuffle.judge(true, values, 0.95).light == "pass"


def test_a_mean_a_little_above_chance_is_a_caution():
    values = np.random.default_rng(0).normal(0.55, 0.04, 200)
    assert label_shuffle.judge(0.9, values, 0.95).light == "warn"
    assert label_shuffle.judge(0.9, values - 0.05, 0.95).light == "pass"
    assert label_shuffle.judge(0.9, values - 0.3, 0.95).light == "warn"
    assert label_shuffle.judge(0.9, np.full(9, np.nan), 0.95).light == "not assessed"


# --- metadata ----------------------------------------------------------------------------------


def _images(n, **columns):
    base = {
        "site": ["north"] * n, "manufacturer": [None] * n, "model": [None] * n,
        "age_band": [None] * n, "sex": [None] * n, "view": [None] * n, "rows": [96] * n,
        "columns": [96] * n, "series_key": [f"s{k}" for k in range(n)],
    }  # fmt: skip
    return pa.table(base | columns)


def test_facts_are_columns_that_differ():
    rows = _images(4, view=["AP", "PA", None, "AP"], columns=[96, 80, 96, 96])
    found = {fact.name: fact for fact in facts.read(rows, ["s0", "s0", "s1", "s2", "s3", "x"])}
    assert set(found) == {"view", "image size", "slices of the series", "image columns"}
    assert found["view"].values.tolist() == ["AP", "PA", "unknown", "AP"]
    train = np.array([True, True, True, True])
    assert found["view"].design(train).shape == (4, 1)  # a word met once says nothing
    assert found["view"].design(train)[:, 0].tolist() == [1, 0, 0, 1]
    amount = found["slices of the series"].design(train)[:, 0]
    assert amount.mean() == pytest.approx(0)
    assert amount.std() == pytest.approx(1)


def test_a_word_that_no_training_row_has_is_in_no_column():
    fact = facts.Fact(name="view", values=np.array(["AP", "AP", "PA", "PA", "LL", "LL"]))
    train = np.array([True, True, True, True, False, False])
    assert fact.design(train)[4:].tolist() == [[0, 0], [0, 0]]


def test_metadata_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    view = rng.choice(["AP", "PA"], 60)
    label = (rng.random(60) < np.where(view == "AP", 0.7, 0.3)).astype(int)[:, None]
    fold = np.arange(60) % 3
    found = metadata.scores([facts.Fact(name="view", values=view)], label, sides_of(fold, fold))
    assert found.shape == (2, 60, 1)
    assert np.array_equal(found[0], found[1])
    x = np.c_[view == "AP", view == "PA"].astype(float)
    for k in range(3):
        model = LogisticRegression().fit(x[fold != k], label[fold != k, 0])
        expected = model.predict_proba(x[fold == k])[:, 1]
        assert found[0, fold == k, 0] == pytest.approx(expected)
    untested = metadata.scores([facts.Fact(name="view", values=view)], label,
                               sides_of(np.where(fold == 2, NOWHERE, fold)))  # fmt: skip
    assert np.isnan(untested[0, fold == 2]).all()


def _pair(units_of, rng, n, model, alone):
    """Units of a model and of metadata, as good as told, on the same patients."""
    label = np.arange(n) % 2
    keys = [f"k{k:04d}" for k in range(n)]
    return [
        units_of(keys, label, 1 / (1 + np.exp(-(shift * label + rng.normal(size=n)))))
        for shift in (model, alone)
    ]


@pytest.mark.parametrize(
    ("model", "alone", "light", "said"),
    [
        (2.0, 0.0, "pass", "without looking"),
        (0.8, 1.5, "warn", "not shown to be better"),  # the confounder does better
        (1.0, 1.0, "warn", "not shown to be better"),
        (3.5, 1.2, "warn", "view by itself 0.700"),  # the model is better, yet the view tells
    ],
)
def test_metadata_that_match_the_model_are_a_caution(units_of, model, alone, light, said):
    first, second = _pair(units_of, np.random.default_rng(5), 240, model, alone)
    counts = counts_of(first)
    found = metadata.compare(first, second, counts, 0.95, {"view": 0.7})
    assert found.model[0] == pytest.approx(metrics.auroc(first.truth[:, 0], first.score[:, 0]))
    assert found.difference[0] == pytest.approx(found.model[0] - found.alone[0])
    verdict = metadata.judge(found)
    assert (verdict.light, said in verdict.said) == (light, True), verdict.said


# --- sites -------------------------------------------------------------------------------------


def _of_sites(units_of, seed, *, confounded, sees):
    """Patients of three sites; the share of positives depends on the site, or not."""
    rng = np.random.default_rng(seed)
    where = rng.integers(0, 3, 240)
    share = np.array([0.15, 0.5, 0.85])[where] if confounded else np.full(240, 0.5)
    label = (rng.random(240) < share).astype(int)
    seen = (where - 1) * 2.0 if sees == "site" else 2.0 * label
    score = 1 / (1 + np.exp(-(seen + rng.normal(size=240))))
    units = units_of([f"k{k:04d}" for k in range(240)], label, score)
    return units, np.array(["a", "b", "c"])[where]


@pytest.mark.parametrize(
    ("confounded", "sees", "light"),
    [(True, "site", "fail"), (True, "label", "warn"), (False, "label", "pass")],
)
def test_a_site_that_tells_the_label_is_found(units_of, confounded, sees, light):
    units, where = _of_sites(units_of, 2, confounded=confounded, sees=sees)
    found = site.judge(units, where, counts_of(units), 0.95, seed=0)
    assert found.light == light, found.said
    within = found.details["within_sites"]
    assert within["value"] == pytest.approx(
        float(strata.auroc(units.truth[:, 0], units.score[:, 0], where))
    )
    again = site.judge(units, where, counts_of(units), 0.95, seed=0)
    assert again == found


def test_a_site_with_the_same_share_as_the_others_says_why_it_is_below_chance(units_of):
    units, _ = _of_sites(units_of, 0, confounded=False, sees="label")
    where = np.empty(240, dtype="<U1")
    for label in (0, 1):  # in each class every other patient
        rows = np.flatnonzero(units.truth[:, 0] == label)
        where[rows[::2]], where[rows[1::2]] = "a", "b"
    found = site.judge(units, where, counts_of(units), 0.95, seed=0)
    assert found.light == "pass"
    assert found.high < 0.5
    assert "below 0.5 as sites do not differ, by the site alone" in found.said


@pytest.mark.parametrize(("of_a_site", "light"), [(1, "not assessed"), (60, "fail")])
def test_sites_without_both_classes_cannot_be_looked_into(units_of, of_a_site, light):
    label = np.repeat([0, 1], 120)
    score = 0.3 + 0.4 * label + np.random.default_rng(0).normal(0, 0.1, 240)
    units = units_of([f"k{k:04d}" for k in range(240)], label, score)
    where = np.array([f"s{k // of_a_site:03d}" for k in range(240)])
    found = site.judge(units, where, counts_of(units), 0.95, seed=0)
    assert found.light == light
    assert "no site has patients of both classes" in found.said
    assert "nan" not in found.said


def test_a_single_site_cannot_be_compared(units_of):
    units, where = _of_sites(units_of, 0, confounded=False, sees="label")
    for names_of in (np.full_like(where, "a"), np.full_like(where, "")):
        found = site.judge(units, names_of, counts_of(units), 0.95, seed=0)
        assert found.light == "not assessed"


# --- the others --------------------------------------------------------------------------------


def _twins(a, b, metric="exact", kind="alias"):
    return Twins(image_id=f"i{a}", other_image_id=f"i{b}", patient_key=a, other_patient_key=b,
                 n_pairs=1, similarity=1.0, metric=metric, kind=kind)  # fmt: skip


def test_copies_count_where_they_are_on_both_sides():
    place = {f"p{k}": k for k in range(400)}
    both = sides_of(np.arange(400) % 2)
    few = [_twins("p0", "p1"), _twins("p2", "p4"), _twins("p5", "p6", kind="shared")]
    found = duplicates.judge(few, both, place)
    assert (found.light, found.value, found.details["pairs_on_both_sides"]) == ("warn", 2, 1)
    many = [_twins(f"p{2 * k}", f"p{2 * k + 1}", metric="dhash") for k in range(10)]
    found = duplicates.judge(many, both, place)
    assert (found.light, found.value, found.details["exact_on_both_sides"]) == ("fail", 20, 0)
    assert duplicates.judge([_twins("p2", "p4")], both, place).light == "pass"
    assert duplicates.judge([], both, place).value == 0
    alone = sides_of(np.r_[0, np.full(399, NOWHERE)])  # only p0 is tested
    assert duplicates.judge([_twins("p0", "p1"), _twins("p2", "p3")], alone, place).value == 1


def test_an_unknown_overlap_is_never_none():
    assert pretraining.judge({}, 9).light == "pass"
    assert pretraining.judge({"overlap_patients": 0}, 9).light == "pass"
    assert pretraining.judge({"overlap_patients": None}, 9).light == "not assessed"
    planted = pretraining.judge({"overlap_patients": 7}, 9)
    assert (planted.light, planted.value) == ("fail", 7)
    assert "7 of 9 patients" in planted.said


def test_controls_are_named():
    assert names.chosen(("all",)) == names.NAMES
    lights = (*names.NAMES, "sample_size", "calibration")  # the last two need no run
    assert tuple(verdicts.TITLES) == lights
    assert names.chosen(("auto",)) == ("split", "pretraining", "site")
    assert names.chosen(("site", "split")) == ("split", "site")
    with pytest.raises(UsageError, match="no control called 'sites'"):
        names.chosen(("sites",))
    with pytest.raises(UsageError, match="all stands alone"):
        names.chosen(("all", "site"))
