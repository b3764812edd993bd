"""What a split by image does to a cohort with several images per patient, and ours does not.

Every patient has a texture of their own and a label drawn by lot, so there is nothing to learn
about new patients. Who meets the same patients again scores by recognising them.
"""

import json

import numpy as np
import pytest

from medssl.artifacts import archive, pixels, predictions, splits, tables

N_PATIENTS, EACH, SIDE = 40, 8, 32
TRAINING = ("--init-from", "none", "--schedule", "linear_probe", "--epochs", 30, "--folds", 3,
            "--set", "random_views=false", "--set", "schedule_options.head_lr=0.05",
            "--device", "cpu", "--workers", 1)  # fmt: skip


def _texture(rng):
    """Return a smooth random picture, (side, side), mean 0 and standard deviation 1."""
    spectrum = np.fft.rfft2(rng.normal(size=(SIDE, SIDE)))
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    smooth = np.fft.irfft2(spectrum * np.exp(-((fy**2 + fx**2) / 0.02)), s=(SIDE, SIDE))
    return (smooth - smooth.mean()) / smooth.std()


def _write(folder):
    """Write an archive of patients whose images look alike, with labels drawn by lot."""
    folder.mkdir()
    rng = np.random.default_rng(11)
    label = rng.permutation(np.arange(N_PATIENTS) % 2)
    images, labels, stored = [], [], []
    for patient in range(N_PATIENTS):
        own = _texture(rng)
        for k in range(EACH):
            number = patient * EACH + k
            picture = 128 + 40 * own + 6 * rng.normal(size=(SIDE, SIDE))
            stored.append(np.clip(picture, 0, 255).astype(np.uint8)[None])
            images.append(
                {
                    "image_id": f"image{number:04d}",
                    "patient_key": f"patient{patient:02d}",
                    "study_key": f"study{number:04d}",
                    "series_key": f"series{number:04d}",
                    "site": "north",
                    "modality": "DX",
                    "slice_index": 0,
                    "rows": SIDE,
                    "columns": SIDE,
                    "shard": 0,
                    "row": number,
                    "unit": "arbitrary",
                    "slope": 1.0,
                    "intercept": 0.0,
                    "lossy": False,
                    "pixel_sha256": f"{number:064x}",
                    "flags": [],
                }
            )
            value = str(label[patient])
            labels.append({"image_id": f"image{number:04d}", "target": "lot", "value": value})
    pixels.write(folder, 0, np.stack(stored))
    archive.write_images(folder, tables.build(images, archive.IMAGES))
    archive.write_labels(folder, tables.build(labels, archive.LABELS))
    n = N_PATIENTS * EACH
    info = archive.ArchiveInfo(
        medssl="0",
        size=SIDE,
        spatial_dims=2,
        key_id="00000000",
        files_found=n,
        files_written=n,
        images=n,
        series=n,
        studies=n,
        patients=N_PATIENTS,
        sites=("north",),
        targets={"lot": {"0": n // 2, "1": n // 2}},
        hash=archive.content_hash(folder),
    )
    archive.write_info(folder, info)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(tmp_path_factory, run_main):
    """The report of a run that splits by image, and of one that splits by patient."""
    root = tmp_path_factory.mktemp("leakage")
    _write(root / "archive")
    found = {}
    for group in ("none", "patient"):
        run = root / group
        words = ("finetune", root / "archive", *TRAINING, "--group", group, "-o", run)
        code, out, err = run_main(*words)
        assert code == 0, (out, err)
        words = ("evaluate", run, "--resamples", 500, "-o", root / f"{group}-judged", "--json")
        code, out, err = run_main(*words)
        assert code == 0, (out, err)
        found[group] = (run, json.loads(out))
    return found


def _auroc(report):
    return next(row for row in report["estimates"] if row["metric"] == "auroc")


def test_a_split_by_image_recognises_patients(judged):
    run, report = judged["none"]
    assert _auroc(report)["value"] > 0.9
    tested = splits.read(run / "splits.json").test_fold[0]
    assert len(tested) == N_PATIENTS * EACH
    assert any("Patients unknown" in caution for caution in report["cautions"])


def test_ours_is_at_chance_where_there_is_nothing_to_learn(judged):
    run, report = judged["patient"]
    found = _auroc(report)
    assert found["low"] < 0.5 < found["high"]
    assert found["value"] < 0.7
    assert report["n_patients"] == N_PATIENTS
    table = predictions.read(run / "predictions.parquet").to_pandas()
    assert (table["part"] == "test").sum() == N_PATIENTS * EACH
    for _, rows in table.groupby("fold"):
        tested, apart = (set(rows["patient_key"][rows["part"] == p]) for p in ("test", "inner"))
        assert tested
        assert not tested & apart
