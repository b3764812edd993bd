"""One image of a series, before its pixels are decoded, and what stands behind it."""

from dataclasses import dataclass

from medssl.ingestion.assignment import Entry
from medssl.ingestion.codes import Code
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Frame


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Copy:
    """An image that claims to be another one, or lies where that one lies."""

    entry: Entry
    number: int  # frame inside the file
    otherwise: Code  # why its file is left out unless its pixels are equal


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Slice:
    """One image of a series, and the images of which only one can be in the archive."""

    entry: Entry
    number: int  # frame inside the file
    copies: tuple[Copy, ...] = ()

    @property
    def frame(self) -> Frame:
        """What the header says of this image."""
        return self.entry.header.frames[self.number]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The file it is in, and those of its copies."""
        return (self.entry, *(copy.entry for copy in self.copies))


def planes(slices: list[Slice]) -> list[Plane] | None:
    """Return where slices lie; None where one of them does not tell."""
    found = [plane for piece in slices if (plane := piece.frame.plane) is not None]
    return found if len(found) == len(slices) else None


def instance(piece: Slice) -> tuple[float, str, int]:
    """Return what slices are sorted by where the scanner's numbers decide, whatever their names."""
    number = piece.frame.instance
    return (float("inf") if number is None else number, piece.entry.content, piece.number)
