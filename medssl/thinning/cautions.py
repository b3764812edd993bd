"""What about a selection needs somebody's attention: one sentence each, and what to do about it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medssl.artifacts import aliases, selection
from medssl.foundation.wording import counted, verb

Record = Mapping[str, Any]
Caution = dict[str, str]  # about, text, fix

MOST_STRATA = 6  # named in one sentence
_WORDS = {"body_part": "body part", "age_band": "age"}


def find(record: Record) -> list[Caution]:
    """Return what a reader should act on, the gravest first.

    Args:
        record: Of `accounting.compose`, complete but for the cautions.
    """
    return [caution for check in _CHECKS for caution in check(record)]


def name_of(stratum: Record) -> str:
    """Return what a stratum is called in a sentence.

    >>> name_of({"column": "label", "target": "finding", "value": None, "n_values": 1})
    'finding unlabelled'
    >>> name_of({"column": "age_band", "target": None, "value": "60-69", "n_values": 1})
    'age 60-69'
    """
    is_label = stratum["column"] == "label"
    column = stratum["target"] if is_label else _WORDS.get(stratum["column"], stratum["column"])
    if stratum["n_values"] > 1:
        return f"{column}, {stratum['n_values']} rare values"
    if stratum["value"] is None:
        return f"{column} {'unlabelled' if is_label else 'not stated'}"
    return f"{column} {'= ' if is_label else ''}{stratum['value']}"


def _smoke(record: Record) -> Iterator[Caution]:
    if record["smoke"]:
        yield {
            "about": "Smoke run",
            "text": "the images of a few patients only, to try the path",
            "fix": "run it again without `--smoke`",
        }


def _nothing(record: Record) -> Iterator[Caution]:
    if not record["counts"]["dropped"]:
        yield {
            "about": "Nothing dropped",
            "text": "all images are kept, so that pretraining on this selection is pretraining on "
            "all of them",
            "fix": "a wider `--within` or a lower `--threshold` drops more",
        }


def _strata(record: Record) -> Iterator[Caution]:
    low = sorted((row for row in record["strata"] if row["is_low"]), key=lambda row: row["share"])
    if not low:
        return
    counts = record["counts"]
    named = [
        f"{name_of(row)} keeps {row['share']:.1%} of {counted(row['images'], 'image')}"
        for row in low[:MOST_STRATA]
    ]
    rest = f", and {len(low) - MOST_STRATA} more" if len(low) > MOST_STRATA else ""
    yield {
        "about": "Some lose more than others",
        "text": f"{', '.join(named)}{rest}; of all images {counts['kept'] / counts['pool']:.1%} "
        "are kept",
        "fix": "see below; `--protect` keeps all of one kind, `--min-per-patient` some of each "
        "patient, and a higher `--threshold` more of everything",
    }


def _patients(record: Record) -> Iterator[Caution]:
    counts = record["counts"]
    if n := counts["patients_without"]:
        yield {
            "about": "Patients without an image",
            "text": f"{n:,} of {counted(counts['patients'], 'patient')} {verb(n, 'have')} no image "
            "in the selection: images of others stand for all of theirs",
            "fix": "`--min-per-patient 1` keeps one of each",
        }


def _left_out(record: Record) -> Iterator[Caution]:
    left = record["left_out"]
    if n := left["images"]:
        yield {
            "about": "Left out",
            "text": f"{counted(n, 'image')} of {counted(left['patients'], 'patient')} "
            f"{verb(n, 'show')} what a model will be evaluated on, so that pretraining must not "
            "see them",
            "fix": f"`{selection.LEAKS_FILE}` lists them, with the reason for each",
        }


def _aliases(record: Record) -> Iterator[Caution]:
    found = record["aliases"] or {}
    if n := found.get(aliases.ALIAS):
        yield {
            "about": "Patients under two ids",
            "text": f"{counted(n, 'pair')} of patients {verb(n, 'share')} an image: each pair is "
            "probably one person, who may be on both sides of a split",
            "fix": f"look at `{aliases.NAME}`, delete what is wrong in it, and give it to "
            "`medssl finetune --aliases`",
        }


def _controls(record: Record) -> Iterator[Caution]:
    if not record["controls"] and not record["how"]["is_control"] and record["counts"]["dropped"]:
        chain = record["how"]["chain"]
        if [link["metric"] for link in chain] != ["random"]:
            yield {
                "about": "No control",
                "text": "no random selection of the same size stands beside this one, so that "
                "nothing can show what it gains",
                "fix": "leave out `--controls 0`",
            }


_CHECKS: tuple[Callable[[Record], Iterator[Caution]], ...] = (
    _smoke,
    _nothing,
    _strata,
    _patients,
    _left_out,
    _aliases,
    _controls,
)
