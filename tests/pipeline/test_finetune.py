"""Freezing, seen from the command line: what a schedule leaves alone is the pretrained encoder."""

import json
import re
import shutil

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from medssl.artifacts import archive, weights

SMALL = ("--image-size", 32, "--folds", 2, "--batch-size", 8, "--device", "cpu")
FROZEN = ("conv1", "bn1", "layer1")


@pytest.fixture(scope="module")
def progressive(pipeline, run_main, tmp_path_factory):
    """The preset, shortened: the release times are shares of the epochs."""
    out = tmp_path_factory.mktemp("progressive") / "run"
    said = run_main(
        "finetune", pipeline.archive, "--init-from", pipeline.pretrain, "--preset", "bpd2025",
        "--repeats", 1, "--probe-epochs", 1, "--epochs", 5, *SMALL, "-o", out,
    )  # fmt: skip
    assert said[0] == 0, said
    return out, said


def test_what_never_trains_stays_bit_identical_and_the_rest_moves(pipeline, progressive):
    """Parameters and buffers of stem and layer1, in the model of every fold."""
    _, pretrained = weights.read_verified(pipeline.pretrain / "export")
    for fold in ("0", "1"):
        trained = weights.read_tensors(progressive[0] / "folds" / fold / "model.safetensors")
        for name, before in pretrained.items():
            after = trained[f"encoder.net.{name}"]
            same = np.array_equal(before, after)
            assert same == name.startswith(FROZEN), (fold, name)


def test_the_whole_run_is_logged_step_by_step(progressive):
    folder, _ = progressive
    lines = (folder / "folds" / "0" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    assert rows[0]["lr"] == pytest.approx(1e-3)  # the probe's constant rate


def test_the_schedule_is_drawn(progressive):
    with Image.open(progressive[0] / "schedule.png") as picture:
        assert picture.size[0] > 800
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_the_notes_say_what_the_reader_must_know(progressive):
    said = (progressive[0] / "log.txt").read_text()
    assert "without prior correction: probabilities are those of classes as frequent" in said
    assert "stay random" not in said


def test_the_overlap_with_pretraining_is_counted_or_said_to_be_unknown(pipeline, run_main):
    """The export lists its patients; a bare weight file does not say whom it has seen."""
    words = ("finetune", pipeline.archive, *SMALL, "--dry-run", "--init-from")
    seen = set(weights.read_info(pipeline.pretrain / "export").patient_digests)
    images, labels = archive.read_images(pipeline.archive), archive.read_labels(pipeline.archive)
    labelled = set(labels.filter(pc.is_valid(labels["value"]))["image_id"].to_pylist())
    rows = zip(images["image_id"].to_pylist(), images["patient_key"].to_pylist(), strict=True)
    cohort = {patient for image, patient in rows if image in labelled}
    _, out, _ = run_main(*words, pipeline.pretrain)
    assert f"overlap: {len(cohort & seen)} of {len(cohort)} patients were in pretraining" in out
    bare = pipeline.root / "bare.safetensors"
    shutil.copy(pipeline.pretrain / "export" / "encoder.safetensors", bare)
    _, out, _ = run_main(*words, bare)
    assert "overlap with the pretraining patients: unknown" in out
    _, out, _ = run_main(*words, "none")
    assert "overlap" not in out


@pytest.mark.parametrize(("epochs", "last"), [(20, 30), (30, 40)])
def test_a_dry_run_prints_which_groups_train_when(pipeline, run_main, epochs, last):
    words = ("finetune", pipeline.archive, "--init-from", "none", "--preset", "bpd2025")
    code, out, _ = run_main(*words, "--epochs", epochs, "--dry-run")
    assert code == 0
    assert "layer1, stem stay random: progressive never trains them" in out
    table = out[out.index("epochs  phase") :].splitlines()
    peaks = table[1].split()
    assert peaks == ["all", "max", "LR", "0.001", "0.0005", "0.00025", "0.0001", "never", "never"]
    assert table[2].split() == ["1-10", "probe", "0.001", *["frozen"] * 5]
    assert table[-1].split()[0].endswith(f"-{last}")
    code, out, _ = run_main(*words, "--epochs", epochs, "--dry-run", "--json")
    spans = json.loads(out)["phases"]
    starts = [row["first"] - 11 for row in spans[1:]]
    assert starts == [0, epochs * 0.1, epochs * 0.3, epochs * 0.6]


def test_an_impossible_schedule_is_refused_before_anything_is_written(pipeline, run_main, tmp_path):
    code, _, err = run_main(
        "finetune", pipeline.archive, "--init-from", "none", "--schedule", "progressive",
        "--set", "schedule_options.release=[0.1]", "-o", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert "3 learning rates for 1 releases" in err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_the_run_would_take_and_writes_nothing(pipeline, run_main, tmp_path):
    words = ("finetune", pipeline.archive, "--init-from", "none", *SMALL, "-o", tmp_path / "run")
    code, out, _ = run_main(*words, "--dry-run")
    assert code == 0
    assert re.search(r"^time +about .* \(3 steps of 8 images, one fold of 2\)$", out, re.MULTILINE)
    assert re.search(r"^disk +about .* free$", out, re.MULTILINE)
    one, four = (
        json.loads(run_main(*words, "--dry-run", "--json", "--repeats", n)[1])["cost"]
        for n in (1, 4)
    )
    assert one["seconds"] > 0
    assert four["disk_bytes"] == 4 * one["disk_bytes"]
    assert list(tmp_path.iterdir()) == []


def test_the_disk_a_dry_run_names_is_what_the_run_takes(pipeline, run_main, progressive):
    words = ("finetune", pipeline.archive, "--init-from", pipeline.pretrain)
    code, out, _ = run_main(*words, *SMALL, "--epochs", 5, "--dry-run", "--json")
    assert code == 0
    files = (f for f in progressive[0].rglob("*") if f.is_file())
    taken = sum(f.stat().st_size for f in files)
    assert json.loads(out)["cost"]["disk_bytes"] == pytest.approx(taken, rel=0.05)
