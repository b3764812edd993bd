"""The rows of the archive's tables, made from what was decoded."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from medssl.ingestion import geometry, grouping
from medssl.ingestion.assignment import Entry
from medssl.ingestion.grouping import Series
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.shards import Place
from medssl.ingestion.slices import Slice
from medssl.ingestion.storing import Image, Outcome
from medssl.ingestion.vocabulary import parse_date

Row = dict[str, object]
Value = TypeVar("Value")
FACTS = (
    "modality", "body_part", "view", "laterality", "manufacturer", "model", "kvp", "te_ms", "tr_ms",
    "b_value", "age_band", "sex", "lossy", "transfer_syntax",
)  # fmt: skip


def first_days(entries: Sequence[Entry]) -> dict[str, int]:
    """Return the day of the first study of each patient, as an ordinal."""
    days: dict[str, int] = {}
    for entry in entries:
        if (day := _day(entry)) is not None:
            days[entry.patient_key] = min(day, days.get(entry.patient_key, day))
    return days


def image_rows(
    batch: Sequence[Series],
    outcome: Outcome,
    place: Place,
    days: Mapping[str, int],
    seen: set[tuple[str, int, str]],
    key: SiteKey,
) -> Iterator[tuple[Row, Slice, Image]]:
    """Yield the row of `images.parquet` for every image of some series, in stored order.

    Args:
        batch: The series that were decoded together.
        outcome: Their images.
        place: Where they lie.
        days: See `first_days`.
        seen: Series, position and digest of the images so far; grows. Equal pixels at one position
            of a series are flagged, whichever part of it they are in.
        key: The institution's key.
    """
    pieces = [(one, number) for one in batch for number in range(len(one.slices))]
    whole = {} if outcome.grid is None else {series.key: _whole(series) for series in batch}
    counts: Counter[str] = Counter()
    for number, image in enumerate(outcome.images):
        series, n_slice = pieces[image.source]
        piece = series.slices[n_slice]
        series_key = grouping.alone(series, n_slice, key) if image.is_alone else series.key
        entry = piece.entry if image.nearest is None else whole[series.key]
        name = _name(piece) if image.nearest is None else _new_name(series, outcome, counts)
        day, first = _day(entry), days.get(entry.patient_key)
        flags = {*series.flags, *entry.flags, *image.flags}
        if image.position_mm is not None:
            nearest = geometry.same_place(entry.header.thickness)
            twin = (series.base_key, round(image.position_mm / nearest), image.sha256)
            flags |= {"duplicate_pixels"} if twin in seen else set()
            seen.add(twin)
        facts = {name: getattr(entry.facts, name) for name in FACTS}
        row: Row = {
            "image_id": key.image(*name),
            "patient_key": entry.patient_key,
            "study_key": entry.study_key,
            "series_key": series_key,
            "site": entry.site,
            "slice_index": counts[series_key],
            "position_mm": image.position_mm,
            "spacing": None if image.spacing is None else list(image.spacing),
            "affine": image.affine,
            "rows": image.rows,
            "columns": image.columns,
            "shard": place.shard,
            "row": place.row + number,
            "unit": entry.header.unit,
            "slope": image.slope,
            "intercept": image.intercept,
            "days_since_first": None if day is None or first is None else day - first,
            "pixel_sha256": image.sha256,
            "flags": sorted(flags),
            **facts,
        }
        counts[series_key] += 1
        yield row, piece, image


def label_rows(image_id: str, entry: Entry, targets: Sequence[str]) -> list[Row]:
    """Return the rows of `labels.parquet` for one image; no label is null, never negative."""
    return [
        {"image_id": image_id, "target": name, "value": entry.row.get(name) or None}
        for name in targets
    ]


def _name(piece: Slice) -> tuple[str, ...]:
    """Return what no other image is called; never written."""
    told = piece.entry.header.identity
    uids = ("uid", told.study, told.series, told.image)
    name = uids if told.has_uid else ("file", piece.entry.content)
    return (*name, str(piece.number))


def _new_name(series: Series, outcome: Outcome, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the same for the next resampled image of a series: it is in no file."""
    assert outcome.grid is not None
    how = (str(outcome.grid.spacing), str(outcome.grid.orientation))
    return ("resampled", series.key, *how, str(counts.get(series.key, 0)))


def _whole(series: Series) -> Entry:
    """Return what the slices of a series have in common, and the flags of all of them."""
    entries = [piece.entry for piece in series.slices]
    facts = {name: _common(getattr(entry.facts, name) for entry in entries) for name in FACTS}
    return replace(
        series.first,
        site=_common(entry.site for entry in entries),
        facts=replace(series.first.facts, **facts),
        flags=tuple({flag for entry in entries for flag in entry.flags}),
    )


def _common(values: Iterable[Value]) -> Value | None:
    """Return what all values are, None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None


def _day(entry: Entry) -> int | None:
    day = parse_date(entry.header.identity.date)
    return None if day is None else day.toordinal()
