import re
from pathlib import Path

from medssl.ingestion.codes import MEANINGS, Code


def test_every_code_has_a_meaning_of_one_sentence():
    assert set(MEANINGS) == set(Code)
    for meaning in MEANINGS.values():
        assert re.fullmatch(r"[A-Z].*\.", meaning)


def test_the_reference_page_lists_the_same_codes_and_meanings(repository: Path):
    page = (repository / "docs" / "reference" / "quarantine-codes.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", page, flags=re.MULTILINE))
    assert listed == {code.value: meaning for code, meaning in MEANINGS.items()}


def test_the_reference_page_lists_every_flag_the_code_sets(repository: Path):
    page = (repository / "docs" / "reference" / "quarantine-codes.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE))
    source = "".join(
        path.read_text(encoding="utf-8") for path in (repository / "medssl").rglob("*.py")
    )
    assert {flag for flag in listed if f'"{flag}"' not in source} == set()


def test_only_codes_of_what_is_no_image_are_skips():
    assert Code.SKIPPED_TEXT.is_skip
    assert not Code.NO_DECODER.is_skip
