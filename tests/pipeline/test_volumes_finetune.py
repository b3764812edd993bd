"""Site models of series: whole volumes, and slices that are pooled, from the command line."""

import json
import shutil

import nibabel as nib
import numpy as np
import pyarrow.compute as pc
import pytest

from medssl.artifacts import (
    archive,
    attention,
    predictions,
    scores,
    site_models,
    tables,
    weights,
)

SERIES = 12
COMMON = ("--image-size", 16, "--folds", 2, "--epochs", 1, "--device", "cpu", "--init-from", "none")
POOLED = ("--pooling", "attention", "--slices", 4)
VOLUMES = ("--spatial-dims", 3, "--depth", 16)


@pytest.fixture(scope="module")
def series(tmp_path_factory, run_main):
    """Twelve patients with a volume of 3 or 9 slices each; the label is how bright its top is."""
    root = tmp_path_factory.mktemp("series")
    rng, rows = np.random.default_rng(0), ["file,patient,finding"]
    (root / "scans").mkdir()
    for k in range(SERIES):
        voxels = rng.integers(50, 90, (20, 20, 9 if k % 3 else 3)).astype(np.int16)
        voxels[..., -1] += 80 * (k % 2)
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])),
                 root / "scans" / f"scan{k:02d}.nii.gz")  # fmt: skip
        rows.append(f"scan{k:02d}.nii.gz,patient{k:02d},{k % 2}")
    (root / "scans" / "labels.csv").write_text("\n".join(rows))
    said = run_main(
        "ingest", root / "scans", "-o", root / "archive", "--label", "finding",
        "--patient", "col:patient",
    )  # fmt: skip
    assert said[0] == 0, said
    return root / "archive"


def only(series, copy, wanted):
    """A copy of the archive with some of its images."""
    shutil.copytree(series, copy)
    kept = [row for row in archive.read_images(copy).to_pylist() if wanted(row)]
    archive.write_images(copy, tables.build(kept, archive.IMAGES))
    return copy


@pytest.fixture(scope="module")
def attended(series, run_main):
    out = series.parent / "attended"
    said = run_main("finetune", series, *COMMON, *POOLED, "-o", out)
    assert said[0] == 0, said
    return out, said


@pytest.fixture(scope="module")
def whole(series, run_main):
    out = series.parent / "whole"
    said = run_main("finetune", series, *COMMON, *VOLUMES, "-o", out)
    assert said[0] == 0, said
    return out, said


@pytest.mark.parametrize("run", ["attended", "whole"])
def test_every_series_is_judged_once_and_named_by_its_first_image(run, series, request):
    out, (_, said, err) = request.getfixturevalue(run)
    images = archive.read_images(series)
    first = images.filter(pc.equal(images["slice_index"], 0))["image_id"].to_pylist()
    found = predictions.read(out / "predictions.parquet")
    tests = found.filter(pc.equal(found["part"], "test"))
    assert sorted(tests["image_id"].to_pylist()) == sorted(first)
    assert tests["label"].to_pylist().count(1.0) == SERIES // 2
    assert "0 6, 1 6 series of 12 patients" in err
    assert "12 series of 12 patients" in said
    info = site_models.read(out)
    assert (info.spatial_dims, info.pooling) == (
        (3, "none") if run == "whole" else (2, "attention")
    )
    assert info.shape == ((16, 16, 16) if run == "whole" else (16, 16))


@pytest.mark.parametrize("run", ["attended", "whole"])
def test_the_run_is_evaluated(run, request, run_main, tmp_path):
    out, _ = request.getfixturevalue(run)
    code, _, err = run_main("evaluate", out, "--resamples", 200, "-o", tmp_path / "report")
    assert code == 0, err


def test_attention_is_written_for_the_test_series_of_each_fold(attended, series):
    """Four slices of a series of nine, all three of a series of three; 1 in sum."""
    images = archive.read_images(series)
    series_of = dict(zip(images["image_id"].to_pylist(), images["series_key"].to_pylist(),
                         strict=True))  # fmt: skip
    found = set()
    for fold in ("0", "1"):
        folder = attended[0] / "folds" / fold
        sums, counts = {}, {}
        for row in attention.read(folder).to_pylist():
            key = series_of[row["image_id"]]
            sums[key] = sums.get(key, 0) + row["weight"]
            counts[key] = counts.get(key, 0) + 1
        assert np.allclose(list(sums.values()), 1, atol=1e-5)
        found |= set(counts.values())
        scored = predictions.read(folder / "predictions.parquet")
        tested = scored.filter(pc.equal(scored["part"], "test"))["image_id"].to_pylist()
        assert set(sums) == {series_of[name] for name in tested}
    assert found == {3, 4}


def test_the_pooling_learns_with_the_head(attended):
    """It is in the group of the head, so even one epoch moved it; folds differ."""
    one, other = (
        weights.read_tensors(attended[0] / "folds" / fold / "model.safetensors")
        for fold in ("0", "1")
    )
    assert not np.array_equal(one["pooling.what.weight"], other["pooling.what.weight"])


@pytest.mark.parametrize(
    ("run", "extra"), [("attended", POOLED), ("whole", VOLUMES)], ids=["pooled", "3D"]
)
def test_a_killed_run_ends_with_the_same_bytes(run, extra, series, request, run_main):
    out, _ = request.getfixturevalue(run)
    killed = out.with_name(f"killed-{run}")  # beside it: paths in settings are relative
    shutil.copytree(out, killed)
    status = json.loads((killed / "status.json").read_text())
    (killed / "status.json").write_text(json.dumps(status | {"status": "running"}))
    (killed / "predictions.parquet").unlink()
    (killed / "folds" / "1" / "predictions.parquet").unlink()
    said = run_main("finetune", series, *COMMON, *extra, "-o", killed, "--resume")
    assert said[0] == 0, said
    names = ["predictions.parquet", "folds/1/model.safetensors"]
    names += ["folds/1/attention.parquet"] if run == "attended" else []
    for name in names:
        assert (killed / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.parametrize("extra", [("--pooling", "mean", "--slices", 3), POOLED, VOLUMES],
                         ids=["mean", "attention", "3D"])  # fmt: skip
def test_a_dry_run_says_what_a_run_would_take(extra, series, run_main, tmp_path):
    code, out, err = run_main(
        "finetune", series, *COMMON, *extra, "--dry-run", "--json", "-o", tmp_path / "run"
    )
    assert code == 0, err
    assert json.loads(out)["settings"]["batch_size"] == 2  # a quarter of the six a fold trains on
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("extra", [("--pooling", "max", "--set", "cutmix.probability=1"), VOLUMES],
                         ids=["pooled", "3D"])  # fmt: skip
def test_the_smoke_run_takes_the_whole_path(extra, series, run_main, tmp_path):
    words = [word for word in COMMON if word not in ("--folds", "--epochs", 2, 1)]
    said = run_main("finetune", series, *words, *extra, "--smoke", "-o", tmp_path / "run")
    assert said[0] == 0, said


def test_an_encoder_of_images_goes_on_in_3d_and_the_run_says_so(
    series, handmade_export, run_main, tmp_path
):
    """The filters of every fold begin in the middle slice: a frozen encoder shows it."""
    flat = handmade_export(tmp_path / "flat")
    said = run_main(
        "finetune", series, "--init-from", flat, "--spatial-dims", 3, "--depth", 16,
        "--schedule", "linear_probe", *COMMON[:-2], "-o", tmp_path / "run",
    )  # fmt: skip
    assert said[0] == 0, said
    assert "2D filters put into the middle slice of 3D ones" in said[2]
    before = weights.read_tensors(flat / "encoder.safetensors")["conv1.weight"]
    model = weights.read_tensors(tmp_path / "run" / "folds" / "0" / "model.safetensors")
    after = model["encoder.net.conv1.weight"]
    assert np.array_equal(after[:, :, after.shape[2] // 2], before)
    assert np.count_nonzero(after) == np.count_nonzero(before)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--spatial-dims", 2), "trained in 3D and the cohort is to be read in 2D"),
        (("--pooling", "mean"), "a volume is one input: there are no slices to pool"),
    ],
)
def test_an_encoder_of_volumes_is_not_used_on_slices(
    extra, message, series, handmade_export, run_main, tmp_path
):
    deep = handmade_export(tmp_path / "deep", spatial_dims=3)
    code, _, err = run_main("finetune", series, "--init-from", deep, *extra, "--dry-run")
    assert (code, message in err) == (2, True), err


def test_as_pretrained_in_3d_means_volumes_of_that_depth(
    series, handmade_export, run_main, tmp_path
):
    deep = handmade_export(tmp_path / "deep", spatial_dims=3)
    code, out, err = run_main(
        "finetune", series, "--init-from", deep, "--folds", 2, "--dry-run", "--json",
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    settings = json.loads(out)["settings"]
    assert (settings["spatial_dims"], settings["depth"], settings["image_size"]) == (3, 8, 32)


def test_images_have_no_depth(series, run_main):
    code, _, err = run_main("finetune", series, *COMMON, "--depth", 16, "--dry-run")
    assert (code, "images have no depth" in err) == (2, True), err


@pytest.mark.parametrize("extra", [POOLED, VOLUMES], ids=["pooled", "3D"])
def test_a_series_of_two_labels_is_refused(extra, series, run_main, tmp_path):
    copy = tmp_path / "archive"
    shutil.copytree(series, copy)
    labels = archive.read_labels(copy).to_pylist()
    labels[0]["value"] = "1" if labels[0]["value"] == "0" else "0"
    archive.write_labels(copy, tables.build(labels, archive.LABELS))
    code, _, err = run_main("finetune", copy, *COMMON, *extra, "--dry-run")
    assert code == 3
    assert "1 series of 12 have images of different 'finding'" in err


@pytest.mark.parametrize("extra", [POOLED, VOLUMES], ids=["pooled", "3D"])
def test_an_archive_of_single_images_has_no_series(extra, series, run_main, tmp_path):
    copy = only(series, tmp_path / "archive", lambda row: not row["slice_index"])
    code, _, err = run_main("finetune", copy, *COMMON, *extra, "--dry-run")
    assert code == 3
    assert "no series has 2 slices or more" in err


def test_a_series_of_one_image_is_pooled_but_is_no_volume(series, run_main, tmp_path):
    """It counts among the pooled, and is left out of the volumes aloud."""
    short = archive.read_images(series)["series_key"][0].as_py()
    copy = only(
        series,
        tmp_path / "archive",
        lambda row: row["series_key"] != short or not row["slice_index"],
    )
    words = ("finetune", copy, *COMMON, "--dry-run", "--json")
    code, out, err = run_main(*words, *POOLED)
    assert (code, sum(json.loads(out)["classes"].values())) == (0, 12), err
    code, out, err = run_main(*words, *VOLUMES)
    assert (code, sum(json.loads(out)["classes"].values())) == (0, 11), err
    assert "1 series left out: one image is no volume" in json.loads(out)["notes"]


def test_series_of_one_image_are_not_scored_and_a_smoke_run_says_what_it_is(
    series, run_main, tmp_path
):
    code, _, err = run_main("finetune", series, *COMMON, *VOLUMES, "--smoke",
                            "-o", tmp_path / "run")  # fmt: skip
    assert code == 0, err
    cut = archive.read_images(series)["series_key"][0].as_py()
    new = only(series, tmp_path / "new",
               lambda row: row["series_key"] != cut or row["slice_index"] == 0)  # fmt: skip
    code, _, err = run_main("predict", tmp_path / "run", new, "-o", tmp_path / "out",
                            "--device", "cpu")  # fmt: skip
    assert code == 0, err
    info = scores.read_info(tmp_path / "out")
    assert (info.n_too_short, info.n_rows) == (1, SERIES - 1)
    told = "1 series was not scored: one image is no volume"
    assert told in err
    assert told in (tmp_path / "out" / "log.txt").read_text()
    assert "trained for two steps" in err
