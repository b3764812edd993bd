"""`medssl finetune --aliases`: ids of one patient stay on one side of every split, and say so."""

import json
import shutil

import pyarrow.compute as pc
import pytest

from medssl.artifacts import (
    aliases,
    archive,
    predictions,
    report,
    run_folder,
    site_models,
    splits,
    weights,
)
from medssl.artifacts.aliases import Alias
from medssl.foundation import files

SMALL = ("--image-size", 32, "--folds", 2, "--epochs", 1, "--batch-size", 8, "--device", "cpu")
PAIR = ("patient04", "patient02")  # both with the same label, as one patient has


def alias(one, other, kind="alias"):
    return Alias(
        patient_key=one,
        other_patient_key=other,
        n_pairs=1,
        similarity=1.0,
        metric="exact",
        image_id="image08",
        other_image_id="image04",
        kind=kind,
    )


def finetune(run_main, folder, *words):
    return run_main("finetune", folder, "--init-from", "none", *SMALL, *words)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A list as a reduction leaves it, of which one row is no alias after all."""
    folder = tmp_path_factory.mktemp("listed")
    aliases.write(folder, [alias(*PAIR), alias("patient01", "patient03", kind="shared")])
    return folder / aliases.NAME


@pytest.fixture(scope="module")
def merged(tiny_archive, listed, run_main, tmp_path_factory):
    out = tmp_path_factory.mktemp("merged") / "run"
    said = finetune(run_main, tiny_archive, "--aliases", listed, "-o", out)
    assert said[0] == 0, said
    return out, said


@pytest.fixture(scope="module")
def apart(tiny_archive, run_main, tmp_path_factory):
    out = tmp_path_factory.mktemp("apart") / "run"
    assert finetune(run_main, tiny_archive, "-o", out)[0] == 0
    return out


def test_folds_predictions_and_counts_know_one_patient(merged, apart):
    out, (_, said, told) = merged
    assert "2 patients merged into 1 (probable aliases)" in told
    assert "16 images of 7 patients" in said
    plans = [splits.read(run / "splits.json") for run in (out, apart)]
    keys = [set(plan.test_fold[0]) for plan in plans]
    assert keys[1] - keys[0] == {"patient04"}
    assert plans[0].digest != plans[1].digest
    tables = [predictions.read(run / "predictions.parquet") for run in (out, apart)]
    rows = [
        dict(zip(t["image_id"].to_pylist(), t["patient_key"].to_pylist(), strict=True))
        for t in tables
    ]
    assert rows[0] == {image: PAIR[1] if key == PAIR[0] else key for image, key in rows[1].items()}
    known = site_models.read(out)
    assert (known.n_patients, known.merged) == (7, {"ids": 2, "patients": 1})
    assert site_models.read(apart).merged == {}


def test_the_run_records_the_list_and_repeats_with_it(merged, listed, run_main, tmp_path):
    """The copy finds the list by its relative path; a changed list makes another run."""
    out, _ = merged
    digest = files.sha256(listed)
    assert run_folder.read_status(out)["inputs"]["aliases"] == digest
    assert json.loads((out / "env.json").read_text())["inputs"]["aliases"] == digest
    again = tmp_path / "again"
    code, _, told = run_main("finetune", "-c", out / "config.yaml", "-o", again)
    assert code == 0, told
    assert (again / "splits.json").read_bytes() == (out / "splits.json").read_bytes()
    tables = [predictions.read(run / "predictions.parquet") for run in (out, again)]
    assert tables[0].equals(tables[1])


def test_a_list_that_changed_since_is_not_resumed_with(tiny_archive, listed, run_main, tmp_path):
    copy, out = tmp_path / "list.csv", tmp_path / "run"
    shutil.copy(listed, copy)
    words = ("--aliases", copy, "-o", out)
    assert finetune(run_main, tiny_archive, *words)[0] == 0
    status = json.loads((out / "status.json").read_text())
    (out / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    copy.write_text(copy.read_text().replace("shared", "alias"))
    code, _, told = finetune(run_main, tiny_archive, *words, "--resume")
    assert code == 4
    assert "the run was started on another aliases" in told


def test_the_report_counts_one_patient_and_names_no_file(merged, listed, run_main, tmp_path):
    out, _ = merged
    assert run_main("evaluate", out, "--resamples", 200, "-o", tmp_path / "report")[0] == 0
    found = report.read(tmp_path / "report")
    assert found["cohort"]["patients"] == 7
    assert found["cohort"]["merged"] == {"ids": 2, "patients": 1}
    page = (tmp_path / "report" / "report.html").read_text()
    assert "2 ids merged into 1 (probable aliases)" in page
    assert "2 patients merged into 1 (probable aliases)" in page  # among the notes of the run
    assert listed.name not in page
    assert str(listed.parent.name) not in page


def test_a_run_with_a_list_and_one_without_are_not_compared(merged, apart, run_main, tmp_path):
    code, _, told = run_main("compare", merged[0], apart, "-o", tmp_path / "out")
    assert code == 3
    assert "folds" in told, told


def test_a_reduce_run_is_taken_for_its_list(tiny_archive, listed, run_main, tmp_path):
    """A selection that looked for none has no list, and an unfinished one is refused."""
    from medssl.config.finetune import FinetuneSettings

    run = tmp_path / "reduce"
    settings = FinetuneSettings(archive=tiny_archive, init_from="none")  # any settings
    with run_folder.create(run, stage="reduce", settings=settings):
        words = ("--aliases", run, "--dry-run")
        code, _, told = finetune(run_main, tiny_archive, *words)
        assert (code, "the run is unfinished" in told) == (4, True)
    code, _, told = finetune(run_main, tiny_archive, *words)
    assert (code, "looked for no aliases" in told) == (4, True)
    shutil.copy(listed, run)
    code, said, told = finetune(run_main, tiny_archive, *words)
    assert code == 0, told
    assert "2 patients merged into 1 (probable aliases)" in said


@pytest.mark.parametrize(
    ("rows", "words", "code", "message"),
    [
        ([("x", "y")], (), 3, "none of the 2 patients listed is in the archive"),
        ([PAIR], ("--group", "none"), 2, "no patients to merge"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(  # noqa: PLR0913 - fixtures
    tiny_archive, run_main, tmp_path, rows, words, code, message
):
    aliases.write(tmp_path, [alias(*row) for row in rows])
    out = tmp_path / "run"
    found = finetune(
        run_main, tiny_archive, "--aliases", tmp_path / aliases.NAME, *words, "-o", out
    )
    assert found[0] == code
    assert message in found[2]
    assert not out.exists()


def test_who_was_in_pretraining_under_another_id_is_counted(tiny_archive, run_main, tmp_path):
    """Pretrained on the unlabelled patients, of whom one is a patient of the cohort."""
    pool = tmp_path / "pool"
    shutil.copytree(tiny_archive, pool)
    images = archive.read_images(tiny_archive)
    archive.write_images(pool, images.filter(pc.equal(images["modality"], "CT")))
    words = ("--epochs", 1, "--image-size", 32, "--batch-size", 4, "--device", "cpu")
    assert run_main("pretrain", pool, *words, "-o", tmp_path / "pretrain")[0] == 0
    seen = weights.read_info(tmp_path / "pretrain" / "export").patient_digests
    assert set(seen) <= {f"patient{n:02d}" for n in range(8, 12)}
    aliases.write(tmp_path, [alias("patient03", seen[0])])
    words = ("finetune", tiny_archive, "--init-from", tmp_path / "pretrain", *SMALL, "--dry-run")
    _, said, _ = run_main(*words)
    assert "overlap: 0 of 8 patients were in pretraining" in said
    _, said, _ = run_main(*words, "--aliases", tmp_path / aliases.NAME)
    assert "overlap: 1 of 8 patients were in pretraining" in said


def test_the_child_with_two_ids_is_found_and_merged(test_data, run_main, tmp_path):
    """Of the paediatric radiographs, two of two ids are one picture; hashed here from the files."""
    source = test_data / "cxr-pediatric"
    rows = (source / "labels.csv").read_text().splitlines()
    some = [row for row in rows[1:] if "/NORMAL2-IM-00" in row or "/person3" in row]
    (tmp_path / "scans" / "images").mkdir(parents=True)
    (tmp_path / "scans" / "labels.csv").write_text("\n".join([rows[0], *some]) + "\n")
    owners = {}
    for row in some:
        name, patient = row.split(",")[:2]
        shutil.copy(source / name, tmp_path / "scans" / name)
        owners.setdefault(files.sha256(source / name), set()).add(patient)
    known = [patients for patients in owners.values() if len(patients) > 1]
    assert known == [{"normal2-im0095", "normal2-im0096"}]
    n_patients = len({row.split(",")[1] for row in some})

    words = ("ingest", tmp_path / "scans", "--patient", "col:patient_id", "--label", "label")
    assert run_main(*words, "-o", tmp_path / "archive")[0] == 0
    words = ("reduce", tmp_path / "archive", "--by", "exact", "--controls", 0)
    assert run_main(*words, "-o", tmp_path / "copies")[0] == 0
    (found,) = aliases.read(tmp_path / "copies" / aliases.NAME)
    assert (found.kind, found.n_pairs, found.similarity) == ("alias", 1, 1.0)
    words = ("--dry-run", "--aliases", tmp_path / "copies")
    _, said, _ = finetune(run_main, tmp_path / "archive", *words)
    assert f"images of {n_patients - 1} patients" in said
    assert "2 patients merged into 1 (probable aliases)" in said
