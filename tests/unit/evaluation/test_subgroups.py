"""Groups of patients by themselves, the gap between them, and who was called wrongly."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from statsmodels.stats.proportion import confint_proportions_2indep

from medssl.evaluation import failures, intervals, subgroups
from medssl.evaluation.attributes import Attribute
from medssl.evaluation.chosen_calls import judge
from medssl.evaluation.thresholds import FoldThreshold, Target


def assess(units, words, *, threshold=0.5, chosen=(), resamples=400, **facts):
    attribute = Attribute(name="sex", values=tuple(words), **facts)
    draws = intervals.draw_both(units.stratum, resamples, np.random.default_rng(0))
    made = subgroups.calls(units, threshold, chosen)
    return subgroups.assess(attribute, units, draws, made, 0.95)


def alternating(units, *names):
    return [names[n % len(names)] for n in range(len(units.truth))]


@pytest.fixture
def spoilt(one_each):
    """300 patients, the second half of whom have scores that know nothing."""
    units = one_each(300, seed=1, shift=3.0)
    noise = np.random.default_rng(5).uniform(size=150)
    units.score[150:, 0] = noise
    return units


def test_values_are_those_of_scikit_learn_on_the_rows_of_the_group(one_each):
    units = one_each(200, seed=3)
    words = alternating(units, "F", "F", "M", "F", "M")
    found = assess(units, words, threshold=0.6)
    for group in found.groups:
        rows = np.array(words) == group.name
        truth, score = units.truth[rows, 0], units.score[rows, 0]
        values = {value.metric: value.value for value in group.values}
        assert values["auroc"] == pytest.approx(roc_auc_score(truth, score))
        assert values["sensitivity"] == pytest.approx(recall_score(truth, score >= 0.6))
        assert values["specificity"] == pytest.approx(
            recall_score(truth, score >= 0.6, pos_label=0)
        )
        assert set(values) == set(subgroups.METRICS)


def test_counts_of_groups_add_up_to_the_cohort(one_each):
    units = one_each(120, seed=0)
    words = [None, *alternating(units, "18-29", "6-12", "80-89", "13-17")[1:]]
    found = assess(units, words)
    assert [group.name for group in found.groups] == ["6-12", "13-17", "18-29", "80-89"]
    assert sum(group.n_units for group in found.groups) + found.n_unknown == 120
    assert sum(group.n_events for group in found.groups) == units.truth[1:].sum()
    assert found.n_unknown == 1
    assert found.calls == "threshold"


def test_words_of_equal_numbers_have_one_order_however_they_come():
    words = ["1", "01", "001", "1a", "2", "10"]
    for n in range(len(words)):
        turned = dict.fromkeys([*words[n:], *words[:n]])
        assert subgroups.ordered(turned) == ["001", "01", "1", "1a", "2", "10"]


def test_words_of_two_attributes_stand_in_the_order_of_both():
    words = {"M × 6-12", "F × 13-17", "F × 6-12", "F × unknown", "M × <1"}
    ordered = ["F × 6-12", "F × 13-17", "F × unknown", "M × 6-12", "M × <1"]
    assert subgroups.ordered(words) == ordered


def thresholds_of(units, rng):
    """One threshold for every repeat and fold, all different."""
    return tuple(
        FoldThreshold(
            repeat=repeat, fold=fold, threshold=float(rng.uniform(0.3, 0.7)), inner_sensitivity=0.9,
            inner_specificity=0.5, inner_positives=20, inner_negatives=20,
        )
        for repeat in range(units.n_repeats)
        for fold in range(5)
    )  # fmt: skip


def test_at_chosen_thresholds_each_repeat_is_called_by_that_of_its_fold(one_each):
    units = one_each(240, seed=11, repeats=2)
    words = alternating(units, "F", "F", "M", "F", "M")
    chosen = thresholds_of(units, np.random.default_rng(0))
    found = assess(units, words, threshold=0.9, chosen=chosen)
    assert found.calls == "chosen_thresholds"
    at = {(one.repeat, one.fold): one.threshold for one in chosen}
    for group in found.groups:
        right = {0: [], 1: []}
        for n in np.flatnonzero(np.array(words) == group.name):
            label = int(units.truth[n, 0])
            calls = [units.by_repeat[n, r, 0] >= at[r, units.fold[n, r]] for r in range(2)]
            right[label].append(np.mean([call == label for call in calls]))
        values = {value.metric: value for value in group.values}
        assert values["sensitivity"].value == pytest.approx(np.mean(right[1]))
        assert values["specificity"].value == pytest.approx(np.mean(right[0]))
        assert values["sensitivity"].low < values["sensitivity"].value


def test_groups_at_chosen_thresholds_add_up_to_the_calls_of_the_report(one_each):
    units = one_each(240, seed=12)
    words = alternating(units, "F", "F", "M", "F", "M")
    chosen = thresholds_of(units, np.random.default_rng(1))
    draws = intervals.draw_both(units.stratum, 100, np.random.default_rng(0))
    target = Target(metric="sensitivity", at_least=0.9)
    whole = judge(units, target, chosen, draws, 0.95, leave_out=False)
    found = assess(units, words, threshold=None, chosen=chosen)
    hits = sum(
        value.value * (group.n_events if value.metric == "sensitivity" else 0)
        for group in found.groups
        for value in group.values
    )
    assert hits == pytest.approx(whole.true_positives)


def test_the_order_of_names_changes_nothing_of_a_group(one_each):
    units = one_each(150, seed=4)
    one = assess(units, alternating(units, "a", "b"))
    other = assess(units, alternating(units, "b", "a"))
    assert one.groups[0].values == other.groups[1].values
    assert one.gaps[0].value == other.gaps[0].value
    assert (one.gaps[0].low, one.gaps[0].high) == (other.gaps[0].low, other.gaps[0].high)


def test_the_group_that_is_served_badly_is_found(spoilt):
    found = assess(spoilt, ["served"] * 150 + ["spoilt"] * 150)
    gap = next(gap for gap in found.gaps if gap.metric == "auroc")
    assert (gap.worst, gap.best, gap.n_groups) == ("spoilt", "served", 2)
    assert 0.25 < gap.low < gap.value < gap.high < 0.65


def test_the_gap_of_groups_that_are_equal_is_between_two_of_them(units_of):
    n = np.arange(120)
    score = np.where((n % 3 == 0) == (n % 10 < 7), 0.8, 0.2) + n / 1e6
    units = units_of([f"k{k:03d}" for k in n], (n % 3 == 0).astype(int), score)
    found = assess(units, ["a" if k < 60 else "b" for k in n])
    gap = next(gap for gap in found.gaps if gap.metric == "sensitivity")
    assert (gap.worst, gap.best, gap.value) == ("a", "b", 0)
    assert gap.low < 0 < gap.high


def test_groups_of_the_same_patients_have_no_gap(units_of):
    """Two images of each patient, alike in score: pairing in resamples takes all chance away."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    score = 1 / (1 + np.exp(-(rng.normal(size=60) + label)))
    keys = [f"k{n:02d}" for n in range(60)]
    units = units_of(
        keys * 2, np.tile(label, 2), np.tile(score, 2), grouped=False,
        image_id=[f"i{n:03d}" for n in range(120)],
    )  # fmt: skip
    found = assess(units, ["AP"] * 60 + ["PA"] * 60)
    gap = next(gap for gap in found.gaps if gap.metric == "auroc")
    assert gap.value == pytest.approx(0)
    assert gap.low == pytest.approx(0, abs=1e-12)
    assert gap.high == pytest.approx(0, abs=1e-12)


def test_intervals_are_as_wide_as_a_resampling_of_the_group_alone(one_each):
    units = one_each(400, seed=7)
    words = alternating(units, "F", "M")
    value = assess(units, words, resamples=2000).groups[0].values[0]
    rows = np.flatnonzero(np.array(words) == "F")
    truth, score = units.truth[rows, 0], units.score[rows, 0]
    rng, drawn = np.random.default_rng(1), []
    for _ in range(400):
        picked = rng.integers(len(rows), size=len(rows))
        drawn.append(roc_auc_score(truth[picked], score[picked]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert value.high - value.low == pytest.approx(high - low, rel=0.15)


def test_a_group_with_few_of_a_class_is_counted_and_not_judged(one_each):
    units = one_each(90, seed=2)  # every third is positive
    words = ["few"] * 27 + ["enough"] * 63
    few, enough = sorted(assess(units, words).groups, key=lambda group: group.n_units)
    assert (few.n_units, few.patients_with, few.patients_without) == (27, 9, 18)
    assert few.too_few
    assert few.values == ()
    assert not enough.too_few
    assert len(enough.values) == 4
    assert assess(units, words).gaps == ()


def test_a_gap_where_nothing_varies_is_that_of_newcombe(units_of):
    """All 20 positives of one group are called, 12 of 20 of the other."""
    label = np.r_[np.ones(40), np.zeros(40)]
    score = np.r_[np.full(20, 0.9), np.full(12, 0.9), np.full(8, 0.1), np.full(40, 0.2)]
    units = units_of([f"k{n:02d}" for n in range(80)], label, score)
    words = ["a"] * 20 + ["b"] * 20 + ["a"] * 20 + ["b"] * 20
    gap = next(gap for gap in assess(units, words).gaps if gap.metric == "sensitivity")
    assert (gap.worst, gap.best, gap.interval) == ("b", "a", "newcombe")
    assert gap.value == pytest.approx(0.4)
    low, high = confint_proportions_2indep(20, 20, 12, 20, compare="diff", method="newcomb")
    assert gap.low == pytest.approx(low, abs=0.03)  # b's own interval is of resamples
    assert gap.high == pytest.approx(high, abs=0.03)


def test_without_threshold_or_probabilities_what_needs_them_is_left_out(one_each):
    units = one_each(120, seed=0)
    units.score[:] = units.score * 10 - 5
    found = assess(units, alternating(units, "a", "b"), threshold=None)
    assert {value.metric for group in found.groups for value in group.values} == {"auroc"}
    assert found.accuracies is None


def test_accuracy_over_thresholds_is_that_of_scikit_learn(one_each):
    units = one_each(150, seed=6)
    words = alternating(units, "big", "big", "small", "big", "small")
    curve = assess(units, words).accuracies
    assert (curve.larger, curve.smaller) == ("big", "small")
    rows = np.array(words) == "small"
    for n in (0, 30, 77, 100):
        called = units.score[rows, 0] >= curve.threshold[n]
        assert curve.of_smaller[n] == pytest.approx(accuracy_score(units.truth[rows, 0], called))


@pytest.mark.parametrize(
    ("words", "facts", "reason"),
    [
        (["F"] * 60, {}, "there is one group only: F"),
        ([str(n) for n in range(60)], {}, "60 different values make no groups"),
        ([None] * 60, {"reason": "not known of any image"}, "not known of any image"),
        ([None] * 60, {"n_several": 60}, "the images of every patient differ in it"),
    ],
)
def test_what_makes_no_groups_says_why(one_each, words, facts, reason):
    found = assess(one_each(60, seed=0), words, **facts)
    assert (found.reason, found.groups, found.gaps) == (reason, (), ())


def named(units):
    return [(f"k{n:04d}", None) for n in range(len(units.truth))]


def test_failures_are_the_most_confident_first(one_each):
    units = one_each(200, seed=8, repeats=2)
    found = failures.find(units, named(units), 0.5, 4)
    truth, score = units.truth[:, 0], units.score[:, 0]
    wrong = sorted((s for t, s in zip(truth, score, strict=True) if t == 0 and s >= 0.5),
                   reverse=True)  # fmt: skip
    missed = sorted(s for t, s in zip(truth, score, strict=True) if t == 1 and s < 0.5)
    assert [row.score for row in found.rows] == wrong[:4] + missed[:4]
    assert [row.kind for row in found.rows] == ["false positive"] * 4 + ["false negative"] * 4
    assert found.counts == (("finding", len(wrong), len(missed)),)
    for row in found.rows:
        place = int(row.patient_key[1:])
        assert row.score == score[place]
        assert row.folds == (place // 3 % 5,) * 2


def test_equal_scores_are_told_apart_by_their_names(units_of):
    units = units_of([f"k{n:04d}" for n in range(40)], np.arange(40) % 2, np.full(40, 0.7))
    rows = failures.find(units, named(units), 0.5, 3).rows
    assert [row.patient_key for row in rows] == ["k0000", "k0002", "k0004"]


def test_nobody_is_listed_who_is_called_rightly(units_of):
    label = np.arange(40) % 2
    units = units_of([f"k{n:04d}" for n in range(40)], label, 0.2 + 0.6 * label)
    found = failures.find(units, named(units), 0.5, 10)
    assert (found.reason, found.rows, found.counts) == ("", (), (("finding", 0, 0),))


def test_no_list_without_a_threshold(one_each):
    units = one_each(60, seed=0)
    assert "threshold" in failures.find(units, named(units), None, 10).reason
    assert failures.find(units, named(units), 0.5, 0).reason == "not asked for"
