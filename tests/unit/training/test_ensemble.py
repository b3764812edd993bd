"""What the folds of a run keep for those who score new scans with their models."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from medssl.artifacts import fold_models, gates
from medssl.config.finetune import FinetuneSettings
from medssl.data import cohort as cohorts
from medssl.foundation.errors import ArtifactError
from medssl.foundation.reporting import Silent
from medssl.training import cross_validate, ensemble, predict, recipes, runtime
from medssl.training.cross_validate import Fold
from medssl.training.ensemble import Ensemble
from medssl.training.kept_features import KeptFeatures


@pytest.fixture
def recipe(tiny_archive):
    settings = FinetuneSettings(
        archive=tiny_archive, init_from="none", image_size=32, batch_size=4, epochs=1, folds=2,
        schedule="linear_probe", random_views=False,
    )  # fmt: skip
    return recipes.prepare(settings, device="cpu")


def trained(recipe, folder):
    """Patients 6 and 7 are tested, 5 is set apart, the others train."""
    number = np.array([int(key[-2:]) for key in recipe.cohort.patients])
    train, inner, test = map(np.flatnonzero, (number < 5, number == 5, number > 5))
    fold = Fold(repeat=0, fold=0, train=train, inner=inner, test=test, folder=folder)
    cross_validate.run_fold(runtime.start("cpu", "32"), recipe, fold, Silent())
    return fold


def test_a_fold_names_the_patients_it_learned_from_and_none_of_those_it_tests(recipe, tmp_path):
    trained(recipe, tmp_path)
    assert fold_models.read(tmp_path).learned == tuple(f"patient{k:02d}" for k in range(6))


def test_merged_patients_are_named_as_in_the_archive(recipe):
    merged = cohorts.merged(recipe.cohort, {"patient01": "g", "patient04": "g"})
    keys = np.array(merged.patients)
    part = merged.rows(np.flatnonzero(np.isin(keys, ["patient01", "patient03"])))
    assert cross_validate._keys(part) == ("patient01", "patient03", "patient04")


def test_a_gate_is_fitted_to_features_that_are_kept_without_another_pass(
    recipe, tmp_path, monkeypatch
):
    asked, features = [], predict.features

    def watched(runtime, model, where, table, given):
        asked.append(len(table))
        return features(runtime, model, where, table, given)

    monkeypatch.setattr(predict, "features", watched)
    trained(recipe, tmp_path / "kept")
    assert sorted(asked) == [2, 4, 10]
    asked.clear()
    monkeypatch.setattr(KeptFeatures, "of_images", lambda _: None)
    trained(recipe, tmp_path / "again")
    assert sorted(asked) == [2, 4, 10, 10]
    one, other = (gates.read(tmp_path / name) for name in ("kept", "again"))
    for name in gates.NAMES:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5, err_msg=name)


def test_the_cost_counts_the_gate(recipe, tmp_path):
    fold = trained(recipe, tmp_path)
    started = runtime.start("cpu", "32")
    without = recipe.settings.model_copy(update={"gate": False})
    plain = SimpleNamespace(**{**vars(recipe), "settings": without, "model": recipe.model,
                               "input": recipe.input, "task": recipe.task})  # fmt: skip
    costs = [cross_validate.cost(started, one, [fold]) for one in (recipe, plain)]
    written = (tmp_path / gates.FILE).stat().st_size
    assert written == pytest.approx(costs[0].disk_bytes - costs[1].disk_bytes, rel=0.15)


def folds(root, *records, held_out=()):
    """Folders of folds with their records, and a gate of so many held-out images each."""
    for k, record in enumerate(records):
        (root / str(k)).mkdir(parents=True)
        model = {"repeat": 0, "fold": k, "epochs": 1, "prior": (), "drawn": ()} | record
        fold_models.write(root / str(k), fold_models.FoldModel(**model))
        for n in held_out:
            one = np.ones(3)
            gates.write(root / str(k), dict.fromkeys(gates.NAMES, one) | {"held_out": np.ones(n)})
    return Ensemble(run=root, info=None, folds=tuple(root / str(k) for k in range(len(records))))


def test_who_was_tested_nowhere_was_learned_from_all_the_same(tmp_path):
    known = folds(tmp_path, {"learned": ("a", "b")}, {"learned": ("b", "c")}).known()
    assert known.learned == {"a", "b", "c"}
    assert known.n_held_out is None


def test_folds_that_do_not_say_leave_it_unknown(tmp_path):
    assert folds(tmp_path, {"learned": ("a",)}, {}).known().learned is None


def test_images_held_out_in_two_repeats_count_once(tmp_path):
    records = [{"repeat": k // 2, "fold": k % 2} for k in range(4)]
    known = folds(tmp_path, *records, held_out=(12,)).known()
    assert (known.n_repeats, known.n_held_out) == (2, 24)


def test_a_damaged_gate_is_refused(tmp_path):
    models = folds(tmp_path, {}, held_out=(5,))
    (tmp_path / "0" / gates.FILE).write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="no gate"):
        models.known()


def test_a_run_of_version_one_is_to_be_trained_again(tmp_path):
    record = {
        "schema": "medssl.finetune/1", "target": "finding", "classes": ["0", "1"],
        "positive": "1", "image_size": 32, "archive_hash": "", "encoder": "resnet18",
        "encoder_options": {}, "in_channels": 1, "spatial_dims": 2, "intensity": {}, "dropout": 0.1,
        "schedule": "full", "init": {}, "n_images": 2, "n_patients": 2, "group": "patient",
        "synthetic": False,
    }  # fmt: skip
    (tmp_path / "finetune.json").write_text(json.dumps(record))
    (tmp_path / "folds" / "0").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="older medssl") as raised:
        ensemble.open_run(tmp_path)
    assert "train it again" in raised.value.fix
