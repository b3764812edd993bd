"""Tuning, seen from the command line: no test has a part in a choice, and nothing else changes."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from medssl.artifacts import archive, predictions, site_models, splits, trials, weights
from medssl.data import store
from medssl.training import search, tuning

SMALL = ("--init-from", "none", "--image-size", 16, "--folds", 2, "--batch-size", 4,
         "--device", "cpu", "--workers", 1, "--set", "gate=false")  # fmt: skip
TUNED = ("--trials", 3, "--inner-folds", 2, "--space")
SPACE = """
schedule: [linear_probe, full]
epochs: {low: 1, high: 3}
optim.weight_decay: {low: 1e-5, high: 1e-2, log: true}
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    return path


class Spy:
    """What was read, image by image, while a model was trained in some folder."""

    def __init__(self, patch):
        self.where, self.read = None, []
        opened, gather, run_fold = (
            store.ImageStore.__init__, store.ImageStore.gather, tuning.cross_validate.run_fold,
        )  # fmt: skip

        def named(held, place, table):
            opened(held, place, table)
            held.names = table["image_id"].to_pylist()

        def gathered(held, numbers, *rest, **more):
            self.read += [(self.where, held.names[k]) for k in np.asarray(numbers).tolist()]
            return gather(held, numbers, *rest, **more)

        def told(runtime, recipe, fold, reporter):
            self.where = fold.folder
            run_fold(runtime, recipe, fold, reporter)
            self.where = None

        patch.setattr(store.ImageStore, "__init__", named)
        patch.setattr(store.ImageStore, "gather", gathered)
        patch.setattr(tuning.cross_validate, "run_fold", told)


@pytest.fixture(scope="module")
def tuned(tiny_archive, space, tmp_path_factory):
    """A run, what it said, and what it read."""
    from medssl.cli import main

    out = tmp_path_factory.mktemp("tuned") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(out.parent / "home"))
        spy = Spy(patch)
        words = ("tune", tiny_archive, *SMALL, *TUNED, space, "-o", out)
        assert main.main([str(word) for word in words]) == 0
    return out, spy.read


def rows(run):
    """The trials but for what depends on the clock."""
    return [replace(one, seconds=0.0) for one in trials.read(run / "trials.parquet")]


def test_no_image_of_a_tested_patient_is_read_before_the_choice_is_made(tuned, tiny_archive):
    out, read = tuned
    images = archive.read_images(tiny_archive)
    patient_of = dict(
        zip(images["image_id"].to_pylist(), images["patient_key"].to_pylist(), strict=True)
    )
    (plan,) = splits.read(out / "splits.json").test_fold
    for fold in (0, 1):
        chosen_on = out / "tuning" / str(fold)
        selection = {patient_of[name] for where, name in read
                     if where is not None and where.is_relative_to(chosen_on)}  # fmt: skip
        after = {patient_of[name] for where, name in read if where == out / "folds" / str(fold)}
        assert selection == {key for key, number in plan.items() if number != fold}
        assert after == set(plan)  # the spy does see those who are tested, afterwards
    assert all(where is not None for where, _ in read)  # nothing is read elsewhere


def test_the_choice_is_the_best_of_the_table_and_the_model_is_made_so(tuned):
    out, _ = tuned
    found = trials.read(out / "trials.parquet")
    assert [(one.fold, one.trial) for one in found] == [(k, n) for k in (0, 1) for n in range(3)]
    for fold in (0, 1):
        own = [one for one in found if one.fold == fold]
        values = [one.value for one in own]
        assert all(one.value == pytest.approx(np.mean(one.inner)) for one in own)
        assert {len(one.inner) for one in own} == {2}
        assert [one.trial for one in own if one.chosen] == [int(np.argmax(values))]
        best = own[int(np.argmax(values))].settings
        lines = (out / "folds" / str(fold) / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["epoch"] == best["epochs"]
        text = (out / "tuning" / str(fold) / "config.yaml").read_text()
        assert f"\nschedule: {best['schedule']}\n" in text
        assert not (out / "tuning" / str(fold) / "scratch").exists()
    assert len({one.value for one in found}) > 1  # else the choice shows nothing


def test_what_was_tried_is_told_and_evaluate_predict_and_compare_take_the_run(
    tuned, tiny_archive, cli, tmp_path
):
    out, _ = tuned
    described = site_models.read(out)
    assert described.schedule == "tuned"
    assert any(note.startswith("tuned: 6 different configurations tried in 6 trials, chosen in "
                               "each fold by the mean AUROC over 2 inner folds")
               for note in described.notes)  # fmt: skip
    assert sum(note.startswith("chosen in repeat 1, fold") for note in described.notes) == 2
    few = ("--resamples", 100)
    code, said, err = cli("evaluate", out, *few, "-o", tmp_path / "evaluate", "--json")
    assert code == 0, err
    assert "6 different configurations tried" in (tmp_path / "evaluate/report.json").read_text()
    scores = predictions.read(out / "predictions.parquet")
    assert sorted(scores["image_id"].to_pylist()) == [f"image{n:02d}" for n in range(16)]
    code, said, err = cli("predict", out, tiny_archive, "-o", tmp_path / "predict", "--json")
    assert code == 0, err
    assert json.loads(said)["n_models"] == 2
    plain = ("finetune", tiny_archive, *SMALL, "--schedule", "linear_probe", "--epochs", 1)
    assert cli(*plain, "-o", tmp_path / "plain")[0] == 0
    code, said, err = cli("compare", tmp_path / "plain", out, *few, "-o", tmp_path / "c", "--json")
    assert code == 0, err


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tuned, tiny_archive, space, cli, tmp_path, monkeypatch
):
    """Stopped once between the trials of a fold, and once in the training of its model."""
    words = ("tune", tiny_archive, *SMALL, *TUNED, space, "-o", tmp_path / "run")
    propose, run_fold = search.propose, tuning.cross_validate.run_fold
    asked = []

    def stop_at_fifth(*given):
        asked.append(None)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return propose(*given)

    def stop_at_model(runtime, recipe, fold, reporter):
        run_fold(runtime, recipe, fold, reporter)
        if fold.folder == tmp_path / "run" / "folds" / "1":
            (fold.folder / "predictions.parquet").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search, "propose", stop_at_fifth)
        assert cli(*words)[0] == 130
    with monkeypatch.context() as patch:
        patch.setattr(tuning.cross_validate, "run_fold", stop_at_model)
        patch.setattr(search, "propose", lambda *given: asked.append(None) or propose(*given))
        assert cli(*words, "--resume")[0] == 130
    assert len(asked) == 7  # of 6 trials one was begun twice
    code, _, err = cli(*words, "--resume")
    assert code == 0, err
    whole, _ = tuned
    assert rows(tmp_path / "run") == rows(whole)
    same = [run / "predictions.parquet" for run in (whole, tmp_path / "run")]
    assert predictions.read(same[0]).equals(predictions.read(same[1]))
    models = [weights.read_tensors(run / "folds/1/model.safetensors")
              for run in (whole, tmp_path / "run")]  # fmt: skip
    assert all(np.array_equal(models[0][name], models[1][name]) for name in models[0])


def test_one_configuration_is_tried_once_and_gives_the_models_of_a_fine_tuning_with_it(
    cli, tiny_archive, tmp_path
):
    one = ("--set", "space={schedule: [lp_ft], epochs: [2], cutmix.probability: [0.5]}")
    code, _, err = cli("tune", tiny_archive, *SMALL, "--trials", 3, "--inner-folds", 2, *one,
                       "-o", tmp_path / "tuned")  # fmt: skip
    assert code == 0, err
    code, _, err = cli("finetune", tiny_archive, *SMALL, "--schedule", "lp_ft", "--epochs", 2,
                       "--cutmix", 0.5, "-o", tmp_path / "plain")  # fmt: skip
    assert code == 0, err
    both = [tmp_path / name / "predictions.parquet" for name in ("tuned", "plain")]
    assert predictions.read(both[0]).equals(predictions.read(both[1]))
    found = trials.read(tmp_path / "tuned" / "trials.parquet")
    assert [one.state for one in found] == ["finished", "repeated", "repeated"] * 2
    assert all(one.value == found[3 * one.fold].value for one in found)
    digests = [splits.read(path.parent / "splits.json").digest for path in both]
    assert digests[0] == digests[1]


def test_what_diverges_or_contradicts_itself_is_recorded_and_never_chosen(
    cli, tiny_archive, tmp_path
):
    """The rate of a probe that ends in no number, and a loss with no value for mixed images."""
    among = {"loss": ["cross_entropy", "mw"], "cutmix.probability": [0, 0.5],
             "probe.lr": [1e-3, 1e30], "probe_epochs": [5], "epochs": [1],
             "schedule": ["linear_probe"]}  # fmt: skip
    code, _, err = cli("tune", tiny_archive, *SMALL, "--trials", 5, "--inner-folds", 2, "--set",
                       f"space={json.dumps(among)}", "-o", tmp_path / "run")  # fmt: skip
    assert code == 0, err
    found = trials.read(tmp_path / "run" / "trials.parquet")
    by_state = {state: [one for one in found if one.state == state]
                for state in (trials.FINISHED, trials.DIVERGED, trials.REFUSED)}  # fmt: skip
    assert all(by_state.values()), [(one.state, one.settings) for one in found]
    for one in found:
        mixed = one.settings["loss"] == "mw" and one.settings["cutmix.probability"] > 0
        assert (one.state == trials.REFUSED) == mixed
        assert (one.value is None) == (one.state in (trials.REFUSED, trials.DIVERGED))
        assert not (one.chosen and one.value is None)
    assert all(one.settings["probe.lr"] == 1e30 for one in by_state[trials.DIVERGED])
    assert "without a value" in (tmp_path / "run" / "finetune.json").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--set", "space={shedule: [full]}"), 2, "did you mean 'schedule'?"),
        (("--set", "space={folds: [3, 4]}"), 2, "folds is the same for all trials"),
        (("--set", "space={seed: [1, 2]}"), 2, "seed is the same for all trials"),
        (("--set", "space={image_size: [16, 32]}"), 2, "image_size is the same for all trials"),
        (("--set", "space={schedule: [full, ful]}"), 2, "space: schedule=ful"),
        (("--set", "space={dropout: [2]}"), 2, "less than 1"),
        (("--set", "space={cutmix.probability: [0.5]}", "--set", "loss=mw"), 2, "mixed"),
        (("--set", "baselines=[random]"), 2, "no others beside it"),
        (("--space", "absent.yaml"), 2, "cannot read the file"),
        (("--inner-folds", 3), 3, "use at most 2 --inner-folds"),
        (("--trials", 0), 2, "trials"),
        (("--target", "findin"), 3, "did you mean 'finding'?"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_written(
    cli, tiny_archive, tmp_path, words, code, said
):
    found, out, err = cli("tune", tiny_archive, *SMALL, "--inner-folds", 2, *words,
                          "-o", tmp_path / "run")  # fmt: skip
    assert found == code, (out, err)
    assert said in err
    assert not (tmp_path / "run").exists()


def test_without_optuna_nothing_begins_and_the_install_line_is_said(
    cli, tiny_archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(search, "find_spec", lambda _: None)
    code, _, err = cli("tune", tiny_archive, *SMALL, "-o", tmp_path / "run")
    assert code == 5
    assert "pip install 'medssl[tune]'" in err
    assert not (tmp_path / "run").exists()


def test_where_nothing_can_be_trained_the_run_ends_as_diverged(cli, tiny_archive, tmp_path):
    among = "space={probe.lr: [1e30], probe_epochs: [5], epochs: [1], schedule: [linear_probe]}"
    code, _, err = cli("tune", tiny_archive, *SMALL, "--trials", 2, "--inner-folds", 2,
                       "--set", among, "-o", tmp_path / "run")  # fmt: skip
    assert code == 7
    assert "none of 1 configurations could be trained" in err


def test_a_dry_run_counts_the_models_and_writes_nothing(cli, tiny_archive, space, tmp_path):
    words = ("tune", tiny_archive, *SMALL, "--inner-folds", 2, "--space", space, "--trials", 40)
    code, out, err = cli(*words, "--dry-run", "-o", tmp_path / "run")
    assert code == 0, err
    assert re.search(r"^choose +epochs from 1 to 3$", out, re.MULTILINE)
    assert re.search(r"^choose +schedule among linear_probe, full$", out, re.MULTILINE)
    assert re.search(rf"^models +{2 * (40 * 2 + 1)}$", out, re.MULTILINE)
    assert re.search(r"^time +about .* \(162 models, 4 configurations timed\)$", out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_folds_side_by_side_come_out_the_same(tuned, cli, tiny_archive, space, tmp_path):
    words = [*SMALL]
    words[words.index("--workers") + 1] = 2
    code, _, err = cli("tune", tiny_archive, *words, *TUNED, space, "-o", tmp_path / "run")
    assert code == 0, err
    assert rows(tmp_path / "run") == rows(tuned[0])
