from pathlib import Path

import pytest

from medssl.foundation.errors import DataError
from medssl.ingestion import labels
from medssl.ingestion.labels import Names


def table(folder: Path, text: str, encoding="utf-8") -> labels.Table:
    (folder / "labels.csv").write_bytes(text.encode(encoding))
    return labels.read(folder / "labels.csv")


def files(folder: Path, *names: str, **more: str) -> list[Names]:
    return [Names(path=folder / name, **more) for name in names]


def join(found, named, kind=None, column=None, targets=()):
    return labels.join(found, named, kind=kind, column=column, targets=targets)


def test_cells_are_read_with_or_without_byte_order_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        found = table(tmp_path, 'image,label\r\n"a,b.png", 1 \r\n', encoding)
        assert found.columns == ("image", "label")
        assert [dict(row) for row in found.rows] == [{"image": "a,b.png", "label": "1"}]
        assert found.lines == (2,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header line"),
        ("a,b\n1,2,3\n", r"labels.csv:2: the row has more cells"),
        ("a,b\n1,2\n3\n", r"labels.csv:3: the row has fewer cells"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ('a,b\n"1,2\n', "not a CSV file"),
    ],
)
def test_a_damaged_table_is_refused_where_it_is_damaged(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, text)


def test_a_table_of_another_encoding_is_refused(tmp_path):
    with pytest.raises(DataError, match="not UTF-8"):
        table(tmp_path, "größe\n", "latin-1")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent.csv: no such label table"):
        labels.read(tmp_path / "absent.csv")


def test_the_target_is_label_unless_told(tmp_path):
    found = table(tmp_path, "image,label,grade\na,1,2\n")
    assert labels.targets(found, (), required=True) == ("label",)
    assert labels.targets(found, ("grade",), required=True) == ("grade",)
    with pytest.raises(DataError, match=r"(?s)no column 'grad'.*did you mean 'grade'"):
        labels.targets(found, ("grad",), required=True)


def test_a_table_without_label_is_refused_only_where_it_was_asked_for(tmp_path):
    found = table(tmp_path, "image,diagnosis\na,1\n")
    assert labels.targets(found, (), required=False) == ()
    with pytest.raises(DataError, match=r"(?s)no column 'label'.*image, diagnosis"):
        labels.targets(found, (), required=True)


def test_paths_are_relative_to_the_table(tmp_path):
    found = table(tmp_path, "image,label\nx/../a.png,1\nsub/b.png,0\n")
    joined = join(found, files(tmp_path, "a.png", "sub/b.png", "sub/c.png"))
    assert (joined.kind, joined.column, joined.n_matched) == ("path", "image", 2)
    assert [row and row["label"] for row in joined.rows] == ["1", "0", None]


def test_a_path_may_name_a_folder_and_a_file_goes_before_it(tmp_path):
    found = table(tmp_path, "where,label\nsub,0\nsub/b.png,1\n")
    named = files(tmp_path, "sub/a.png", "sub/b.png", "sub/deep/c.png")
    joined = join(found, named, kind="path")
    assert [row["label"] for row in joined.rows] == ["0", "1", "0"]


SITES = "name,site,label\na,north,1\nz,south,0\n"


def test_a_word_that_is_also_a_folder_is_no_path_unless_the_user_says_so(tmp_path):
    found = table(tmp_path, SITES)
    named = files(tmp_path, "north/a.png", "north/b.png", "south/c.png")
    joined = join(found, named, targets=["label"])
    assert (joined.kind, joined.column) == ("stem", "name")
    assert [row and row["label"] for row in joined.rows] == ["1", None, None]
    for chosen in ({"kind": "path"}, {"column": "site"}):
        joined = join(found, named, targets=["label"], **chosen)
        assert (joined.kind, joined.column) == ("path", "site")
        assert [row["label"] for row in joined.rows] == ["1", "1", "0"]


def test_what_was_found_and_then_is_given_finds_the_same(tmp_path):
    found = table(tmp_path, "where,label\na.png,1\nsub,0\n")
    named = files(tmp_path, "a.png", "sub/b.png")
    first = join(found, named, targets=["label"])
    assert [row["label"] for row in first.rows] == ["1", "0"]
    assert join(found, named, kind=first.kind, column=first.column, targets=["label"]) == first


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("0001.png", "deep/0001.png"), ("0001", "deep/0001.png"), ("1.2.840.77", "x/1.2.840.77"),
        ("a.nii.gz", "a.nii.gz"), ("a", "a.nii.gz"), (".hidden", ".hidden"),
    ],
)  # fmt: skip
def test_a_file_may_be_called_with_or_without_its_suffix(tmp_path, cell, name):
    found = table(tmp_path, f"id,label\n{cell},1\n")
    joined = join(found, files(tmp_path / "images", name, "other"))
    assert (joined.kind, joined.n_matched) == ("stem", 1)


def test_the_last_number_of_a_uid_is_no_suffix(tmp_path):
    found = table(tmp_path, "id,label\n1.2,1\n")
    assert join(found, files(tmp_path / "images", "1.2.3")) is None


def test_stems_match_whatever_folder_and_suffix(tmp_path):
    found = table(tmp_path, "id,label\na,1\nb,0\nz,0\n")
    joined = join(found, files(tmp_path / "other", "a.nii.gz", "deep/b.dcm"))
    assert (joined.kind, joined.n_matched, joined.unmatched) == ("stem", 2, (2,))


@pytest.mark.parametrize("kind", ["patient", "study", "series"])
def test_tags_match(tmp_path, kind):
    found = table(tmp_path, "uid,label\nA,1\nB,0\n")
    named = [Names(path=tmp_path / "1", **{kind: "A"}), Names(path=tmp_path / "2")]
    joined = join(found, named, targets=["label"])  # a label is no key: no file is "1" by it
    assert joined.kind == kind
    assert [row and row["label"] for row in joined.rows] == ["1", None]


def test_the_pair_that_finds_most_rows_wins(tmp_path):
    found = table(tmp_path, "image,patient_id,label\na.png,P,1\nb.png,P,0\n")
    named = files(tmp_path, "a.png", "b.png", "c.png", patient="P")
    joined = join(found, named)
    assert (joined.kind, joined.column) == ("path", "image")
    assert joined.rows[2] is None


def test_the_user_can_choose(tmp_path):
    found = table(tmp_path, "image,patient_id,grade\na.png,P,1\nb.png,P,1\n")
    named = files(tmp_path, "a.png", "c.png", patient="P")
    joined = join(found, named, kind="patient", column="patient_id", targets=["grade"])
    assert [row["grade"] for row in joined.rows] == ["1", "1"]


def test_several_rows_for_one_file_must_agree_about_labels_only(tmp_path):
    found = table(tmp_path, "patient_id,view,label\nP,AP,1\nP,PA,1\nQ,AP,0\nQ,AP,1\n")
    named = files(tmp_path, "x", patient="P")
    joined = join(found, named, kind="patient", targets=["label"])
    assert joined.rows[0] == {"patient_id": "P", "view": "", "label": "1"}
    with pytest.raises(DataError, match=r"lines 4 and 5 name the same files .* 'label'") as caught:
        join(found, files(tmp_path, "x", patient="Q"), kind="patient", targets=["label"])
    assert "Q" not in str(caught.value)


def test_a_table_that_names_no_file_is_told(tmp_path):
    found = table(tmp_path, "image,label\nz.png,1\n,0\n")
    assert join(found, files(tmp_path, "a.png")) is None
    assert "--key-column" in labels.no_match(found).fix


def test_empty_cells_match_nothing(tmp_path):
    found = table(tmp_path, "patient_id,label\n,1\nP,0\n")
    joined = join(found, [Names(path=tmp_path / "a"), Names(path=tmp_path / "b", patient="P")])
    assert [row and row["label"] for row in joined.rows] == [None, "0"]
    assert joined.unmatched == (0,)
