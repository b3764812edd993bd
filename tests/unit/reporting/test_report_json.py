"""The page on `report.json` names every key a report has, and no key it has not."""

import re
from fnmatch import fnmatchcase

import pytest

from medssl.artifacts import report as artifact

KINDS = ("report", "foreign_report", "amounts_report")
TYPES = {
    "text": str, "number": (int, float), "whole number": int, "true or false": bool,
    "object": dict, "null": type(None), "any": object,
}  # fmt: skip


@pytest.fixture(scope="module")
def documented(repository):
    text = (repository / "docs" / "reference" / "report-json.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| [^|]+ \|$", text, flags=re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


@pytest.fixture(scope="module", params=KINDS)
def record(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    artifact.write(folder, request.getfixturevalue(request.param))
    return {"schema": artifact.SCHEMA} | artifact.read(folder)


def leaves(value, path=""):
    """Yield every path with its value; what is empty has no keys to tell of."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def match(documented, path):
    if path in documented:
        return path
    plain = path.replace("[]", "()")  # brackets are patterns
    return next((p for p in documented if fnmatchcase(plain, p.replace("[]", "()"))), None)


def test_every_key_is_told_with_its_type(documented, record):
    for path, value in leaves(record):
        told = match(documented, path)
        if told is None:
            assert value == {}, path
            assert any(name.startswith(path) for name in documented), path
            continue
        words = documented[told].replace(", ", " or ").split(" or ")
        if "true" in words:
            words = [word for word in words if word not in ("true", "false")] + ["true or false"]
        assert isinstance(value, tuple(_kinds(words))), (path, value)


def _kinds(words):
    for word in words:
        kinds = TYPES[word]
        yield from kinds if isinstance(kinds, tuple) else (kinds,)


def test_every_section_that_is_told_is_in_a_report(documented, record):
    told = {re.split(r"[.\[]", path)[0] for path in documented}
    assert told == set(record)
