import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import DataError
from medssl.foundation.reporting import Recording
from medssl.ingestion import survey
from medssl.ingestion.codes import Code
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.workers import Workers

KEY = SiteKey(b"k" * 32)
PIXELS = np.arange(16, dtype=np.uint16).reshape(4, 4)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS.astype(np.uint8)).save(path)
    return path


def look(*sources: Path, **more):
    settings = IngestSettings(sources=sources, **more)
    reporter = Recording()
    with Workers(1) as pool:
        return survey.look(survey.find(settings), settings, KEY, reporter, pool), reporter


def rows_of(found) -> dict[str, dict]:
    return {entry.file.relative: dict(entry.row) for entry in found.entries}


def test_every_source_has_its_own_table(tmp_path):
    for name, label in (("a", "yes"), ("b", "no")):
        picture(tmp_path / name / f"{name}.png")
        (tmp_path / name / "labels.csv").write_text(f"image,label\n{name}.png,{label}\n")
    found, reporter = look(tmp_path / "a", tmp_path / "b")
    assert {name: row["label"] for name, row in rows_of(found).items()} == {
        "a.png": "yes", "b.png": "no",
    }  # fmt: skip
    assert found.joined.targets == ("label",)
    assert found.joined.settings.labels is None
    assert len([note for note in reporter.notes if "matched 1 of 1 file by" in note]) == 2


def test_a_table_nobody_asked_for_may_name_other_files(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("image,label\nother.png,1\n")
    found, reporter = look(tmp_path)
    assert rows_of(found) == {"a.png": {}}
    assert any("names none of the files beside it" in text for text in reporter.warnings)


def test_a_table_nobody_asked_for_needs_no_label_and_says_how_to_name_one(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("image,grade,site\na.png,2,north\n")
    found, reporter = look(tmp_path)
    assert found.joined.targets == ()
    assert found.entries[0].site == "north"
    assert any("--label (image, grade, site)" in note for note in reporter.notes)
    found, _ = look(tmp_path, label=("grade",))
    assert found.joined.targets == ("grade",)
    assert found.joined.settings.labels is None  # a table beside the files stays theirs
    with pytest.raises(DataError, match=r"no column 'grad'"):
        look(tmp_path, label=("grad",))


@pytest.mark.parametrize(("n_left", "is_many"), [(1, False), (2, True)])
def test_rows_that_name_no_file_are_listed_and_many_of_them_are_a_warning(
    tmp_path, n_left, is_many
):
    for number in range(10):
        picture(tmp_path / "in" / f"{number}.png")
    keys = [*(f"in/{n}.png" for n in range(1, 10)), *(f"gone {n}" for n in range(n_left))]
    (tmp_path / "labels.csv").write_text("image,label\n" + "".join(f"{n},1\n" for n in keys))
    found, reporter = look(tmp_path)
    names = "names" if n_left == 1 else "name"
    told = f"labels: {n_left} of {9 + n_left} rows of labels.csv {names} no readable file"
    assert (told in reporter.notes) is not is_many
    assert any(text.startswith(f"{told}; is 'image' the right") for text in reporter.warnings) is (
        is_many
    )
    left = found.joined.unmatched
    rows = [(one.line, one.key, one.table) for one in left if one.path is None]
    table = (tmp_path / "labels.csv").resolve()
    assert rows == [(11 + n, f"gone {n}", table) for n in range(n_left)]
    assert [one.path.name for one in left if one.path is not None] == ["0.png"]


def test_a_smoke_run_may_draw_files_without_a_row(tmp_path):
    for number in range(survey.SMOKE_FILES + 1):
        picture(tmp_path / "in" / f"{number:03d}.png")
    last = f"in/{survey.SMOKE_FILES:03d}.png"  # the one that is not drawn
    (tmp_path / "table.csv").write_text(f"image,label\n{last},1\n")
    found, reporter = look(tmp_path / "in", labels=tmp_path / "table.csv", smoke=True)
    assert len(found.entries) == survey.SMOKE_FILES
    assert found.joined.targets == ()
    assert "labels: table.csv names none of the files drawn; not joined" in reporter.warnings
    found, _ = look(tmp_path / "in", labels=tmp_path / "table.csv")
    assert found.joined.targets == ("label",)


def test_what_auto_means_is_told(write_dicom, tmp_path):
    write_dicom("a", PIXELS, InstitutionName="North")
    picture(tmp_path / "b.png")
    _, reporter = look(tmp_path)
    assert [note for note in reporter.notes if " auto: " in note] == [
        "patient auto: none of 1 file, tag of 1 file",
        "site auto: institution of 1 file, none of 1 file",
        "series auto: UID of 1 file, each file alone of 1 file",
    ]
    _, reporter = look(tmp_path, patient="parent", site="parent", series="parent")
    assert not any(" auto: " in note for note in reporter.notes)


def test_copies_with_other_labels_are_told(write_dicom, tmp_path):
    first = write_dicom("in/a", PIXELS)
    shutil.copy(first, first.with_name("b"))
    (tmp_path / "labels.csv").write_text("image,label\nin/a,1\nin/b,0\n")
    found, reporter = look(tmp_path)
    assert len(found.series[0].slices) == 1
    assert any(
        text.startswith("labels: 1 label of duplicate files differs") for text in reporter.warnings
    )


def test_equal_ids_at_two_sites_are_told_unless_the_scope_is_the_site(write_dicom, tmp_path):
    for number, name in enumerate(("North", "South")):
        write_dicom(
            name,
            PIXELS,
            InstitutionName=name,
            StudyInstanceUID=f"1.2.{number}",
            SeriesInstanceUID=f"1.3.{number}",
            SOPInstanceUID=f"1.4.{number}",
        )
    found, reporter = look(tmp_path)
    assert len({entry.patient_key for entry in found.entries}) == 1
    assert any(re.match("patients: 1 patient id occurs", text) for text in reporter.warnings)
    found, reporter = look(tmp_path, patient_scope="site")
    assert len({entry.patient_key for entry in found.entries}) == 2
    assert reporter.warnings == []


def test_rejects_name_the_step(write_dicom, tmp_path):
    write_dicom("colour", PIXELS, PhotometricInterpretation="PALETTE COLOR")
    for name in ("P1", "P2"):
        write_dicom(name, PIXELS, PatientID=name, SOPInstanceUID=f"1.2.{name[1]}")
    (tmp_path / "text").write_text("x")
    found, _ = look(tmp_path)
    rejects = {path.name: reject for path, reject in found.rejects.items()}
    assert {name: (reject.stage, reject.code) for name, reject in rejects.items()} == {
        "colour": ("header", Code.BAD_HEADER), "text": ("sniff", Code.SKIPPED_TEXT),
        "P1": ("group", Code.MIXED_PATIENTS), "P2": ("group", Code.MIXED_PATIENTS),
    }  # fmt: skip
    assert rejects["P1"].patient_key == KEY.patient("P1")
    assert found.series == []


def test_of_several_tables_the_wrong_one_is_named(tmp_path):
    for name, column in (("a", "grade"), ("b", "label")):
        picture(tmp_path / name / f"{name}.png")
        (tmp_path / name / "labels.csv").write_text(f"image,{column}\n{name}.png,1\n")
    with pytest.raises(DataError, match=r"^labels.csv of source 2: no column 'grade'"):
        look(tmp_path / "a", tmp_path / "b", label=("grade",))
    with pytest.raises(DataError, match=r"^labels.csv: no column 'grade'"):
        look(tmp_path / "b", label=("grade",))


@pytest.mark.parametrize(("cell", "is_told"), [("", True), ("1", False)])
def test_a_column_that_labels_nothing_is_warned_of(tmp_path, cell, is_told):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(f"image,label\na.png,{cell}\ngone.png,1\n")
    _, reporter = look(tmp_path)
    told = any(
        "column 'label' of labels.csv gives no image a label" in w for w in reporter.warnings
    )
    assert told is is_told


def test_a_pattern_for_a_folder_holds_at_the_top_too(tmp_path):
    for name in ("masks/a.png", "deep/masks/a.png", "masks2/a.png", "a.png"):
        picture(tmp_path / name)
    settings = IngestSettings(sources=(tmp_path,), exclude=("*/masks/*",))
    left = {file.relative for file in survey.find(settings) if file.code is not None}
    assert left == {"masks/a.png", "deep/masks/a.png"}
    settings = IngestSettings(sources=(tmp_path,), exclude=("masks/*",))
    left = {file.relative for file in survey.find(settings) if file.code is not None}
    assert left == {"masks/a.png"}
