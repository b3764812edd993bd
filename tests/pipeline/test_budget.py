"""A selection trained for as many updates as the whole archive: 24 images, 6 steps of 4."""

import json

import numpy as np
import pytest
import yaml

SMALL = ("--image-size", 16, "--batch-size", 4, "--device", "cpu", "--validation", 0)
SMALL += ("--set", "method_options.projector_dim=32")  # small checkpoints
UPDATES = ("--epochs", 2, "--budget-mode", "updates")
STEPS = 6  # of an epoch of all images


@pytest.fixture(scope="module")
def select(tiny_archive, run_main, tmp_path_factory):
    """Return a selection of some images."""

    def run(n):
        folder = tmp_path_factory.mktemp("selections") / "run"
        words = ("--by", "random", "--within", "archive", "--budget", n, "--protect", "none")
        code, _, err = run_main("reduce", tiny_archive, *words, "-o", folder)
        assert code == 0, err
        return folder

    return run


@pytest.fixture(scope="module")
def seventeen(select):
    """4 steps of 4 are a pass, so that an epoch of 6 ends within one."""
    return select(17)


@pytest.fixture(scope="module")
def few(tiny_archive, seventeen, run_main, tmp_path_factory):
    """A run on 17 images, and what it said."""
    run = tmp_path_factory.mktemp("budget") / "few"
    words = ("pretrain", tiny_archive, *SMALL, *UPDATES, "--selection", seventeen)
    code, out, err = run_main(*words, "-o", run, "--json")
    assert code == 0, err
    return run, json.loads(out), err


@pytest.fixture(scope="module")
def whole(tiny_archive, run_main, tmp_path_factory):
    """A run on all images, by epochs."""
    run = tmp_path_factory.mktemp("budget") / "whole"
    code, _, err = run_main("pretrain", tiny_archive, *SMALL, "--epochs", 2, "-o", run)
    assert code == 0, err
    return run


def logged(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(run):
    return (run / "export" / "encoder.safetensors").read_bytes()


def test_without_a_selection_it_is_the_same_run(tiny_archive, whole, run_main, tmp_path):
    assert run_main("pretrain", tiny_archive, *SMALL, *UPDATES, "-o", tmp_path / "run")[0] == 0
    assert weights_of(tmp_path / "run") == weights_of(whole)
    assert logged(tmp_path / "run") == logged(whole)


def test_a_selection_gets_as_many_updates_under_the_same_rates(whole, few):
    run, result, err = few
    assert (result["n_images"], result["epochs"], result["steps"]) == (17, 2, 2 * STEPS)
    assert result["passes"] == 2 * STEPS / 4
    assert "2 epochs of all 24 images are 12 steps, 3 passes over the 17 selected images" in err
    points = [(point["step"], point["epoch"], point.get("lr")) for point in logged(run)]
    assert points == [(p["step"], p["epoch"], p.get("lr")) for p in logged(whole)]
    assert [step for step, _, _ in points] == [0, 6, 6, 12, 12]
    assert points[-2][2] == 0.0  # the rate has come down to nothing by the last step


def test_by_epochs_it_gets_fewer(tiny_archive, seventeen, run_main):
    words = ("pretrain", tiny_archive, *SMALL, "--epochs", 2, "--selection", seventeen)
    planned = json.loads(run_main(*words, "--dry-run", "--json")[1])
    assert (planned["steps"], planned["steps_per_epoch"], planned["passes"]) == (8, 4, 2)
    assert not [note for note in planned["notes"] if "budget" in note]


def test_the_selected_images_are_seen_pass_after_pass(
    tiny_archive, seventeen, few, run_main, tmp_path, monkeypatch
):
    """No pass shows an image twice, no two have the same order; nor does a resumed run differ."""
    from medssl.data.batches import TrainingBatches
    from medssl.training import checkpoint

    real_show, real_save, trained = TrainingBatches._show, checkpoint.save, []

    def show(self, epoch, step, numbers, sources):
        trained.append(numbers.tolist())
        return real_show(self, epoch, step, numbers, sources)

    def save_then_stop(folder, state):
        real_save(folder, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingBatches, "_show", show)
    run = tmp_path / "run"
    words = ("pretrain", tiny_archive, *SMALL, *UPDATES, "--selection", seventeen, "-o", run)
    with monkeypatch.context() as stopped:
        stopped.setattr(checkpoint, "save", save_then_stop)
        assert run_main(*words)[0] == 130
    code, _, err = run_main(*words, "--resume")
    assert code == 0
    assert "continuing after step 6 of 12" in err
    for name in ("metrics.jsonl", "progress.png", "export/encoder.safetensors"):
        assert (run / name).read_bytes() == (few[0] / name).read_bytes(), name
    assert len(trained) == 2 * STEPS
    passes = [tuple(np.concatenate(trained[k : k + 4]).tolist()) for k in (0, 4, 8)]
    assert all(len(set(shown)) == 16 and set(shown) <= set(range(17)) for shown in passes)
    assert len(set(passes)) == 3


def test_everything_is_decided_as_for_all_images_and_repeats_from_the_config(
    tiny_archive, select, run_main, tmp_path
):
    """auto: 24 images make batches of 6, 4 steps and 250 epochs; 4 images fill no such batch."""
    words = ("--dry-run", "--json", "--device", "cpu", "--image-size", 16)
    by_updates = ("--selection", select(4), "--budget-mode", "updates")
    whole, planned = (
        json.loads(run_main("pretrain", tiny_archive, *words, *more)[1])
        for more in ((), by_updates)
    )
    for name in ("batch_size", "epochs", "monitor_every"):
        assert planned["settings"][name] == whole["settings"][name], name
    assert (whole["steps"], planned["steps"]) == (1000, 1000)
    assert (planned["n_images"], planned["steps_per_epoch"], planned["passes"]) == (4, 4, 1000)
    assert "budget updates: a step sees 4 images instead of 6" in planned["notes"]
    assert planned["settings"]["optim"]["lr"] == pytest.approx(1e-3 * (4 / 256) ** 0.5, rel=0.05)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(planned["settings"]))
    again = json.loads(run_main("pretrain", "-c", tmp_path / "config.yaml", *words[:4])[1])
    assert (again["settings"], again["steps"]) == (planned["settings"], 1000)


def test_a_smoke_run_of_a_handful_has_two_steps(tiny_archive, select, run_main, tmp_path):
    words = ("pretrain", tiny_archive, "--selection", select(5), "--budget-mode", "updates")
    words += ("--smoke",)
    code, out, _ = run_main(*words, "--device", "cpu", "-o", tmp_path / "run", "--json")
    assert (code, json.loads(out)["steps"]) == (0, 2)


def test_other_words_are_refused(tiny_archive, run_main):
    code, _, err = run_main("pretrain", tiny_archive, "--budget-mode", "steps", "--dry-run")
    assert code == 2
    assert "budget_mode: " in err
    assert "got 'steps'" in err
