from pathlib import Path

import pytest

from medssl.config.ingest import IngestSettings
from medssl.foundation.reporting import Recording
from medssl.ingestion import overlooked
from medssl.ingestion.assignment import Item
from medssl.ingestion.codes import Code
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.header import Frame, Header


def file(relative: str, code: Code | None = None) -> SourceFile:
    return SourceFile(path=Path("/scans") / relative, source=0, relative=relative, code=code)


def told(*names: str, reader: str = "picture", **more) -> list[str]:
    header = Header(reader=reader, rows=4, columns=4, frames=(Frame(),), bits=8)
    files = [file(name) for name in names]
    reporter = Recording()
    settings = IngestSettings(sources=("/scans",), **more)
    overlooked.tell(files, [Item(one, header) for one in files], settings, reporter)
    return reporter.warnings


@pytest.mark.parametrize(
    ("relative", "pattern"),
    [
        ("masks/1.png", "*/masks/*"),
        ("a/Segmentations/b/1.png", "*/Segmentations/*"),
        ("labelsTr/case.nii.gz", "*/labelsTr/*"),
        ("a/1_mask.png", "*_mask.*"),
        ("case-seg.nii.gz", "*-seg.*"),
        ("mask.png", None),
        ("masked/1.png", None),
        ("unmask.png", None),
        ("1_masked.png", None),
        ("1.seg.png", None),
    ],
)
def test_what_is_called_like_a_mask_is_known_by_exact_names(relative, pattern):
    assert overlooked.mask_pattern(relative) == pattern


def test_masks_are_counted_with_the_options_that_leave_them_out():
    (text,) = told("images/1.png", "images/Secret 1_seg.png", "images/2_seg.png", "masks/1.png")
    assert text.startswith("masks: 3 files are called like masks")
    assert "--exclude '*/masks/*' --exclude '*_seg.*'" in text
    assert "Secret" not in text
    (text,) = told("masks/1.png")
    assert text.startswith("masks: 1 file is called like masks, or lies")
    assert told("images/1.png") == []
    assert told("masks/1.dcm", reader="dicom") == []


def test_tables_that_are_not_joined_are_counted():
    (text,) = told("labels.csv", "a/labels.csv", "b/Labels.CSV", "labels.xlsx")
    assert text.startswith("label tables: 3 files called labels.csv or labels.xlsx are not joined")
    assert "--labels FILE" in text
    assert told("labels.csv", "a/other.csv") == []
    assert told("a/labels.csv", labels="/scans/a/labels.csv") == []


def test_a_table_that_is_left_out_on_purpose_is_not_told_of():
    reporter = Recording()
    settings = IngestSettings(sources=("/scans",))
    overlooked.tell([file("a/labels.csv", Code.SKIPPED_EXCLUDED)], [], settings, reporter)
    assert reporter.warnings == []
