"""The list of probable aliases: written for a person, read as a person left it."""

import csv
import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.artifacts import aliases
from medssl.artifacts.aliases import Alias
from medssl.foundation.errors import ArtifactError, DataError


def alias(one, other, **changes):
    facts = {
        "patient_key": one,
        "other_patient_key": other,
        "n_pairs": 2,
        "similarity": 0.984375,
        "metric": "dhash",
        "image_id": f"image-of-{one}",
        "other_image_id": f"image-of-{other}",
        "kind": "alias",
    }
    return Alias(**(facts | changes))


THREE = (
    alias("ann", "bob"),
    alias("ann", "cid", similarity=0.1 + 0.2, n_pairs=1),
    alias("cid", "dan", kind="shared", similarity=1.0),
)


def table(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_what_is_written_reads_back_aliases_first_and_the_most_similar_first(tmp_path):
    aliases.write(tmp_path, [THREE[2], THREE[1], THREE[0]])
    assert aliases.read(tmp_path / "probable_alias.csv") == THREE
    with (tmp_path / "probable_alias.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[1] == {name: str(value) for name, value in dataclasses.asdict(THREE[1]).items()}


def test_a_list_of_nobody_is_a_list(tmp_path):
    aliases.write(tmp_path, [])
    assert aliases.read(tmp_path / "probable_alias.csv") == ()


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "a,b", "Jane Doe", ""])
def test_only_keys_are_written(tmp_path, text):
    """Nothing that a spreadsheet would run, and no text of a file."""
    with pytest.raises(AssertionError):
        aliases.write(tmp_path, [alias("ann", text)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("separator", "comma", "end", "start"),
    [(";", ",", "\r\n", "\ufeff"), ("\t", ".", "\n", ""), (",", ".", "\r\n", "\ufeff")],
)
def test_a_spreadsheet_may_have_saved_it(tmp_path, separator, comma, end, start):
    """Semicolons and decimal commas, a byte order mark, and an empty row left of a deleted one."""
    lines = [aliases.COLUMNS, *(dataclasses.astuple(row) for row in THREE[:2]), [""] * 8]
    texts = [
        separator.join(
            str(cell).replace(".", comma) if isinstance(cell, float) else str(cell)
            for cell in cells
        )
        for cells in lines
    ]
    path = table(tmp_path, start + end.join(texts) + end)
    assert aliases.read(path) == THREE[:2]


def test_columns_may_be_moved_and_added(tmp_path):
    names = ["note", *reversed(aliases.COLUMNS)]
    cells = ["seen by me", *(str(getattr(THREE[0], name)) for name in reversed(aliases.COLUMNS))]
    assert aliases.read(table(tmp_path, f"{','.join(names)}\n{','.join(cells)}\n")) == THREE[:1]


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("patient_key", "Jane Doe", "line 2: patient_key: not a key"),
        ("other_image_id", "=1+1", "line 2: other_image_id: not a key"),
        ("kind", "Jane", "line 2: kind: not alias or shared"),
        ("n_pairs", "-1", "line 2: n_pairs: not a whole number"),
        ("similarity", "Jane", "line 2: similarity: not a number from 0 to 1"),
        ("similarity", "nan", "line 2: similarity: not a number from 0 to 1"),
        ("similarity", "1.5", "line 2: similarity: not a number from 0 to 1"),
        ("other_patient_key", "ann", "line 2: the same patient twice"),
        ("kind", "alias,Jane", "line 2: not as long as the header"),
    ],
)
def test_a_wrong_cell_is_named_and_not_repeated(tmp_path, column, cell, message):
    cells = {name: str(value) for name, value in dataclasses.asdict(THREE[0]).items()}
    text = f"{','.join(cells)}\n{','.join((cells | {column: cell}).values())}\n"
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        aliases.read(table(tmp_path, text))
    assert "Jane" not in str(caught.value)


def test_many_wrong_rows_are_said_at_once_and_in_short(tmp_path):
    cells = ",".join(str(cell) for cell in dataclasses.astuple(THREE[0])[:-1])
    text = f"{','.join(aliases.COLUMNS)}\n" + f"{cells},no\n" * 9
    with pytest.raises(DataError, match=r"line 2: kind.*; line 6: kind.*; and 4 more"):
        aliases.read(table(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column 'patient_key'"),
        ("patient_key,other_patient_key,kind\n", "lacks the column 'n_pairs'"),
        (",".join((*aliases.COLUMNS, "kind")), "has 2 columns 'kind'"),
        ('"never closed', "not a readable CSV file"),
    ],
)
def test_another_table_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        aliases.read(table(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a readable CSV file"):
        aliases.read(path)


def test_a_run_that_did_not_look_or_is_none_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        aliases.path_of(tmp_path / "absent.csv")
    with pytest.raises(ArtifactError, match="no run"):
        aliases.path_of(tmp_path)


def test_one_person_carries_over_and_goes_by_the_smallest_key():
    found = aliases.groups([alias("d", "c"), alias("b", "e"), alias("c", "b"), alias("y", "x")])
    assert found == {**dict.fromkeys("bcde", "b"), "x": "x", "y": "x"}


def test_what_many_share_joins_nobody_unless_asked():
    assert aliases.groups(THREE) == {"ann": "ann", "bob": "ann", "cid": "ann"}
    assert aliases.groups(THREE, kinds=aliases.KINDS) == dict.fromkeys(
        ("ann", "bob", "cid", "dan"), "ann"
    )


@given(st.lists(st.tuples(st.integers(10, 30), st.integers(10, 30)), max_size=25))
def test_groups_are_what_can_be_reached(pairs):
    """Against a walk over the graph from every key."""
    found = aliases.groups([alias(f"k{a}", f"k{b}") for a, b in pairs])
    beside = {}
    for a, b in pairs:
        beside.setdefault(f"k{a}", set()).add(f"k{b}")
        beside.setdefault(f"k{b}", set()).add(f"k{a}")
    assert found.keys() == beside.keys()
    for key, group in found.items():
        seen, todo = set(), [key]
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += beside[here]
        assert group == min(seen)
