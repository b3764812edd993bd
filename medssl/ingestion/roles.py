"""What an image is for, told by its header: a scan of a patient, or a page beside it.

Fixed rules by image type, SOP class, modality and maker. A rule that is certain gives a role, and
`rejection` says which roles an archive leaves out; a mere suspicion of burned-in text becomes the
flag `burned_in_risk`. That the header denies burned-in text (BurnedInAnnotation NO) proves
nothing and is not asked.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from medssl.config.reading import Role
from medssl.ingestion import sop_classes, vocabulary
from medssl.ingestion.codes import Code
from medssl.ingestion.sop_classes import is_capture

BURNED_IN_RISK = "burned_in_risk"
_CODES: tuple[tuple[Role, Code], ...] = (  # first those that say most of what a page is
    ("dose_report", Code.SKIPPED_DOSE_REPORT),
    ("screen_capture", Code.SKIPPED_SCREEN_CAPTURE),
    ("secondary_capture", Code.SKIPPED_SECONDARY_CAPTURE),
    ("other_class", Code.SKIPPED_OTHER_CLASS),
    ("burned_in", Code.BURNED_IN),
    ("localizer", Code.SKIPPED_LOCALIZER),
    ("reformat", Code.SKIPPED_REFORMAT),
)
_NOT_A_SCANNER = frozenset({None, vocabulary.OTHER, "SC", "XC"})
_SCREENS = frozenset({vocabulary.OTHER, "SC"})  # what a workstation calls its pages; OT is `other`
_TOMOGRAPHS = frozenset({"CT", "MR", "PT"})
_RISKY_MODALITIES = frozenset({"US", "IVUS", "ES", "BMD"})  # names and dates beside the image
_RISKY_CONVERSIONS = frozenset({"DF", "SD", "SI"})  # digitised film, scanned document or image
_DIGITIZERS = ("VIDAR", "HOWTEK", "LUMISYS", "LUMISCAN", "RADLINK")  # films carry a label
_LOCALIZER = frozenset(
    {"LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SURVIEW", "PILOT", "SURVEY"}
)
# What makers call the scouts of MR and PET, alone or glued together: AAHScout, 3-Plane Loc, Loc2.
_PLANNING = re.compile(
    r"(\d?PL(ANE)?)?LOCS?\d*|[A-Z]*LOCALI[SZ]ERS?\w*|[A-Z]*SCOUTS?\d*|SURVEYS?\d*"
    r"|TOPOGRAMS?|SURVIEWS?|SCANOGRAMS?"
)
_THREE_PLANES = re.compile(r"(?<![A-Z0-9])3[ _-]?PLANES?(?![A-Z0-9])")
_SCOUT = re.compile(r"LOCALI[SZ]ERS?|SCOUTS?|TOPOGRAMS?|SURVIEWS?|SCANOGRAMS?")
# Scouts by these words only where nothing else is said: studies and whole protocols have them, too.
_PILOT = re.compile(r"(TRI)?PILOTS?|LOCS?\d*|SURVEYS?\d*")
_BESIDE_SCOUT = re.compile(  # numbers, kernels (T20f), planes
    r"[A-Z]?\d+[A-Z]{0,2}|AP|PA|LAT|LATERAL|LL|RL|FRONTAL|CORONAL|COR|SAGITTAL|SAG|AND|DUAL|CT"
    r"|SCANS?|VIEWS?|SERIES|IMAGES?"
)
_BESIDE_PILOT = re.compile(
    rf"{_BESIDE_SCOUT.pattern}|AX|AXIAL|TRA|TRANSVERSAL|MR|MULTI|SLICES?|FAST|GRE|FLASH|HASTE|ND"
)
_PROJECTIONS = (
    frozenset({"MIP"}), frozenset({"MNIP"}), frozenset({"MINIP"}), frozenset({"MAXIP"}),
    frozenset({"PROJECTION", "IMAGE"}),
)  # fmt: skip
_REFORMAT = frozenset(
    {"MPR", "MPVR", "CPR", "CURVED", "PROJECTION", "REFORMATTED", "REFORMAT", "RESAMPLED",
     "MAXIMUM", "MINIMUM", "FUSION", "FUSED", "VRT", "SSD", "RENDERING"}
)  # fmt: skip
_APPLICATION = "CSA"  # Siemens: which program saved an image, not what it is
_DOSE = (
    frozenset({"DOSE", "REPORT"}), frozenset({"DOSE", "INFO"}), frozenset({"DOSE", "SUMMARY"}),
    frozenset({"DOSE", "RECORD"}), frozenset({"PATIENT", "PROTOCOL"}),
    frozenset({"EXAM", "PROTOCOL"}), frozenset({"RADIATION", "DOSE"}),
)  # fmt: skip
_SCREEN = (
    frozenset({"SCREEN", "SAVE"}), frozenset({"SCREENSAVE"}), frozenset({"SCREENSAVES"}),
    frozenset({"SCREEN", "CAPTURE"}), frozenset({"SCREEN", "SHOT"}), frozenset({"SCREENSHOT"}),
    frozenset({"SCREEN", "SHOTS"}), frozenset({"SCREENSHOTS"}), frozenset({"SCREEN", "SAVES"}),
)  # fmt: skip
_SNAPSHOT = frozenset({"SNAPSHOT", "SNAPSHOTS"})  # angiography and CT call images so, too


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tags:
    """What of a header decides. Free text is only searched for the words of this file."""

    sop_class: str
    modality: str | None  # of `vocabulary.MODALITIES`, or ``other``
    image_type: tuple[str, ...] = ()  # upper case
    burned_in: str = ""  # BurnedInAnnotation
    conversion: str = ""  # ConversionType
    manufacturer: str = ""
    description: str = ""  # of the series
    protocol: str = ""  # its name
    has_plane: bool = False  # its place in the patient is known


def of(tags: Tags) -> tuple[Role, ...]:
    """Return the roles of an image, none for a plain image of a patient."""
    rules: tuple[tuple[Role, bool], ...] = (
        ("dose_report", _is_dose_report(tags)),
        ("screen_capture", _is_screen_capture(tags)),
        ("secondary_capture", is_capture(tags.sop_class) and tags.modality in _NOT_A_SCANNER),
        ("other_class", not sop_classes.is_taken(tags.sop_class)),
        ("burned_in", _is_burned_in(tags)),
        ("localizer", _is_localizer(tags)),
        ("reformat", _is_reformat(tags)),
    )
    return tuple(role for role, holds in rules if holds)


def rejection(roles: Collection[Role], include: Collection[Role]) -> Code | None:
    """Return why an image of these roles is left out; None where it is not.

    Args:
        roles: Of the image.
        include: Roles that the user wants.

    >>> rejection(("localizer", "burned_in"), ()), rejection(("localizer",), ("localizer",))
    (<Code.BURNED_IN: 'BURNED_IN'>, None)
    """
    left = {*roles} - {*include}
    return next((code for role, code in _CODES if role in left), None)


def is_burned_in_risk(tags: Tags) -> bool:
    """Return whether such images often have text in their pixels; the header does not say."""
    maker = tags.manufacturer.upper()
    return (
        tags.modality in _RISKY_MODALITIES
        or tags.conversion.upper() in _RISKY_CONVERSIONS
        or is_capture(tags.sop_class)
        or any(word in maker for word in _DIGITIZERS)
    )


def _is_dose_report(tags: Tags) -> bool:
    """Pages of dose figures, which CT scanners store beside the slices."""
    if tags.modality != "CT":
        return False
    if any(value.startswith("CT_SOM") and "PROT" in value for value in tags.image_type):
        return True
    words, types = _words(tags.description), _words(*tags.image_type)
    return not tags.has_plane and any(dose <= words or dose <= types for dose in _DOSE)


def _is_screen_capture(tags: Tags) -> bool:
    types, words = _words(*tags.image_type), _words(tags.description)
    if any(screen <= types for screen in _SCREEN):
        return True
    if is_capture(tags.sop_class):
        is_told = any(screen <= words for screen in _SCREEN)
        return is_told or bool((types | words) & _SNAPSHOT)
    return tags.modality in _SCREENS and bool(types & _SNAPSHOT)


def _is_burned_in(tags: Tags) -> bool:
    """What the header admits, and pages that a scanner of slices stored without a place."""
    is_page = is_capture(tags.sop_class) and tags.modality in _TOMOGRAPHS and not tags.has_plane
    return tags.burned_in.upper() == "YES" or is_page


def _is_localizer(tags: Tags) -> bool:
    """By its type; else by its description, which in CT must say nothing else.

    "Chest after scout" is a scan; in MR and PET the word is only used of scouts themselves. There,
    the protocol may tell as well, but some scanners have one name for a whole examination: of that,
    "spine survey" or "pilot study" says nothing.
    """
    types = _words(*tags.image_type)
    if types & _LOCALIZER or any(value.endswith(" TOP") for value in tags.image_type):
        return True
    if tags.modality == "CT":
        return _says_only(tags.description, _SCOUT, _BESIDE_SCOUT)
    if tags.modality not in _TOMOGRAPHS:
        return False
    texts = (tags.description, tags.protocol)
    return (
        any(_PLANNING.fullmatch(word) for word in _words(tags.description))
        or any(_SCOUT.fullmatch(word) for word in _words(tags.protocol))
        or any(_THREE_PLANES.search(text.upper()) for text in texts)
        or any(_says_only(text, _PILOT, _BESIDE_PILOT) for text in texts)
    )


def _says_only(text: str, signs: re.Pattern[str], others: re.Pattern[str]) -> bool:
    """Return whether a text has one of some words and, but for certain others, nothing else."""
    words = _words(text)
    left = {word for word in words if not signs.fullmatch(word)}
    return left != words and all(others.fullmatch(word) for word in left)


def _is_reformat(tags: Tags) -> bool:
    """Computed from the slices of a series that is most likely in the archive as well.

    Only slices and their like: presentations of radiographs and mammograms are derived, too.
    Scanners reconstruct planes of their own, typed ORIGINAL, but no projections.
    """
    if tags.modality not in _TOMOGRAPHS | {"NM"}:
        return False
    values = tags.image_type[2:]
    if any(known <= _words(value) for value in values for known in _PROJECTIONS):
        return True
    words = _words(*(value for value in values if not value.startswith(_APPLICATION)))
    return tags.image_type[:1] == ("DERIVED",) and bool(words & _REFORMAT)


def _words(*texts: str) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Z0-9]+", " ".join(texts).upper()))
