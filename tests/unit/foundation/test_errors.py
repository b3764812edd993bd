"""Failures read as `where: problem`, then the fix, and end in distinct exit codes."""

import ast

import pytest

from medssl.foundation import errors

CLASSES = errors.MedSSLError.__subclasses__()


@pytest.mark.parametrize(
    ("where", "fix", "text"),
    [
        ("", "", "no archive"),
        ("scans", "", "scans: no archive"),
        ("", "run it", "no archive\n  fix: run it"),
        ("scans", "run it", "scans: no archive\n  fix: run it"),
    ],
)
def test_message_is_where_problem_fix(where, fix, text):
    assert str(errors.ArtifactError("no archive", where=where, fix=fix)) == text


def test_every_class_has_its_own_documented_code():
    codes = [kind.exit_code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert set(codes) == {2, 3, 4, 5, 6, 7, 8, 9, 75}
    assert errors.Stopped.exit_code == 130


@pytest.mark.parametrize("kind", [*CLASSES, errors.Stopped])
def test_the_drawing_at_the_top_of_the_module_is_right(kind):
    assert errors.__doc__
    (line,) = [line for line in errors.__doc__.splitlines() if f"─ {kind.__name__} " in line]
    assert int(line.split()[2]) == kind.exit_code


def test_every_failure_that_is_raised_says_how_to_fix_it(repository):
    """Read from the source, as many can hardly be provoked."""
    names = {kind.__name__ for kind in (*CLASSES, errors.Stopped)}
    found = 0
    for path in (repository / "medssl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                place = f"{path.name}:{node.lineno}"
                assert "fix" in {word.arg for word in node.keywords}, place
                found += 1
    assert found > 150
