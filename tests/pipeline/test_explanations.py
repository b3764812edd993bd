"""`medssl evaluate --thumbnails`: maps of real models, and reasons where there are none."""

import json
import shutil

import numpy as np
import pytest
import torch

from medssl.artifacts import archive, fold_models, predictions
from medssl.training import ensemble, labelled, predict, runtime

TRAIN = ("--init-from", "none", "--folds", 2, "--epochs", 1, "--device", "cpu", "--workers", 1,
         "--target", "finding")  # fmt: skip
QUIET = ("--resamples", 100, "--controls", "none", "--subgroups", "none")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, tiny_archive):
    """An archive that a test may move away."""
    return shutil.copytree(tiny_archive, tmp_path_factory.mktemp("maps") / "archive")


@pytest.fixture(scope="module")
def trained(cohort, run_main):
    """A function: finetune words -> a run on the archive."""

    def train(name, *words):
        out = cohort.parent / name
        if not out.exists():
            said = run_main("finetune", cohort, *TRAIN, *words, "-o", out)
            assert said[0] == 0, said
        return out

    return train


@pytest.fixture(scope="module")
def run(trained):
    return trained("twice", "--seeds", 2, "--image-size", 96)


@pytest.fixture(scope="module")
def evaluated(run_main, tmp_path_factory):
    """A function: run and words -> exit code, page, `saliency` of the record, what was said."""

    def judge(run, *words):
        out = tmp_path_factory.mktemp("report") / "out"
        code, _, err = run_main("evaluate", run, *QUIET, *words, "-o", out)
        if code:
            return code, "", None, err
        record = json.loads((out / "report.json").read_text())
        return code, (out / "report.html").read_text(), record["saliency"], err

    return judge


@pytest.fixture(scope="module")
def shown(run, evaluated):
    return evaluated(run, "--thumbnails", 2)


def test_no_pixel_without_the_option(run, evaluated):
    code, html, found, _ = evaluated(run)
    assert (code, found) == (0, None)
    assert "data:image" not in html


def test_every_image_is_explained_by_a_model_that_had_not_seen_it(run, shown):
    code, html, found, _ = shown
    assert code == 0
    table = predictions.read(run / "predictions.parquet").to_pylist()
    said = {(row["image_id"], row["repeat"]): row for row in table if row["part"] == "test"}
    learned = {(one.repeat, one.fold): one.learned for one in fold_models.read_all(run)}
    assert len(learned) == 4
    assert found["maps"]
    for row in found["maps"]:
        tested = said[row["image_id"], 0]
        assert (row["repeat"], row["fold"]) == (0, tested["fold"])
        assert row["score"] == tested["score"]
        assert row["patient_key"] == tested["patient_key"]
        assert row["patient_key"] not in learned[row["repeat"], row["fold"]]
    assert html.count("data:image/png") == 2 * len(found["maps"]) + 1


def test_a_map_is_that_of_the_model_on_disk(run, cohort, shown):
    """Cells are what the head makes of the last maps, computed here without Grad-CAM."""
    models, images = ensemble.open_run(run), labelled.of_run(run)
    place = {name: n for n, name in enumerate(images.table["image_id"].to_pylist())}
    for row in shown[2]["maps"]:
        model = models.load(models.folds[row["repeat"] * 2 + row["fold"]]).eval()
        table = images.table.take([place[row["image_id"]]])
        given, _ = next(iter(models.input.plain(cohort, table, torch.device("cpu"))))
        with torch.inference_mode():
            maps = model.encoder.stages(given)[-1][0].double()
            weight = model.head[-1].weight[0].double()
        cells = (weight @ maps.flatten(1) / maps[0].numel()).clamp_min(0)
        assert row["high"] == pytest.approx(float(cells.max()), rel=1e-3, abs=1e-6)
        assert row["low"] == pytest.approx(float(cells.min()), rel=1e-3, abs=1e-6)
        seen = predict.features(runtime.start("cpu", "32"), model, cohort, table, models.input)
        assert models.info.task.positive == "1"
        assert np.isfinite(predict.scores(model, seen)).all()


def test_what_a_map_hangs_on_stands_beside_it(shown):
    _, html, found, err = shown
    assert found["frame"] == {
        "layer": "layer4", "input": [96, 96], "grid": [3, 3], "slices": None, "cell_px": [32, 32],
    }  # fmt: skip
    names = [row["name"] for row in found["checks"]]
    assert names[:4] == [
        "head random", "head and layer4 random", "all weights random", "other trainings",
    ]  # fmt: skip
    assert found["verdict"] in ("change with the weights", "hardly change")
    own = [row["random_ssim"] for row in found["maps"] if row["random_ssim"] is not None]
    assert found["checks"][2]["n"] == len(own) > 0
    assert found["checks"][2]["ssim"]["median"] == pytest.approx(np.median(own))
    assert found["said"] in html
    assert found["repeatability"].startswith("maps of other trainings")
    assert found["said"] in " ".join(err.split())


def test_the_same_again_however_many_are_shown(run, evaluated, shown):
    assert evaluated(run, "--thumbnails", 2)[2] == shown[2]
    fewer = evaluated(run, "--thumbnails", 1)[2]["maps"]
    assert 0 < len(fewer) < len(shown[2]["maps"])
    assert all(row in shown[2]["maps"] for row in fewer)


def test_a_transformer_is_not_drawn(trained, evaluated):
    small = ("--encoder", "vit_s", "--set", "encoder_options.depth=1", "--schedule", "linear_probe")
    code, html, found, _ = evaluated(trained("vit", "--image-size", 32, *small), "--thumbnails", 1)
    assert code == 0
    assert "transformer" in found["reason"]
    assert "Maps are not drawn: the encoder is a transformer" in html
    assert "data:image" not in html


def test_one_cell_is_no_map(trained, evaluated):
    run = trained("tiny", "--image-size", 32, "--schedule", "linear_probe")
    code, html, found, _ = evaluated(run, "--thumbnails", 1)
    assert (code, found["maps"]) == (0, [])
    assert "one cell" in found["reason"]
    assert "data:image" not in html


def test_without_the_archive_or_the_models_the_report_is_still_made(run, cohort, evaluated):
    cohort.rename(cohort.parent / "elsewhere")
    try:
        code, _, found, _ = evaluated(run, "--thumbnails", 1)
        assert (code, found["reason"]) == (0, "the archive of the run is not where it was")
    finally:
        (cohort.parent / "elsewhere").rename(cohort)
    assert archive.read_info(cohort).hash
    (run / "folds").rename(run / "gone")
    try:
        code, html, found, _ = evaluated(run, "--thumbnails", 1)
        assert (code, found["reason"]) == (0, "the models of the run are not there")
        assert "data:image" not in html
    finally:
        (run / "gone").rename(run / "folds")


def test_a_table_has_nothing_to_explain(run_main, tmp_path):
    (tmp_path / "table.csv").write_text("patient_id,label,score\na,1,0.8\nb,0,0.2\n")
    code, _, err = run_main(
        "evaluate", "--predictions", tmp_path / "table.csv", "--thumbnails", 1, "-o", tmp_path / "o"
    )
    assert code == 2
    assert "nothing to explain" in err
    assert not (tmp_path / "o").exists()
