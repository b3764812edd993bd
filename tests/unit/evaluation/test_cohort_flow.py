"""From the files found to those judged: every image is somewhere; counts that differ are told."""

from dataclasses import replace

import pytest

from medssl.artifacts import archive, fold_models, ingest_report, site_models, tables
from medssl.artifacts.fold_models import FoldModel
from medssl.artifacts.origin import Origin
from medssl.artifacts.splits import Splits
from medssl.config.evaluate import EvaluateSettings
from medssl.config.task import Task
from medssl.evaluation import cohort_flow
from medssl.evaluation import judged as judging

TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
N = 30  # images, two of each patient, each a study and a series of its own
NO_ROW, EMPTY = (26, 27, 28), (29,)  # images without a row of labels, and with an empty one
LABELLED = [n for n in range(N) if n not in NO_ROW + EMPTY]


def patient(n):
    return f"k{n // 2:02d}"


def write(folder, *, per_series=1, labelled=LABELLED):
    folder.mkdir()
    images = [
        dict.fromkeys(archive.IMAGES.names)
        | {"image_id": f"i{n:05d}", "patient_key": patient(n), "study_key": f"s{n // per_series}",
           "series_key": f"s{n // per_series}"}
        for n in range(N)
    ]  # fmt: skip
    values = {n: str(n // 2 % 2) for n in labelled} | dict.fromkeys(EMPTY)
    labels = [{"image_id": f"i{n:05d}", "target": "finding", "value": v} for n, v in values.items()]
    archive.write_images(folder, tables.build(images, archive.IMAGES))
    archive.write_labels(folder, tables.build(labels, archive.LABELS))
    info = archive.ArchiveInfo(
        medssl="0", size=4, spatial_dims=2, key_id="0", files_found=35, files_written=N,
        quarantined={"SKIPPED_TEXT": 2, "DECODE_FAILED": 3}, images=N, series=N // per_series,
        studies=N // per_series, patients=N // 2, hash=archive.content_hash(folder),
    )  # fmt: skip
    archive.write_info(folder, info)


@pytest.fixture
def flow(tmp_path, table_of):
    """(images tested) -> the flow of a run on the archive; ``learned`` are patients besides."""

    def build(tested=LABELLED, *, learned=(), by="folds", per_series=1, labelled=LABELLED, **model):
        folder, run = tmp_path / "archive", tmp_path / "run"
        write(folder, per_series=per_series, labelled=labelled)
        facts = dict.fromkeys(site_models.FinetuneInfo.__dataclass_fields__)
        facts |= {"spatial_dims": 2, "pooling": "none", "n_images": len(tested)}
        table = table_of(
            [patient(n) for n in tested],
            [n // 2 % 2 for n in tested],
            [n / N for n in tested],
            image_id=[f"i{n:05d}" for n in tested],
            fold=[n // 2 % 3 for n in tested],
        )
        (run / "folds" / "0").mkdir(parents=True)
        own = FoldModel(repeat=0, fold=0, epochs=1, prior=(), drawn=(), learned=tuple(learned))
        fold_models.write(run / "folds" / "0", own)
        source = Origin(
            predictions_sha256="",
            run=run,
            archive=folder,
            splits=Splits(task=TASK, seed=0, group="patient", by=by, n_folds=3, test_fold=({},)),
            settings=model.pop("settings", {}),
            models=site_models.FinetuneInfo(**(facts | model)),
        )
        return judging.of(table, source, EvaluateSettings(run=run), "table")

    return build


def left_out(found):
    """What each step leaves out: its count and that of each reason, which add up."""
    told = {}
    for step in found.steps:
        if left := step["left_out"]:
            told[step["step"]] = (left["count"], {r["title"]: r["count"] for r in left["codes"]})
            assert left["count"] == sum(row["count"] for row in left["codes"])
    return told


def test_every_file_is_written_or_left_out_and_every_image_judged_or_left_out(flow):
    found = cohort_flow.find(flow())
    assert left_out(found) == {
        "written": (5, {"DECODE_FAILED": 3, "SKIPPED_TEXT": 2}),
        "labelled": (4, {"No row in the table of labels": 3, "An empty value": 1}),
    }
    rejects = [row["is_reject"] for row in found.steps[1]["left_out"]["codes"]]
    assert rejects == [True, False]
    steps = {step["step"]: step for step in found.steps}
    assert steps["found"]["files"] == 35
    assert [steps[name]["images"] for name in ("written", "labelled", "cohort", "analysed")] == [
        30, 26, 26, 26,
    ]  # fmt: skip
    assert [steps[name]["patients"] for name in ("written", "labelled", "analysed")] == [15, 13, 13]
    affected = steps["labelled"]["left_out"]
    assert (affected["patients"], affected["patients_without_image"]) == (2, 2)
    assert found.problems == ()


def test_a_patient_who_keeps_an_image_is_affected_and_not_lost(flow):
    one_of_two = [n for n in LABELLED if n != 0]
    affected = cohort_flow.find(flow(one_of_two, labelled=one_of_two)).steps[2]["left_out"]
    assert (affected["patients"], affected["patients_without_image"]) == (3, 2)


def test_who_was_only_learned_from_is_told_apart_from_who_was_left_out(flow):
    """Patients 0 to 5 are tested, 6 to 9 only learned from, the rest are in no part of the run."""
    tested = [n for n in LABELLED if n // 2 < 6]
    learned = [f"k{k:02d}" for k in range(6, 10)]
    found = cohort_flow.find(flow(tested, learned=learned, by="time", n_images=20))
    told = left_out(found)
    assert told["cohort"] == (6, {"Left out by the run, which records no reason": 6})
    assert told["analysed"] == (8, {"Of earlier patients": 8})
    assert found.problems == ()


def test_a_smoke_run_says_why_most_patients_are_missing(flow):
    tested = [n for n in LABELLED if n // 2 < 6]
    told = left_out(cohort_flow.find(flow(tested, settings={"smoke": True})))
    assert told["cohort"] == (14, {"Not drawn: a smoke run takes a few patients": 14})


def test_series_are_counted_where_a_run_is_on_series(flow):
    """Five images make a series, a label of one is that of all; of six series two are too short."""
    tested = [0, 5, 10, 15]
    judged = flow(tested, per_series=5, labelled=[0, 5, 10, 15, 20, 25], pooling="mean")
    found = cohort_flow.find(judged)
    assert left_out(found)["cohort"] == (2, {"Fewer slices than the run asks for": 2})
    assert found.steps[-1]["images"] == 20
    assert found.problems == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n_images": 25}, "cohort the run records: 25, but cohort found here: 26"),
        (
            {"tested": [*LABELLED, 29], "n_images": 27},
            "images tested: 27, but those of them with a label: 26",
        ),
    ],
)
def test_counts_that_do_not_agree_are_told(flow, changes, problem):
    assert problem in cohort_flow.find(flow(**changes)).problems


def test_an_archive_whose_own_counts_differ_is_told(flow, tmp_path):
    judged = flow()
    folder = tmp_path / "archive"
    info = archive.read_info(folder)
    archive.write_info(folder, replace(info, files_found=36, images=31))
    assert cohort_flow.find(judged).problems == (
        "files found: 36, but files written and left out: 35",
        "images the archive counts: 31, but images in its table: 30",
    )


def test_the_steps_of_the_ingest_are_told_where_it_left_its_record(flow, tmp_path):
    judged = flow()
    row = {"title": "Text files", "is_reject": False, "files": 5, "example": "f1", "code": "X"}
    left = {"title": "Not images", "files": 5, "patients": 0, "patients_without_image": 0}
    counts = dict.fromkeys(("patients", "studies", "series", "images"))
    steps = [
        {"step": "found", "title": "Files found", "files": 35, **counts, "left_out": None},
        {"step": "written", "title": "Written", "files": 30, **counts,
         "left_out": left | {"codes": [row]}},
    ]  # fmt: skip
    ingest_report.write(tmp_path / "archive", {"flow": steps})
    found = cohort_flow.find(judged)
    assert [step["title"] for step in found.steps[:2]] == ["Files found", "Written"]
    assert left_out(found)["written"] == (5, {"Text files": 5})
    assert "example" not in found.steps[1]["left_out"]["codes"][0]


def test_without_an_archive_the_reason_stands_beside_who_was_judged(flow):
    judged = flow()
    source = replace(judged.source, archive=None, no_archive="it is gone")
    found = cohort_flow.find(replace(judged, source=source))
    assert found.reason == "it is gone"
    assert [(step["step"], step["patients"], step["images"]) for step in found.steps] == [
        ("analysed", 13, 26)
    ]
