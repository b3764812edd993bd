"""The external test of every kind of task, of volumes, and of pretrained models."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import two_sites
from sklearn.metrics import mean_absolute_error, roc_auc_score
from two_sites import GRADES

from medssl.artifacts import archive, predictions
from medssl.config.evaluate import EvaluateSettings
from medssl.foundation.errors import ArtifactError
from medssl.stages import evaluate

SMALL = ("--init-from", "none", "--image-size", 16, "--schedule", "linear_probe", "--epochs", 1,
         "--device", "cpu", "--workers", 1)  # fmt: skip
TASKS = {
    "multi_class": ("--target", "letter"),
    "multi_label": ("--target", "left", "--target", "right"),
    "ordinal": ("--target", "grade", "--task", "ordinal", "--set", f"order=[{','.join(GRADES)}]"),
    "regression": ("--target", "amount"),
}


@pytest.fixture(scope="module")
def north(tmp_path_factory, run_main):
    return two_sites.site(tmp_path_factory.mktemp("north"), run_main, range(40), 0)


@pytest.fixture(scope="module")
def south(tmp_path_factory, run_main):
    return two_sites.site(tmp_path_factory.mktemp("south"), run_main, range(36, 70), 1)


@pytest.mark.parametrize("kind", TASKS)
def test_every_kind_of_task_is_tested(kind, north, south, run_main, tmp_path):
    """Without one class, or with labels of one of two targets, what is left is judged."""
    run = tmp_path / "run"
    said = run_main("finetune", north, *TASKS[kind], "--folds", 2, *SMALL, "-o", run)
    assert said[0] == 0, said
    lost = {
        "multi_class": ("letter", "z"),
        "ordinal": ("grade", "severe"),
        "multi_label": ("right", None),
    }.get(kind)
    other = (
        south
        if lost is None
        else two_sites.changed(
            south,
            tmp_path / "other",
            labels=lambda row: (
                None if row["target"] == lost[0] and lost[1] in (None, row["value"]) else row
            ),
        )
    )
    result = evaluate.run(
        EvaluateSettings(run=run, archive=other, resamples=100), tmp_path / "out", device="cpu"
    )
    rows = predictions.read(tmp_path / "out" / "predictions.parquet").to_pylist()
    values = {(row.metric, row.column): row.value for row in result.estimates}
    expected = {}
    for column in {row["target"] for row in rows}:
        by_patient = {}
        for row in rows:
            if row["target"] == column:
                key = row["patient_key"] if kind != "regression" else row["image_id"]
                by_patient.setdefault((key, row["label"]), []).append(row["score"])
        expected[column] = ([k[1] for k in by_patient], [np.mean(s) for s in by_patient.values()])
    if kind == "regression":
        assert values["mae", "amount"] == pytest.approx(mean_absolute_error(*expected["amount"]))
    elif kind == "multi_label":
        assert result.external.lacking == ("right",)
        assert values["auroc", "left"] == pytest.approx(roc_auc_score(*expected["left"]))
    elif kind == "multi_class":
        assert {row["target"] for row in rows} == {"letter=x", "letter=y", "letter=z"}
        for name in "xy":
            assert values["auroc", name] == pytest.approx(
                roc_auc_score(*expected[f"letter={name}"])
            )
        assert np.isnan(values["auroc", "z"])
    else:
        none, _ = expected["grade=none"]
        cut = 1 - np.array(expected["grade=none"][1])
        assert values["auroc", "≥ mild"] == pytest.approx(roc_auc_score(1 - np.array(none), cut))
    compared = {row.column for row in result.elsewhere.rows}
    assert (
        compared
        == {
            "multi_class": {"x", "y"},  # an average of two classes is no average of three
            "multi_label": {"left"},
            "ordinal": {"≥ mild"},
            "regression": {"amount"},
        }[kind]
    )
    assert (tmp_path / "out" / "report.html").is_file()


def test_several_targets_keep_their_sides_where_the_archive_of_the_run_is_gone(
    north, south, run_main, tmp_path
):
    """Sick is yes or no, and right has classes of which the positive one sorts first."""
    turned = {"right": {"0": "9", "1": "1"}}

    def other_words(row):
        known = turned.get(row["target"], {})
        return row | {"value": known.get(row["value"], row["value"])}

    here = two_sites.changed(north, tmp_path / "here", labels=other_words)
    there = two_sites.changed(south, tmp_path / "there", labels=other_words)
    run = tmp_path / "run"
    words = ("--target", "right", "--target", "sick", "--folds", 2, *SMALL, "-o", run)
    said = run_main("finetune", here, *words)
    assert said[0] == 0, said
    made = json.loads((run / "finetune.json").read_text())
    assert made["classes"] == {"right": ["1", "9"], "sick": ["no", "yes"]}
    assert made["positives"] == {"right": "1", "sick": "yes"}

    def events(on, **more):
        return evaluate.plan(EvaluateSettings(run=run, archive=on, resamples=100, **more)).n_events

    new = range(40, 70)  # whom no model knows
    held = (sum(k // 2 % 2 for k in new), sum(k % 2 for k in new))
    assert 2 * held[0] != len(new)  # so that other sides have other counts
    assert events(there) == held
    shutil.rmtree(here)
    assert events(there) == held
    assert events(south, classes=("0=9",)) == held
    assert events(there, classes=("9=1", "1=9")) == (len(new) - held[0], held[1])
    older = {name: value for name, value in made.items() if name not in ("classes", "positives")}
    (run / "finetune.json").write_text(json.dumps(older))
    with pytest.raises(ArtifactError, match="which is positive; the archive of the run is not"):
        events(there)


def test_volumes_are_judged_whole(run_main, tmp_path):
    """Series of one image are no volumes, and are counted."""
    for place, patients in (("here", range(12)), ("there", range(20, 32))):
        rng, rows = np.random.default_rng(len(place)), ["file,patient,finding"]
        (tmp_path / place / "scans").mkdir(parents=True)
        for k in patients:
            shape = (20, 20, 1 if k == 31 else 6)
            voxels = rng.integers(50, 90, shape).astype(np.int16)
            nib.save(
                nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])),
                tmp_path / place / "scans" / f"scan{k:02d}.nii.gz",
            )
            rows.append(f"scan{k:02d}.nii.gz,patient{k:02d},{k % 2}")
        (tmp_path / place / "scans" / "labels.csv").write_text("\n".join(rows))
        said = run_main(
            "ingest",
            tmp_path / place / "scans",
            "-o",
            tmp_path / place / "archive",
            "--label",
            "finding",
            "--patient",
            "col:patient",
        )
        assert said[0] == 0, said
    said = run_main(
        "finetune",
        tmp_path / "here" / "archive",
        *SMALL,
        "--folds",
        2,
        "--spatial-dims",
        3,
        "--depth",
        16,
        "-o",
        tmp_path / "run",
    )
    assert said[0] == 0, said
    result = evaluate.run(
        EvaluateSettings(
            run=tmp_path / "run", archive=tmp_path / "there" / "archive", resamples=100
        ),
        tmp_path / "out",
        device="cpu",
    )
    assert (result.external.what, result.external.n_judged) == ("series", 11)
    assert result.external.n_too_short == 1
    assert result.external.n_unlabelled == 0


def test_judged_patients_who_were_in_pretraining_are_counted(
    north, south, handmade_export, run_main, tmp_path
):
    """Without labels: they are judged, and the light is red. An unknown overlap is never none."""
    keys = [
        sorted(set(archive.read_images(one)["patient_key"].to_pylist())) for one in (north, south)
    ]
    new = [key for key in keys[1] if key not in keys[0]]
    export = handmade_export(tmp_path / "export")
    record = json.loads((export / "encoder.json").read_text())
    record |= {
        "key_id": archive.read_info(south).key_id,
        "patient_digests": [*keys[0][:2], *new[:3], "2an6qicembdaao7ynoinpyeldx"],
    }
    (export / "encoder.json").write_text(json.dumps(record))
    run = tmp_path / "run"
    words = ("--target", "left", "--folds", 2, "--init-from", export, *SMALL[2:], "-o", run)
    said = run_main("finetune", north, *words)
    assert said[0] == 0, said
    settings = EvaluateSettings(run=run, archive=south, resamples=100)
    result = evaluate.run(settings, tmp_path / "out", device="cpu")
    light = next(one for one in result.controls if one.name == "pretraining")
    assert (result.external.pretrained, light.light, light.value) == (3, "fail", 3)
    assert any(text.startswith("3 of the evaluated patients") for text in result.cautions)
    shutil.rmtree(export)
    result = evaluate.run(settings, tmp_path / "gone", device="cpu")
    light = next(one for one in result.controls if one.name == "pretraining")
    assert (result.external.pretrained, light.light) == (None, "not assessed")
    assert "unknown" in light.said
