import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medssl.artifacts import foreign_predictions, predictions
from medssl.foundation.errors import DataError


def _csv(tmp_path, text, name="other.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_three_columns_are_enough(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score\nZoe,1,0.9\nAda,0,0.25\nZoe,1,0.5\n")
    table = foreign_predictions.read(path)
    assert table.schema.equals(predictions.PREDICTIONS)
    assert table["patient_key"].to_pylist() == ["p000000001", "p000000000", "p000000001"]
    assert len(set(table["image_id"].to_pylist())) == 3
    assert table["label"].to_pylist() == [1, 0, 1]
    assert table["score"].to_pylist() == [0.9, 0.25, 0.5]
    assert set(table["part"].to_pylist()) == {"test"}
    assert table["fold"].null_count == 3
    assert set(table["repeat"].to_pylist()) == {0}


def test_optional_columns_are_read_and_others_left_out(tmp_path):
    path = _csv(
        tmp_path,
        "\ufeffname,repeat,fold,site,image_id,score,label,patient_id\n"
        "Jane,1,2,north,x1,1e-3,false,7\nJane,0,0.0,,x1,2,TRUE,7\n",
    )
    rows = foreign_predictions.read(path).to_pylist()
    assert [row["repeat"] for row in rows] == [1, 0]
    assert [row["fold"] for row in rows] == [2, 0]
    assert [row["site"] for row in rows] == ["north", None]
    assert [row["label"] for row in rows] == [0, 1]
    assert rows[0]["score"] == 0.001
    assert rows[0]["image_id"] == rows[1]["image_id"]


def test_parquet_equals_csv(tmp_path):
    text = "patient_id,label,score,fold\n11,1,0.125,0\n12,0,0.1,1\n"
    path = tmp_path / "other.parquet"
    columns = {"patient_id": [11, 12], "label": [True, False], "score": [0.125, 0.1]}
    pq.write_table(pa.table({**columns, "fold": [0, 1], "junk": [{"a": 1}, None]}), path)
    expected = foreign_predictions.read(_csv(tmp_path, text)).drop_columns("image_id")
    assert foreign_predictions.read(path).drop_columns("image_id").equals(expected)


def test_one_row_per_patient_and_repeat_needs_no_image_id(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score,repeat\na,1,.9,0\nb,0,.1,0\na,1,.8,1\nb,0,.2,1\n")
    images = foreign_predictions.read(path)["image_id"].to_pylist()
    assert images[:2] == images[2:]
    assert len(set(images)) == 2


def test_images_in_repeats_need_an_image_id(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score,repeat\na,1,.9,0\na,1,.1,0\na,1,.8,1\n")
    with pytest.raises(DataError, match="images cannot be told apart") as caught:
        foreign_predictions.read(path)
    assert caught.value.fix == "add a column image_id"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,maybe,0.5", "label: not 0 or 1"),
        ("a,,0.5", "label: not 0 or 1"),
        ("a,1,high", "score: not a number"),
        ("a,1,nan", "score: not a number"),
        ("a,1,inf", "score: not a number"),
        (" ,1,0.5", "patient_id: no id"),
        ("NaN,1,0.5", "patient_id: no id"),
        ("<NA>,1,0.5", "patient_id: no id"),
        ("None,1,0.5", "patient_id: no id"),
        ("a,1", "score: not a number"),
        ("a,1,0.5,9", "more cells than the header has columns"),
    ],
)
def test_a_wrong_cell_is_named_by_line(tmp_path, row, problem):
    path = _csv(tmp_path, f"patient_id,label,score\nb,0,0.1\n{row}\n")
    with pytest.raises(DataError, match=re.escape(problem)) as caught:
        foreign_predictions.read(path)
    assert str(caught.value) == f"{path}:3: {problem}\n  fix: correct the cells named above"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("column", ["fold", "repeat"])
@pytest.mark.parametrize("value", ["-1", "1.5", "one"])
def test_folds_and_repeats_are_whole_numbers(tmp_path, column, value):
    path = _csv(tmp_path, f"patient_id,label,score,{column}\na,1,0.5,{value}\n")
    with pytest.raises(DataError, match=f"{column}: not a whole number from 0"):
        foreign_predictions.read(path)


@pytest.mark.parametrize("header", ["patient_id,label,score", "patient_id,label,score,fold,repeat"])
@pytest.mark.parametrize(
    "row",
    ["DOE, JANE,1,0.5", "7,DOE,JANE", "7,1,DOE", "7,1,0.5,DOE,JANE", "JANE DOE,x,DOE,JANE,JANE"],
)
def test_a_name_in_the_wrong_place_is_never_repeated(tmp_path, header, row):
    path = _csv(tmp_path, f"{header}\n{row}\n")
    with pytest.raises(DataError, match=r":2: (label|score|fold|more cells)") as caught:
        foreign_predictions.read(path)
    assert not {"DOE", "JANE"} & set(re.findall(r"\w+", str(caught.value)))


def test_a_table_without_a_header_shows_nothing_of_its_first_row(tmp_path):
    path = _csv(tmp_path, "DOE^JANE,1,0.5\nROE^RICHARD,0,0.1\n")
    with pytest.raises(DataError, match="lacks the column 'patient_id'") as caught:
        foreign_predictions.read(path)
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "nan", "null"])
def test_an_image_without_an_id_is_refused(tmp_path, value):
    path = _csv(tmp_path, f"patient_id,image_id,label,score\na,x,1,0.5\nb,{value},0,0.5\n")
    with pytest.raises(DataError, match=":3: image_id: no id"):
        foreign_predictions.read(path)


@pytest.mark.parametrize("absent", [None, float("nan")])
def test_absent_patients_of_parquet_are_not_merged_into_one(tmp_path, absent):
    path = tmp_path / "other.parquet"
    ids = pa.array([1.0, absent, absent], pa.float64(), from_pandas=False)
    pq.write_table(pa.table({"patient_id": ids, "label": [1, 0, 0], "score": [0.5] * 3}), path)
    with pytest.raises(DataError, match="parquet:2: patient_id: no id; row 3: patient_id: no id"):
        foreign_predictions.read(path)


@pytest.mark.parametrize("twice", [*foreign_predictions.REQUIRED, *foreign_predictions.OPTIONAL])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path, form, twice):
    names = [*foreign_predictions.REQUIRED, *foreign_predictions.OPTIONAL, twice]
    path = _csv(tmp_path, ",".join(names) + "\n", f"other.{form}")
    if form == "parquet":
        pq.write_table(pa.Table.from_arrays([pa.array([1])] * len(names), names=names), path)
    with pytest.raises(DataError, match=f"has 2 columns '{twice}'") as caught:
        foreign_predictions.read(path)
    assert caught.value.fix.endswith("each once")


def test_columns_that_are_not_read_may_share_a_name(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score,,\na,1,0.5,,\n")
    assert foreign_predictions.read(path).num_rows == 1
    columns = [pa.array(["a"]), pa.array([1]), pa.array([0.5]), *[pa.array(["x"])] * 2]
    names = [*foreign_predictions.REQUIRED, "note", "note"]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "other.parquet")
    assert foreign_predictions.read(tmp_path / "other.parquet").num_rows == 1


def test_many_wrong_cells_are_shown_together(tmp_path):
    rows = "".join(f"a,x{n},0.5\n" for n in range(8))
    path = _csv(tmp_path, f"patient_id,label,score\n{rows}")
    told = r":2: label: not 0 or 1; line 3: .*; line 6: label: not 0 or 1; and 3 more"
    with pytest.raises(DataError, match=told):
        foreign_predictions.read(path)


@pytest.mark.parametrize("missing", foreign_predictions.REQUIRED)
def test_a_missing_column_is_named(tmp_path, missing):
    names = [name for name in foreign_predictions.REQUIRED if name != missing]
    path = _csv(tmp_path, ",".join(names) + "\n1,1\n")
    with pytest.raises(DataError, match=f"lacks the column '{missing}'") as caught:
        foreign_predictions.read(path)
    assert missing in caught.value.fix


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (b"", "a.csv", "lacks the column 'patient_id'"),
        (b"patient_id,label,score\n", "a.csv", "holds no rows"),
        (b"\xff\xfe\x00bad", "a.csv", "not a readable CSV file"),
        (b'patient_id,label,score\n"a,1,0.5\n', "a.csv", "not a readable CSV file"),
        (b"PAR1 but not really", "a.parquet", "not a readable Parquet file"),
    ],
)
def test_broken_files_are_refused(tmp_path, content, name, problem):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        foreign_predictions.read(path)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        foreign_predictions.read(tmp_path / "absent.csv")
