"""Split the images of one source series into volumes, and put their slices in anatomical order."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from medssl.ingestion import geometry, repeats, slices
from medssl.ingestion.slices import Slice

ORDER_COLUMN = "slice_index"  # of the label table, for loose images that form a series


@dataclass(frozen=True, slots=True, repr=False)
class Volume:
    """Ordered slices; images in the order they were made where they have no position."""

    slices: list[Slice]
    flags: tuple[str, ...] = ()


def split(pieces: list[Slice]) -> list[Volume]:
    """Return the volumes of a series, sorted by what they are and not by where their files lie."""
    volumes = [
        Volume(*_ordered(part, flags))
        for alike in _by(pieces, _kind)
        for parallel in _parallel(alike)
        for part, flags in repeats.apart(parallel)
    ]
    return volumes if len(volumes) == 1 else sorted(volumes, key=_signature)


def _kind(piece: Slice) -> tuple[Any, ...]:
    header, frame = piece.entry.header, piece.frame
    return (
        header.rows, header.columns, header.channels, header.unit, header.inverted, header.kind,
        _told(header.facts.b_value), _told(header.facts.te_ms), frame.kind, frame.plane is None,
    )  # fmt: skip


def _told(value: float | None) -> str:
    """Return a setting of the scanner to three digits, as it is not always told to more."""
    return "" if value is None else f"{value:.3g}"


def _by(pieces: Iterable[Slice], key: Callable[[Slice], Any]) -> list[list[Slice]]:
    groups: dict[Any, list[Slice]] = {}
    for piece in pieces:
        groups.setdefault(key(piece), []).append(piece)
    return [groups[name] for name in sorted(groups)]


def _parallel(pieces: list[Slice]) -> list[list[Slice]]:
    """Return groups of slices whose rows and columns run alike and are as far apart."""
    planes = slices.planes(pieces)
    if planes is None or len(pieces) == 1:
        return [pieces]
    groups: dict[int, list[Slice]] = {}
    for piece, number in zip(pieces, geometry.alike(planes), strict=True):
        groups.setdefault(number, []).append(piece)
    return list(groups.values())


def _ordered(pieces: list[Slice], flags: tuple[str, ...]) -> tuple[list[Slice], tuple[str, ...]]:
    if len(pieces) == 1:
        return pieces, flags
    places = repeats.places(pieces)
    if places is not None:
        return [pieces[k] for k in places.argsort()], flags
    numbers = [_table_number(piece) for piece in pieces]
    if None not in numbers and len(set(numbers)) == len(numbers):
        by_table = sorted(pieces, key=lambda piece: _table_number(piece) or 0.0)
        return by_table, (*flags, "order_by_table")
    if all(piece.frame.instance is not None for piece in pieces):
        return sorted(pieces, key=slices.instance), (*flags, "order_by_instance")
    return sorted(pieces, key=_natural_name), (*flags, "order_by_name")


def _table_number(piece: Slice) -> float | None:
    try:
        return float(piece.entry.row.get(ORDER_COLUMN, ""))
    except ValueError:
        return None


def _natural_name(piece: Slice) -> tuple[list[tuple[int, int, str]], int]:
    parts = re.split(r"(\d+)", piece.entry.own_id)
    names = [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
    return names, piece.number


def _signature(volume: Volume) -> tuple[Any, ...]:
    head = volume.slices[0]
    plane = head.frame.plane
    where = (*plane.origin, *plane.column_step, *plane.row_step) if plane else ()
    phase = head.frame.phase
    return (_kind(head), -len(volume.slices), phase, where, slices.instance(head))
