"""Gather images into series that are volumes, and put their slices in anatomical order.

A series that mixes shapes, orientations, spacings, echoes or image kinds becomes several, and so
does one in which positions repeat (time points, b-values). Files are ordered by position; by
instance number, table or name only where there is none, and a flag says so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medssl.ingestion import geometry, slices, volumes
from medssl.ingestion.assignment import Entry
from medssl.ingestion.codes import Code
from medssl.ingestion.geometry import Stack
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.slices import Copy, Slice

Gaps = Literal["keep", "single", "reject"]

_VOLUMETRIC = frozenset({"CT", "MR", "PT"})  # of which a few slices are no volume


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Series:
    """Ordered images of one volume; one image where there is no volume."""

    key: str
    base_key: str  # the same for all parts of one source series
    slices: tuple[Slice, ...]
    stack: Stack | None = None  # by the headers; None where there are no positions
    flags: tuple[str, ...] = ()

    @property
    def first(self) -> Entry:
        """The file of the first slice."""
        return self.slices[0].entry

    @property
    def paths(self) -> Iterator[Path]:
        """All files that belong to the series, copies included."""
        for piece in self.slices:
            for entry in piece.entries:
                yield entry.file.path

    @property
    def has_gap(self) -> bool:
        """Whether distances between slices vary."""
        return self.stack is not None and self.stack.has_gap


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Gathered:
    """The series that go into the archive, and the files that do not."""

    series: Sequence[Series]  # sorted by patient, study and series key
    rejected: Mapping[Path, Code]


def gather(
    entries: Sequence[Entry], key: SiteKey, *, gaps: Gaps = "keep", min_slices: int = 1
) -> Gathered:
    """Return all series, and the files left out with their codes.

    Args:
        entries: Readable files, in any order; the result does not depend on it.
        key: The institution's key.
        gaps: What happens to series whose slices are not evenly spaced. keep: a flag says so;
            single: each slice is a series of its own; reject: they are left out.
        min_slices: Shorter series of CT, MR and PT are left out.
    """
    by_series: dict[tuple[str, ...], list[Slice]] = {}
    for first, *others in _instances(entries):
        by_series.setdefault((first.patient_key, *first.series_id), []).extend(
            _slices(first, others)
        )
    found = [series for parts in by_series.values() for series in _series_of(parts, key)]
    found.sort(key=lambda series: (series.first.patient_key, series.first.study_key, series.key))
    kept, short = _without_short(found, min_slices)
    if gaps == "single":
        kept = [one for series in kept for one in _singles(series, key)]
    kept, uneven = _without_gaps(kept) if gaps == "reject" else (kept, {})
    return Gathered(series=kept, rejected=short | uneven)


def _instances(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    """Return the files of each DICOM instance, first by path first, in whatever series they lie."""
    found: dict[tuple[str, ...], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.file.source, entry.file.relative)):
        told = entry.header.identity
        name = (told.study, told.series, told.image) if told.image else (entry.own_id,)
        found.setdefault((entry.patient_key, *name), []).append(entry)
    return found.values()


def _slices(first: Entry, others: Sequence[Entry]) -> Iterator[Slice]:
    """Yield the images of a file, behind each of them those of the files of the same instance.

    The row of the label table that names any of the files is that of the first.
    """
    if others and not first.row:
        first = replace(first, row=next((entry.row for entry in others if entry.row), {}))
    for number in first.frames:
        copies = tuple(
            Copy(entry=entry, number=number, otherwise=Code.CONFLICTING_COPY) for entry in others
        )
        yield Slice(entry=first, number=number, copies=copies)


def _series_of(pieces: list[Slice], key: SiteKey) -> list[Series]:
    first = pieces[0].entry
    parts = volumes.split(pieces)
    name = first.series_id if first.series_id[0] == "uid" else (first.patient_key, *first.series_id)
    base = key.series(*name)
    return [
        Series(
            key=base if len(parts) == 1 else key.series(*name, f"part {number}"),
            base_key=base,
            slices=tuple(part.slices),
            stack=_stack(part.slices),
            flags=part.flags,
        )
        for number, part in enumerate(parts)
    ]


def _stack(pieces: list[Slice]) -> Stack | None:
    planes = slices.planes(pieces)
    return None if planes is None else geometry.stack(planes, pieces[0].entry.header.thickness)


def _without_short(
    found: Sequence[Series], min_slices: int
) -> tuple[list[Series], dict[Path, Code]]:
    """Leave out series of few slices, but no part of a file that holds a longer one."""
    if min_slices == 1:
        return list(found), {}
    long = {path for series in found if not _is_short(series, min_slices) for path in series.paths}
    kept = [series for series in found if not long.isdisjoint(series.paths)]
    dropped = {path for series in found for path in series.paths} - long
    return kept, dict.fromkeys(sorted(dropped), Code.SKIPPED_SHORT_SERIES)


def _is_short(series: Series, min_slices: int) -> bool:
    return len(series.slices) < min_slices and _is_volume(series)


def _is_volume(series: Series) -> bool:
    return series.first.facts.modality in _VOLUMETRIC and series.stack is not None


def _without_gaps(found: Sequence[Series]) -> tuple[list[Series], dict[Path, Code]]:
    """Leave out series with gaps, and all else that is in their files."""
    uneven = {path for series in found if series.has_gap for path in series.paths}
    kept = [series for series in found if uneven.isdisjoint(series.paths)]
    return kept, dict.fromkeys(sorted(uneven), Code.GAP)


def alone(series: Series, number: int, key: SiteKey) -> str:
    """Return the key of one slice of a series that lacks others and is to stand alone.

    Args:
        series: With all slices it has by the headers.
        number: Of the slice.
        key: The institution's key.
    """
    return key.series("slice", series.key, str(number))


def has_become_short(series: Series, n_slices: int, min_slices: int) -> bool:
    """Return whether a volume that was long enough lost too many slices when it was decoded.

    Args:
        series: With all slices it has by the headers.
        n_slices: That could be decoded.
        min_slices: Of a volume.
    """
    return n_slices < len(series.slices) and n_slices < min_slices and _is_volume(series)


def _singles(series: Series, key: SiteKey) -> Iterator[Series]:
    """Yield a series, or each of its slices alone where it has gaps."""
    if not series.has_gap:
        yield series
        return
    for number, piece in enumerate(series.slices):
        yield replace(
            series,
            key=alone(series, number, key),
            slices=(piece,),
            stack=_stack([piece]),
            flags=(*series.flags, "gap"),
        )
