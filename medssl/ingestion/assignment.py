"""Say for every file whose it is: patient, study, series and site, from tags or from the table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medssl.artifacts.archive import NO_PATIENT
from medssl.foundation import wording
from medssl.foundation.errors import UsageError
from medssl.ingestion import vocabulary
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.header import Facts, Header
from medssl.ingestion.identity import SiteKey, names_a_patient

PATIENT_COLUMNS = ("patient_id", "patient")
_PLACES = ("auto", "tag", "parent")
_CONTAINED = "files or images of containers"


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


@dataclass(frozen=True, slots=True, repr=False)
class Item:
    """A readable file, or one image of a container."""

    file: SourceFile
    header: Header
    number: int | None = None  # of the image in its container

    @property
    def path(self) -> Path:
        """What a label table may call it by; an image of a container lies as in a folder."""
        path = self.file.path
        return path if self.number is None else path / self.header.members[self.number].name


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Entry:
    """A readable file, or one image of a container, and whose it is."""

    file: SourceFile
    header: Header
    number: int | None  # of the image in its container; None: the whole file
    row: Mapping[str, str]  # its row in the label table; empty where it has none
    patient_key: str
    study_key: str
    series_id: tuple[str, ...]  # what files of one series share; never written
    content: str  # a name for the file wherever it lies; never written
    site: str | None
    facts: Facts
    flags: tuple[str, ...]

    @property
    def own_id(self) -> str:
        """A name that no other entry of the ingest has; never written."""
        name = f"{self.file.source}\0{self.file.relative}"
        return name if self.number is None else f"{name}\0{self.number}"

    @property
    def frames(self) -> Sequence[int]:
        """Which frames of the file it is."""
        return range(len(self.header.frames)) if self.number is None else (self.number,)


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


def items(file: SourceFile, header: Header) -> list[Item]:
    """Return a file, or the images of a container one by one."""
    if not header.members:
        return [Item(file, header)]
    return [Item(file, header, number) for number in range(len(header.members))]


def counted(n: int, things: Iterable[Item] | Iterable[Entry]) -> str:
    """Return a number of items or entries with what they are called together."""
    if not any(thing.number is not None for thing in things):
        return wording.counted(n, "file")
    return wording.counted(n, "file or image of a container" if n == 1 else _CONTAINED)


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
    items: Sequence[Item], rows: Sequence[Mapping[str, str] | None], rules: Rules, key: SiteKey
) -> list[Entry]:
    """Return files with their keys, which do not depend on where the files lie.

    A file that no UID names is called by its content, and by a count where several are equal. A
    file that names no patient belongs to the one its study names, if there is one.

    Args:
        items: Files and images of containers, sorted by file.
        rows: Their rows in the label table, if they have one.
        rules: Where patient, site and series come from.
        key: The institution's key.
    """
    names = site_names([item.header for item in items], rows)
    contents = _contents(items)
    told = [row or {} for row in rows]
    places = [
        _series(item.file, item.header, row, rules, content)
        for item, row, content in zip(items, told, contents, strict=True)
    ]
    anchors = _anchors(places, contents)
    entries = []
    for item, row, content, place in zip(items, told, contents, places, strict=True):
        header = item.header
        site = _site(item.file, header, row, rules, names) or _tagged_site(header, rules, key)
        facts = _facts(header.facts, row)
        entry = Entry(
            file=item.file,
            header=_in_unit(header, facts),
            number=item.number,
            row=row,
            patient_key="",
            study_key="",
            series_id=anchors.get(place, place),
            content=content,
            site=site,
            facts=facts,
            flags=header.flags,
        )
        entries.append(_keyed(entry, rules, key))
    return _adopted(entries)


def _contents(items: Iterable[Item]) -> list[str]:
    """Return a name for each file or image that no other of the ingest has."""
    seen: Counter[str] = Counter()
    names = []
    for item in items:
        told = item.header.identity
        name = "\0".join((told.study, told.series, told.image)) if told.has_uid else ""
        name = name or item.header.digest
        name = name if item.number is None else f"{name}\0{item.number}"
        names.append(f"{name}\0{seen[name]}")
        seen[name] += 1
    return names


def _anchors(
    places: Iterable[tuple[str, ...]], contents: Iterable[str]
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return for folders and names, which other ingests may have too, the first of their files."""
    first: dict[tuple[str, ...], str] = {}
    for place, content in zip(places, contents, strict=True):
        if place[0] in {"folder", "named"}:
            first[place] = min(content, first.get(place, content))
    return {place: (place[0], content) for place, content in first.items()}


def _keyed(entry: Entry, rules: Rules, key: SiteKey) -> Entry:
    identity = entry.header.identity
    study_id = ("uid", identity.study) if identity.study else ("series", *entry.series_id)
    patient = _patient(entry.file, entry.header, entry.row, rules)
    flags = entry.flags
    if patient.strip():
        site = entry.site or "" if rules.scope == "site" else ""
        issuer = identity.issuer if rules.scope == "issuer" else ""
        patient_key = key.patient(patient, site=site, issuer=issuer)
    else:
        patient_key = key.unnamed_patient("\0".join(study_id))
        flags = (*flags, NO_PATIENT)
    study_key = key.study(*study_id, *(() if identity.study else (patient_key,)))
    return replace(entry, patient_key=patient_key, study_key=study_key, flags=flags)


def _adopted(entries: Sequence[Entry]) -> list[Entry]:
    named: dict[str, set[str]] = {}
    for entry in entries:
        if NO_PATIENT not in entry.flags:
            named.setdefault(entry.study_key, set()).add(entry.patient_key)
    found = []
    for entry in entries:
        owners = named.get(entry.study_key, set())
        if NO_PATIENT in entry.flags and len(owners) == 1:
            (owner,) = owners
            flags = tuple(flag for flag in entry.flags if flag != NO_PATIENT)
            entry = replace(entry, patient_key=owner, flags=flags)
        found.append(entry)
    return found


def _in_unit(header: Header, facts: Facts) -> Header:
    """Return the header of a NIfTI file that the table calls CT with Hounsfield units.

    Only for integers of more than 8 bits: bytes and floats are as a rule windowed or normalised.
    """
    is_deep = header.bits is not None and header.bits > 8
    is_told = header.reader == "nifti" and facts.modality == "CT"
    return replace(header, unit="HU") if is_told and is_deep else header


def mixed_studies(entries: Sequence[Entry]) -> frozenset[str]:
    """Return the keys of studies whose files name more than one patient."""
    first: dict[str, str] = {}
    mixed = set()
    for entry in entries:
        if first.setdefault(entry.study_key, entry.patient_key) != entry.patient_key:
            mixed.add(entry.study_key)
    return frozenset(mixed)


def patient_from(entry: Entry) -> str:
    """Return what names the patient of a file where the rule is auto."""
    if NO_PATIENT in entry.flags:
        return "none"
    if names_a_patient(entry.header.identity.patient):
        return "tag"
    return "table" if any(entry.row.get(name) for name in PATIENT_COLUMNS) else "study"


def site_from(entry: Entry) -> str:
    """Return what names the site of a file where the rule is auto."""
    if entry.site is None:
        return "none"
    return "table" if entry.row.get("site") else "institution"


def series_from(entry: Entry) -> str:
    """Return what names the series of a file where the rule is auto."""
    return "UID" if entry.series_id[0] in {"uid", "series"} else "each file alone"


def shared_ids(entries: Sequence[Entry]) -> int:
    """Return how many patient keys occur at more than one site."""
    sites: dict[str, set[str | None]] = {}
    for entry in entries:
        sites.setdefault(entry.patient_key, set()).add(entry.site)
    return sum(len(found) > 1 for found in sites.values())


def ids_of_several_people(entries: Sequence[Entry]) -> int:
    """Return how many patient keys have images of women and of men, or several dates of birth."""
    sexes: dict[str, set[str | None]] = {}
    births: dict[str, set[str]] = {}
    for entry in entries:
        sexes.setdefault(entry.patient_key, set()).add(entry.facts.sex)
        births.setdefault(entry.patient_key, set()).add(entry.header.identity.born)
    return sum(
        {"F", "M"} <= found or len(births[patient] - {""}) > 1 for patient, found in sexes.items()
    )


def _patient(file: SourceFile, header: Header, row: Mapping[str, str], rules: Rules) -> str:
    """Return who it is; only a tag may hold a placeholder, what the user names is meant."""
    tag = header.identity.patient
    tag = tag if names_a_patient(tag) else ""
    if rules.patient == "parent":
        return file.parent
    if rules.patient.startswith("col:"):
        return row.get(rules.patient[4:], "")
    if rules.patient == "tag" or tag:
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
    file: SourceFile, header: Header, row: Mapping[str, str], rules: Rules, content: str
) -> tuple[str, ...]:
    """Return what the files of one series share. A file of several slices is one by itself."""
    alone = ("file", content)
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
