"""An external test beside the cross-validation, against DeLong and limit cases."""

from dataclasses import replace

import numpy as np
import pytest

from medssl.artifacts.origin import External, Origin
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import assessment, cautions, delong, external, intervals
from medssl.evaluation.chosen_calls import calls
from medssl.evaluation.controls import outside
from medssl.evaluation.judged import Judged
from medssl.evaluation.thresholds import FoldThreshold

TESTED = External(
    archive_hash="ff00", what="image", n_rows=100, n_judged=100, n_unlabelled=0, n_too_short=0,
    known_patients=0, known_rows=0, grouped=True, pretrained=0, synthetic=False, trial=False,
    labels=("finding",), lacking=(), n_models=3, calibrated=False, unusual=0.01, n_unusual=1,
)  # fmt: skip
SETTINGS = EvaluateSettings(predictions="unused.csv", resamples=2000)


@pytest.fixture
def beside(one_each, table_of):
    """A cross-validation and an external test of other patients, of a worse model."""
    own, other = one_each(300, seed=1, shift=1.5), one_each(240, seed=2, shift=0.5)

    def judged(units, **more):
        return Judged(
            source=Origin(predictions_sha256=""), table=table_of(["a"], [1], [0.5]), where="table",
            units=units, threshold=0.5, settings=SETTINGS, **more,
        )  # fmt: skip

    return judged(other, internal=judged(own))


def _found(judged):
    draws = intervals.draw_both(judged.units.stratum, 2000, np.random.default_rng(0))
    measured = assessment.measure(judged.units, draws, judged.threshold)
    return external.find(judged, draws, assessment.estimates(measured, 0.95))


def test_the_interval_of_the_difference_is_that_of_two_independent_samples(beside):
    """DeLong's variances of both add up, as nobody is in both."""
    (row,) = _found(beside).rows
    (own, own_variance), (other, other_variance) = (
        delong.auroc(units.truth[:, 0], units.score[:, 0])
        for units in (beside.internal.units, beside.units)
    )
    assert (row.internal, row.external) == pytest.approx((own, other))
    assert row.difference == pytest.approx(other - own)
    error = np.sqrt(own_variance + other_variance)
    assert row.difference_low == pytest.approx(other - own - 1.96 * error, abs=0.15 * error)
    assert row.difference_high == pytest.approx(other - own + 1.96 * error, abs=0.15 * error)
    assert row.difference_high < 0


def test_what_follows_prevalence_or_calibration_is_not_compared(beside):
    assert {row.metric for row in _found(beside).rows} == {"auroc"}


@pytest.mark.parametrize(("shared", "rows"), [(None, 1), (0, 1), (1, 0)])
def test_patients_in_both_are_not_compared(beside, shared, rows):
    source = replace(beside.source, external=replace(TESTED, shared_patients=shared))
    assert len(_found(replace(beside, source=source)).rows) == rows


def test_a_run_on_its_own_cohort_has_nothing_beside_it(beside):
    assert _found(replace(beside, internal=None)) is None


def test_each_model_is_judged_by_itself(one_each):
    units = one_each(150, seed=3, repeats=4)
    (found,) = external._alone(units)
    values = [delong.auroc(units.truth[:, 0], units.by_repeat[:, k, 0])[0] for k in range(4)]
    assert (found.lowest, found.highest) == pytest.approx((min(values), max(values)))
    assert found.mean == pytest.approx(np.mean(values))


def _threshold(value, fold):
    return FoldThreshold(
        repeat=0, fold=fold, threshold=value, inner_sensitivity=0.9, inner_specificity=0.5,
        inner_positives=20 + fold, inner_negatives=30,
    )  # fmt: skip


def test_the_threshold_of_all_is_a_median_that_one_odd_model_does_not_move(one_each):
    models = [_threshold(value, k) for k, value in enumerate((0.4, 0.42, 0.99))]
    one = external.together(models)
    assert (one.threshold, one.inner_positives) == (0.42, 20)
    whole = replace(one_each(60, seed=0), fold=np.full((60, 1), -1))
    assert calls(whole, (one,)).tolist() == (whole.score[:, 0] >= 0.42).tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"known_patients": None}, "is unknown"),
        ({"known_patients": 2, "known_rows": 5}, "2 patients of the archive with 5 images were"),
        ({"n_unusual": 6}, "6% of the images are unlike"),
        ({"trial": True}, "Smoke run"),
        ({"synthetic": True}, "Synthetic"),
        ({"own": True, "shared_patients": 90}, "No external test: these are patients of the run"),
        ({"shared_patients": 1}, "1 patient of those who are judged was tested by the run as well"),
        ({"pretrained": 3}, "3 of the evaluated patients"),
    ],
)
def test_what_makes_it_less_of_a_test_is_a_caution(one_each, model_facts, changes, words):
    said = _cautions(one_each(330, seed=0), model_facts, **changes)
    assert len(said) == 1
    assert words in said[0]


def test_a_sound_test_needs_no_caution(one_each, model_facts):
    assert _cautions(one_each(330, seed=0), model_facts) == ()
    assert _cautions(one_each(330, seed=0), model_facts, n_unusual=5) == ()


@pytest.fixture
def model_facts():
    from medssl.artifacts.site_models import FinetuneInfo
    from medssl.config.task import Task

    return FinetuneInfo(
        archive_hash="aa", task=Task(kind="binary", targets=("finding",)), encoder="resnet18",
        encoder_options={}, in_channels=1, spatial_dims=2, shape=(32, 32), pooling="none",
        slices=0, intensity={}, dropout=0.0, schedule="full", init={"overlap_patients": 99},
        n_images=1, n_patients=1, group="patient", synthetic=False,
    )  # fmt: skip


def _cautions(units, models, **changes):
    tested = replace(TESTED, **changes)
    known = cautions.circumstances(Origin(predictions_sha256="", models=models, external=tested))
    return cautions.find(units, (), (), known)


def test_an_unknown_overlap_never_passes():
    assert outside.sides(replace(TESTED, known_patients=None), 50).light == "not assessed"
    found = outside.sides(replace(TESTED, known_patients=4), 50)
    assert (found.light, found.value) == ("pass", 0)
    assert "4 of the archive were left out" in found.said


@pytest.mark.parametrize(
    ("exact", "alike", "light"), [(0, 0, "pass"), (1, 0, "warn"), (0, 2, "fail")]
)
def test_copies_fail_from_one_in_a_hundred_patients(exact, alike, light):
    assert outside.copies(150, exact, alike).light == light
