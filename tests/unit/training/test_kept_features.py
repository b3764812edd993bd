"""A head trained on rows of kept features is the head trained on the images themselves."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from medssl.artifacts import fold_models, predictions
from medssl.config.finetune import FinetuneSettings
from medssl.config.training import CutMix, MixUp
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Silent
from medssl.models.encoders import resnet18
from medssl.training import cross_validate, recipes, runtime, smote
from medssl.training.cross_validate import Fold
from medssl.training.kept_features import KeptFeatures


@pytest.fixture
def prepare(tiny_archive, monkeypatch):
    """A recipe on the tiny archive, 32 px, with a note of what its encoders were shown."""
    seen = []
    forward = resnet18.build(1, 2, resnet18.Config()).__class__.forward

    def watched(self, images):
        seen.append((len(images), self.training))
        return forward(self, images)

    monkeypatch.setattr(resnet18.build(1, 2, resnet18.Config()).__class__, "forward", watched)

    def make(**settings):
        chosen = {"schedule": "linear_probe", "random_views": False, **settings}
        found = FinetuneSettings(
            archive=tiny_archive, init_from="none", image_size=32, batch_size=4, epochs=3,
            folds=2, gate=False, **chosen,
        )  # fmt: skip
        return recipes.prepare(found, device="cpu")

    make.seen = seen
    return make


def fold(folder, cohort):
    """Patients 6 and 7 are tested, 5 is set apart, the others train."""
    number = np.array([int(key[-2:]) for key in cohort.patients])
    parts = (number < 5, number == 5, number > 5)
    train, inner, test = map(np.flatnonzero, parts)
    return Fold(repeat=0, fold=0, train=train, inner=inner, test=test, folder=folder)


def trained(recipe, folder):
    started = runtime.start("cpu", "32")
    cross_validate.run_fold(started, recipe, fold(folder, recipe.cohort), Silent())
    table = predictions.read(folder / "predictions.parquet")
    return load_file(folder / "model.safetensors"), table["score"].to_numpy()


def test_it_comes_to_the_same_and_shows_each_image_once(prepare, tmp_path, monkeypatch):
    """Order of rows, dropout and learning rates replay."""
    recipe = prepare(dropout=0.5)
    prepare.seen.clear()
    weights, scores = trained(recipe, tmp_path / "kept")
    assert sum(n for n, _ in prepare.seen) == 16  # 10 to train on, 2 set apart, 4 tested
    prepare.seen.clear()
    monkeypatch.setattr(KeptFeatures, "serve", lambda *_: False)
    plain_weights, plain_scores = trained(recipe, tmp_path / "plain")
    assert sum(n for n, _ in prepare.seen) == 3 * 8 + 6  # two steps of four each epoch
    assert weights.keys() == plain_weights.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(value, plain_weights[name], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(scores, plain_scores, atol=1e-6)
    untrained = recipe.model().state_dict()["head.1.weight"].numpy()
    assert np.abs(weights["head.1.weight"] - untrained).max() > 1e-2


def test_a_probe_before_the_schedule_is_served_and_the_schedule_is_not(prepare, tmp_path):
    recipe = prepare(schedule="full", probe_epochs=4)
    prepare.seen.clear()
    trained(recipe, tmp_path / "run")
    assert [n for n, training in prepare.seen if training] == [4] * 6  # three epochs of two steps
    assert sum(n for n, training in prepare.seen if not training) == 16


@pytest.mark.parametrize(
    ("settings", "mixed"),
    [
        ({"random_views": True}, {}),
        ({"schedule": "full"}, {}),
        ({}, {"cutmix": CutMix(probability=0.5)}),
        ({}, {"mixup": MixUp(probability=0.5)}),
    ],
)
def test_images_that_change_or_an_encoder_that_learns_need_the_images(prepare, settings, mixed):
    recipe = prepare(**settings)
    phase = replace(recipe.phases[-1], **mixed)
    assert not KeptFeatures(None, recipe, recipe.model(), None, Sampled()).serve(phase)
    plain = prepare()
    assert KeptFeatures(None, plain, plain.model(), None, Sampled()).serve(plain.phases[-1])


class Sampled:
    """All that is asked of the images when a phase is looked at."""

    sampler = None


def test_synthetic_rows_come_from_training_patients_and_the_prior_is_put_back(
    prepare, tmp_path, monkeypatch
):
    asked, synthesise = [], smote.synthesise

    def watched(features, label, patients, rng):
        asked.append((set(patients), label, synthesise(features, label, patients, rng)))
        return asked[-1][2]

    monkeypatch.setattr(smote, "synthesise", watched)
    recipe = prepare(smote=True)
    _, scores = trained(recipe, tmp_path / "run")
    ((patients, label, made),) = asked
    assert patients == {f"patient{k:02d}" for k in range(5)}  # neither tested nor set apart
    assert len(made.label) == 2  # six images of patients without, four of patients with
    assert made.parents.max() < len(label)
    known = fold_models.read(tmp_path / "run")
    np.testing.assert_allclose(known.prior, [[0.6, 0.4]])
    np.testing.assert_allclose(known.drawn, [[0.5, 0.5]])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"random_views": True}, "an encoder that never trains"),
        ({"schedule": "full"}, "an encoder that never trains"),
        ({"cutmix": CutMix(probability=0.5)}, "an encoder that never trains"),
        ({"sampling": "balanced"}, "nothing is left to balance"),
        ({"loss_weights": "sqrt"}, "nothing is left to balance"),
    ],
)
def test_smote_is_refused_where_it_means_nothing(prepare, settings, message):
    with pytest.raises(UsageError, match=message):
        prepare(smote=True, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mw", "loss_weights": "balanced"}, "no classes that could weigh"),
        ({"loss": "mw", "mixup": MixUp(probability=0.5)}, "no value for mixed ones"),
        ({"loss": "squared"}, "judges regression tasks, this one is binary"),
        ({"loss": "focl"}, "no loss called 'focl'"),
        ({"loss": "focal", "loss_options": {"gama": 1}}, "gama"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(prepare, settings, message):
    with pytest.raises(UsageError, match=message):
        prepare(**settings)


@pytest.mark.parametrize("kind", ["multi_label", "regression"])
def test_rows_without_one_class_are_not_drawn_by_class(prepare, kind):
    with pytest.raises(UsageError, match=f"{kind} task have no one class to be drawn by"):
        prepare(task=kind, sampling="balanced")
    with pytest.raises(UsageError, match=f"{kind} task have no one class of which"):
        prepare(task=kind, smote=True)


def test_what_was_done_about_imbalance_is_noted(prepare):
    notes = prepare(loss="mw", sampling="sqrt", prior_correction=False).notes
    assert any("sampling sqrt, without prior correction" in note for note in notes)
    assert any("the loss mw ranks" in note for note in notes)
    assert not any("prior" in note or "ranks" in note for note in prepare(sampling="sqrt").notes)


def test_a_loss_that_compares_finds_both_classes_in_every_step(prepare):
    recipe = prepare(loss="mw")
    started = runtime.start("cpu", "32")
    for epoch in range(5):
        batches = cross_validate._batches(started, recipe, recipe.cohort, 0, None)
        assert all(step.target.unique().numel() == 2 for step in batches.epoch(epoch))
