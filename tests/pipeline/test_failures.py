"""Every foreseen failure: its exit code, its message, and nothing half-done left behind."""

import errno
import json
import shutil

import pytest

from medssl.artifacts import records, run_folder


@pytest.fixture
def copy(pipeline, tmp_path):
    """A stage's output that a test may damage."""

    def make(stage):
        shutil.copytree(pipeline.root / stage, tmp_path / stage)
        return tmp_path / stage

    return make


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("pretrain", "nowhere"), 4, "nowhere: no archive\n  fix: run `medssl ingest` first"),
        (("pretrain", "ARCHIVE", "--method", "vicregg"), 2, "did you mean 'vicreg'?"),
        (("pretrain", "ARCHIVE", "--encoder", "resnet1"), 2, "did you mean 'resnet18'?"),
        (("pretrain", "ARCHIVE", "--set", "optim.lrr=1"), 2, "unknown key 'optim.lrr'"),
        (("pretrain", "ARCHIVE", "--set", "method_options.dim=1"), 2, "unknown option 'dim'"),
        (("pretrain", "ARCHIVE", "--precision", "64"), 2, "precision"),
        (
            ("pretrain", "ARCHIVE", "--selection", "FINETUNE"),
            4,
            "not a reduce run but one of finetune",
        ),
        (("pretrain", "ARCHIVE", "--init-from", "nowhere"), 4, "no encoder"),
        (("reduce", "ARCHIVE", "--by", "dhsh"), 2, "did you mean 'dhash'?"),
        (("reduce", "ARCHIVE", "--preset", "hash7"), 2, "did you mean 'hash6'?"),
        (("reduce", "ARCHIVE", "--keep", 0.5, "--budget", 9), 2, "exclude each other"),
        (
            ("reduce", "ARCHIVE", "--budget", 1, "--within", "site"),
            2,
            "no selection of at most 1 images",
        ),
        (
            ("reduce", "ARCHIVE", "--keep", 0.01, "--within", "patient"),
            2,
            "no selection of at most",
        ),
        (("pretrain", "ARCHIVE", "--init-from", "nowhere", "--dry-run"), 4, "no encoder"),
        (("pretrain", "ARCHIVE", "--precision", "16", "--device", "cpu"), 2, "needs a GPU"),
        (("pretrain", "ARCHIVE", "--set", "optim.lr=-1"), 2, "greater than 0"),
        (("pretrain", "ARCHIVE", "--set", "method_options.projector_dim=0"), 2, "projector_dim"),
        (("finetune", "ARCHIVE", "--init-from", "none", "--set", "batch_size=1"), 2, "batch_size"),
        (("finetune", "ARCHIVE"), 2, "init_from is needed"),
        (
            ("finetune", "ARCHIVE", "--init-from", "none", "--target", "fnding"),
            3,
            "no target called",
        ),
        (
            ("finetune", "ARCHIVE", "--init-from", "none", "--schedule", "ful"),
            2,
            "did you mean 'full'",
        ),
        (("finetune", "ARCHIVE", "--init-from", "none", "--folds", 30), 3, "folds"),
        (
            ("finetune", "ARCHIVE", "--init-from", "FINETUNE"),
            4,
            "not a pretrain run but one of finetune",
        ),
        (("evaluate", "PRETRAIN"), 4, "not a finetune run but one of pretrain"),
        (("evaluate",), 2, "evaluate needs one input"),
        (("evaluate", "--predictions", "nowhere.csv"), 3, "nowhere.csv"),
        (("info", "nowhere"), 4, "no archive"),
        (("ingest", "nowhere"), 2, "nowhere"),
        (("pretrian",), 2, "Did you mean 'pretrain'?"),
        (("demo", "--out", "ARCHIVE"), 2, "the folder is not empty"),
    ],
)
def test_wrong_input_ends_in_its_exit_code_and_says_what_to_do(
    pipeline, run_main, tmp_path, words, code, message
):
    places = {name.upper(): pipeline.root / name for name in ("archive", "pretrain", "finetune")}
    out = () if words[0] in {"info", "pretrian", "demo"} else ("-o", tmp_path / "out")
    found, stdout, stderr = run_main(*(places.get(word, word) for word in words), *out)
    assert found == code, stderr
    assert message in stderr
    assert stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_used_output_folder_is_refused(pipeline, run_main):
    code, _, err = run_main("reduce", pipeline.archive, "-o", pipeline.reduce)
    assert code == 2
    assert "the output folder is not empty" in err


def test_an_unfinished_run_is_refused(pipeline, copy, run_main, tmp_path):
    run = copy("pretrain")
    status = run_folder.read_status(run)
    records.write(run / "status.json", run_folder.STATUS_SCHEMA, {**status, "status": "running"})
    words = ("finetune", pipeline.archive, "--init-from", run, "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 4
    assert "the run is unfinished (status: running)" in err
    assert "--resume" in err


def test_an_unfinished_archive_is_refused(copy, run_main, tmp_path):
    archive = copy("archive")
    (archive / "archive.json").unlink()
    code, _, err = run_main("reduce", archive, "-o", tmp_path / "out")
    assert code == 4
    assert "the archive is unfinished" in err


def test_an_archive_of_a_newer_version_is_refused(copy, run_main, tmp_path):
    archive = copy("archive")
    record = json.loads((archive / "archive.json").read_text())
    record["schema"] = "medssl.archive/99"
    (archive / "archive.json").write_text(json.dumps(record))
    code, _, err = run_main("reduce", archive, "-o", tmp_path / "out")
    assert code == 4
    assert "newer" in err


def test_weights_of_another_network_are_refused(pipeline, copy, run_main, tmp_path):
    from medssl.artifacts import weights

    export = copy("pretrain") / "export"
    info = weights.read_info(export)
    arrays = weights.read_tensors(export / "encoder.safetensors")
    arrays.pop("conv1.weight")
    weights.write(export, info, arrays)
    words = ("finetune", pipeline.archive, "--init-from", export, "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 4
    assert "1 missing: conv1.weight" in err


def test_a_selection_of_another_archive_is_refused(pipeline, copy, run_main, tmp_path):
    from medssl.artifacts import selection

    run = copy("reduce")
    record = records.read(run / "reduce.json", selection.SCHEMA)
    records.write(run / "reduce.json", selection.SCHEMA, {**record, "archive_hash": "other"})
    words = ("pretrain", pipeline.archive, "--selection", run, "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 4
    assert "belongs to another archive" in err


def test_images_without_a_patient_are_refused_unless_declared(copy, run_main, tmp_path):
    from medssl.artifacts import archive as archives

    archive = copy("archive")
    rows = archives.read_images(archive).to_pylist()
    for row in rows:
        row["flags"] = [archives.NO_PATIENT]
    from medssl.artifacts import tables

    archives.write_images(archive, tables.build(rows, archives.IMAGES))
    words = ("finetune", archive, "--init-from", "none", "--smoke", "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 3
    assert "name no patient" in err
    assert run_main(*words, "--group", "none")[0] == 0
    code, _, err = run_main("evaluate", tmp_path / "out", "--smoke", "-o", tmp_path / "report")
    assert code == 0
    assert "atients unknown" in (tmp_path / "report" / "report.html").read_text()


def test_a_full_disk_is_a_resource_error_and_the_run_is_marked_failed(
    pipeline, run_main, tmp_path, monkeypatch
):
    from medssl.foundation import files

    real = files.write_bytes

    def full(path, content):
        if path.suffix == ".pt":
            with files.explained(path):
                raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(files, "write_bytes", full)
    words = ("pretrain", pipeline.archive, "--smoke", "--device", "cpu", "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 6
    assert "the disk is full" in err
    assert run_folder.read_status(tmp_path / "out")["status"] == "failed"


def test_out_of_memory_is_a_resource_error(pipeline, run_main, tmp_path, monkeypatch):
    from medssl.data.store import ImageStore

    def starve(*_, **__):
        raise MemoryError

    monkeypatch.setattr(ImageStore, "gather", starve)
    words = ("pretrain", pipeline.archive, "--smoke", "--device", "cpu", "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 6
    assert "out of memory" in err


def test_a_diverging_run_stops_with_its_own_code(pipeline, run_main, tmp_path):
    words = ("pretrain", pipeline.archive, "--epochs", 3, "--image-size", 32, "--batch-size", 16)
    code, _, err = run_main(*words, "--set", "optim.lr=1e30", "-o", tmp_path / "out")
    assert code == 7
    assert "the loss became" in err
    assert run_folder.read_status(tmp_path / "out")["status"] == "failed"


@pytest.mark.parametrize(
    ("batch", "epochs", "found"), [(8, 3, "the loss became"), (18, 1, "the scores are not finite")]
)
def test_a_diverging_finetune_run_leaves_no_scores(
    pipeline, run_main, tmp_path, batch, epochs, found
):
    """With one step an epoch the only loss there is was computed before the weights went wrong."""
    code, _, err = run_main(
        "finetune", pipeline.archive, "--init-from", "none", "--folds", 2, "--image-size", 32,
        "--epochs", epochs, "--batch-size", batch, "--set", "schedule_options.encoder_lr=1e30",
        "--set", "schedule_options.head_lr=1e30", "--set", "optim.clip=1", "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 7
    assert found in err
    assert run_folder.read_status(tmp_path / "out")["status"] == "failed"
    assert not list(tmp_path.rglob("predictions.parquet"))


def test_a_bug_shows_the_place_and_no_value(pipeline, run_main, tmp_path, monkeypatch):
    from medssl.data.store import ImageStore

    def broken(*_, **__):
        raise ValueError("patient Doe")

    monkeypatch.setattr(ImageStore, "gather", broken)
    words = ("pretrain", pipeline.archive, "--smoke", "--device", "cpu", "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 1
    assert "this is a bug, please report it (" in err
    assert "store.py" in err or "test_failures.py" in err
    left = "".join(f.read_text() for f in (tmp_path / "out").glob("*.json"))
    assert "Doe" not in err + left


def test_errors_can_be_read_by_programs(run_main):
    code, out, err = run_main("pretrain", "nowhere", "--json")
    assert json.loads(out) == {
        "schema": "medssl.error/1",
        "error": "ArtifactError",
        "problem": "no archive",
        "where": "nowhere",
        "fix": "run `medssl ingest` first",
        "exit_code": code,
    }
    assert err == ""
