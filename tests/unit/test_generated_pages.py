import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from medssl.artifacts import report


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
        assert f"{name} is not current: run `python docs/generate.py`" in told
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


def test_the_sample_report_is_drawn_from_its_record_with_its_own_pictures(generate, repository):
    sample = repository / "docs" / "sample-report"
    pages = generate.sample_pages()
    assert set(pages) == {sample / "report.html", sample / "model_card.md"}
    kept = (sample / "report.html").read_text(encoding="utf-8")
    assert pages[sample / "report.html"] == kept
    record = report.read(sample)
    assert kept.count("<img ") == 2 * len(record["saliency"]["maps"]) + 1
    assert "Synthetic cohort" in record["cautions"][0]
    assert not re.search(r"(/tmp|/home|/root|/work|Users)/", json.dumps(record))
