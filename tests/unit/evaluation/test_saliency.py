"""Which images are explained, and how alike two maps are."""

from types import SimpleNamespace

import numpy as np
import pytest

from medssl.artifacts.origin import Origin
from medssl.artifacts.splits import Splits
from medssl.config.evaluate import EvaluateSettings
from medssl.config.task import Task
from medssl.evaluation import confident, judged, saliency
from medssl.evaluation.saliency import Alike

BINARY = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
STAGES = Task(kind="multi_class", targets=("stage",), classes=("a", "b", "c"))


def blob(row, column, side=24, width=4.0):
    down, across = np.mgrid[:side, :side]
    return np.exp(-((down - row) ** 2 + (across - column) ** 2) / (2 * width**2))


def window(values, row, column):
    """The 11 × 11 neighbourhood of a pixel, mirrored at the border, and its weights."""
    around = np.pad(values, 5, mode="symmetric")[row : row + 11, column : column + 11]
    place = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weight = np.outer(place, place)
    return around, weight / weight.sum()


def slow_ssim(a, b):
    """By definition, window by window, of values from 0 to 1."""
    found = []
    for row in range(a.shape[0]):
        for column in range(a.shape[1]):
            (x, w), (y, _) = window(a, row, column), window(b, row, column)
            mx, my = (w * x).sum(), (w * y).sum()
            vx, vy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum()
            both = (w * (x - mx) * (y - my)).sum()
            above = (2 * mx * my + 1e-4) * (2 * both + 9e-4)
            found.append(above / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return np.mean(found)


def test_similarity_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 14, 17))
    a, b = ((x - x.min()) / np.ptp(x) for x in (a, b))
    assert saliency.ssim(a, b) == pytest.approx(slow_ssim(a, b), abs=1e-12)
    smooth = blob(6, 6, 20), blob(9, 12, 20)
    stretched = [(x - x.min()) / np.ptp(x) for x in smooth]
    assert saliency.ssim(*smooth) == pytest.approx(slow_ssim(*stretched), abs=1e-12)


def test_similarity_is_of_patterns():
    a = blob(6, 6)
    assert saliency.ssim(a, a) == pytest.approx(1)
    assert saliency.ssim(a, 0.001 * a + 5) == pytest.approx(1)
    near, far = saliency.ssim(a, blob(8, 7)), saliency.ssim(a, blob(18, 17))
    assert 1 > near > 0.7 > 0.5 > far
    assert saliency.ssim(a, 1 - a) < 0.2
    stack = np.stack([a, blob(18, 17)])
    assert saliency.ssim(stack, stack[::-1]) == pytest.approx(far, abs=1e-6)


def test_a_blank_map_is_like_no_other():
    a, blank = blob(6, 6), np.zeros((24, 24))
    assert saliency.ssim(a, blank) == saliency.ssim(np.full_like(a, 3), a) == 0
    assert saliency.ssim(blank, blank) is None
    assert saliency.alike(blank, blank, blank, blank) is None
    assert saliency.alike(a, blank, a, blank) == Alike(ssim=0.0, rank=None)


def test_ranks_do_not_see_units():
    cells = np.array([[0.0, 1.0], [3.0, 2.0]])
    assert saliency.rank_correlation(cells, np.exp(cells)) == pytest.approx(1)
    assert saliency.rank_correlation(cells, -cells) == pytest.approx(-1)
    # ranks 1 2 4 3 and 1.5 1.5 4 3: covariance 4.5, squares 5 and 4.5
    tied = np.array([[0.0, 0.0], [3.0, 2.0]])
    assert saliency.rank_correlation(cells, tied) == pytest.approx(4.5 / (5 * 4.5) ** 0.5)
    assert saliency.rank_correlation(cells, np.ones((2, 2))) is None


def test_medians_leave_out_what_could_not_be_compared():
    pairs = [Alike(ssim=0.2, rank=None), None, Alike(ssim=0.6, rank=0.4), Alike(ssim=0.4, rank=0.2)]
    assert saliency.middle(pairs) == Alike(ssim=0.4, rank=pytest.approx(0.3))
    assert saliency.middle([None]) is None
    found = saliency.check("x", pairs)
    assert (found.n, found.ssim.median, found.ssim.low, found.ssim.high) == (3, 0.4, 0.2, 0.6)
    assert found.rank.low == 0.2
    assert saliency.check("x", [None]).ssim is None


@pytest.mark.parametrize(
    ("ssim", "rank", "grid", "verdict"),
    [
        (0.5, 0.5, (3, 3), "change with the weights"),
        (0.51, 0.0, (3, 3), "hardly change"),
        (0.0, 0.51, (7, 7), "hardly change"),
        (0.2, None, (7, 7), "change with the weights"),
        (0.9, 0.9, (2, 4), "not assessed"),
        (0.0, 0.0, (2, 2, 2), "not assessed"),
        (None, None, (7, 7), "not assessed"),
    ],
)
def test_a_verdict_needs_both_measures_and_cells_enough(ssim, rank, grid, verdict):
    rows = [] if ssim is None else [Alike(ssim=ssim, rank=rank)]
    found, said = saliency.judge(saliency.check("all", rows), grid)
    assert found == verdict
    assert ("do not read" in said) == (verdict != "change with the weights" and ssim is not None)


def test_nothing_is_said_of_repeatability_without_another_training():
    none = saliency.check("others", [])
    assert saliency.repeatable(none, several=False) == "one training only: not assessed"
    assert "blank" in saliency.repeatable(none, several=True)
    one = saliency.check("others", [Alike(ssim=0.25, rank=0.5)])
    assert "SSIM of 0.25" in saliency.repeatable(one, several=True)


def test_every_column_has_its_output():
    cases = [
        (BINARY, ("finding",), [0]),
        (STAGES, ("a", "b", "c"), [0, 1, 2]),
        (Task(kind="ordinal", targets=("stage",), classes=("a", "b", "c")), ("≥ b", "≥ c"), [0, 1]),
        (Task(kind="multi_label", targets=("x", "y", "z")), ("x", "z"), [0, 2]),
        (Task(kind="regression", targets=("age", "dose")), ("age", "dose"), [0, 1]),
    ]
    for task, columns, expected in cases:
        assert [saliency.output_of(task, columns, name) for name in columns] == expected
    assert saliency.shown_for(BINARY, "finding") == "finding: 1"
    assert saliency.shown_for(STAGES, "b") == "stage: b"


def of(table, task, tmp_path, **settings):
    """What is judged of a table, as if a run had predicted it."""
    plan = Splits(task=task, seed=0, group="patient", by="folds", n_folds=2, test_fold=({},))
    chosen = EvaluateSettings(run=tmp_path, **settings)
    return judged.of(table, Origin(predictions_sha256="", splits=plan), chosen, "table")


def test_the_most_confident_are_taken_and_of_a_patient_one_image(table_of, tmp_path):
    patients = ["p1", "p1", "p2", "p2", "p3", "p4", "p5"]
    labels = [1, 1, 1, 1, 0, 0, 1]
    scores = [0.9, 0.7, 0.1, 0.3, 0.6, 0.2, 0.8]
    table = table_of(patients, labels, scores, fold=[0, 0, 1, 1, 0, 1, 1])
    found = saliency.choose(of(table, BINARY, tmp_path), 1)
    assert [(one.kind, one.patient_key, one.image_id) for one in found] == [
        ("true positive", "p1", "i00000"),  # a mean of 0.8, as p5, but first in order
        ("false positive", "p3", "i00004"),
        ("false negative", "p2", "i00002"),  # the lower of two
        ("true negative", "p4", "i00005"),
    ]
    assert found[0].unit_score == pytest.approx(0.8)
    assert found[0].score == pytest.approx(0.9)
    assert [one.fold for one in found] == [0, 0, 1, 1]
    assert all(one.repeat == 0 and not one.others for one in found)
    two = saliency.choose(of(table, BINARY, tmp_path), 2)
    assert [one.patient_key for one in two if one.kind == "true positive"] == ["p1", "p5"]


def test_the_first_model_that_tested_it_explains_and_the_others_are_named(table_of, tmp_path):
    patients = ["p1", "p2", "p3"] * 2 + ["p1", "p2"]
    table = table_of(
        patients, [1, 0, 1] * 2 + [1, 0], [0.9, 0.1, 0.8, 0.7, 0.3, 0.8, 0.8, 0.2],
        image_id=["a", "b", "c", "a", "b", "c", "a", "b"],
        repeat=[0, 0, 0, 1, 1, 1, 2, 2], fold=[0, 1, 1, 1, 0, 0, 1, 1],
    )  # fmt: skip
    rows = [row for row in table.to_pylist() if (row["image_id"], row["repeat"]) != ("c", 0)]
    found = saliency.choose(of(table.from_pylist(rows, table.schema), BINARY, tmp_path), 5)
    by_image = {one.image_id: one for one in found}
    assert (by_image["a"].repeat, by_image["a"].fold) == (0, 0)
    assert by_image["a"].others == ((1, 1), (2, 1))
    assert by_image["a"].score == 0.9
    assert by_image["a"].unit_score == pytest.approx(0.8)
    assert (by_image["c"].repeat, by_image["c"].fold, by_image["c"].others) == (1, 0, ())


def test_amounts_are_chosen_by_their_ends(table_of, tmp_path):
    table = table_of(["p1", "p2", "p3"], [50, 60, 70], [55, 80, 40], target="age", fold=0)
    one = of(table, Task(kind="regression", targets=("age",)), tmp_path)
    assert saliency.why_none(one) == ""
    found = saliency.choose(one, 1)
    assert [(row.kind, row.patient_key) for row in found] == [
        ("highest score", "p2"), ("lowest score", "p3"),
    ]  # fmt: skip
    assert saliency.kinds_of(one) == confident.EXTREMES


def test_of_several_targets_only_what_is_labelled_is_chosen(table_of, tmp_path):
    task = Task(kind="multi_label", targets=("x", "y"))
    table = table_of(
        ["p1", "p1", "p2", "p3"], [1, 0, 0, 1], [0.9, 0.6, 0.2, 0.7],
        image_id=["a", "a", "b", "c"], target=["x", "y", "x", "y"], fold=0,
    )  # fmt: skip
    found = saliency.choose(of(table, task, tmp_path), 3)
    assert [(one.column, one.kind, one.image_id) for one in found] == [
        ("x", "true positive", "a"), ("x", "true negative", "b"),
        ("y", "true positive", "c"), ("y", "false positive", "a"),
    ]  # fmt: skip


def test_without_a_threshold_nothing_is_chosen(table_of, tmp_path):
    table = table_of(["p1", "p2"], [0, 1], [0.2, 0.7])
    assert "threshold" in saliency.why_none(of(table, BINARY, tmp_path, threshold="none"))


def test_calls_are_parted_and_ordered():
    units = SimpleNamespace(
        score=np.array([[0.5], [0.9], [0.5], [0.1], [0.4], [np.nan], [0.5]]),
        truth=np.array([[1], [1], [0], [1], [0], [np.nan], [1]]),
        known=lambda _: np.array([True] * 5 + [False, True]),
    )
    found = confident.by_call(units, 0, 0.5)
    assert {kind: rows.tolist() for kind, rows in found.items()} == {
        "true positive": [1, 0, 6], "false positive": [2], "false negative": [3],
        "true negative": [4],
    }  # fmt: skip
    ends = confident.extremes(units, 0)
    assert ends["highest score"].tolist()[:2] == [1, 0]
    assert ends["lowest score"].tolist() == [3, 4, 0, 2, 6, 1]
