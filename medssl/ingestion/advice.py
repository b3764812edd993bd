"""What in a new archive needs somebody's attention: one sentence each, and what to do about it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medssl.artifacts.archive import NO_PATIENT
from medssl.foundation.wording import counted, verb
from medssl.ingestion import composition
from medssl.ingestion.codes import FIXES, Code

Record = Mapping[str, Any]
Caution = dict[str, str]  # about, text, fix

DEFAULT_MAX_REJECTS = 0.05
LIST = "medssl info ARCHIVE --quarantined"  # where `private/` is
MANY = composition.MANY_PATIENTS
URGENT = (  # codes behind which there are images that could be had
    Code.NO_DECODER, Code.UNREADABLE, Code.VANISHED, Code.ENCRYPTED, Code.MIXED_PATIENTS,
    Code.TIMED_OUT, Code.OUT_OF_MEMORY, Code.WORKER_DIED,
)  # fmt: skip


def cautions(record: Record) -> list[Caution]:
    """Return what a reader should act on, the gravest first.

    Args:
        record: Of `accounting.compose`, complete but for the cautions.
    """
    return [caution for check in _CHECKS for caution in check(record)]


def remedies(quarantined: Mapping[str, int]) -> list[str]:
    """Return one line for each reason of a reject about which something can be done.

    Args:
        quarantined: How many files have each code.
    """
    return [
        f"{code.value}: {counted(quarantined[code.value], 'file')}; {fix}"
        for code, fix in FIXES.items()
        if not code.is_skip and quarantined.get(code.value, 0) > 0
    ]


def _rejects(record: Record) -> Iterator[Caution]:
    counts = record["counts"]
    limit = float(record["settings"].get("max_rejects", DEFAULT_MAX_REJECTS))
    considered = counts["rejected"] + counts["files_written"]
    if counts["rejected"] > limit * considered:
        yield {
            "about": "Rejected files",
            "text": f"{counts['rejected']:,} of {counted(considered, 'image file')} "
            f"({counts['rejected'] / considered:.1%}) {verb(counts['rejected'], 'were')} rejected, "
            f"more than the {100 * limit:g}% allowed, so that the command ended in exit code 8",
            "fix": f"see below why, and list them with `{LIST}`; `--max-rejects` allows more",
        }


def _lost_patients(record: Record) -> Iterator[Caution]:
    if n := record["counts"]["patients_without_image"]:
        yield {
            "about": "Patients left out",
            "text": f"{counted(n, 'patient')} {verb(n, 'have')} no image in the archive, as all "
            "their files were left out",
            "fix": f"their files are among those that `{LIST}` lists",
        }


def _unnamed_patients(record: Record) -> Iterator[Caution]:
    if row := _flag(record, NO_PATIENT):
        yield {
            "about": "Patients unknown",
            "text": f"{row['images']:,} of {counted(record['counts']['images'], 'image')} "
            f"{verb(row['images'], 'name')} no patient: each study or loose image counts as a "
            "patient of its own, so that a split by patient may tear people apart",
            "fix": "name them with `--patient parent`, or with `--patient col:NAME` and a table",
        }


def _burned_in(record: Record) -> Iterator[Caution]:
    if row := _flag(record, "burned_in_risk"):
        yield {
            "about": "Burned-in text",
            "text": f"{counted(row['images'], 'image')} of a kind that often shows names or "
            "dates in the pixels",
            "fix": "look at them before the images are shown or shared; no header proves pixels "
            "clean",
        }


def _gaps(record: Record) -> Iterator[Caution]:
    row = _flag(record, "gap")
    found = next((one for one in record["findings"] if one["what"] == "gap"), None)
    is_settled = record["settings"].get("gaps", "keep") != "keep" and found is None
    if row is None or is_settled:
        return
    told = ""
    if found and found["largest"] is not None:
        told = f", {found['largest']:g} {found['unit']} in the worst"
    yield {
        "about": "Gaps",
        "text": f"{counted(row['series'], 'series')} may lack slices{told}",
        "fix": "fetch them, or ingest with `--gaps single` (slices stand alone) or `--gaps reject`",
    }


def _urgent_codes(record: Record) -> Iterator[Caution]:
    files: dict[str, int] = {}
    told: dict[str, Record] = {}
    for step in record["flow"]:
        for row in step["left_out"]["codes"] if step["left_out"] else ():
            files[row["code"]] = files.get(row["code"], 0) + row["files"]
            told[row["code"]] = row
    for code in URGENT:
        if code.value in told:
            yield {
                "about": told[code.value]["title"],
                "text": f"{code.value}, {counted(files[code.value], 'file')}: "
                f"{told[code.value]['meaning'].rstrip('.')}",
                "fix": f"{told[code.value]['fix']}; list them with `{LIST} {code.value}`",
            }


def _labels(record: Record) -> Iterator[Caution]:
    rows = record["label_rows"]
    if n := rows.get("rows_without_file", 0):
        yield {
            "about": "Label table",
            "text": f"{n:,} of {counted(rows['table_rows'], 'row')} {verb(n, 'name')} no file",
            "fix": "they stand in `private/unmatched_labels.parquet`; check `--key` and "
            "`--key-column`",
        }
    for target in record["targets"]:
        if not target["n_values"]:
            yield {
                "about": f"Target {target['target']}",
                "text": "no image has a label",
                "fix": "look into the column of the table, or name another one with `--label`",
            }
        one, all_sites = target["sites_with_one_value"], target["sites"]
        if one and all_sites > 1 and target["n_values"] > 1:
            yield {
                "about": f"Target {target['target']}",
                "text": f"{one:,} of {all_sites:,} sites {verb(one, 'have')} one value only, for "
                f"{MANY} patients or more: a model may learn the site instead",
                "fix": "look at the results by site, or add cases there",
            }


def _sites(record: Record) -> Iterator[Caution]:
    if n := record["patients_at_several_sites"]:
        yield {
            "about": "Sites",
            "text": f"{counted(n, 'patient')} with images at more than one site",
            "fix": "if sites give out ids of their own, ingest with `--set patient_scope=site`",
        }
    rows = record["kinds"].get("site", ())
    if unnamed := next((row["images"] for row in rows if row["value"] is None), 0):
        yield {
            "about": "Sites",
            "text": f"{counted(unnamed, 'image')} without a site among others that have one",
            "fix": "name them with `--site parent`, or with `--site col:NAME` and a table",
        }


def _shared_images(record: Record) -> Iterator[Caution]:
    if n := record["images_of_several_patients"]:
        yield {
            "about": "Equal images",
            "text": f"{counted(n, 'image')} with the same pixels under different patients: "
            "folds may share them",
            "fix": "name the patients with a table, or take out the copies",
        }


def _lossy(record: Record) -> Iterator[Caution]:
    n, of = sum(row["lossy"] for row in record["encodings"]), record["counts"]["images"]
    if n:
        share = "all images" if n == of else f"{n:,} of {counted(of, 'image')} ({n / of:.1%})"
        yield {
            "about": "Lossy compression",
            "text": f"{share} were at some time compressed with loss",
            "fix": "where a site or a label goes along with it, a model may learn the compression",
        }


def _no_rescale(record: Record) -> Iterator[Caution]:
    if row := _flag(record, "no_rescale"):
        yield {
            "about": "CT values",
            "text": f"{counted(row['images'], 'CT image')} without rescale intercept, whose values "
            "may not be HU",
            "fix": "check their range before they are mixed with other CT",
        }


def _flag(record: Record, name: str) -> Record | None:
    return next((row for row in record["flags"] if row["flag"] == name), None)


_CHECKS: tuple[Callable[[Record], Iterator[Caution]], ...] = (
    _rejects, _lost_patients, _unnamed_patients, _burned_in, _gaps, _urgent_codes, _labels, _sites,
    _shared_images, _lossy, _no_rescale,
)  # fmt: skip
