"""What is known of a file before its pixels are decoded.

`Identity` holds what must never be written: it is used to derive keys and then forgotten. None of
these values shows its content in a traceback or a log, so they have no ``repr``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medssl.config.reading import Colour, FourD, Role
from medssl.ingestion.geometry import Plane

VERSION = 2  # of what readers say; a higher one than the journal's reads all headers anew
MAX_PIXELS = 2**31  # of one file; what claims more is damaged or hostile

Unit = Literal["HU", "BQML", "arbitrary"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read that can be read in several ways; the user decides, once for all files."""

    colour: Colour = "reject"
    four_d: FourD = "reject"  # of NIfTI files


PLAIN = Reading()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Frame:
    """One image inside a file."""

    plane: Plane | None = None  # None: position in the patient unknown
    slope: float = 1.0  # pixel * slope + intercept = value in the header's unit
    intercept: float = 0.0
    instance: int | None = None  # number within its series, given by the scanner
    phase: tuple[float, ...] = ()  # what tells repeated images of one place apart: time, b-value …
    kind: tuple[str, ...] = ()  # frames of a file that differ in this are not one volume
    times: tuple[float, ...] = field(default=(), compare=False)  # of day, s: when it was acquired
    # and when it was made; -1 for what is not told. Copies of an image may differ in them


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Identity:
    """Who and where, as the header says it. Never written."""

    patient: str = ""
    issuer: str = ""
    institution: str = ""
    study: str = ""
    series: str = ""
    image: str = ""
    date: str = ""  # of the study, YYYYMMDD
    born: str = ""  # YYYYMMDD

    @property
    def has_uid(self) -> bool:
        """Whether UIDs tell the file from all others, so that its content need not."""
        return bool(self.study and self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What may be written: words of a fixed vocabulary, and numbers. None: not known."""

    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    kvp: float | None = None
    te_ms: float | None = None
    tr_ms: float | None = None
    b_value: float | None = None  # s/mm2
    age_band: str | None = None
    sex: str | None = None
    lossy: bool | None = None
    transfer_syntax: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Member:
    """One image of a container, of which each stands alone."""

    name: str  # what a label table may call it
    cells: Mapping[str, str]  # what the container says of it, as a label table would


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Header:
    """All that a reader tells about one file of one or more images of equal shape."""

    reader: str
    rows: int
    columns: int
    frames: tuple[Frame, ...]
    channels: int = 1  # of the pixels as read: 3 where colour is kept
    bits: int | None  # significant bits of the pixel integers; None for floating point
    signed: bool = False
    inverted: bool = False  # the lowest pixel value is shown white
    padding: tuple[int, int] | None = None  # range of pixel values that stand for "no image here"
    unit: Unit = "arbitrary"
    spacing: tuple[float, float] | None = None  # row, column; mm
    thickness: float | None = None  # mm; distance to the next slice where there is no next slice
    identity: Identity = field(default_factory=Identity)
    facts: Facts = field(default_factory=Facts)
    kind: tuple[str, ...] = ()  # images of a series that differ in this are not one volume
    roles: tuple[Role, ...] = ()  # `roles` decides which of them are left out
    flags: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()  # one per frame of a container; empty for all other files
    digest: str = ""  # of the whole file, where no UID names it

    @property
    def is_volume(self) -> bool:
        """Whether the file holds several slices."""
        return len(self.frames) > 1 and not self.members

    def looks_like(self, other: "Header", *, elsewhere: bool = False) -> bool:
        """Return whether pixels of the two mean the same: shape, scale and range are equal.

        Args:
            other: Of another file.
            elsewhere: Whether its images may be other ones, with other numbers and places.
        """
        names = ["rows", "columns", "channels", "bits", "signed", "inverted", "padding"]
        if elsewhere:
            scales = [[(f.slope, f.intercept) for f in one.frames] for one in (self, other)]
            is_scaled_alike = scales[0] == scales[1]
        else:
            is_scaled_alike = self.frames == other.frames
        return self is other or (
            is_scaled_alike and all(getattr(self, name) == getattr(other, name) for name in names)
        )
