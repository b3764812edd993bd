"""Tables of other tools: what they say, under pseudonyms, and what is refused."""

import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medssl.artifacts import foreign_columns, foreign_predictions, predictions
from medssl.foundation.errors import DataError
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(bytes(range(32)))


def foreign(path, **kwargs):
    return foreign_predictions.read(path, lambda: KEY, **kwargs)


def read(path, **kwargs):
    return foreign(path, **kwargs).table


def _csv(tmp_path, text, name="other.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_three_columns_are_enough(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score\nZoe,1,0.9\nAda,0,0.25\nZoe,1,0.5\n")
    table = read(path)
    assert table.schema.equals(predictions.PREDICTIONS)
    assert table["patient_key"].to_pylist() == [KEY.patient(name) for name in ("Zoe", "Ada", "Zoe")]
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
    rows = read(path).to_pylist()
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
    expected = read(_csv(tmp_path, text)).drop_columns("image_id")
    assert read(path).drop_columns("image_id").equals(expected)


def test_one_row_per_patient_and_repeat_needs_no_image_id(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score,repeat\na,1,.9,0\nb,0,.1,0\na,1,.8,1\nb,0,.2,1\n")
    images = read(path)["image_id"].to_pylist()
    assert images[:2] == images[2:]
    assert len(set(images)) == 2


def test_images_in_repeats_need_an_image_id(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score,repeat\na,1,.9,0\na,1,.1,0\na,1,.8,1\n")
    with pytest.raises(DataError, match="images cannot be told apart") as caught:
        read(path)
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
        read(path)
    assert str(caught.value) == f"{path}:3: {problem}\n  fix: correct the cells named above"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("column", ["fold", "repeat"])
@pytest.mark.parametrize("value", ["-1", "1.5", "one"])
def test_folds_and_repeats_are_whole_numbers(tmp_path, column, value):
    path = _csv(tmp_path, f"patient_id,label,score,{column}\na,1,0.5,{value}\n")
    with pytest.raises(DataError, match=f"{column}: not a whole number from 0"):
        read(path)


@pytest.mark.parametrize("header", ["patient_id,label,score", "patient_id,label,score,fold,repeat"])
@pytest.mark.parametrize(
    "row",
    ["DOE, JANE,1,0.5", "7,DOE,JANE", "7,1,DOE", "7,1,0.5,DOE,JANE", "JANE DOE,x,DOE,JANE,JANE"],
)
def test_a_name_in_the_wrong_place_is_never_repeated(tmp_path, header, row):
    path = _csv(tmp_path, f"{header}\n{row}\n")
    with pytest.raises(DataError, match=r":2: (label|score|fold|more cells)") as caught:
        read(path)
    assert not {"DOE", "JANE"} & set(re.findall(r"\w+", str(caught.value)))


def test_a_table_without_a_header_shows_nothing_of_its_first_row(tmp_path):
    path = _csv(tmp_path, "DOE^JANE,1,0.5\nROE^RICHARD,0,0.1\n")
    with pytest.raises(DataError, match="lacks the column 'patient_id'") as caught:
        read(path)
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "nan", "null"])
def test_an_image_without_an_id_is_refused(tmp_path, value):
    path = _csv(tmp_path, f"patient_id,image_id,label,score\na,x,1,0.5\nb,{value},0,0.5\n")
    with pytest.raises(DataError, match=":3: image_id: no id"):
        read(path)


@pytest.mark.parametrize("absent", [None, float("nan")])
def test_absent_patients_of_parquet_are_not_merged_into_one(tmp_path, absent):
    path = tmp_path / "other.parquet"
    ids = pa.array([1.0, absent, absent], pa.float64(), from_pandas=False)
    pq.write_table(pa.table({"patient_id": ids, "label": [1, 0, 0], "score": [0.5] * 3}), path)
    with pytest.raises(DataError, match="parquet:2: patient_id: no id; row 3: patient_id: no id"):
        read(path)


@pytest.mark.parametrize("twice", [*foreign_columns.REQUIRED, *foreign_columns.OPTIONAL])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path, form, twice):
    names = [*foreign_columns.REQUIRED, *foreign_columns.OPTIONAL, twice]
    path = _csv(tmp_path, ",".join(names) + "\n", f"other.{form}")
    if form == "parquet":
        pq.write_table(pa.Table.from_arrays([pa.array([1])] * len(names), names=names), path)
    with pytest.raises(DataError, match=f"has 2 columns '{twice}'") as caught:
        read(path)
    assert caught.value.fix.endswith("each once")


def test_columns_that_are_not_read_may_share_a_name(tmp_path):
    path = _csv(tmp_path, "patient_id,label,score,,\na,1,0.5,,\n")
    assert read(path).num_rows == 1
    columns = [pa.array(["a"]), pa.array([1]), pa.array([0.5]), *[pa.array(["x"])] * 2]
    names = [*foreign_columns.REQUIRED, "note", "note"]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "other.parquet")
    assert read(tmp_path / "other.parquet").num_rows == 1


def test_many_wrong_cells_are_shown_together(tmp_path):
    rows = "".join(f"a,x{n},0.5\n" for n in range(8))
    path = _csv(tmp_path, f"patient_id,label,score\n{rows}")
    told = r":2: label: not 0 or 1; line 3: .*; line 6: label: not 0 or 1; and 3 more"
    with pytest.raises(DataError, match=told):
        read(path)


@pytest.mark.parametrize("missing", ["patient_id", "label", "score"])
def test_a_missing_column_is_named(tmp_path, missing):
    names = [name for name in foreign_columns.REQUIRED if name != missing]
    path = _csv(tmp_path, ",".join(names) + "\n1,1\n")
    with pytest.raises(DataError, match=f"lacks the column '{missing}'") as caught:
        read(path)
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
        read(path)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.csv")


# --- several classes, several targets, amounts -----------------------------------------------

CLASSES = "patient_id,label,score_mild,score_none,score_severe\n"


def test_several_classes_have_a_row_each(tmp_path):
    path = _csv(tmp_path, CLASSES + "a,none,.25,.5,.25\nb,severe,0,.125,.875\n")
    found = foreign(path)
    assert (found.task.kind, found.task.classes) == ("multi_class", ("mild", "none", "severe"))
    rows = [(r["target"], r["label"], r["score"]) for r in found.table.to_pylist()]
    assert rows[:3] == [("label=mild", 0, 0.25), ("label=none", 1, 0.5), ("label=severe", 0, 0.25)]
    assert rows[3:] == [("label=mild", 0, 0), ("label=none", 0, 0.125), ("label=severe", 1, 0.875)]
    assert found.table["image_id"].to_pylist()[:3] == [found.table["image_id"][0].as_py()] * 3


def test_ordered_classes_stand_in_the_order_of_their_columns(tmp_path):
    text = "patient_id,label,score_none,score_mild,score_severe\na,none,1,0,0\nb,mild,0,1,0\n"
    found = foreign(_csv(tmp_path, text), kind="ordinal")
    assert (found.task.kind, found.task.classes) == ("ordinal", ("none", "mild", "severe"))
    assert found.task.columns == tuple(dict.fromkeys(found.table["target"].to_pylist()))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,healthy,.2,.3,.5", "label: no class with a column score_<class>"),
        ("a,none,2,3,5", "score_<class>: not probabilities that add up to 1"),
        ("a,none,-.5,1,.5", "score_<class>: not probabilities that add up to 1"),
        ("a,none,.5,,.5", "score_none: not a number"),
    ],
)
def test_a_wrong_row_of_several_classes_is_refused(tmp_path, row, problem):
    with pytest.raises(DataError, match=f":2: {re.escape(problem)}"):
        read(_csv(tmp_path, f"{CLASSES}{row}\n"))


def test_several_targets_have_a_row_each_and_may_lack_one(tmp_path):
    text = "patient_id,target,label,score\na,mass,1,.9\na,edema,0,.2\nb,mass,0,.1\n"
    found = foreign(_csv(tmp_path, text))
    assert (found.task.kind, found.task.targets) == ("multi_label", ("edema", "mass"))
    assert found.table["target"].to_pylist() == ["mass", "edema", "mass"]
    first, second, _ = found.table["image_id"].to_pylist()
    assert first == second  # of one image


def test_one_target_with_a_name_is_binary(tmp_path):
    found = foreign(_csv(tmp_path, "patient_id,target,label,score\na,mass,1,.9\nb,mass,0,.1\n"))
    assert (found.task.kind, found.task.name) == ("binary", "mass")


def test_amounts_are_taken_for_amounts_only_when_that_is_said(tmp_path):
    path = _csv(tmp_path, "patient_id,target,label,score\na,age,61.5,58\nb,age,2,3e1\n")
    with pytest.raises(DataError, match="label: not 0 or 1"):
        read(path)
    found = foreign(path, kind="regression")
    assert (found.task.kind, found.task.targets) == ("regression", ("age",))
    assert found.table["label"].to_pylist() == [61.5, 2]
    assert found.table["score"].to_pylist() == [58, 30]


@pytest.mark.parametrize(
    ("header", "kind", "problem"),
    [
        ("label,score,score_a,score_b,score_c", None, "a column score and columns score_<class>"),
        ("target,label,score_a,score_b,score_c", None, "a column target and columns score_"),
        ("label,score_a,score_b", None, "has 2 columns score_<class>"),
        ("label,score_a,score_b,score_", None, "without a class"),
        ("label,score_a,score_b,score_b", None, "has 1 columns score_<class> twice"),
        ("label,score_a,score_b,score_c", "regression", "not those of the task regression"),
        ("label,score_a,score_b,score_c", "binary", "not those of the task binary"),
        ("label,score", "multi_label", "not those of the task multi_label"),
        ("label,score", "multi_class", "not those of the task multi_class"),
        ("label,score", "ordinal", "not those of the task ordinal"),
    ],
)
def test_columns_of_two_kinds_of_task_are_refused(tmp_path, header, kind, problem):
    path = _csv(tmp_path, f"patient_id,{header}\na{',1' * len(header.split(','))}\n")
    with pytest.raises(DataError, match=re.escape(problem)) as caught:
        read(path, kind=kind)
    assert caught.value.fix


def test_another_task_than_the_rows_have_is_refused(tmp_path):
    path = _csv(tmp_path, "patient_id,target,label,score\na,mass,1,.9\nb,edema,0,.1\n")
    with pytest.raises(DataError, match="2 targets of two classes each, and not binary"):
        read(path, kind="binary")


def test_many_targets_are_rows_that_slipped(tmp_path):
    rows = "".join(f"p{n},DOE {n},1,.5\n" for n in range(30))
    with pytest.raises(DataError, match="the column target has 30 different values") as caught:
        read(_csv(tmp_path, f"patient_id,target,label,score\n{rows}"))
    assert "DOE" not in str(caught.value)


# --- pseudonyms ------------------------------------------------------------------------------


def test_pseudonyms_are_those_of_an_archive_with_the_same_key(tmp_path):
    table = read(_csv(tmp_path, "patient_id,label,score\n 0042 ,1,.5\n"))
    assert table["patient_key"].to_pylist() == [KEY.patient("0042")]
    other = foreign_predictions.read(tmp_path / "other.csv", lambda: SiteKey(b"k" * 32)).table
    assert other["patient_key"].to_pylist() != table["patient_key"].to_pylist()


def test_keys_of_an_archive_stay_as_they_are(tmp_path):
    key, image = KEY.patient("7"), KEY.image("x")
    path = _csv(tmp_path, f"patient_key,image_id,label,score\n{key},{image},1,.5\n")
    (row,) = read(path).to_pylist()
    assert (row["patient_key"], row["image_id"]) == (key, image)


def test_an_id_that_is_called_a_key_is_refused(tmp_path):
    with pytest.raises(DataError, match="patient_key: not a key of an archive") as caught:
        read(_csv(tmp_path, "patient_key,label,score\nDOE^JANE,1,.5\n"))
    assert "DOE" not in str(caught.value)


def test_the_key_is_not_asked_for_by_a_table_that_is_refused(tmp_path):
    def never():
        raise AssertionError("a key was made for a table that is refused")

    with pytest.raises(DataError):
        foreign_predictions.read(_csv(tmp_path, "patient_id,label,score\na,x,.5\n"), never)


@pytest.mark.parametrize("image_ids", [True, False])
def test_names_and_words_do_not_depend_on_the_order_of_rows(tmp_path, image_ids):
    header = "patient_id,label,score,ward" + ",image_id" * image_ids
    rows = [f"p{n % 5},{n % 2},{n / 10},w{n % 5}" + f",i{n}" * image_ids for n in range(10)]
    mixed = random.Random(0).sample(rows, len(rows))
    one, two = (
        foreign(_csv(tmp_path, "\n".join([header, *order]) + "\n"), columns=("ward",))
        for order in (rows, mixed)
    )
    assert one.words == two.words
    key = [("patient_key", "ascending"), ("image_id", "ascending")]
    assert one.table.sort_by(key).equals(two.table.sort_by(key))


def test_no_id_shows_in_what_is_kept(tmp_path):
    found = foreign(_csv(tmp_path, "patient_id,image_id,label,score\nDOE^JANE,/scans/d.dcm,1,.5\n"))
    assert "DOE" not in repr(found) + str(found.table.to_pylist()) + str(found.words)
    assert "scans" not in repr(found) + str(found.table.to_pylist()) + str(found.words)


# --- columns that make groups ----------------------------------------------------------------


def test_words_are_those_of_columns_that_were_asked_for(tmp_path):
    text = "patient_id,label,score,ward,name\na,1,.5, east ,DOE\nb,0,.5,nan,ROE\n"
    found = foreign(_csv(tmp_path, text), columns=("ward", "absent"))
    images = found.table["image_id"].to_pylist()
    assert found.words == {"ward": {images[0]: "east", images[1]: None}}


def test_parquet_has_words_too(tmp_path):
    path = tmp_path / "other.parquet"
    columns = {"patient_id": ["a", "b"], "label": [1, 0], "score": [0.5, 0.1], "ward": ["e", None]}
    pq.write_table(pa.table(columns), path)
    assert list(foreign(path, columns=("ward",)).words["ward"].values()) == ["e", None]


def test_a_column_of_many_values_makes_no_groups(tmp_path):
    def text(n):
        rows = "".join(f"p{k},1,.5,{40 + k}\n" for k in range(n))
        return f"patient_id,label,score,age\n{rows}"

    assert len(foreign(_csv(tmp_path, text(20)), columns=("age",)).words["age"]) == 20
    with pytest.raises(DataError, match="'age' has 21 different values, and at most 20") as caught:
        read(_csv(tmp_path, text(21)), columns=("age",))
    assert "bands" in caught.value.fix


def test_a_text_is_no_word(tmp_path):
    path = _csv(tmp_path, f"patient_id,label,score,note\na,1,.5,{'DOE ' * 20}\n")
    with pytest.raises(DataError, match=":2: note: a text, not a word") as caught:
        read(path, columns=("note",))
    assert "DOE" not in str(caught.value)


def test_an_image_has_one_word(tmp_path):
    text = "patient_id,image_id,repeat,label,score,sex\na,i,0,1,.5,F\na,i,1,1,.5,M\n"
    with pytest.raises(DataError, match="an image has two values in the column 'sex'"):
        read(_csv(tmp_path, text), columns=("sex",))


# --- what a report shows of a table ----------------------------------------------------------


@pytest.mark.parametrize("columns", [(), ("ward",)])
def test_a_text_in_place_of_a_site_is_refused_whatever_was_asked_for(tmp_path, columns):
    text = f"patient_id,label,score,site\na,1,.5,north\nb,0,.5,{'DOE JANE 1970 ' * 4}\n"
    with pytest.raises(DataError, match=":3: site: a text, not a word") as caught:
        read(_csv(tmp_path, text), columns=columns)
    assert caught.value.fix.endswith("recode a text as words, or leave its column out")
    assert "DOE" not in str(caught.value)


def test_many_sites_are_texts_of_which_each_is_short(tmp_path):
    def text(n):
        rows = "".join(f"p{k},{k % 2},.5,DOE {k}\n" for k in range(n))
        return f"patient_id,label,score,site\n{rows}"

    assert len(set(read(_csv(tmp_path, text(20)))["site"].to_pylist())) == 20
    with pytest.raises(DataError, match="'site' has 21 different values, and at most 20") as caught:
        read(_csv(tmp_path, text(21)))
    assert caught.value.fix == "recode it, or leave the column out of the table"
    assert "DOE" not in str(caught.value)


def test_an_image_has_one_site_and_may_lack_it_in_a_row(tmp_path):
    text = "patient_id,image_id,repeat,label,score,site\na,i,0,1,.5,{}\na,i,1,1,.5,{}\n"
    assert read(_csv(tmp_path, text.format("north", "NaN")))["site"].to_pylist() == ["north", None]
    with pytest.raises(DataError, match="an image has two values in the column 'site'"):
        read(_csv(tmp_path, text.format("north", "south")))


def _parquet(tmp_path, **columns):
    path = tmp_path / "other.parquet"
    plain = {"patient_id": ["a", "b"], "label": [1, 0], "score": [0.5, 0.1]}
    pq.write_table(pa.table({**plain, **columns}), path)
    return path


@pytest.mark.parametrize(
    "cells",
    [
        [{"name": "DOE"}, None],
        [["DOE"], []],
        [b"DOE", b"ROE"],
        pa.array([0, 1], pa.date32()),  # of birth
        pa.array([0, 1], pa.timestamp("s")),
    ],
)
@pytest.mark.parametrize("column", ["patient_id", "site", "ward"])
def test_cells_of_parquet_are_texts_or_numbers(tmp_path, column, cells):
    path = _parquet(tmp_path, **{column: cells})
    with pytest.raises(DataError, match=f"'{column}' holds neither text nor numbers") as caught:
        read(path, columns=("ward",))
    assert "DOE" not in str(caught.value)


def test_categories_and_empty_columns_of_parquet_are_read(tmp_path):
    path = _parquet(tmp_path, site=pa.array(["n", "s"]).dictionary_encode(), fold=pa.nulls(2))
    assert read(path)["site"].to_pylist() == ["n", "s"]
    assert read(path)["fold"].null_count == 2


@pytest.mark.parametrize("column", ["patient_id", "site"])
def test_text_of_parquet_that_is_not_utf_8_is_refused(tmp_path, column):
    ends = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 4, 8)))
    text = pa.Array.from_buffers(pa.string(), 2, [None, ends, pa.py_buffer(b"M\xfcllB\xe4r ")])
    with pytest.raises(DataError, match="holds text that is not UTF-8"):
        read(_parquet(tmp_path, **{column: text}))


@pytest.mark.parametrize("column", ["fold", "repeat"])
@pytest.mark.parametrize("value", ["99999999999999999999", "3000000000", "2147483648", "1e18"])
def test_folds_and_repeats_fit_their_columns(tmp_path, column, value):
    path = _csv(tmp_path, f"patient_id,label,score,{column}\na,1,0.5,2147483647\n")
    assert read(path)[column].to_pylist() == [2**31 - 1]
    path = _csv(tmp_path, f"patient_id,label,score,{column}\na,1,0.5,{value}\n")
    with pytest.raises(DataError, match=f":2: {column}: not a whole number from 0 to 2147483647"):
        read(path)
    path = _parquet(tmp_path, **{column: [0.0, float(value)]})
    with pytest.raises(DataError, match=f":2: {column}: not a whole number from 0 to 2147483647"):
        read(path)


@pytest.mark.parametrize("kind", [None, "regression"])
def test_numbers_whose_powers_cannot_be_computed_are_refused(tmp_path, kind):
    assert np.isfinite(foreign_predictions.LARGEST**4 * 1e6)  # of a million rows
    path = _csv(tmp_path, "patient_id,label,score\na,1,-1e50\nb,0,2e50\n")
    with pytest.raises(DataError, match=re.escape(":3: score: beyond 1e+50")):
        read(path, kind=kind)
    path = _csv(tmp_path, "patient_id,label,score\na,-1e200,0\n")
    with pytest.raises(DataError, match=re.escape(":2: label: beyond 1e+50")):
        read(path, kind="regression")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_than_commas_are_named(tmp_path, separator):
    text = "patient_id,label,score\na,1,DOE\n".replace(",", separator)
    with pytest.raises(DataError, match="not separated by commas") as caught:
        read(_csv(tmp_path, text))
    assert "points in decimals" in caught.value.fix
    assert "DOE" not in str(caught.value)


def test_a_decimal_comma_is_called_so(tmp_path):
    with pytest.raises(DataError, match=":2: score: not a number, as a decimal comma is none"):
        read(_csv(tmp_path, 'patient_id,label,score\na,1,"0,5"\n'))


@pytest.mark.parametrize("header", ["patient_id,label,score ", "patient_id,label,Score"])
def test_a_column_that_is_nearly_there_is_called_so(tmp_path, header):
    with pytest.raises(DataError, match="lacks the column 'score', but has it with a space or in"):
        read(_csv(tmp_path, f"{header}\na,1,.5\n"))


@pytest.mark.parametrize("name", ["c ", "DOE " * 20 + "x", "DOE\u2028JANE"])
def test_a_class_is_a_word(tmp_path, name):
    text = f"patient_id,label,score_a,score_b,score_{name}\na,a,1,0,0\n"
    with pytest.raises(DataError, match="a text in place of a class") as caught:
        read(_csv(tmp_path, text))
    assert "DOE" not in caught.value.problem + caught.value.fix


def test_the_tables_of_the_how_to_read(repository, tmp_path):
    page = repository / "docs" / "how-to" / "judge-any-predictions.md"
    shown = re.findall(r"```csv\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [foreign(_csv(tmp_path, text), columns=("sex", "age_band")) for text in shown]
    assert [one.task.kind for one in found] == ["binary", "multi_class", "multi_label"]
    assert set(found[0].words["age_band"].values()) == {"50-59", "60-69"}
    ordered = foreign(_csv(tmp_path, shown[1]), kind="ordinal").task
    assert ordered.classes == ("none", "mild", "severe")
