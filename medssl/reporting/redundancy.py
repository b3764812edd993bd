"""`report.html` of a reduction: one self-contained page on what was kept, of whom, and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from medssl.artifacts import reduce_report
from medssl.data.shown import ShownImages
from medssl.foundation import files
from medssl.reporting import contents, gallery, histograms, numbers, page
from medssl.reporting.gallery import Pair, Strip
from medssl.reporting.histograms import Mark, Panel
from medssl.thinning import accounting
from medssl.thinning.accounting import Account

Record = Mapping[str, Any]
MOST_ROWS = 14  # of a column; marked strata are shown all the same
TITLES = {
    "site": "Site",
    "modality": "Modality",
    "body_part": "Body part",
    "scanner": "Manufacturer and model",
    "sex": "Sex",
    "age_band": "Age, years",
}
LIKENESS = {  # the histograms, and what each one counts
    "before": "All images, to the nearest other",
    "after": "Kept images, to the nearest other kept one",
    "represented": "Dropped images, to their representative",
}
_THOUSANDS = re.compile(r"\b\d{1,3}(?:,\d{3})+\b")


def write(folder: Path, account: Account, images: ShownImages | None) -> tuple[str, ...]:
    """Write the report of a reduction: `report.json`, its tables and `report.html`.

    Args:
        folder: Of the run.
        account: All that it is made from.
        images: Its images, to be shown on the page; None: no pixels appear.

    Returns:
        What the page cautions against, in a few words each.
    """
    done = accounting.compose(account)
    reduce_report.write(folder, done.record, done.strata, done.per_patient, done.per_series)
    pairs: Sequence[Pair] = ()
    strips: Sequence[Strip] = ()
    if images is not None:
        pairs, strips = gallery.draw(images, account.images, done, account.pool, account.thinned)
    files.write_text(folder / "report.html", render(done.record, pairs, strips))
    return tuple(f"{row['about']}: {row['text']}" for row in done.record["cautions"])


def render(record: Record, pairs: Sequence[Pair] = (), strips: Sequence[Strip] = ()) -> str:
    """Return the page that draws the record of a reduction.

    Args:
        record: As read from `report.json`; nothing else is shown.
        pairs: But for these
        strips: and these.
    """
    counts = record["counts"]
    overall = counts["kept"] / max(1, counts["pool"])
    shown = {
        **record,
        "overall": overall,
        "times": counts["pool"] / max(1, counts["kept"]),
        "tables": _tables(record["strata"]),
        "cautions": [
            {name: _gapped(text) for name, text in caution.items()}
            for caution in record["cautions"]
        ],
        "settings": dict(contents.flat(record["settings"])),
        "encoder": dict(contents.flat(record["encoder"])),
        "dropped_pairs": [asdict(pair) for pair in pairs if pair.is_dropped],
        "kept_pairs": [asdict(pair) for pair in pairs if not pair.is_dropped],
        "strips": [asdict(strip) for strip in strips],
    }
    return page.fill("redundancy.html.j2", shown, _figures(record, overall))


def _figures(record: Record, overall: float) -> dict[str, str]:
    drawn = {}
    if record["counts"]["pool"]:
        drawn["shares"] = _shares(record["shares"], overall)
    if record["likeness"] is not None:
        drawn["likeness"] = _likeness(record["likeness"])
    return drawn


def _shares(shares: Record, overall: float) -> str:
    """Return how large a share of its images each patient, and each series, keeps."""
    panels = [
        Panel(title=f"{name.capitalize()} ({numbers.count(one['n'])})", counts=one["counts"],
              of=one["n"])
        for name, one in shares.items()
    ]  # fmt: skip
    n = len(panels[0].counts)
    mark = Mark(value=overall, text=f"all images, {numbers.percent(round(overall, 3))}")
    axis = "Share of the images that is kept"
    return histograms.draw(
        "shares", panels, [k / n for k in range(n + 1)], axis, mark, in_percent=True
    )


def _likeness(likeness: Record) -> str:
    """Return how alike images are, before and after."""
    panels = [
        Panel(title=f"{title} ({numbers.count(likeness[name]['n'])})",
              counts=likeness[name]["counts"], of=likeness[name]["n"])
        for name, title in LIKENESS.items()
    ]  # fmt: skip
    mark = Mark(value=likeness["tau"], text=f"threshold, {likeness['tau']:g}")
    axis = f"Similarity by {likeness['metric']}"
    return histograms.draw("likeness", panels, likeness["edges"], axis, mark)


def _tables(strata: Sequence[Record]) -> list[dict[str, Any]]:
    """Return a table for each target and column: its first rows, and those that are marked."""
    found = []
    for (column, target), rows in groupby(strata, lambda row: (row["column"], row["target"])):
        every = list(rows)
        shown = [row for n, row in enumerate(every) if n < MOST_ROWS or row["is_low"]]
        found.append(
            {
                "title": TITLES.get(column, target),
                "is_label": column == "label",
                "rows": shown,
                "n_more": len(every) - len(shown),
            }
        )
    return found


def _gapped(text: str) -> str:
    """Return a text with its numbers written as everywhere on the page."""
    return _THOUSANDS.sub(lambda found: numbers.count(int(found[0].replace(",", ""))), text)
