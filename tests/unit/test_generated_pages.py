import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture
def generate(repository: Path):
    spec = importlib.util.spec_from_file_location("generate", repository / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_stale_page_is_noticed_and_rewritten(generate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    told = capsys.readouterr().err
    for name in ("cli.md", "plugins.md", "quarantine-codes.md"):
        assert f"{name} is not current: run `make docs`" in told
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 0

    page = tmp_path / "quarantine-codes.md"
    page.write_text(page.read_text() + "\nA line by hand.\n")
    assert generate.main() == 1


def test_the_page_of_codes_is_that_of_the_program(generate, repository):
    page = repository / "docs" / "reference" / "quarantine-codes.md"
    assert page.read_text(encoding="utf-8") == generate.quarantine_page()
