"""A table of folds is read as any spreadsheet saved it, and never repeated in a message."""

import pytest

from medssl.artifacts import split_tables
from medssl.foundation.errors import DataError


def _read(folder, text):
    path = folder / "splits.csv"
    path.write_text(text, encoding="utf-8")
    return split_tables.read(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_are_read(tmp_path, separator):
    text = "\ufefffold,name,repeat,patient_id\n2,Smith,0, 007 \n,Jones,1,008\n\n".replace(
        ",", separator
    )
    table = _read(tmp_path, text)
    assert not table.keyed
    assert table.rows == (
        split_tables.Row(line=2, patient="007", repeat=0, fold=2),
        split_tables.Row(line=3, patient="008", repeat=1, fold=None),
    )


def test_words_stand_for_one_fold(tmp_path):
    table = _read(tmp_path, "patient_key,fold\na,train\nb,Test\nc,\n")
    assert table.keyed
    assert [row.fold for row in table.rows] == [None, 0, None]
    assert {row.repeat for row in table.rows} == {0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "lacks a column patient_id or patient_key"),
        ("patient,fold\na,1\n", "lacks a column patient_id or patient_key"),
        ("patient_id,split\na,1\n", "lacks the column 'fold'"),
        ("patient_id,patient_key,fold\na,b,1\n", "has both patient_id and patient_key"),
        ("patient_id,fold,fold\na,1,1\n", "has 2 columns 'fold'"),
        ("patient_id,fold\nMeier,val\n", "line 2: fold: not a whole number from 0, nor train or"),
        ("patient_id,fold\nMeier,-1\n", "line 2: fold: not a whole number"),
        ("patient_id,fold,repeat\nMeier,1,x\n", "line 2: repeat: not a whole number from 0"),
        ("patient_id,fold\n,1\nMeier,1,2\n", "line 2: patient_id: empty; line 3: not as long as"),
        ("patient_id,fold\n" + "Meier,?\n" * 8, "; and 3 more"),
        ("patient_id,fold\nMeier,\nMeier2,train\n", "nobody has a fold to be tested in"),
        ("patient_id,fold\nMeier,test\nMeier2,1\n", "has both numbers and the words"),
        ('patient_id,fold\n"Meier,1\n', "not a readable CSV file"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, problem):
    with pytest.raises(DataError, match=problem) as caught:
        _read(tmp_path, text)
    assert caught.value.fix
    assert str(tmp_path / "splits.csv") in caught.value.where
    assert "Meier" not in str(caught.value)


def test_a_binary_file_and_an_absent_one_are_refused(tmp_path):
    (tmp_path / "splits.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a readable CSV file"):
        split_tables.read(tmp_path / "splits.csv")
    with pytest.raises(DataError, match="no such file"):
        split_tables.read(tmp_path / "none.csv")
