"""Every method from the command line: stopped in the middle and resumed, in 2D and in 3D."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from medssl import methods
from medssl.artifacts import archive, run_folder, schedules, tables, weights
from medssl.foundation import plugins

from .test_pretrain import make_archive

NAMES = plugins.names(methods)
SMALL = ("--epochs", 2, "--batch-size", 8, "--image-size", 32, "--device", "cpu",
         "--validation", 0.2)  # fmt: skip
FAST = {  # smaller heads and networks, so that writing them does not take most of the time
    "barlow_twins": ("method_options.projector_dim=64",),
    "byol": ("method_options.projector_hidden=64",),
    "mae": ("encoder_options.depth=2", "encoder_options.patch_size=8",
            "method_options.decoder_width=32", "method_options.decoder_depth=1"),
    "mocov2": ("method_options.projector_hidden=64", "method_options.queue=16"),
    "simclr": ("method_options.projector_hidden=64",),
    "spark": ("method_options.decoder_width=32",),
    "swav": ("method_options.projector_hidden=64", "method_options.queue=8",
             "method_options.queue_from=0.2", "method_options.n_local_views=1"),
    "vicreg": ("method_options.projector_dim=64",),
}  # fmt: skip


SIZE = {"spark": ("--image-size", 64)}  # its cells are of 32 px, and some are hidden


def words(name):
    return (
        *SIZE.get(name, ()),
        "--method",
        name,
        *(word for one in FAST[name] for word in ("--set", one)),
    )


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Ten patients with two series of one image each, with squares of all sizes."""
    rng = np.random.default_rng(1)
    images = rng.integers(40, 90, size=(20, 1, 32, 32)).astype(np.uint8)
    for k in range(20):
        images[k, :, 4 : 8 + k, 6:20] += 90
    folder = tmp_path_factory.mktemp("methods") / "archive"
    return make_archive(folder, images, [str(k % 2) for k in range(10)])


@pytest.mark.parametrize("name", NAMES)
def test_stopped_at_any_step_and_resumed_equals_uninterrupted(name, scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, *words(name))
    code, _, err = run_main(*given, "-o", tmp_path / "whole")
    assert code == 0, err
    run = tmp_path / "stopped"
    code, _, err = run_main(*given, "-o", run, "--max-time", "0s")
    assert code == 75, err
    assert "the time given by --max-time is over; step 1 of 4 is saved" in err
    assert run_folder.read_status(run)["status"] == "interrupted"
    code, _, err = run_main(*given, "-o", run, "--max-time", "0s", "--resume")
    assert code == 75
    assert "step 2 of 4 is saved" in err  # the end of an epoch
    code, _, err = run_main(*given, "-o", run, "--resume")
    assert code == 0, err
    for path in ("export/encoder.safetensors", "metrics.jsonl", "tables/schedule.parquet"):
        assert (run / path).read_bytes() == (tmp_path / "whole" / path).read_bytes(), path


def test_the_schedule_is_known_before_the_first_step(scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, *words("vicreg"), "--max-time", "0s")
    assert run_main(*given, "-o", tmp_path / "run")[0] == 75
    table = schedules.read(tmp_path / "run")
    assert table["step"].to_pylist() == [0, 1, 2, 3]
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["epoch"] == 0  # what was measured before the first step
    assert (tmp_path / "run" / "schedule.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_of_patients_are_written_where_they_are_asked_for(scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, *words("spark"), "--epochs", 1)
    assert run_main(*given, "-o", tmp_path / "without")[0] == 0
    code, _, err = run_main(*given, "-o", tmp_path / "with", "--thumbnails")
    assert code == 0, err
    found = {p.name for p in (tmp_path / "with").glob("*.png")}
    plain = {p.name for p in (tmp_path / "without").glob("*.png")}
    assert found - plain == {"views.png", "reconstructions.png"}
    for name in ("export/encoder.safetensors", "metrics.jsonl"):  # a picture changes nothing
        first, second = (tmp_path / run / name for run in ("with", "without"))
        assert first.read_bytes() == second.read_bytes()


def test_views_are_shown_without_a_run(scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, *words("swav"), "-o", tmp_path / "run")
    code, out, err = run_main(*given, "--show-views", tmp_path / "views.png")
    assert code == 0, err
    assert str(tmp_path / "views.png") in out
    assert (tmp_path / "views.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run").exists()
    for wrong, problem in (
        ("views.png", "there is something already"),
        ("nowhere/views.png", "there is no such folder"),
    ):
        code, _, err = run_main(*given, "--show-views", tmp_path / wrong)
        assert code == 2
        assert problem in err


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("--method", "spark", "--encoder", "vit_s"), "spark trains convolutional encoders"),
        (("--method", "mae", "--encoder", "resnet18"), "mae trains transformer encoders"),
        (
            ("--method", "spark", "--image-size", 64, "--positives", "patient"),
            "spark sees one view",
        ),
        (("--method", "spark", "--image-size", 48), "a side of 48 px is no multiple"),
        (("--method", "byol", "--max-time", "soon"), "no length of time: 'soon'"),
        (("--method", "byol", "--track", "notebook"), "no tracker called 'notebook'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    given, problem, scans, run_main, tmp_path
):
    code, _, err = run_main("pretrain", scans, *SMALL, *given, "-o", tmp_path / "run")
    assert code == 2, err
    assert problem in err
    assert "fix:" in err
    assert not (tmp_path / "run").exists()


def test_more_groups_are_needed_than_a_batch_has_images(scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, *words("byol"), "--one-per", "patient", "--batch-size", 12)
    code, _, err = run_main(*given, "-o", tmp_path / "run")
    assert code == 3
    assert "needs as many groups, and there are 8" in err


@pytest.mark.parametrize(
    "given",
    [
        ("--one-per", "patient"),
        ("--one-per", "cluster", "--batch-size", 4),
        ("--positives", "patient"),
        ("--set", "negatives=all"),
        ("--set", "pieces=2"),
    ],
)
def test_images_can_be_put_together_in_other_ways(given, scans, run_main, tmp_path):
    code, _, err = run_main("pretrain", scans, *SMALL, *words("simclr"), *given, "-o", tmp_path / "a")  # fmt: skip  # noqa: E501
    assert code == 0, err
    plain = run_main("pretrain", scans, *SMALL, *words("simclr"), "-o", tmp_path / "b")
    assert plain[0] == 0
    first, second = (
        (tmp_path / run / "export" / "encoder.safetensors").read_bytes() for run in "ab"
    )
    assert first != second


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """Six patients with a series of four slices each."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 200, size=(24, 1, 32, 32)).astype(np.uint8)
    folder = make_archive(
        tmp_path_factory.mktemp("volumes") / "archive", pixels, [str(k % 2) for k in range(6)], 4
    )
    images = archive.read_images(folder)
    rows = [
        {**row, "series_key": f"series{k // 4}", "slice_index": k % 4}
        for k, row in enumerate(images.to_pylist())
    ]
    archive.write_images(folder, tables.build(rows, archive.IMAGES))
    info = {**vars(archive.read_info(folder)), "series": 6, "hash": archive.content_hash(folder)}
    archive.write_info(folder, archive.ArchiveInfo(**info))
    return folder


SMALL_3D = ("--spatial-dims", 3, "--image-size", 32, "--set", "depth=16", "--batch-size", 2,
            "--epochs", 1, "--device", "cpu")  # fmt: skip


@pytest.mark.parametrize("share", [0, 0.3])
def test_volumes_are_trained_on_with_and_without_held_out_patients(
    share, volumes, run_main, tmp_path
):
    given = ("pretrain", volumes, *SMALL_3D, *words("simclr"), "--validation", share)
    code, _, err = run_main(*given, "-o", tmp_path / "run")
    assert code == 0, err
    info = weights.read_info(tmp_path / "run" / "export")
    assert (info.n_images, info.shape) == (6 if not share else 4, (16, 32, 32))
    again = ("pretrain", "-c", tmp_path / "run" / "config.yaml", "--device", "cpu")
    assert run_main(*again, "-o", tmp_path / "again")[0] == 0


def test_a_depth_of_none_is_chosen_in_3d(volumes, run_main, tmp_path):
    given = ("pretrain", volumes, *SMALL_3D, *words("simclr"), "--set", "depth=null")
    code, out, err = run_main(*given, "-o", tmp_path / "run", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["settings"]["depth"] == 16


def test_images_without_slices_are_no_volumes(scans, run_main, tmp_path):
    code, _, err = run_main("pretrain", scans, *SMALL_3D, "-o", tmp_path / "run")
    assert code == 3
    assert "no series has 2 slices or more" in err


def test_a_run_goes_on_with_the_encoder_it_starts_from(scans, run_main, tmp_path):
    options = ("--encoder", "resnet34", "--set", "encoder_options.norm=group")
    given = ("pretrain", scans, *SMALL, *words("vicreg"), "--epochs", 1)
    assert run_main(*given, *options, "-o", tmp_path / "first")[0] == 0
    code, out, err = run_main(
        *given, "--init-from", tmp_path / "first", "-o", tmp_path / "x", "--dry-run", "--json"
    )
    assert code == 0, err
    settings = json.loads(out)["settings"]
    assert (settings["encoder"], settings["encoder_options"]) == ("resnet34", {"norm": "group"})
    assert any("resnet34 (auto: as the weights" in note for note in json.loads(out)["notes"])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("--set", "pieces=8"), "8 pieces of 8 images: each needs two or more"),
        (("--set", "pieces=16"), "16 pieces of 8 images: each needs two or more"),
    ],
)
def test_pieces_hold_two_images_or_more(given, problem, scans, run_main, tmp_path):
    code, _, err = run_main("pretrain", scans, *SMALL, *words("simclr"), *given, "-o", tmp_path / "r")  # fmt: skip  # noqa: E501
    assert code == 2
    assert problem in err


def test_a_masked_method_is_no_collapse_however_alike_its_features_are(
    scans, run_main, tmp_path, monkeypatch
):
    from medssl.training import spread

    monkeypatch.setitem(spread.FLOORS, "feature_std", 10.0)
    given = ("pretrain", scans, *SMALL, "--epochs", 1)
    assert run_main(*given, *words("mae"), "-o", tmp_path / "mae")[0] == 0
    assert run_main(*given, *words("vicreg"), "-o", tmp_path / "vicreg")[0] == 7


def test_method_options_are_fitted_to_the_archive_and_said(scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, "--method", "mocov2", "--dry-run", "--json")
    code, out, err = run_main(*given, "-o", tmp_path / "run")
    assert code == 0, err
    planned = json.loads(out)
    assert planned["settings"]["method_options"]["queue"] == 8  # of 65,536: half of 16 images
    assert any("queue 8 (was 65536; 16 images)" in note for note in planned["notes"])


def test_masking_methods_see_crops_alone_unless_told_otherwise(scans, run_main, tmp_path):
    given = ("pretrain", scans, *SMALL, *words("spark"), "--dry-run", "--json")
    told = ("--set", "views.noise=0.2")
    for more, noise in ((), 0.0), (told, 0.2):
        code, out, err = run_main(*given, *more, "-o", tmp_path / "run")
        assert code == 0, err
        views = json.loads(out)["settings"]["views"]
        assert (views["noise"], views["blur"], views["contrast"]) == (noise, 0.0, 0.0)


@pytest.mark.skipif("MEDSSL_TEST_DATA" not in os.environ, reason="needs MEDSSL_TEST_DATA")
def test_volumes_from_the_scans_to_features(run_main, tmp_path):
    source = Path(os.environ["MEDSSL_TEST_DATA"], "mri-hippocampus")
    found = ("--exclude", "*masks/*", "--patient", "col:case_id", "--label", "label")
    code, _, err = run_main("ingest", source, *found, "--size", 64, "-o", tmp_path / "archive")
    assert code == 0, err
    given = ("--preset", "small-site-3d", "--image-size", 64, "--smoke", "--device", "cpu")
    code, out, err = run_main(
        "pretrain", tmp_path / "archive", *given, "-o", tmp_path / "run", "--json"
    )
    assert code == 0, err
    info = weights.read_info(tmp_path / "run" / "export")
    assert (info.spatial_dims, info.depth, info.shape) == (3, 64, (64, 64, 64))
    assert json.loads(out)["n_images"] == 16  # volumes
    code, out, err = run_main(
        "embed", tmp_path / "archive", "--encoder", tmp_path / "run", "-o", tmp_path / "features",
        "--device", "cpu", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert archive.read_info(tmp_path / "archive").series == 130
