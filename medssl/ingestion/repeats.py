"""Tell images of one place apart: time points, b-values, stations, repetitions, or rivals.

Time points and acquisitions of one region are volumes even if no place repeats: the patient, or the
table, has moved between them by less than a slice. Images of one place are of one volume only by
mistake. What a header says of time, diffusion or acquisition decides which of them belong together;
then where the image lies in its plane; then the clock, where it stood still for each volume; then
the scanner's numbering, where it makes nearly whole volumes. Of what is left only the first image
of a place stays, and the others stand behind it until their pixels are known.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import geometry, slices
from medssl.ingestion.codes import Code
from medssl.ingestion.geometry import Vector
from medssl.ingestion.slices import Copy, Slice

Codes = NDArray[np.int64]
Part = tuple[list[Slice], tuple[str, ...]]  # a volume and its flags

BY_INSTANCE, SAME_POSITION = "repeats_by_instance", "same_position"  # flags
_TOGETHER = 3  # so many numbers at most tell volumes apart together
_TIME, _ACQUISITION = 0, 2  # where these numbers stand in the phase of a frame
_RUN = 3  # slices that an acquisition has at least
_OVERLAP = 0.5  # of the shortest acquisition, which all of them have in common at least
_CONTIGUOUS = 0.75  # of the distance between slices, which they fill at least


def apart(pieces: list[Slice]) -> list[Part]:
    """Return volumes in which no place repeats, each with its flags.

    Args:
        pieces: Parallel slices of one kind, in an order that does not depend on the listing.
    """
    return [
        volume
        for moment in _cut(pieces, _TIME, _are_moments)
        for run in _cut(moment, _ACQUISITION, _are_acquisitions)
        for volume in _without_repeats(run)
    ]


def _without_repeats(pieces: list[Slice]) -> list[Part]:
    place = places(pieces) if len(pieces) > 1 else None
    if place is None or len(set(place.tolist())) == len(pieces):
        return [(pieces, ())]
    group = _explained(pieces, place)
    group = _timed(pieces, place) if group is None else group
    if group is not None:
        return [(part, ()) for part in _parted(pieces, group)]
    order = sorted(range(len(pieces)), key=lambda k: slices.instance(pieces[k]))
    group = _numbered(pieces, place, order)
    if group is None and pieces[0].entry.header.is_volume:
        group = _ranks(place, order)
    if group is not None:
        return [(part, (BY_INSTANCE,)) for part in _parted(pieces, group)]
    return [(_with_rivals(pieces, place, order), (SAME_POSITION,))]


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


def _cut(
    pieces: list[Slice], number: int, is_meant: Callable[[list[Vector], list[Slice]], bool]
) -> list[list[Slice]]:
    """Return slices by a number of their phase, or all together where no volumes are meant by it.

    Args:
        pieces: Parallel slices.
        number: Which number of the phase.
        is_meant: Decides, from the ascending positions of each group (mm) and all slices.
    """
    planes = slices.planes(pieces)
    if planes is None or any(len(piece.frame.phase) <= number for piece in pieces):
        return [pieces]
    group = _codes(np.array([piece.frame.phase[number] for piece in pieces]))
    if not 0 < group.max() < len(pieces) // 2:
        return [pieces]
    along = geometry.positions(planes)
    order = np.lexsort((along, group))
    runs = np.split(along[order], np.flatnonzero(np.diff(group[order])) + 1)
    return _parted(pieces, group) if is_meant(runs, pieces) else [pieces]


def _are_moments(runs: list[Vector], pieces: list[Slice]) -> bool:
    """Return whether groups have several places each and a part of their range in common."""
    nearest = geometry.same_place(_thinnest(pieces))
    return all(run[-1] - run[0] > nearest for run in runs) and _common(runs) > nearest


def _are_acquisitions(runs: list[Vector], pieces: list[Slice]) -> bool:
    """Return whether each group is a volume by itself, and of the same region as the others.

    Neither the packets of an interleaved scan are, which leave room for each other, nor the steps
    of a table, which follow one another.
    """
    shortest = min(float(run[-1] - run[0]) for run in runs)
    thinnest = _thinnest(pieces)
    if thinnest is None or _common(runs) <= _OVERLAP * shortest:
        return False
    return all(_is_filled(run, thinnest) for run in runs)


def _is_filled(run: Vector, thickness: float) -> bool:
    """Return whether slices are evenly spaced, but for missing ones, with little between them."""
    if len(run) < _RUN:
        return False
    distances = np.diff(run)
    step = float(np.median(distances))
    if distances.min() <= geometry.same_place(thickness) or thickness < _CONTIGUOUS * step:
        return False
    steps = distances / step
    return bool(np.all(np.abs(steps - np.maximum(np.round(steps), 1)) <= geometry.GAP))


def _common(runs: list[Vector]) -> float:
    """Return how long the range is that all have in common, mm; negative where there is none."""
    return float(min(run[-1] for run in runs) - max(run[0] for run in runs))


def _thinnest(pieces: list[Slice]) -> float | None:
    """Return the thickness of the thinnest slice, mm; None where one of them does not tell."""
    told = [piece.entry.header.thickness for piece in pieces]
    known = [thickness for thickness in told if thickness is not None]
    return min(known) if len(known) == len(told) else None


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


def _timed(pieces: list[Slice], place: Codes) -> Codes | None:
    """Return the volume of each slice by the time of day, where that means volumes; else None.

    As a rule it goes on from slice to slice. It is believed only where more than half of all places
    have an image of each time.
    """
    half = (int(place.max()) + 1) / 2
    length = min(len(piece.frame.times) for piece in pieces)
    for k in range(length):
        group = _codes(np.array([piece.frame.times[k] for piece in pieces]))
        if np.bincount(group).min() > half and _tells_apart(group, place):
            return group
    return None


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


def _is_even(pieces: list[Slice], place: Codes, rank: Codes) -> bool:
    """Return whether all places repeat equally often and instance numbers say in which order."""
    told = {
        (int(where), piece.frame.instance)
        for where, piece in zip(place, pieces, strict=True)
        if piece.frame.instance is not None
    }
    is_even = len(pieces) == (place.max() + 1) * (rank.max() + 1)
    return is_even and len(told) == len(pieces)


def _numbered(pieces: list[Slice], place: Codes, order: Sequence[int]) -> Codes | None:
    """Return the volume of each slice by instance numbers, even if some are missing; else None.

    Numbers run through a volume and then the next: upwards, downwards, or in some order that only a
    place that comes again brings to an end. Or they run through a place and then the next. They are
    believed where each volume then has half of all places at least: what is less is a surplus. If
    it has exactly half, it may be every other slice of a volume taken upwards twice.
    """
    told = [piece.frame.instance for piece in pieces if piece.frame.instance is not None]
    is_distinct = len(set(told)) == len(pieces)
    half = (int(place.max()) + 1) / 2
    for group in (_by_run(place, order), _by_run(-place, order)):
        if is_distinct and np.bincount(group).min() > half:
            return group
    rank = _ranks(place, order)
    if _is_even(pieces, place, rank):
        return rank
    for other in (_by_block(told, place), _by_return(place, order)) if is_distinct else ():
        if other is not None and np.bincount(other).min() >= half:
            return other
    return None


def _by_run(place: Codes, order: Sequence[int]) -> Codes:
    """Return how often, up to each slice, the next one was not above the one before."""
    group = np.zeros(len(place), dtype=np.int64)
    group[order[1:]] = np.cumsum(np.diff(place[order]) <= 0)
    return group


def _by_block(instances: list[int], place: Codes) -> Codes | None:
    """Return how far each number is from the first of its place, where places are blocks of them.

    A place from which nothing is missing says where blocks begin.
    """
    counts = np.bincount(place)
    repeats, whole = int(counts.max()), int(counts.argmax())
    where = place.tolist()
    start = min(told for told, there in zip(instances, where, strict=True) if there == whole)
    blocks = [(told - start) // repeats for told in instances]
    n_pairs = len(set(zip(blocks, where, strict=True)))
    if not n_pairs == len(set(blocks)) == len(counts):
        return None
    return np.array([(told - start) % repeats for told in instances], dtype=np.int64)


def _by_return(place: Codes, order: Sequence[int]) -> Codes:
    """Return how often, up to each slice, a place came again that the volume had already."""
    group = np.empty(len(place), dtype=np.int64)
    volume, seen = 0, set[int]()
    for k in order:
        if int(place[k]) in seen:
            volume, seen = volume + 1, set()
        seen.add(int(place[k]))
        group[k] = volume
    return group


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
