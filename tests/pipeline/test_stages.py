"""What the stages leave behind: exactly these files, and numbers that agree with each other."""

import json
import re

import pytest
import yaml

from medssl.artifacts import (
    archive,
    predictions,
    report,
    run_folder,
    selection,
    site_models,
    splits,
    weights,
)

SELECTION = {
    "kept.parquet", "dropped.parquet", "leaks.parquet", "reduce.json", "report.html",
    "report.json", "tables/strata.parquet", "tables/per_patient.parquet",
    "tables/per_series.parquet",
}  # fmt: skip
RUN = {"config.yaml", "command.txt", "env.json", "status.json", "log.txt"}


def files(folder):
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}


def test_every_file_of_the_source_is_accounted_for(pipeline):
    info = archive.read_info(pipeline.archive)
    assert info.files_found == pipeline.scans.files + 1  # and labels.csv
    assert info.files_found == info.files_written + sum(info.quarantined.values())
    assert info.images == pipeline.scans.images
    assert info.patients == pipeline.scans.patients


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "reduce",
            {
                *SELECTION,
                "probable_alias.csv",
                *(f"controls/random-{seed}/{n}" for seed in range(3) for n in (*RUN, *SELECTION)),
            },
        ),
        (
            "pretrain",
            {
                "metrics.jsonl",
                "pace.jsonl",
                "progress.png",
                "schedule.png",
                "tables/schedule.parquet",
                "export/encoder.safetensors",
                "export/encoder.json",
                *(f"checkpoints/{n}.{s}" for n in ("last", "previous") for s in ("pt", "sha256")),
            },
        ),
        (
            "finetune",
            {
                "schedule.png",
                "progress.png",
                "splits.json",
                "predictions.parquet",
                "finetune.json",
                *(
                    f"folds/{k}/{name}"
                    for k in range(3)
                    for name in (
                        "metrics.jsonl",
                        "model.safetensors",
                        "fold.json",
                        "gate.safetensors",
                        "predictions.parquet",
                    )
                ),
            },
        ),
    ],
)
def test_a_run_leaves_exactly_these_files(pipeline, stage, expected):
    folder = pipeline.root / stage
    assert files(folder) == RUN | expected
    assert run_folder.read_status(folder)["status"] == "finished"


def test_evaluate_leaves_a_report(pipeline):
    left = files(pipeline.evaluate)
    assert {"report.html", "report.json"} <= left
    assert run_folder.read_status(pipeline.evaluate)["status"] == "finished"


def test_no_settings_file_holds_an_absolute_path_or_an_auto(pipeline):
    for stage in ("reduce", "pretrain", "finetune", "evaluate"):
        text = (pipeline.root / stage / "config.yaml").read_text()
        assert str(pipeline.root) not in text
        scalars = list(leaves(yaml.safe_load(text)))
        assert len(scalars) > 3
        assert "auto" not in scalars
        assert not [value for value in scalars if isinstance(value, str) and value[:1] in "/~"]


def leaves(value):
    """Every key and every scalar of nested settings."""
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in leaves(part)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def test_the_selection_is_what_was_pretrained_on(pipeline):
    kept = selection.read_kept(pipeline.reduce)
    dropped = selection.read_dropped(pipeline.reduce)
    info = weights.read_info(pipeline.pretrain / "export")
    assert kept.num_rows + dropped.num_rows == archive.read_info(pipeline.archive).images
    assert info.n_images == kept.num_rows
    assert set(dropped["representative_id"].to_pylist()) <= set(kept["image_id"].to_pylist())
    assert sum(kept["represents"].to_pylist()) == kept.num_rows + dropped.num_rows


def test_the_export_says_whom_it_was_trained_on_and_with_which_key(pipeline):
    info = weights.read_info(pipeline.pretrain / "export")
    images = archive.read_images(pipeline.archive)
    kept = set(selection.read_kept(pipeline.reduce)["image_id"].to_pylist())
    patients = {
        row["patient_key"]
        for row in images.select(["image_id", "patient_key"]).to_pylist()
        if row["image_id"] in kept
    }
    assert set(info.patient_digests) == patients
    assert info.key_id == archive.read_info(pipeline.archive).key_id
    assert (info.method, info.image_size, info.epochs) == ("vicreg", 32, 2)


def test_every_labelled_image_is_scored_once_by_a_model_that_never_saw_its_patient(pipeline):
    plan = splits.read(pipeline.finetune / "splits.json")
    table = predictions.read(pipeline.finetune / "predictions.parquet").to_pylist()
    labels = archive.read_labels(pipeline.archive).drop_null()
    assert sorted(r["image_id"] for r in table) == sorted(labels["image_id"].to_pylist())
    assert all(plan.test_fold[0][r["patient_key"]] == r["fold"] for r in table)
    assert {r["part"] for r in table} == {"test"}
    assert all(0 <= r["score"] <= 1 for r in table)
    assert len({r["patient_key"] for r in table}) == 24


def test_pretrained_and_random_start_are_compared_on_the_same_folds(pipeline):
    first, second = (
        splits.read(pipeline.root / n / "splits.json") for n in ("finetune", "scratch")
    )
    assert first.digest == second.digest
    assert first.test_fold == second.test_fold


def test_the_finetune_record_knows_where_its_encoder_came_from(pipeline):
    info = site_models.read(pipeline.finetune)
    exported = weights.read_info(pipeline.pretrain / "export")
    assert info.init["weights_sha256"] == exported.weights_sha256
    assert info.shape == (32, 32)  # as pretrained, not asked for
    assert site_models.read(pipeline.scratch).init == {}


def test_the_overlap_with_pretraining_is_counted_and_said(pipeline):
    info = site_models.read(pipeline.finetune)
    pretrained_on = set(weights.read_info(pipeline.pretrain / "export").patient_digests)
    cohort = {r["patient_key"] for r in
              predictions.read(pipeline.finetune / "predictions.parquet").to_pylist()}  # fmt: skip
    assert info.init["overlap_patients"] == len(cohort & pretrained_on) > 0
    text = (pipeline.evaluate / "report.html").read_text()
    assert (
        f"{len(cohort & pretrained_on)} of the evaluated patients were also in pretraining" in text
    )


def test_the_overlap_counts_earlier_pretraining_too(pipeline, run_main, tmp_path):
    """An encoder trained on, from an encoder trained on these patients, has seen them."""
    first = weights.read_info(pipeline.pretrain / "export")
    few = tmp_path / "few"
    words = ("reduce", pipeline.archive, "--by", "random", "--within", "archive", "--budget", 4)
    assert run_main(*words, "-o", few)[0] == 0
    words = ("pretrain", pipeline.archive, "--init-from", pipeline.pretrain, "--selection", few)
    small = ("--epochs", 1, "--image-size", 32, "--batch-size", 2, "--device", "cpu")
    assert run_main(*words, *small, "-o", tmp_path / "second")[0] == 0
    second = weights.read_info(tmp_path / "second" / "export")
    assert second.n_images == 4
    assert set(second.patient_digests) == set(first.patient_digests)
    assert second.init["weights_sha256"] == first.weights_sha256

    bare = ("--init-from", pipeline.pretrain / "export" / "encoder.safetensors")
    alone = tmp_path / "bare.safetensors"
    alone.write_bytes(bare[1].read_bytes())
    words = ("pretrain", pipeline.archive, "--init-from", alone, "--selection", few, *small)
    assert run_main(*words, "-o", tmp_path / "third")[0] == 0
    assert not weights.read_info(tmp_path / "third" / "export").patients_complete
    words = ("finetune", pipeline.archive, "--init-from", tmp_path / "third", "--smoke")
    assert run_main(*words, "-o", tmp_path / "site")[0] == 0
    assert site_models.read(tmp_path / "site").init["overlap_patients"] is None


def test_partial_weights_are_listed(pipeline, run_main, tmp_path):
    arrays = weights.read_tensors(pipeline.pretrain / "export" / "encoder.safetensors")
    arrays.pop("conv1.weight")
    weights.write_tensors(tmp_path / "part.safetensors", arrays)
    words = ("finetune", pipeline.archive, "--init-from", tmp_path / "part.safetensors", "--smoke")
    code, _, err = run_main(*words, "--allow-partial", "-o", tmp_path / "site")
    assert code == 0
    assert "1 missing: conv1.weight" in err
    assert any("1 missing: conv1.weight" in n for n in site_models.read(tmp_path / "site").notes)


def test_an_encoder_of_a_smoke_run_is_pointed_out(pipeline, run_main, tmp_path):
    small = ("--smoke", "--image-size", 32, "--device", "cpu")
    assert run_main("pretrain", pipeline.archive, *small, "-o", tmp_path / "smoke")[0] == 0
    words = ("finetune", pipeline.archive, "--init-from", tmp_path / "smoke", "--dry-run")
    code, out, _ = run_main(*words)
    assert code == 0
    assert "the encoder comes from a smoke run" in out


def test_the_cohort_is_said_to_be_synthetic(pipeline):
    assert site_models.read(pipeline.finetune).synthetic
    assert "synthetic" in (pipeline.evaluate / "report.html").read_text().lower()


def test_report_and_console_agree(pipeline):
    _, out, _ = pipeline.said["evaluate"]
    (said,) = (line for line in out.splitlines() if re.match(r"AUROC +\d", line))
    value, low, high = map(float, re.findall(r"\d+\.\d+", said)[:3])
    estimates = report.read(pipeline.evaluate)["estimates"]
    (auroc,) = (estimate for estimate in estimates if estimate["metric"] == "auroc")
    found = [auroc[name] for name in ("value", "low", "high")]
    assert found == pytest.approx([value, low, high], abs=5.1e-4)


@pytest.mark.parametrize(
    ("stage", "following"),
    [
        ("archive", "medssl reduce"),
        ("reduce", "medssl pretrain"),
        ("pretrain", "medssl finetune"),
        ("finetune", "medssl evaluate"),
    ],
)
def test_each_stage_ends_with_the_next_command(pipeline, stage, following):
    _, out, _ = pipeline.said[stage]
    assert out.splitlines()[-1].startswith("next")
    assert following in out.splitlines()[-1]


def test_info_shows_archive_and_runs(pipeline, run_main):
    code, out, _ = run_main("info", pipeline.archive, "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["patients"] == pipeline.scans.patients
    assert sum(shown["sites"].values()) == shown["images"]
    code, out, _ = run_main("info", pipeline.finetune)
    assert code == 0
    assert "finished" in out
