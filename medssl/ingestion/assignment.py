"""Say for every file whose it is: patient, study, series and site, from tags or from the table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from medssl.artifacts.archive import NO_PATIENT
from medssl.foundation.errors import UsageError
from medssl.ingestion import vocabulary
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.header import Facts, Header
from medssl.ingestion.identity import SiteKey, names_a_patient

PATIENT_COLUMNS = ("patient_id", "patient")
_PLACES = ("auto", "tag", "parent")


@dataclass(frozen=True, slots=True)
class Rules:
    """Where patient, site and series come from: auto, tag, parent or col:NAME."""

    patient: str = "auto"
    site: str = "auto"
    series: str = "auto"
    scope: Literal["key", "site", "issuer"] = "key"

    @property
    def columns(self) -> tuple[str, ...]:
        """Table columns the rules name."""
        rules = (self.patient, self.site, self.series)
        return tuple(rule[4:] for rule in rules if rule.startswith("col:"))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Entry:
    """A readable file and whose it is."""

    file: SourceFile
    header: Header
    row: Mapping[str, str]  # its row in the label table; empty where it has none
    patient_key: str
    study_key: str
    series_id: tuple[str, ...]  # what files of one series share; never written
    site: str | None
    facts: Facts
    flags: tuple[str, ...]

    @property
    def own_id(self) -> str:
        """A name for the file that no other file of the ingest has; never written."""
        return f"{self.file.source}\0{self.file.relative}"


def check(rules: Rules) -> None:
    """Check the spelling of rules.

    Raises:
        UsageError: A rule is none of auto, tag, parent and col:NAME.
    """
    for name in ("patient", "site", "series"):
        rule = getattr(rules, name)
        if rule not in _PLACES and not (rule.startswith("col:") and len(rule) > 4):
            raise UsageError(
                f"{rule!r} is no place to take the {name} from",
                where=name,
                fix="use auto, tag, parent or col:NAME",
            )


def site_names(
    headers: Iterable[Header], rows: Iterable[Mapping[str, str] | None]
) -> dict[str, str]:
    """Return what the table calls the institutions of the tags, where it calls each by one name.

    So that a file without a row has the site of the files of its institution that have one.
    """
    called: dict[str, set[str]] = {}
    for header, row in zip(headers, rows, strict=True):
        if header.identity.institution and row and row.get("site"):
            called.setdefault(header.identity.institution, set()).add(row["site"])
    return {institution: names.pop() for institution, names in called.items() if len(names) == 1}


def assign(
    file: SourceFile,
    header: Header,
    row: Mapping[str, str] | None,
    rules: Rules,
    key: SiteKey,
    site_names: Mapping[str, str],
) -> Entry:
    """Return a file with its keys.

    Args:
        file: Where it is.
        header: What it says of itself.
        row: Its row in the label table, if it has one.
        rules: Where patient, site and series come from.
        key: The institution's key.
        site_names: See `site_names`.
    """
    row = row or {}
    identity = header.identity
    site_name = _site(file, header, row, rules, site_names) or _tagged_site(header, rules, key)
    series_id = _series(file, header, row, rules)
    study_id = ("uid", identity.study) if identity.study else ("series", *series_id)
    patient = _patient(file, header, row, rules)
    flags = header.flags
    if names_a_patient(patient):
        site = site_name or "" if rules.scope == "site" else ""
        issuer = identity.issuer if rules.scope == "issuer" else ""
        patient_key = key.patient(patient, site=site, issuer=issuer)
    else:
        patient_key = key.unnamed_patient("\0".join(study_id))
        flags = (*flags, NO_PATIENT)
    return Entry(
        file=file,
        header=header,
        row=row,
        patient_key=patient_key,
        study_key=key.study(*study_id, *(() if identity.study else (patient_key,))),
        series_id=series_id,
        site=site_name,
        facts=_facts(header.facts, row),
        flags=flags,
    )


def mixed_studies(entries: Sequence[Entry]) -> frozenset[str]:
    """Return the keys of studies whose files name more than one patient."""
    first: dict[str, str] = {}
    mixed = set()
    for entry in entries:
        if first.setdefault(entry.study_key, entry.patient_key) != entry.patient_key:
            mixed.add(entry.study_key)
    return frozenset(mixed)


def shared_ids(entries: Sequence[Entry]) -> int:
    """Return how many patient keys occur at more than one site."""
    sites: dict[str, set[str | None]] = {}
    for entry in entries:
        sites.setdefault(entry.patient_key, set()).add(entry.site)
    return sum(len(found) > 1 for found in sites.values())


def _patient(file: SourceFile, header: Header, row: Mapping[str, str], rules: Rules) -> str:
    tag = header.identity.patient
    if rules.patient == "parent":
        return file.parent
    if rules.patient.startswith("col:"):
        return row.get(rules.patient[4:], "")
    if rules.patient == "tag" or names_a_patient(tag):
        return tag
    return next((row[name] for name in PATIENT_COLUMNS if row.get(name)), "")


def _site(
    file: SourceFile,
    header: Header,
    row: Mapping[str, str],
    rules: Rules,
    site_names: Mapping[str, str],
) -> str | None:
    """Return the site as the user calls it, which is kept."""
    if rules.site == "parent":
        return file.parent or None
    if rules.site.startswith("col:"):
        return row.get(rules.site[4:]) or None
    if rules.site == "tag":
        return None
    return row.get("site") or site_names.get(header.identity.institution)


def _tagged_site(header: Header, rules: Rules, key: SiteKey) -> str | None:
    institution = header.identity.institution
    if rules.site not in {"auto", "tag"} or not institution:
        return None
    return key.site(institution)


def _series(
    file: SourceFile, header: Header, row: Mapping[str, str], rules: Rules
) -> tuple[str, ...]:
    """Return what the files of one series share. A file of several slices is one by itself."""
    alone = ("file", str(file.source), file.relative)
    if header.is_volume:
        return alone
    if rules.series == "parent":
        return ("folder", str(file.source), file.relative.rpartition("/")[0])
    if rules.series.startswith("col:"):
        name = row.get(rules.series[4:])
        return ("named", name) if name else alone
    study, series = header.identity.study, header.identity.series
    if not series:
        return alone
    return ("uid", study, series) if study else ("series", series)


def _facts(facts: Facts, row: Mapping[str, str]) -> Facts:
    """Fill what the header does not say from the table, through the same vocabularies."""
    if not row:
        return facts
    age = next((row[name] for name in ("age", "age_band", "age_group") if row.get(name)), None)
    told: dict[str, Any] = {
        "modality": vocabulary.word(row.get("modality"), vocabulary.MODALITIES),
        "body_part": vocabulary.word(row.get("body_part"), vocabulary.BODY_PARTS),
        "view": vocabulary.word(row.get("view"), vocabulary.VIEWS),
        "laterality": vocabulary.word(row.get("laterality"), vocabulary.LATERALITIES),
        "sex": vocabulary.word(row.get("sex"), vocabulary.SEXES),
        "age_band": vocabulary.age_band(age),
        "manufacturer": vocabulary.manufacturer(row.get("manufacturer")),
    }
    missing = {name: word for name, word in told.items() if word and not getattr(facts, name)}
    return replace(facts, **missing) if missing else facts
