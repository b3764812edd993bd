"""Two runs of every kind of task: differences, swaps, folds and trainings against plain loops."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import (
    brier_score_loss,
    cohen_kappa_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from medssl.config.task import Task
from medssl.evaluation import (
    assessment,
    comparison,
    fold_differences,
    intervals,
    leading,
    significance,
    swaps,
    trainings,
    units,
)
from medssl.evaluation.assessment import MACRO

GRADES = ("low", "mid", "high")
TASKS = {
    "regression": Task(kind="regression", targets=("age", "dose")),
    "multi_label": Task(kind="multi_label", targets=("left", "right"), classes=("0", "1")),
    "ordinal": Task(kind="ordinal", targets=("grade",), classes=GRADES),
}
REPEATS, FOLDS = 2, 3


def labels(kind, count):
    """Labels (N, K); the second of two targets is known for two patients of three."""
    n = np.arange(count)
    if kind == "ordinal":
        return np.eye(3)[n % 3]
    found = np.stack([40.0 + 7 * (n % 5), 1000.0 + n], axis=1)
    if kind == "multi_label":
        found = np.stack([n % 2, n // 2 % 2], axis=1).astype(float)
    found[n % 3 == 1, 1] = np.nan
    return found


def scores(kind, truth, seed):
    """Scores (N, R, K) of one model, near the labels."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(len(truth), REPEATS, truth.shape[1]))
    known = np.nan_to_num(truth)[:, None]
    if kind == "regression":
        return known + noise * (3, 40)
    if kind == "multi_label":
        return 1 / (1 + np.exp(-(noise + known)))
    raised = np.exp(noise + known)
    return raised / raised.sum(axis=2, keepdims=True)


@pytest.fixture
def models_of(table_of):
    """(kind, patients) -> two models of the same patients, of one image each."""

    def build(kind, count=60):
        task, truth = TASKS[kind], labels(kind, count)
        rows = [
            (n, r, k)
            for n in range(count)
            for r in range(REPEATS)
            for k in range(len(task.columns))
            if np.isfinite(truth[n, k])
        ]
        found = {}
        for name, seed in (("old", 1), ("new", 2)):
            score = scores(kind, truth, seed)
            table = table_of(
                [f"p{n:03d}" for n, _, _ in rows],
                [truth[n, k] for n, _, k in rows],
                [score[n, r, k] for n, r, k in rows],
                image_id=[f"i{n:03d}" for n, _, _ in rows],
                target=[task.columns[k] for _, _, k in rows],
                repeat=[r for _, r, _ in rows],
                fold=[n // 6 % FOLDS for n, _, _ in rows],
            )
            found[name] = units.build(
                table, target=task.name, aggregate="mean", where="t", task=task
            )
        return found

    return build


def measured(models, resamples=100):
    stratum = models["old"].stratum
    draws = intervals.draw_both(stratum, resamples, np.random.default_rng(0))
    return {name: assessment.measure(one, draws) for name, one in models.items()}


def kappa(truth, score):
    return cohen_kappa_score(truth, score, weights="quadratic")


def correlation(truth, score):
    return spearmanr(truth, score)[0]


def graded(one, score):
    """True and predicted grade: of the cuts, as many as have a probability of one half."""
    return one.truth.sum(axis=1), (score >= 0.5).sum(axis=1)


def known(one, k, score):
    there = np.isfinite(one.truth[:, k])
    return one.truth[there, k], score[there, k]


ORACLES = [
    ("regression", "mae", "age", mean_absolute_error),
    ("regression", "rmse", "dose", root_mean_squared_error),
    ("regression", "r2", "age", r2_score),
    ("regression", "spearman", "dose", correlation),
    ("multi_label", "auroc", "right", roc_auc_score),
    ("multi_label", "brier", "left", brier_score_loss),
    ("ordinal", "quadratic_kappa", "grade", kappa),
]


def arrays(one, metric, column, score):
    """What scikit-learn takes, of units with other scores."""
    if metric.endswith("kappa"):
        return graded(one, score)
    return known(one, one.columns.index(column), score)


@pytest.mark.parametrize(("kind", "metric", "column", "oracle"), ORACLES)
def test_every_task_has_differences_from_the_same_resamples(
    models_of, kind, metric, column, oracle
):
    models = models_of(kind)
    found = comparison.differences(measured(models), [("new", "old")], 0.95)
    (row,) = (one for one in found if (one.metric, one.column) == (metric, column))
    values = [oracle(*arrays(one, metric, column, one.score)) for one in models.values()]
    assert row.value == pytest.approx(values[1] - values[0])
    counts = intervals.draw_both(models["old"].stratum, 100, np.random.default_rng(0)).over_all
    if metric == "auroc":
        counts = intervals.draw(models["old"].stratum, 100, np.random.default_rng(0))
    drawn = []
    for count in counts:
        n = np.repeat(np.arange(60), count)[:, None]
        pair = [
            oracle(*(values.take(places(one, metric, column, n)) for values in
                     arrays(one, metric, column, one.score)))
            for one in models.values()
        ]  # fmt: skip
        drawn.append(pair[1] - pair[0])
    assert (row.low, row.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def places(one, metric, column, patients):
    """Rows of `arrays` for drawn patients, who may lack the label."""
    if metric.endswith("kappa"):
        return patients[:, 0]
    there = np.isfinite(one.truth[:, one.columns.index(column)])
    row = np.cumsum(there) - 1
    return row[patients[:, 0]][there[patients[:, 0]]]


@pytest.mark.parametrize(("kind", "metric", "column", "oracle"), ORACLES)
def test_all_swaps_of_few_patients_give_the_p_value_by_hand(
    models_of, kind, metric, column, oracle
):
    models = models_of(kind, 9)
    row = measured(models)["old"]
    one, other = models["new"], models["old"]
    used = next(found for _, found in row.rows if found.name == metric)
    columns = significance.columns_of(one, used, column)
    chance = swaps.swapped(used, one, other, columns, 999, np.random.default_rng(0))
    pair = [arrays(model, metric, column, model.score) for model in (one, other)]
    truth, ours, theirs = pair[0][0], pair[0][1], pair[1][1]
    if metric in ("auroc", "spearman"):
        ours, theirs = swaps.midranks(ours), swaps.midranks(theirs)
    drawn = np.array([
        oracle(truth, np.where(flips, theirs, ours)) - oracle(truth, np.where(flips, ours, theirs))
        for flips in product([False, True], repeat=len(truth))
    ])  # fmt: skip
    assert chance.exact
    assert chance.value == pytest.approx(drawn[0], abs=1e-9)
    assert chance.p == pytest.approx(np.mean(np.abs(drawn) >= abs(drawn[0]) - 1e-9))


@pytest.mark.parametrize(("kind", "metric", "column", "oracle"), ORACLES)
def test_a_metric_inside_folds_and_of_each_training_is_that_of_its_rows(
    models_of, kind, metric, column, oracle
):
    model = models_of(kind)["new"]
    used = next(one for _, one in measured({"old": model})["old"].rows if one.name == metric)
    columns = significance.columns_of(model, used, column)
    found = fold_differences.inside(model, used, columns)
    fold = np.arange(60) // 6 % FOLDS

    def value(members, repeat):
        score = model.by_repeat[:, repeat]
        truth, said = arrays(model, metric, column, score)
        if not metric.endswith("kappa"):
            members = members[np.isfinite(model.truth[:, model.columns.index(column)])]
        return oracle(truth[members], said[members])

    expected = [np.mean([value(fold == k, r) for r in range(REPEATS)]) for k in range(FOLDS)]
    assert found == pytest.approx(expected)
    each = trainings.find(model, used, columns, column)
    assert each.values == pytest.approx([value(fold >= 0, r) for r in range(REPEATS)])
    assert (each.metric, each.column) == (metric, column)


def outcome(models, **changes):
    facts = {"metrics": ("auroc",), "swaps": 99, "level": 0.95, "seed": 0}
    plan = significance.Plan(**(facts | changes))
    known = measured(models)
    found = comparison.differences(known, [("new", "old")], 0.95)
    return significance.of(found, known, dict.fromkeys(models, 0.5), plan)


def test_several_targets_are_tested_together_and_one_by_one(models_of):
    models = models_of("multi_label")
    found = outcome(models)
    assert [(row.column, row.family) for row in found] == [(MACRO, 3), ("left", 3), ("right", 3)]
    old, new = (
        np.mean([roc_auc_score(*known(models[name], k, models[name].score)) for k in range(2)])
        for name in ("old", "new")
    )
    assert found[0].value == pytest.approx(new - old)


def test_amounts_and_ordered_classes_are_one_family_each(models_of):
    amounts = outcome(models_of("regression"), metrics=("mae", "spearman"))
    assert [(row.metric, row.column, row.family) for row in amounts] == [
        ("mae", "age", 4), ("spearman", "age", 4), ("mae", "dose", 4), ("spearman", "dose", 4),
    ]  # fmt: skip
    ordered = outcome(models_of("ordinal"), metrics=("auroc", "quadratic_kappa"))
    assert [(row.metric, row.column) for row in ordered] == [
        ("quadratic_kappa", "grade"), ("auroc", MACRO),
    ]  # fmt: skip


def test_a_target_that_everybody_has_is_none_of_the_average_or_the_family(models_of):
    models = models_of("multi_label")
    for one in models.values():
        one.truth[np.isfinite(one.truth[:, 1]), 1] = 1
    found = outcome(models)
    assert [row.column for row in found] == [MACRO, "left"]
    assert found[0].p == found[1].p
    assert found[0].value == found[1].value


def test_what_stands_first_and_what_is_shown():
    rows = {
        kind: [(metric, column) for column in columns for metric in metrics]
        for kind, columns, metrics in (
            ("binary", ("f",), ("auroc", "average_precision", "brier", "scaled_brier")),
            ("multi_class", (MACRO, "a", "b"), ("auroc", "brier")),
            ("multi_label", (MACRO, "a", "b"), ("auroc", "brier")),
            ("regression", ("x", "y"), ("mae", "rmse", "r2", "pearson", "spearman")),
        )
    }
    shown = {kind: leading.shown(kind, given) for kind, given in rows.items()}
    assert shown["binary"] == tuple(rows["binary"][:3])
    assert shown["multi_class"] == (("auroc", MACRO), ("brier", MACRO))
    assert shown["multi_label"] == (("auroc", MACRO), ("auroc", "a"), ("auroc", "b"))
    assert [row for row in shown["regression"] if row[1] == "y"] == [
        ("mae", "y"), ("rmse", "y"), ("r2", "y"), ("spearman", "y"),
    ]  # fmt: skip
    first = {kind: leading.first(kind, given) for kind, given in rows.items()}
    assert first["multi_label"] == first["multi_class"] == (("auroc", MACRO),)
    assert first["regression"] == (("mae", "x"), ("mae", "y"))
    assert first["binary"] == (("auroc", "f"),)
