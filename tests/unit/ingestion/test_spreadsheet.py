import csv
import sys
import zipfile
from datetime import date, datetime, time
from pathlib import Path

import openpyxl
import pytest

from medssl.foundation.errors import DataError, MissingExtra
from medssl.ingestion import labels, spreadsheet


def save(path: Path, *rows: tuple) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_a_sheet_and_the_same_as_csv_are_one_table(tmp_path):
    """The CSV is written by hand, as a spreadsheet program exports these cells."""
    sheet = save(
        tmp_path / "t.xlsx",
        ("patient_id", "label", "when", "score", "note"),
        ("P1", 1.0, date(2024, 3, 31), 0.1 + 0.2, None),
        (42, 0, datetime(2024, 3, 31, 7, 5), -2.5, "a, b"),
        ("0042", True, time(7, 5), 1e6, " x "),
    )
    (tmp_path / "t.csv").write_text(
        "patient_id,label,when,score,note\n"
        "P1,1,2024-03-31,0.3,\n"
        '42,0,2024-03-31T07:05:00,-2.5,"a, b"\n'
        "0042,TRUE,07:05:00,1000000, x \n"
    )
    found, expected = labels.read(sheet), labels.read(tmp_path / "t.csv")
    assert (found.columns, found.rows, found.lines) == (
        expected.columns, expected.rows, expected.lines,
    )  # fmt: skip


def test_zeros_that_a_sheet_shows_are_kept(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(("id", "label"))
    book.active.append((42, 1))
    book.active["A2"].number_format = "00000"
    book.save(tmp_path / "t.xlsx")
    assert labels.read(tmp_path / "t.xlsx").rows[0]["id"] == "00042"


def test_the_first_sheet_counts_and_empty_rows_and_columns_do_not(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet["A2"], sheet["B2"] = "image", "label"
    sheet["A5"], sheet["B5"] = "a.png", 1
    sheet["A7"] = "b.png"
    sheet["H9"].number_format = "0.00"  # touched, and empty
    book.create_sheet("other").append(("wrong",))
    book.save(tmp_path / "t.xlsx")
    found = labels.read(tmp_path / "t.xlsx")
    assert found.columns == ("image", "label")
    assert [(n, row["label"]) for n, row in zip(found.lines, found.rows, strict=True)] == [
        (5, "1"), (7, ""),
    ]  # fmt: skip


def test_a_formula_without_a_saved_value_is_empty(tmp_path):
    sheet = save(tmp_path / "t.xlsx", ("image", "label"), ("a.png", "=1+1"))
    assert labels.read(sheet).rows[0]["label"] == ""


def test_a_formula_counts_as_the_value_that_was_saved(tmp_path):
    sheet = save(tmp_path / "plain.xlsx", ("image", "label"), ("a.png", "=1+1"))
    with zipfile.ZipFile(sheet) as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                assert b"<v />" in content or b"<v></v>" in content or b"<v/>" in content
                for empty in (b"<v />", b"<v></v>", b"<v/>"):
                    content = content.replace(empty, b"<v>2</v>")
            new.writestr(name, content)
    assert labels.read(tmp_path / "t.xlsx").rows[0]["label"] == "2"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((("a", "a"), (1, 2)), "two columns are called 'a'"),
        ((("a", "b"), (1, 2, 3)), r"t.xlsx:2: the row has more cells"),
        ((), "no header line"),
    ],
)
def test_a_damaged_table_is_refused_where_it_is_damaged(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        labels.read(save(tmp_path / "t.xlsx", *rows))


@pytest.mark.parametrize("content", [b"", b"PK", b"image,label\na.png,1\n", b"PK\3\4" + bytes(99)])
def test_what_is_no_xlsx_is_refused_without_a_word_of_it(tmp_path, content):
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="not a readable XLSX file") as caught:
        labels.read(tmp_path / "t.xlsx")
    assert caught.value.__cause__ is None


def test_a_bomb_is_refused_before_it_unpacks(tmp_path, monkeypatch):
    path = tmp_path / "t.xlsx"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("xl/sharedStrings.xml", "w") as stream,
    ):
        for _ in range(300):
            stream.write(bytes(2**20))
    monkeypatch.setattr(openpyxl, "load_workbook", None)  # it is never asked
    with pytest.raises(DataError, match="unpack to far too much"):
        labels.read(path)


def test_a_row_far_below_all_others_costs_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(spreadsheet, "MAX_ROWS", 100)
    book = openpyxl.Workbook()
    book.active["A1"], book.active["A1000"] = "image", "a.png"
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match="unpack to far too much"):
        labels.read(tmp_path / "t.xlsx")


def test_without_the_extra_the_install_line_is_told(tmp_path, monkeypatch):
    sheet = save(tmp_path / "t.xlsx", ("image", "label"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtra, match=r"(?s)not installed.*pip install 'medssl\[xlsx\]'"):
        labels.read(sheet)


def test_a_missing_sheet_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent.xlsx: no such label table"):
        labels.read(tmp_path / "absent.xlsx")


def test_csv_is_read_as_before(tmp_path):
    """Quotes, blank lines and line ends: what `csv.DictReader` makes of the same bytes."""
    content = 'image,label\r\n"a\nb.png",1\r\n\r\n"c ""x"".png",0\r\n'
    (tmp_path / "t.csv").write_text(content, newline="")
    found = labels.read(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert [dict(row) for row in found.rows] == list(csv.DictReader(stream))
    assert found.lines == (3, 5)
