import re
from collections import Counter
from pathlib import Path

from medssl.artifacts.quarantine import QUARANTINE
from medssl.ingestion import flags
from medssl.ingestion.codes import FIXES, MEANINGS, NO_IMAGES, STEPS, TITLES, Code

STAGES = {"sniff", "header", "group", "geometry", "decode"}


def page(repository: Path) -> str:
    return (repository / "docs" / "reference" / "quarantine-codes.md").read_text(encoding="utf-8")


def test_every_code_has_a_meaning_of_one_sentence():
    assert set(MEANINGS) == set(Code)
    for meaning in MEANINGS.values():
        assert re.fullmatch(r"[A-Z].*\.", meaning)


def test_every_code_has_a_title_of_its_own_and_its_steps():
    assert set(TITLES) == set(STEPS) == set(Code)
    assert len(set(TITLES.values())) == len(Code)
    assert max(map(len, TITLES.values())) < 36  # what fits into a box of the flow
    assert {step for steps in STEPS.values() for step in steps} == STAGES
    assert "stage" in QUARANTINE.names


def test_a_fix_continues_a_sentence():
    for fix in FIXES.values():
        assert re.fullmatch(r"[`a-z].*[^.]", fix)
        assert fix.count("`") % 2 == 0
    assert set(FIXES).isdisjoint(NO_IMAGES - {Code.SKIPPED_LINK})


def test_what_is_no_image_is_skipped():
    assert all(code.is_skip for code in NO_IMAGES)
    assert Code.SKIPPED_DUPLICATE not in NO_IMAGES
    assert Code.SKIPPED_LOCALIZER not in NO_IMAGES


def test_the_reference_page_lists_every_code_once_with_its_steps_and_meaning(repository: Path):
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page(repository), re.MULTILINE
    )
    assert Counter(name for name, *_ in rows) == Counter(code.value for code in Code)
    for name, steps, meaning, told in rows:
        code = Code(name)
        assert (steps, meaning) == (", ".join(STEPS[code]), MEANINGS[code])
        assert (told == "–") is (code not in FIXES)


def test_the_reference_page_puts_codes_where_they_count(repository: Path):
    parts = re.split(r"^## ", page(repository), flags=re.MULTILINE)
    codes = {
        part.partition("\n")[0]: set(re.findall(r"^\| `([A-Z_]+)`", part, re.M)) for part in parts
    }
    assert codes["Not images"] == {code.value for code in NO_IMAGES}
    assert codes["Rejected"] == {code.value for code in Code if not code.is_skip}
    assert codes["Images left out by design"] == {
        code.value for code in Code if code.is_skip and code not in NO_IMAGES
    }


def test_the_reference_page_lists_every_flag(repository: Path):
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|$", page(repository), re.MULTILINE)
    assert dict(rows) == flags.MEANINGS
    for meaning in flags.MEANINGS.values():
        assert re.fullmatch(r"[A-Z].*\.", meaning)


def test_every_flag_with_a_meaning_is_set_somewhere(repository: Path):
    places = {"flags.py", "advice.py", "accounting.py"}  # where flags are read, not set
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (repository / "medssl").rglob("*.py")
        if path.name not in places
    )
    assert {flag for flag in flags.MEANINGS if f'"{flag}"' not in source} == set()


def test_only_codes_of_what_is_no_image_are_skips():
    assert Code.SKIPPED_TEXT.is_skip
    assert not Code.NO_DECODER.is_skip
