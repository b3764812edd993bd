"""Thresholds for an external test: of scores as they are calibrated, and of the kind judged."""

import math

import numpy as np
import pytest

from medssl.artifacts import fold_models
from medssl.artifacts.fold_models import FoldModel
from medssl.artifacts.origin import Origin
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import external, units
from medssl.evaluation.calibrators import Calibrator
from medssl.evaluation.judged import Judged
from medssl.evaluation.thresholds import Target
from medssl.foundation.errors import DataError

IMAGES = 6  # per patient
SENSITIVE = Target(metric="sensitivity", at_least=0.9)
SPECIFIC = Target(metric="specificity", at_least=0.9)
STEPS = Calibrator(kind="isotonic", low=(0.0, 0.5, 0.501, 1.0), high=(0.1, 0.1, 0.6, 0.6))


def patients(n, rng, *, shift=1.2, each=IMAGES):
    """Labels (N,) and scores (N, each) of patients whose images differ more than they do."""
    label = np.arange(n) % 2
    logit = shift * (label - 0.5) + 0.5 * rng.normal(size=n)
    return label, 1 / (1 + np.exp(-(logit[:, None] + 1.5 * rng.normal(size=(n, each)))))


def rows(name, label, score):
    """Columns of the images of some patients."""
    each = score.shape[1]
    keys = [f"{name}{n:05d}" for n in range(len(label)) for _ in range(each)]
    return {
        "keys": keys,
        "label": np.repeat(label, each).tolist(),
        "score": score.ravel().tolist(),
        "image_id": [f"{key}-{n % each}" for n, key in enumerate(keys)],
    }


def built(table, kind="patient"):
    return units.build(
        table, target="finding", aggregate="mean", where="table", grouped=kind == "patient"
    )


@pytest.fixture
def tried(table_of, tmp_path):
    """An external test of a run with one calibrated model: (calibrator, inner, kinds) -> Judged."""

    def make(calibrator, inner, *, kind="patient", own_kind="patient", each=IMAGES):
        record = {"kind": calibrator.kind, "temperature": calibrator.temperature,
                  "low": calibrator.low, "high": calibrator.high}  # fmt: skip
        one = FoldModel(repeat=0, fold=0, epochs=1, prior=(), drawn=(), calibrator=record)
        (tmp_path / "folds" / "0").mkdir(parents=True, exist_ok=True)
        fold_models.write(tmp_path / "folds" / "0", one)
        rng = np.random.default_rng(9)
        tested = rows("t", *patients(40, rng))
        both = {name: tested[name] + inner[name] for name in tested}
        part = ["test"] * len(tested["keys"]) + ["inner"] * len(inner["keys"])
        own = table_of(both["keys"], both["label"], both["score"], image_id=both["image_id"],
                       part=part, fold=0)  # fmt: skip
        new = rows("n", *patients(60, rng, each=each))
        other = table_of(new["keys"], new["label"], new["score"], image_id=new["image_id"])
        settings = EvaluateSettings(predictions="unused.csv")
        more = {"where": "table", "threshold": 0.5, "settings": settings}
        internal = Judged(source=Origin(predictions_sha256="", run=tmp_path), table=own,
                          units=built(own, own_kind), **more)  # fmt: skip
        return Judged(source=Origin(predictions_sha256=""), table=other, units=built(other, kind),
                      internal=internal, **more)  # fmt: skip

    return make


def means(calibrator, score):
    """Mean of the calibrated images of each patient (N, each), (N,)."""
    return calibrator.apply(score.reshape(-1, 1)).reshape(score.shape).mean(axis=1)


@pytest.mark.parametrize("temperature", [3.0, 1.0, 0.4])
@pytest.mark.parametrize("target", [SENSITIVE, SPECIFIC])
def test_new_patients_of_several_images_are_called_as_often_as_declared(tried, target, temperature):
    """The mean of calibrated scores is not the calibrated mean: that missed by up to 7 points."""
    calibrator = Calibrator(kind="temperature", temperature=temperature)
    rng = np.random.default_rng(0)
    label, score = patients(800, rng)
    (one,) = external.choose(tried(calibrator, rows("i", label, score)), target)
    own = label == (target.metric == "sensitivity")
    k = math.ceil(0.9 * (own.sum() + 1))
    order = np.sort(means(calibrator, score)[own])
    if target is SENSITIVE:
        assert one.threshold == pytest.approx(order[-k], abs=2e-9)
    else:
        assert order[k - 1] < one.threshold <= order[k] + 1e-9
    new_label, new = patients(20000, rng)
    called = means(calibrator, new) >= one.threshold
    right = called[new_label == 1] if target is SENSITIVE else ~called[new_label == 0]
    assert right.mean() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("target", [SENSITIVE, SPECIFIC])
@pytest.mark.parametrize("each", [1, 3])
def test_a_staircase_that_makes_scores_equal_still_reaches_the_target(tried, target, each):
    """Equal scores are called alike, whatever the last digit of their mean."""
    rng = np.random.default_rng(1)
    label, score = patients(200, rng, each=each)
    (one,) = external.choose(tried(STEPS, rows("i", label, score)), target)
    share = one.inner_sensitivity if target is SENSITIVE else one.inner_specificity
    assert share >= 0.9
    own = np.round(means(STEPS, score), 6)
    side = own[label == (target is SENSITIVE)]
    k = math.ceil(0.9 * (len(side) + 1))
    if target is SENSITIVE:
        called = own >= np.sort(side)[-k]
        assert share == pytest.approx(called[label == 1].mean())
    else:
        called = own > np.sort(side)[k - 1]
        assert share == pytest.approx(1 - called[label == 0].mean())
        reached = own[called].min() if called.any() else own.max() + 1e-6
        assert one.threshold == pytest.approx(reached, abs=2e-6)  # not a hair above the one below


def test_a_threshold_for_images_is_chosen_on_images(tried):
    """The run counts patients, the archive has patients whose images differ: images it is."""
    calibrator = Calibrator(kind="temperature", temperature=2.0)
    label, score = patients(200, np.random.default_rng(2))
    inner = rows("i", label, score)
    (one,) = external.choose(tried(calibrator, inner, kind="image"), SENSITIVE)
    every = np.sort(calibrator.apply(score[label == 1].reshape(-1, 1))[:, 0])
    assert one.threshold == pytest.approx(every[-math.ceil(0.9 * (len(every) + 1))])


def test_patients_are_not_judged_by_a_threshold_of_images(tried):
    """An inner patient with two labels is no unit: the others choose the threshold alone."""
    label, score = patients(200, np.random.default_rng(3))
    inner = rows("i", label, score)
    inner["label"][0] = 1 - inner["label"][0]
    (one,) = external.choose(tried(STEPS, inner), SENSITIVE)
    (others,) = external.choose(tried(STEPS, rows("i", label[1:], score[1:])), SENSITIVE)
    assert (one.inner_mixed, others.inner_mixed) == (1, 0)
    assert one.threshold == others.threshold
    assert one.inner_positives + one.inner_negatives == 199


def test_of_one_image_per_patient_images_are_patients(tried):
    label, score = patients(200, np.random.default_rng(3))
    inner = rows("i", label, score)
    inner["label"][0] = 1 - inner["label"][0]
    (one,) = external.choose(tried(STEPS, inner, each=1), SENSITIVE)
    assert one.inner_sensitivity >= 0.9


def test_a_run_that_does_not_know_its_patients_has_no_threshold_for_them(tried):
    inner = rows("i", *patients(200, np.random.default_rng(4)))
    with pytest.raises(DataError, match="does not know its own") as refused:
        external.choose(tried(STEPS, inner, own_kind="image"), SENSITIVE)
    assert "--group patient" in refused.value.fix
    assert refused.value.exit_code == 3
