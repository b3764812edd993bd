"""`report.html` of an archive: one self-contained page on what was found, left out and written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from medssl.reporting import contents, flow, numbers, page
from medssl.reporting.contact_sheet import Thumbnail

_THOUSANDS = re.compile(r"\b\d{1,3}(?:,\d{3})+\b")
MOST_ROWS = 12  # of a table of words; the others are summed up
COLUMNS = {
    "modality": "Modality",
    "site": "Site",
    "scanner": "Manufacturer and scanner family",
    "body_part": "Body part",
    "view": "View",
    "laterality": "Laterality",
    "sex": "Sex",
    "age_band": "Age, years",
    "unit": "Unit of the pixel values",
}


def render(record: Mapping[str, Any], thumbnails: Sequence[Thumbnail] = ()) -> str:
    """Return the page that draws the record of an ingest.

    Args:
        record: As read from `report.json`; nothing else is shown.
        thumbnails: But for these.
    """
    shown = {
        **record,
        "tables": [
            _table(title, record["kinds"][name])
            for name, title in COLUMNS.items()
            if name in record["kinds"]
        ],
        "sizes": [_readable(row) for row in record["sizes"]],
        "cautions": [
            {name: _gapped(text) for name, text in caution.items()}
            for caution in record["cautions"]
        ],
        "settings": dict(contents.flat(record["settings"])),
        "thumbnails": [asdict(one) for one in thumbnails],
    }
    return page.fill("intake.html.j2", shown, {"flow": flow.draw(record["flow"])})


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of sizes with its numbers as text."""
    return {key: _short(value) if isinstance(value, float) else value for key, value in row.items()}


def _gapped(text: str) -> str:
    """Return a text with its numbers written as everywhere on the page."""
    return _THOUSANDS.sub(lambda found: numbers.count(int(found[0].replace(",", ""))), text)


def _short(value: float) -> str:
    return numbers.count(int(value)) if value.is_integer() else f"{value:.4g}"


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first rows of a table of words and what the others come to."""
    most = max(row["images"] for row in rows)
    rest = rows[MOST_ROWS:]
    return {
        "title": title,
        "rows": [{**row, "share": round(100 * row["images"] / most)} for row in rows[:MOST_ROWS]],
        "n_more": len(rest),
        "images_more": sum(row["images"] for row in rest),
    }
