"""JSON records read back equal, are valid JSON for everyone, and refuse what they are not."""

import json
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.artifacts import records
from medssl.foundation.errors import ArtifactError, ResourceError

SCHEMA = "medssl.example/2"
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.text(max_size=3)
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


plain = st.recursive(leaves, nested, max_leaves=8)


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str
    sites: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


@given(record=st.dictionaries(st.text(max_size=5).filter(lambda k: k != "schema"), plain))
def test_what_is_written_is_read(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("records") / "a.json"
    records.write(path, SCHEMA, record)
    assert records.read(path, SCHEMA) == record


def test_the_schema_is_the_first_key(tmp_path):
    records.write(tmp_path / "a.json", SCHEMA, {"a": 1})
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["schema", "a"]


def test_what_json_has_no_word_for_becomes_null(tmp_path):
    values = {"x": math.nan, "y": [math.inf, (-math.inf, 1.5)], "z": {3: math.nan}}
    records.write(tmp_path / "a.json", SCHEMA, values)

    def refuse(word: str) -> None:
        raise ValueError(word)

    strict = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert strict == {"schema": SCHEMA, "x": None, "y": [None, [None, 1.5]], "z": {"3": None}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a JSON file"),
        (b'{"schema": "medssl.ex', "not a JSON file"),
        (b"\xff\xfe\x00", "not a JSON file"),
        (b"[1, 2]", "not a JSON object"),
        (b"{}", "expected medssl.example/2, found no schema"),
        (b'{"schema": "medssl.other/2"}', "expected medssl.example/2, found medssl.other/2"),
        (b'{"schema": "medssl.example/two"}', "expected medssl.example/2, found"),
        (b'{"schema": 2}', "expected medssl.example/2, found 2"),
        (
            b'{"schema": "medssl.example/3"}',
            "written by a newer medssl: it has medssl.example/3, "
            "this version reads up to medssl.example/2",
        ),
    ],
)
def test_a_damaged_or_foreign_record_is_refused(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        records.read(path, SCHEMA)
    assert caught.value.where == str(path)
    assert caught.value.exit_code == 4


def test_an_absent_record_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        records.read(tmp_path / "a.json", SCHEMA)


def test_a_newer_record_says_what_to_do(tmp_path):
    records.write(tmp_path / "a.json", "medssl.example/10", {})
    with pytest.raises(ArtifactError, match="newer medssl") as caught:
        records.read(tmp_path / "a.json", SCHEMA)
    assert caught.value.fix == "upgrade medssl"


def test_a_record_becomes_its_dataclass_with_tuples_for_lists(tmp_path):
    path = tmp_path / "a.json"
    records.write(path, SCHEMA, {"name": "a", "sites": ["n", "s"], "surplus": 1})
    assert records.read_as(Example, path, SCHEMA) == Example(name="a", sites=("n", "s"))


def test_a_record_that_lacks_a_key_is_refused(tmp_path):
    path = tmp_path / "a.json"
    records.write(path, SCHEMA, {"sites": []})
    with pytest.raises(ArtifactError, match="lacks the keys name") as caught:
        records.read_as(Example, path, SCHEMA)
    assert caught.value.where == str(path)


def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    records.write(path, SCHEMA, {"a": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        records.write(path, SCHEMA, {"a": 2})
    assert records.read(path, SCHEMA) == {"a": 1}
