"""Gather images into series that are volumes, and put their slices in anatomical order.

A series that mixes shapes, orientations, spacings, echoes or image kinds becomes several, and so
does one in which positions repeat (time points, b-values). Files are ordered by position; by
instance number, table or name only where there is none, and a flag says so.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from medssl.ingestion import geometry
from medssl.ingestion.assignment import Entry
from medssl.ingestion.header import Frame
from medssl.ingestion.identity import SiteKey

ORDER_COLUMN = "slice_index"  # of the label table, for loose images that form a series


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Slice:
    """One image of a series, and other files that claim to be the same DICOM instance."""

    entry: Entry
    number: int  # frame inside the file
    copies: tuple[Entry, ...] = ()

    @property
    def frame(self) -> Frame:
        """What the header says of this image."""
        return self.entry.header.frames[self.number]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Series:
    """Ordered images of one volume; one image where there is no volume."""

    key: str
    base_key: str  # the same for all parts of one source series
    slices: tuple[Slice, ...]
    flags: tuple[str, ...] = ()

    @property
    def first(self) -> Entry:
        """The file of the first slice."""
        return self.slices[0].entry


def gather(entries: Sequence[Entry], key: SiteKey) -> list[Series]:
    """Return all series, sorted by patient, study and series key.

    Args:
        entries: Readable files, in any order; the result does not depend on it.
        key: The institution's key.
    """
    by_series: dict[tuple[str, ...], list[Slice]] = {}
    for first, *copies in _instances(entries):
        by_series.setdefault((first.patient_key, *first.series_id), []).extend(
            Slice(entry=_labelled(first, copies), number=number, copies=tuple(copies))
            for number in first.frames
        )
    found = [
        series
        for slices in by_series.values()
        for series in _series_of(slices, slices[0].entry, key)
    ]
    return sorted(found, key=lambda s: (s.first.patient_key, s.first.study_key, s.key))


def _instances(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    """Return the files of each DICOM instance, first by path first, in whatever series they lie."""
    found: dict[tuple[str, ...], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.file.source, entry.file.relative)):
        told = entry.header.identity
        name = (told.study, told.series, told.image) if told.image else (entry.own_id,)
        found.setdefault((entry.patient_key, *name), []).append(entry)
    return found.values()


def _labelled(first: Entry, copies: Sequence[Entry]) -> Entry:
    """Return the first of some copies, with the row of the label table that names any of them."""
    rows = (entry.row for entry in (first, *copies) if entry.row)
    return first if first.row or not copies else replace(first, row=next(rows, {}))


def _series_of(slices: list[Slice], first: Entry, key: SiteKey) -> list[Series]:
    parts = [
        _ordered(part)
        for alike in _by(slices, _kind)
        for parallel in _parallel(alike)
        for part in _by_phase(parallel)
    ]
    parts.sort(key=_signature)
    name = first.series_id if first.series_id[0] == "uid" else (first.patient_key, *first.series_id)
    base = key.series(*name)
    return [
        Series(
            key=base if len(parts) == 1 else key.series(*name, f"part {number}"),
            base_key=base,
            slices=tuple(part),
            flags=flags,
        )
        for number, (part, flags) in enumerate(parts)
    ]


def _kind(piece: Slice) -> tuple[Any, ...]:
    header = piece.entry.header
    plane = piece.frame.plane
    spacing = geometry.spacing(plane) if plane else (0.0, 0.0)
    return (
        header.rows, header.columns, header.unit, header.inverted, header.kind, plane is None,
        *(float(f"{value:.3g}") for value in spacing),
    )  # fmt: skip


def _by(slices: Iterable[Slice], key: Callable[[Slice], Any]) -> list[list[Slice]]:
    groups: dict[Any, list[Slice]] = {}
    for piece in slices:
        groups.setdefault(key(piece), []).append(piece)
    return [groups[name] for name in sorted(groups)]


def _parallel(slices: list[Slice]) -> list[list[Slice]]:
    """Return groups of slices whose rows and columns run alike."""
    if slices[0].frame.plane is None:
        return [slices]
    groups: list[list[Slice]] = []
    for piece in slices:
        for group in groups:
            reference, plane = group[0].frame.plane, piece.frame.plane
            assert reference is not None
            assert plane is not None
            if geometry.is_parallel(reference, plane):
                group.append(piece)
                break
        else:
            groups.append([piece])
    return groups


def _by_phase(slices: list[Slice]) -> list[list[Slice]]:
    """Return groups in which no position repeats: one per time point, b-value or repetition."""
    places = _places(slices)
    if places is None or len(set(places)) == len(slices):
        return [slices]
    place_of = {id(piece): place for piece, place in zip(slices, places, strict=True)}
    repeats = max(Counter(places).values())
    lengths = {len(piece.frame.phase) for piece in slices}
    for number in range(min(lengths)):
        groups = _by(slices, partial(_phase, number))
        is_apart = all(len({place_of[id(p)] for p in group}) == len(group) for group in groups)
        if is_apart and len(groups) == repeats:  # more groups would tear volumes apart
            return groups
    seen: dict[int, int] = {}
    rank: dict[int, int] = {}
    for piece in sorted(slices, key=_instance):
        place = place_of[id(piece)]
        rank[id(piece)] = seen.get(place, 0)
        seen[place] = rank[id(piece)] + 1
    return _by(slices, lambda piece: rank[id(piece)])


def _phase(number: int, piece: Slice) -> float:
    return piece.frame.phase[number]


def _places(slices: Sequence[Slice]) -> list[int] | None:
    """Return a number per slice, equal for equal positions; None where there are no positions."""
    planes = [piece.frame.plane for piece in slices if piece.frame.plane]
    if len(planes) < len(slices):
        return None
    along = geometry.positions(planes)
    order = np.argsort(along, kind="stable")
    thickness = min((piece.entry.header.thickness or np.inf for piece in slices), default=np.inf)
    nearest = geometry.same_place(thickness)
    steps = np.diff(along[order], prepend=along[order[0]]) > nearest
    places = np.empty(len(along), dtype=np.int64)
    places[order] = np.cumsum(steps)
    return [int(place) for place in places]


def _ordered(slices: list[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    if len(slices) == 1:
        return slices, ()
    places = _places(slices)
    if places is not None:
        pairs = sorted(zip(places, slices, strict=True), key=lambda pair: pair[0])
        return [piece for _, piece in pairs], ()
    numbers = [_table_number(piece) for piece in slices]
    if None not in numbers and len(set(numbers)) == len(numbers):
        return sorted(slices, key=lambda piece: _table_number(piece) or 0.0), ("order_by_table",)
    if all(piece.frame.instance is not None for piece in slices):
        return sorted(slices, key=_instance), ("order_by_instance",)
    return sorted(slices, key=_natural_name), ("order_by_name",)


def _table_number(piece: Slice) -> float | None:
    try:
        return float(piece.entry.row.get(ORDER_COLUMN, ""))
    except ValueError:
        return None


def _instance(piece: Slice) -> tuple[float, str]:
    number = piece.frame.instance
    return (float("inf") if number is None else number, piece.entry.own_id)


def _natural_name(piece: Slice) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", piece.entry.own_id)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _signature(part: tuple[list[Slice], tuple[str, ...]]) -> tuple[Any, ...]:
    """Sort the parts of a series by what they are, not by where their files lie."""
    slices, _ = part
    head = slices[0]
    planes = [piece.frame.plane for piece in slices if piece.frame.plane]
    origin = planes[0].origin if planes else ()
    return (_kind(head), -len(slices), head.frame.phase, origin, _instance(head))
