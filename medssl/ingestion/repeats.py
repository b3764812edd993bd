"""Tell images of one place apart: time points, b-values, stations, repetitions, or rivals.

Images of one place are of one volume only by mistake. What a header says of time, diffusion or
acquisition decides which of them belong together; then where the image lies in its plane; then the
scanner's numbering, where every place repeats equally often. Of what is left only the first image
of a place stays, and the others stand behind it until their pixels are known.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import geometry, slices
from medssl.ingestion.codes import Code
from medssl.ingestion.slices import Copy, Slice

Codes = NDArray[np.int64]

BY_INSTANCE = "repeats_by_instance"  # flag
_TOGETHER = 3  # so many numbers at most tell volumes apart together


def apart(pieces: list[Slice]) -> list[tuple[list[Slice], tuple[str, ...]]]:
    """Return volumes in which no place repeats, each with its flags.

    Args:
        pieces: Parallel slices of one kind, in an order that does not depend on the listing.
    """
    place = places(pieces) if len(pieces) > 1 else None
    if place is None or len(set(place.tolist())) == len(pieces):
        return [(pieces, ())]
    if (group := _explained(pieces, place)) is not None:
        return [(part, ()) for part in _parted(pieces, group)]
    order = sorted(range(len(pieces)), key=lambda k: slices.instance(pieces[k]))
    rank = _ranks(place, order)
    if pieces[0].entry.header.is_volume or _is_numbered(pieces, place, rank):
        return [(part, (BY_INSTANCE,)) for part in _parted(pieces, rank)]
    return [(_with_rivals(pieces, place, order), ())]


def places(pieces: list[Slice]) -> Codes | None:
    """Return a number per slice, ascending with its place and equal for equal ones, shape (N,).

    None where one of the slices has no position.
    """
    planes = slices.planes(pieces)
    if planes is None:
        return None
    along = geometry.positions(planes)
    order = np.argsort(along, kind="stable")
    thickness = min(piece.entry.header.thickness or np.inf for piece in pieces)
    nearest = geometry.same_place(thickness)
    found = np.empty(len(along), dtype=np.int64)
    found[order] = np.cumsum(np.diff(along[order], prepend=along[order[0]]) > nearest)
    return found


def _explained(pieces: list[Slice], place: Codes) -> Codes | None:
    """Return the volume of each slice, where some numbers of the headers tell; else None.

    As many volumes as a place has images are surely meant. More of them are, where places overlap
    in part only, as stations do, but not one for every few slices: such a number counts shots.
    """
    repeats = int(np.bincount(place).max())
    most = max(repeats, math.isqrt(len(pieces)))
    best: Codes | None = None
    for group in _groupings(pieces, most):
        if not _tells_apart(group, place):
            continue
        if group.max() + 1 == repeats:
            return group
        if best is None or group.max() < best.max():
            best = group
    return best


def _groupings(pieces: list[Slice], most: int) -> Iterator[Codes]:
    """Yield what slices have in common by one number of their headers, by two, by three.

    Args:
        pieces: Slices with positions.
        most: Numbers that would make more groups than these are left aside.
    """
    planes = slices.planes(pieces)
    assert planes is not None
    length = min(len(piece.frame.phase) for piece in pieces)
    phases = (np.array([piece.frame.phase[k] for piece in pieces]) for k in range(length))
    field = _joined(*(_codes(np.round(along)) for along in geometry.offsets(planes).T))
    telling = [code for code in (*map(_codes, phases), field) if 0 < code.max() < most]
    for count in range(1, _TOGETHER + 1):
        for some in combinations(telling, count):
            group = reduce(_joined, some)
            if group.max() < most:
                yield group


def _codes(values: NDArray[Any]) -> Codes:
    """Return a number per value, shape (N,), equal for equal ones and ascending with them."""
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def _joined(first: Codes, second: Codes) -> Codes:
    return _codes(first * (second.max() + 1) + second)


def _tells_apart(group: Codes, place: Codes) -> bool:
    return int(_joined(group, place).max()) + 1 == len(place)


def _parted(pieces: list[Slice], group: Codes) -> list[list[Slice]]:
    parts: list[list[Slice]] = [[] for _ in range(int(group.max()) + 1)]
    for piece, number in zip(pieces, group.tolist(), strict=True):
        parts[number].append(piece)
    return parts


def _ranks(place: Codes, order: Sequence[int]) -> Codes:
    """Return of each slice how many come before it at its place."""
    seen = [0] * (int(place.max()) + 1)
    rank = np.empty(len(place), dtype=np.int64)
    for k in order:
        rank[k] = seen[place[k]]
        seen[place[k]] += 1
    return rank


def _is_numbered(pieces: list[Slice], place: Codes, rank: Codes) -> bool:
    """Return whether all places repeat equally often and instance numbers say in which order."""
    told = {
        (int(where), piece.frame.instance)
        for where, piece in zip(place, pieces, strict=True)
        if piece.frame.instance is not None
    }
    is_even = len(pieces) == (place.max() + 1) * (rank.max() + 1)
    return is_even and len(told) == len(pieces)


def _with_rivals(pieces: list[Slice], place: Codes, order: Sequence[int]) -> list[Slice]:
    """Return the first slice of each place, the others behind it."""
    found: dict[int, list[Slice]] = {}
    for k in order:
        found.setdefault(int(place[k]), []).append(pieces[k])
    return [
        replace(first, copies=(*first.copies, *(copy for one in others for copy in _behind(one))))
        for first, *others in found.values()
    ]


def _behind(piece: Slice) -> Iterator[Copy]:
    for entry in piece.entries:
        yield Copy(entry=entry, number=piece.number, otherwise=Code.SAME_POSITION)
