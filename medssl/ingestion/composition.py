"""What an archive is made of, counted from its tables: kinds, encodings, sizes, flags and labels.

Counts are of images, series and patients; what would be 0 has no row.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydicom.uid import UID

from medssl.ingestion.flags import MEANINGS
from medssl.ingestion.vocabulary import AGE_BANDS

Row = dict[str, Any]
WORDS = (
    "modality",
    "site",
    "scanner",
    "body_part",
    "view",
    "laterality",
    "sex",
    "age_band",
    "unit",
)
QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
MOST_VALUES = 50  # of a target that are listed; a target of more is no class
MANY_PATIENTS = 5  # of a site, for which one value only is no chance
_KEYS = ["series_key", "patient_key"]  # by which everything is counted
_DIGITS = 6  # of a measured number


def kinds(images: pa.Table) -> dict[str, list[Row]]:
    """Return for each column of words how often each word stands there; null is not stated.

    Args:
        images: Rows of `images.parquet`.
    """
    images = images.append_column("scanner", _scanners(images))
    found = {name: _counts(images, images[name]) for name in WORDS}
    found["age_band"].sort(key=lambda row: _place_of_age(row["value"]))
    return {
        name: rows for name, rows in found.items() if any(row["value"] is not None for row in rows)
    }


def encodings(images: pa.Table, decoders: Mapping[str, str]) -> list[Row]:
    """Return how the files were encoded, which library decoded them, and how many with loss.

    Args:
        images: Rows of `images.parquet`.
        decoders: Transfer syntax -> library and its version, where known.
    """
    with_loss = images.select([*_KEYS, "transfer_syntax"]).filter(
        pc.equal(images["lossy"], pa.scalar(value=True))
    )
    lost = _counts(with_loss, with_loss["transfer_syntax"])
    n_lossy = {row["value"]: row["images"] for row in lost}
    return [
        {
            **row,
            "name": _syntax_name(row["value"]),
            "decoder": decoders.get(row["value"]),
            "lossy": n_lossy.get(row["value"], 0),
        }
        for row in _counts(images, images["transfer_syntax"])
    ]


def sizes(images: pa.Table) -> list[Row]:
    """Return the spread of sizes, distances and counts; every number is one that occurs.

    Args:
        images: Rows of `images.parquet`.
    """
    if not images.num_rows:
        return []
    spacing = _spacing(images["spacing"].filter(pc.equal(images["slice_index"], 0)))
    patient, series = _numbers(images["patient_key"]), _numbers(images["series_key"])
    dated = images.select(["patient_key", "days_since_first"]).filter(
        pc.is_valid(images["days_since_first"])
    )
    last_days = _largest(_numbers(dated["patient_key"]), dated["days_since_first"].to_numpy())
    measured = (
        ("rows", "px", "images", images["rows"].to_numpy()),
        ("columns", "px", "images", images["columns"].to_numpy()),
        ("distance between rows", "mm", "series", spacing[:, 0]),
        ("distance between columns", "mm", "series", spacing[:, 1]),
        ("distance between slices", "mm", "series", spacing[:, 2]),
        ("images per series", "", "series", np.bincount(series)),
        ("images per patient", "", "patients", np.bincount(patient)),
        ("first to last study", "days", "patients", last_days),
    )
    rows = (_spread(*one) for one in measured)
    return [row for row in rows if row["n"]]


def flags(images: pa.Table) -> list[Row]:
    """Return how often each flag stands in the archive, with its meaning.

    Args:
        images: Rows of `images.parquet`.
    """
    column = images["flags"].combine_chunks()
    flagged = images.select(_KEYS).take(pc.list_parent_indices(column))
    return [
        {
            "flag": row["value"],
            **{name: row[name] for name in ("images", "series", "patients")},
            "meaning": MEANINGS.get(row["value"], ""),
        }
        for row in _counts(flagged, pc.list_flatten(column))
    ]


def targets(images: pa.Table, labels: pa.Table) -> list[Row]:
    """Return for each target its values, what is unlabelled, and where labels disagree.

    Args:
        images: Rows of `images.parquet`.
        labels: Rows of `labels.parquet`.
    """
    of = pc.index_in(labels["image_id"], value_set=images["image_id"].combine_chunks())
    table = images.select([*_KEYS, "site"]).take(of)
    table = table.append_column("target", labels["target"]).append_column("value", labels["value"])
    names = sorted(pc.unique(table["target"]).to_pylist())
    return [_target(name, table.filter(pc.equal(table["target"], name))) for name in names]


def shared_patients(images: pa.Table) -> int:
    """Return how many patients have images at more than one site.

    Args:
        images: Rows of `images.parquet`.
    """
    named = images.select(["patient_key", "site"]).filter(pc.is_valid(images["site"]))
    return _groups(named, "patient_key", "site", lambda n: n > 1)


def shared_images(images: pa.Table) -> int:
    """Return how many images have the same pixels as one of another patient.

    Only images without a position count: empty slices of volumes are all alike.

    Args:
        images: Rows of `images.parquet`.
    """
    loose = images.filter(pc.is_null(images["affine"]))
    by_pixels = loose.group_by("pixel_sha256").aggregate(
        [("patient_key", "count_distinct"), ("image_id", "count")]
    )
    shared = by_pixels.filter(pc.greater(by_pixels["patient_key_count_distinct"], 1))
    return int(pc.sum(shared["image_id_count"]).as_py() or 0)


def _target(name: str, table: pa.Table) -> Row:
    rows = _counts(table, table["value"])
    labelled = table.filter(pc.is_valid(table["value"]))
    values = [row for row in rows if row["value"] is not None]
    placed = labelled.filter(pc.is_valid(labelled["site"]))
    return {
        "target": name,
        "values": values[:MOST_VALUES],
        "n_values": len(values),
        "unlabelled": next((row for row in rows if row["value"] is None), None),
        "patients_with_several_values": _groups(labelled, "patient_key", "value", lambda n: n > 1),
        "sites": pc.count_distinct(placed["site"]).as_py(),
        "sites_with_one_value": _one_valued(placed),
    }


def _one_valued(placed: pa.Table) -> int:
    """Return how many sites of many patients have one value only."""
    found = placed.group_by("site").aggregate(
        [("value", "count_distinct"), ("patient_key", "count_distinct")]
    )
    columns = (found[name].to_pylist() for name in found.column_names if name != "site")
    return sum(
        values == 1 and patients >= MANY_PATIENTS for values, patients in zip(*columns, strict=True)
    )


def _groups(table: pa.Table, by: str, counted: str, holds: Callable[[int], bool]) -> int:
    """Return for how many groups the number of distinct words fulfils a condition."""
    found = table.group_by(by).aggregate([(counted, "count_distinct")])
    return sum(holds(n) for n in found[f"{counted}_count_distinct"].to_pylist())


def _counts(table: pa.Table, words: pa.ChunkedArray | pa.Array) -> list[Row]:
    """Return a row per word, the most frequent first."""
    counted = pa.table(
        {
            "value": words,
            "series": _numbers(table["series_key"]),
            "patient": _numbers(table["patient_key"]),
        }
    )
    found = counted.group_by("value").aggregate(
        [([], "count_all"), ("series", "count_distinct"), ("patient", "count_distinct")]
    )
    rows = [
        {
            "value": row["value"],
            "images": row["count_all"],
            "series": row["series_count_distinct"],
            "patients": row["patient_count_distinct"],
        }
        for row in found.to_pylist()
    ]
    return sorted(rows, key=lambda row: (-row["images"], row["value"] is None, row["value"] or ""))


def _numbers(words: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return a number per word, equal for equal words: far cheaper to count than text."""
    encoded = words.combine_chunks().dictionary_encode()
    numbers: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False)
    return numbers


def _scanners(images: pa.Table) -> pa.ChunkedArray:
    """Return maker and model as one text, null where neither is stated."""
    maker, model = (pc.fill_null(images[name], "") for name in ("manufacturer", "model"))
    named = pc.utf8_trim_whitespace(pc.binary_join_element_wise(maker, model, " "))
    return pc.if_else(pc.equal(named, ""), pa.scalar(None, pa.string()), named)


def _spacing(triples: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return row, column and slice distance, shape (N, 3), mm; not-a-number where unknown."""
    axes = (pc.list_element(triples, axis) for axis in range(3))
    return np.stack([axis.to_numpy().astype(np.float64) for axis in axes], axis=1)


def _largest(groups: NDArray[np.int32], values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the largest value of each group."""
    found = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int32)
    np.maximum.at(found, groups, values)
    return found


def _spread(quantity: str, unit: str, of: str, values: NDArray[Any]) -> Row:
    known = values[np.isfinite(values)]
    row: Row = {"quantity": quantity, "unit": unit, "of": of, "n": len(known)}
    for name, share in QUANTILES.items() if len(known) else ():
        value = np.quantile(known, share, method="inverted_cdf")
        row[name] = float(f"{value:.{_DIGITS}g}")
    return row


def _place_of_age(band: str | None) -> tuple[int, str]:
    known = {name: place for place, name in enumerate(AGE_BANDS)}
    return known.get(band or "", len(known)), band or "~"


def _syntax_name(value: str | None) -> str | None:
    return UID(value).name if value and value[0].isdigit() else value
