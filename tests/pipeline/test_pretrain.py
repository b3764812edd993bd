"""Pretraining on 60 labelled patients: who is watched, what is measured, what stops a run."""

import json
import re
import shutil

import numpy as np
import pytest

from medssl.artifacts import archive, pixels, run_folder, selection, tables, weights

SMALL = ("--method", "vicreg", "--image-size", 16, "--batch-size", 20, "--device", "cpu")
MEASURED = {"step", "epoch", "feature_std", "effective_rank", "feature_uniformity",
            "feature_alignment"}  # fmt: skip


def make_archive(folder, images, values, each=2):
    """``each`` images per patient, one value of the target `finding` per patient."""
    folder.mkdir()
    count = len(images)
    rows = [
        {
            "image_id": f"image{k:03d}", "patient_key": f"patient{k // each:03d}",
            "study_key": f"study{k // each:03d}", "series_key": f"series{k:03d}", "site": "north",
            "modality": "DX", "slice_index": 0, "rows": 32, "columns": 32, "shard": 0, "row": k,
            "unit": "arbitrary", "slope": 1.0, "intercept": 0.0, "lossy": False,
            "pixel_sha256": f"{k:064x}", "flags": [],
        }
        for k in range(count)
    ]  # fmt: skip
    labels = [
        {"image_id": row["image_id"], "target": "finding", "value": values[k // each]}
        for k, row in enumerate(rows)
        if values
    ]
    pixels.write(folder, 0, images)
    archive.write_images(folder, tables.build(rows, archive.IMAGES))
    archive.write_labels(folder, tables.build(labels, archive.LABELS))
    kinds = sorted(set(values))
    info = archive.ArchiveInfo(
        medssl="0", size=32, spatial_dims=2, key_id="00000000", files_found=count,
        files_written=count, images=count, series=count, studies=count // each,
        patients=count // each, sites=("north",),
        targets={"finding": {v: each * values.count(v) for v in kinds}} if values else {},
        hash=archive.content_hash(folder),
    )  # fmt: skip
    archive.write_info(folder, info)
    return folder


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """60 patients, 2 images each; every other one has a bright square."""
    rng = np.random.default_rng(5)
    images = rng.integers(40, 90, size=(120, 1, 32, 32)).astype(np.uint8)
    values = [str(k % 2) for k in range(60)]
    for k in range(120):
        if values[k // 2] == "1":
            images[k, :, 8:20, 8:20] += 90
    return make_archive(tmp_path_factory.mktemp("cohort") / "archive", images, values)


@pytest.fixture(scope="session")
def watched(cohort, run_main, tmp_path_factory):
    """A run that holds out 24 of the 60 patients."""
    run = tmp_path_factory.mktemp("watched") / "run"
    words = ("pretrain", cohort, *SMALL, "--epochs", 3, "--validation", 0.4)
    said = run_main(*words, "-o", run, "--json")
    assert said[0] == 0, said
    return run, json.loads(said[1]), said[2]


def course(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def held_out(folder, run):
    trained = set(weights.read_info(run / "export").patient_digests)
    return set(archive.read_images(folder)["patient_key"].to_pylist()) - trained


def test_the_export_names_the_patients_that_were_trained_on_and_no_other(cohort, watched):
    run, result, err = watched
    info = weights.read_info(run / "export")
    assert (len(info.patient_digests), info.n_images, info.patients_complete) == (36, 72, True)
    assert (result["n_images"], result["n_validation_patients"]) == (72, 24)
    assert "validation: 24 of 60 patients (48 images) are watched, not trained on" in err
    assert len(held_out(cohort, run)) == 24


def test_no_image_of_a_watched_patient_is_ever_trained_on(cohort, run_main, tmp_path, monkeypatch):
    from medssl.data import batches, store

    seen, real = set(), store.ImageStore.gather
    table = archive.read_images(cohort)
    owner = dict(zip(table["row"].to_pylist(), table["patient_key"].to_pylist(), strict=True))

    def gather(self, numbers, **more):
        if self is training[0]:
            seen.update(owner[row] for row in self._row[numbers].tolist())
        return real(self, numbers, **more)

    training, make = [], batches.TrainingBatches.__init__

    def remember(self, images, sampler, **more):
        training.append(images)  # the first that is made is the one that is trained on
        make(self, images, sampler, **more)

    monkeypatch.setattr(store.ImageStore, "gather", gather)
    monkeypatch.setattr(batches.TrainingBatches, "__init__", remember)
    words = ("pretrain", cohort, *SMALL, "--epochs", 3, "--validation", 0.4)
    assert run_main(*words, "-o", tmp_path / "run")[0] == 0
    assert seen
    assert not seen & held_out(cohort, tmp_path / "run")


def test_two_selections_hold_out_the_same_patients(cohort, watched, run_main, tmp_path):
    run, _, _ = watched
    few = tmp_path / "few"
    words = ("reduce", cohort, "--by", "random", "--within", "archive", "--budget", 50)
    assert run_main(*words, "-o", few)[0] == 0
    words = ("pretrain", cohort, "--selection", few, *SMALL, "--epochs", 1, "--validation", 0.4)
    code, _, err = run_main(*words, "-o", tmp_path / "run")
    assert code == 0, err
    kept = set(selection.read_kept(few)["image_id"].to_pylist())
    images = archive.read_images(cohort)
    whose = dict(
        zip(images["image_id"].to_pylist(), images["patient_key"].to_pylist(), strict=True)
    )
    out = held_out(cohort, run)
    expected = {whose[name] for name in kept} - out
    assert set(weights.read_info(tmp_path / "run" / "export").patient_digests) == expected
    assert "validation: 24 of 60 patients (48 images)" in err  # all their images, kept or not


def test_everything_is_measured_after_each_epoch_and_reported(watched):
    run, result, _ = watched
    points = [point for point in course(run) if "feature_std" in point]
    assert [point["epoch"] for point in points] == [0, 1, 2, 3]
    assert all(set(point) == {*MEASURED, "knn_auroc", "val_loss"} for point in points)
    assert all(0 <= point["knn_auroc"] <= 1 and point["effective_rank"] <= 47 for point in points)
    first, last = (
        {k: v for k, v in points[n].items() if k not in ("step", "epoch")} for n in (0, -1)
    )
    assert (result["measured_before"], result["measured"]) == (first, last)
    assert result["progress"] == str(run / "progress.png")
    assert (run / "progress.png").read_bytes().startswith(b"\x89PNG")


def test_watching_does_not_touch_the_training(watched, run_main, tmp_path):
    """Measured once instead of three times: the same weights and the same losses."""
    run, _, _ = watched
    words = ("pretrain", "-c", run / "config.yaml", "--set", "monitor_every=3", "--device", "cpu")
    assert run_main(*words, "-o", tmp_path / "seldom")[0] == 0
    name = "export/encoder.safetensors"
    assert (tmp_path / "seldom" / name).read_bytes() == (run / name).read_bytes()
    losses = [point for point in course(run) if "total" in point]
    assert [point for point in course(tmp_path / "seldom") if "total" in point] == losses
    assert course(tmp_path / "seldom")[-1] == course(run)[-1]


def test_labels_do_not_touch_the_training(cohort, watched, run_main, tmp_path):
    run, _, _ = watched
    unlabelled = shutil.copytree(cohort, tmp_path / "unlabelled")
    archive.write_labels(unlabelled, archive.read_labels(cohort).slice(0, 0))
    info = json.loads((unlabelled / "archive.json").read_text())
    (unlabelled / "archive.json").write_text(json.dumps({**info, "targets": {}}))
    words = ("pretrain", unlabelled, *SMALL, "--epochs", 3, "--validation", 0.4)
    code, _, err = run_main(*words, "-o", tmp_path / "run")
    assert code == 0
    assert "kNN" not in err
    name = "export/encoder.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    assert set(course(tmp_path / "run")[-1]) == {*MEASURED, "val_loss"}


def test_without_held_out_patients_training_images_are_watched(cohort, run_main, tmp_path):
    words = ("pretrain", cohort, *SMALL, "--epochs", 1, "--validation", 0)
    code, _, err = run_main(*words, "-o", tmp_path / "run")
    assert code == 0
    assert "watched: 120 training images" in err
    assert "kNN probe: off, as no patients are held out" in err
    assert set(course(tmp_path / "run")[-1]) == MEASURED - {"feature_alignment"}
    assert held_out(cohort, tmp_path / "run") == set()


def test_too_few_labelled_patients_switch_the_probe_off(cohort, run_main, tmp_path):
    words = ("pretrain", cohort, *SMALL, "--epochs", 1)  # auto: six patients
    code, _, err = run_main(*words, "-o", tmp_path / "run")
    assert code == 0
    assert "validation 0.1 (auto: 60 patients" in err
    assert "watched: 108 training images" in err  # twelve held-out ones would say little
    assert "kNN probe of finding: off, as fewer than 10 labelled patients" in err
    assert set(course(tmp_path / "run")[-1]) == {*MEASURED, "val_loss"}


def test_weights_that_know_the_watched_patients_are_pointed_out(
    cohort, watched, run_main, tmp_path
):
    run, _, _ = watched
    words = ("pretrain", cohort, *SMALL, "--validation", 0.2, "--dry-run", "--init-from")
    code, out, _ = run_main(*words, run)
    assert code == 0
    (known,) = re.findall(r"the starting weights were trained on (\d+) of these", out)
    assert int(known) < 12  # the same seed: those who are held out again are mostly new to them
    bare = shutil.copy(run / "export" / "encoder.safetensors", tmp_path / "bare.safetensors")
    assert "on an unknown number of these" in run_main(*words, bare)[1]


def test_a_resumed_run_measures_and_draws_the_same(
    cohort, watched, run_main, tmp_path, monkeypatch
):
    from medssl.training import checkpoint

    run, _, _ = watched
    real = checkpoint.save

    def save_then_stop(folder, state):
        real(folder, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_stop)
    words = ("pretrain", cohort, *SMALL, "--epochs", 3, "--validation", 0.4, "-o", tmp_path / "run")
    assert run_main(*words)[0] == 130
    monkeypatch.undo()
    assert run_main(*words, "--resume")[0] == 0
    for name in ("metrics.jsonl", "progress.png", "export/encoder.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes(), name


def test_a_collapse_stops_the_run_and_is_found_again_after_a_resume(cohort, run_main, tmp_path):
    """A learning rate of 1 sends all images to one feature within an epoch."""
    run = tmp_path / "run"
    words = ("pretrain", cohort, *SMALL, "--method", "simclr", "--set", "optim.lr=1", "-o", run)
    words += ("--epochs", 4)
    code, _, err = run_main(*words)
    assert code == 7
    assert "the features collapsed: all images look nearly alike to the encoder" in err
    assert "floor 0.02" in err
    assert "fix: lower optim.lr" in err
    status = run_folder.read_status(run)
    assert (status["status"], status["error"][:13]) == ("failed", "TrainingError")
    assert not (run / "export").exists()
    assert (run / "checkpoints" / "last.pt").is_file()
    assert (run / "progress.png").is_file()
    before = (run / "metrics.jsonl").read_bytes()
    assert len([p for p in course(run) if p.get("feature_std", 1) < 0.02]) == 2
    assert run_main(*words, "--resume")[0] == 7
    assert (run / "metrics.jsonl").read_bytes() == before


def test_images_that_are_all_the_same_are_a_collapse_at_the_end(run_main, tmp_path):
    same = np.full((20, 1, 32, 32), 7, dtype=np.uint8)
    same[:, :, :9] = 90
    folder = make_archive(tmp_path / "same", same, [], each=1)
    words = ("pretrain", folder, *SMALL, "--epochs", 1)
    code, _, err = run_main(*words, "-o", tmp_path / "run")
    assert code == 7
    assert "feature_std" in err
    smoke = ("pretrain", folder, "--smoke", "--image-size", 32, "--device", "cpu")
    assert run_main(*smoke, "-o", tmp_path / "smoke")[0] == 0  # two steps are no verdict


def test_words_for_the_defaults_are_understood(pipeline, run_main):
    words = ("pretrain", pipeline.archive, "--dry-run", "--json")
    plain = json.loads(run_main(*words)[1])["settings"]
    same = json.loads(run_main(*words, "--init-from", "none", "--validation", "auto")[1])
    assert same["settings"] == plain
    code, _, err = run_main("pretrain", pipeline.archive, "--dry-run", "--validation", "half")
    assert code == 2
    assert "validation: " in err
    assert "got 'half'" in err
