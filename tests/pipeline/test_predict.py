"""What the models of a site say about scans that have no labels."""

import csv
import json
import shutil

import numpy as np
import pytest

from medssl.artifacts import archive, arms, predictions, scores, splits, weights
from medssl.ingestion import phantoms

SMALL = ("--image-size", 32, "--folds", 2, "--epochs", 2, "--batch-size", 8, "--device", "cpu",
         "--set", "inner.share=0.3")  # fmt: skip


@pytest.fixture(scope="module")
def site(pipeline, run_main, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "run"
    code, _, err = run_main("finetune", pipeline.archive, "--init-from", pipeline.pretrain,
                            *SMALL, "-o", out)  # fmt: skip
    assert code == 0, err
    return out


@pytest.fixture(scope="module")
def said(pipeline, site, run_main, tmp_path_factory):
    out = tmp_path_factory.mktemp("said") / "run"
    code, text, err = run_main("predict", site, pipeline.archive, "-o", out, "--device", "cpu")
    assert code == 0, err
    return out, text, err


def test_every_image_has_a_score_and_the_models_do_not_agree_entirely(pipeline, said):
    table = scores.read(said[0])
    images = archive.read_images(pipeline.archive)
    assert sorted(table["image_id"].to_pylist()) == sorted(images["image_id"].to_pylist())
    score, spread = table["score"].to_numpy(), table["spread"].to_numpy()
    assert ((score >= 0) & (score <= 1)).all()
    assert (spread > 0).any()
    info = scores.read_info(said[0])
    assert (info.n_models, info.n_rows) == (2, images.num_rows)


def test_a_model_read_back_says_what_it_said_when_it_was_trained(pipeline, site):
    from medssl.training import ensemble, runtime

    models = ensemble.open_run(site)
    known = predictions.read(site / "predictions.parquet").to_pylist()
    images = archive.read_images(pipeline.archive)
    for number, folder in enumerate(models.folds):
        rows = [r for r in known if r["part"] == "test" and r["fold"] == number]
        wanted = {row["image_id"]: row["score"] for row in rows}
        table = images.filter([name in wanted for name in images["image_id"].to_pylist()])
        one = ensemble.Ensemble(run=site, info=models.info, folds=(folder,))
        again = one.say(runtime.start("cpu", "32"), pipeline.archive, table)
        calibrator = json.loads((folder / "fold.json").read_text())["calibrator"]
        assert calibrator["kind"] in ("temperature", "none")
        logit = np.log(again.score[:, 0] / (1 - again.score[:, 0]))
        raw = 1 / (1 + np.exp(-logit * calibrator["temperature"]))
        found = dict(zip(table["image_id"].to_pylist(), raw, strict=True))
        assert {k: pytest.approx(v, abs=1e-5) for k, v in wanted.items()} == found


def test_the_table_has_one_line_per_patient_with_the_mean_of_its_images(said):
    rows = list(csv.DictReader((said[0] / "scores.csv").read_text().splitlines()))
    table = scores.read(said[0]).to_pylist()
    assert len(rows) == len({row["patient_key"] for row in table})
    for row in rows[:5]:
        own = [r["score"] for r in table if r["patient_key"] == row["patient_key"]]
        assert int(row["n"]) == len(own)
        assert float(row["finding"]) == pytest.approx(np.mean(own), rel=1e-5)


def test_patients_the_models_learned_from_are_counted(site, said):
    plan = splits.read(site / "splits.json")
    table = scores.read(said[0])
    n = len({key for tested in plan.test_fold for key in tested}
            & set(table["patient_key"].to_pylist()))  # fmt: skip
    assert n > 0
    assert f"a model learned from {n} patients of this archive" in said[2]
    assert scores.read_info(said[0]).known_patients == n


def test_patients_who_are_tested_nowhere_were_learned_from_all_the_same(
    pipeline, site, run_main, tmp_path
):
    """As after a hold-out split: the one fold left says whom its model has seen."""
    run = shutil.copytree(site, tmp_path / "run")
    shutil.rmtree(run / "folds" / "1")
    plan = splits.read(run / "splits.json")
    tested = {key for key, fold in plan.test_fold[0].items() if fold == 0}
    code, _, err = run_main("predict", run, pipeline.archive, "-o", tmp_path / "out",
                            "--device", "cpu")  # fmt: skip
    assert code == 0, err
    known = scores.read_info(tmp_path / "out").known_patients
    assert known == len(set(plan.test_fold[0]) - tested)


def test_too_few_test_images_mark_nothing_and_it_is_said(site, said):
    """47 images at the default of 1 %: 99 are needed."""
    out, text, err = said
    info = scores.read_info(out)
    rows = predictions.read(site / "predictions.parquet").to_pylist()
    assert info.n_held_out == len({r["image_id"] for r in rows if r["part"] == "test"}) < 99
    assert info.n_unusual is None
    assert scores.read(out)["unusual"].null_count == scores.read(out).num_rows
    lines = csv.DictReader((out / "scores.csv").read_text().splitlines())
    assert {line["n_unusual"] for line in lines} == {""}
    assert f"needs 99 test images for 1 %, and the run has {info.n_held_out}" in err
    assert "unlike the cohort" not in text


@pytest.fixture(scope="module")
def new_scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "scans"
    phantoms.generate(folder, n_patients=3, image_size=64, ct_slices=4, seed=99)
    return folder


def test_new_scans_are_ingested_on_the_way(site, new_scans, run_main, tmp_path):
    words = ("predict", site, new_scans, "--device", "cpu", "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 0, err
    made = tmp_path / "out-archive"
    assert scores.read(tmp_path / "out").num_rows > 0

    shutil.rmtree(tmp_path / "out")  # the same scans again: the archive serves as it is
    before = (made / "archive.json").stat().st_mtime_ns
    code, _, err = run_main(*words)
    assert code == 0, err
    assert "were ingested before" in err
    assert (made / "archive.json").stat().st_mtime_ns == before

    shutil.rmtree(tmp_path / "out")
    others = shutil.copytree(new_scans, tmp_path / "others")
    code, _, err = run_main("predict", site, others, *words[3:])
    assert code == 2
    assert "made of other scans" in err
    assert "out-archive" in err.replace("\n", "")
    assert not (tmp_path / "out").exists()


def _without_weights(run):
    (run / "folds" / "1" / "model.safetensors").write_bytes(b"no weights")


def _two_channels(run):
    record = json.loads((run / "finetune.json").read_text())
    (run / "finetune.json").write_text(json.dumps(record | {"in_channels": 2}))
    for folder in (run / "folds").iterdir():
        path = folder / "model.safetensors"
        tensors = weights.read_tensors(path)
        (stem,) = [n for n, t in tensors.items() if t.ndim == 4 and t.shape[1] == 1]
        weights.write_tensors(path, {**tensors, stem: np.repeat(tensors[stem], 2, axis=1)})


def _version_one(run):
    record = json.loads((run / "finetune.json").read_text())
    task = record.pop("task")
    record |= {"schema": "medssl.finetune/1", "target": task["targets"][0], "image_size": 32,
               "classes": task["classes"], "positive": task["positive"]}  # fmt: skip
    (run / "finetune.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("breaks", "problem"),
    [
        (_without_weights, "not a safetensors file"),
        (_two_channels, "the models read 2 channels"),
        (_version_one, "made by an older medssl"),
    ],
)
def test_models_are_looked_at_before_anything_is_ingested(
    site, new_scans, run_main, tmp_path, breaks, problem
):
    run = shutil.copytree(site, tmp_path / "run")
    breaks(run)
    code, _, err = run_main("predict", run, new_scans, "-o", tmp_path / "out")
    assert code == 4
    assert problem in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("wrong", [("--unusual", 0), ("--set", "unusal=0.1")])
def test_settings_are_checked_before_anything_is_ingested(
    site, new_scans, run_main, tmp_path, wrong
):
    code, _, _ = run_main("predict", site, new_scans, "-o", tmp_path / "out", *wrong)
    assert code == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_refused_before_anything_is_ingested(
    site, new_scans, run_main, tmp_path
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    code, _, err = run_main("predict", site, new_scans, "-o", tmp_path / "out")
    assert code == 2
    assert "not empty" in err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_images_unlike_the_cohort_are_marked(pipeline, site, run_main, tmp_path):
    """Noise in place of every image: not one of them looks like a phantom."""
    other = shutil.copytree(pipeline.archive, tmp_path / "noise")
    rng = np.random.default_rng(0)
    for path in sorted((other / "pixels").glob("*.npy")):
        stored = np.load(path)
        high = np.iinfo(stored.dtype).max
        np.save(path, rng.integers(0, high, stored.shape).astype(stored.dtype))
    code, _, err = run_main("predict", site, other, "-o", tmp_path / "run", "--device", "cpu",
                            "--unusual", 0.1)  # fmt: skip
    assert code == 0, err
    table = scores.read(tmp_path / "run")
    assert np.mean(table["unusual"].to_pylist()) > 0.9


def test_a_dry_run_writes_nothing_and_says_how_many_models_speak(
    pipeline, site, run_main, tmp_path
):
    code, text, _ = run_main("predict", site, pipeline.archive, "-o", tmp_path / "run", "--dry-run",
                             "--json", "--device", "cpu")  # fmt: skip
    assert code == 0
    assert json.loads(text)["n_models"] == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("fold.json", "lacks its fold.json"),
        ("model.safetensors", "model.safetensors"),
    ],
)
def test_a_run_with_a_part_missing_is_refused(pipeline, site, run_main, tmp_path, broken, problem):
    run = shutil.copytree(site, tmp_path / "run")
    (run / "folds" / "1" / broken).unlink()
    code, _, err = run_main("predict", run, pipeline.archive, "-o", tmp_path / "out")
    assert code == 4
    assert problem in err


def test_weights_of_another_model_are_refused(pipeline, site, run_main, tmp_path):
    run = shutil.copytree(site, tmp_path / "run")
    path = run / "folds" / "1" / "model.safetensors"
    tensors = dict(weights.read_tensors(path))
    tensors.pop("head.1.weight")
    weights.write_tensors(path, tensors)
    code, _, err = run_main("predict", run, pipeline.archive, "-o", tmp_path / "out")
    assert code == 4
    assert "do not fit" in err


@pytest.fixture(scope="module")
def beside(pipeline, run_main, tmp_path_factory):
    """A run with random weights and with half of the patients beside it."""
    out = tmp_path_factory.mktemp("beside") / "run"
    words = ("finetune", pipeline.archive, "--init-from", pipeline.pretrain, *SMALL, "-o", out,
             "--baselines", "random", "--fractions", "0.5,1", "--workers", 1)  # fmt: skip
    said = run_main(*words)
    assert said[0] == 0, said
    return out, words, said


def test_arms_are_runs_of_their_own_on_the_same_test_folds(beside):
    out, _, said = beside
    known = arms.read(out)
    assert [arm.name for arm in known] == ["main", "pretrain-0.5", "random-1", "random-0.5"]
    digest = splits.read(out / "splits.json").digest
    for arm in known[1:]:
        assert splits.read(out / arm.folder / "splits.json").digest == digest
        assert f"{arm.name} " in said[1]
    n = {arm.name: arm.n_train_patients for arm in known}
    assert n["main"] == n["random-1"] > n["pretrain-0.5"] == n["random-0.5"]


def test_arms_can_be_evaluated_and_compared(beside, run_main, tmp_path):
    _, _, said = beside
    (line,) = [line for line in said[1].splitlines() if line.startswith("next")]
    words = line.split()[2:]
    code, _, err = run_main(*words, "-o", tmp_path / "compared", "--resamples", 100)
    assert code == 0, err


def test_arms_that_are_finished_are_not_trained_again(beside, run_main):
    out, words, _ = beside
    status = json.loads((out / "status.json").read_text())
    (out / "status.json").write_text(json.dumps(status | {"status": "interrupted"}))
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("model.safetensors")}
    assert len(stamps) == 8
    code, _, err = run_main(*words, "--resume")
    assert code == 0, err
    assert {p: p.stat().st_mtime_ns for p in out.rglob("model.safetensors")} == stamps


def test_folds_side_by_side_are_those_one_after_the_other(pipeline, run_main, tmp_path):
    words = ("finetune", pipeline.archive, "--init-from", "none", *SMALL)
    for workers in (1, 2):
        code, _, err = run_main(*words, "-o", tmp_path / str(workers), "--workers", workers)
        assert code == 0, err
    for name in ("predictions.parquet", "folds/0/model.safetensors", "folds/1/fold.json",
                 "folds/1/gate.safetensors"):  # fmt: skip
        one, other = (tmp_path / n / name for n in ("1", "2"))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_fold_that_fails_in_its_process_fails_the_run(pipeline, run_main, tmp_path):
    code, _, err = run_main("finetune", pipeline.archive, "--init-from", "none", *SMALL, "-o",
                            tmp_path / "run", "--workers", 2, "--set",
                            "schedule_options.encoder_lr=1e30", "--set",
                            "schedule_options.head_lr=1e30")  # fmt: skip
    assert code == 7
    assert "fix:" in err
