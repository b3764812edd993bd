"""Two hospitals in miniature: images of patients of a site, with a label for every kind of task."""

import csv
import shutil
from dataclasses import replace

import numpy as np
from PIL import Image

from medssl.artifacts import archive, tables

GRADES = ("none", "mild", "severe")


def site(root, run_main, patients, seed):
    """Two images each of some patients of a site, with a label for every kind of task."""
    rng = np.random.default_rng(seed)
    (root / "scans").mkdir(parents=True)
    rows = []
    for patient in patients:
        left, right, grade = patient % 2, patient // 2 % 2, patient % 3
        shown = left if rng.random() < 0.75 else 1 - left  # no model can be right about all
        for number in range(2):
            pixels = rng.integers(40, 90, (24, 24)).astype(np.uint8)
            pixels[3:9, 3:9] += np.uint8(100 * shown)
            pixels[15:21, 15:21] += np.uint8(30 * grade)
            name = f"p{patient:03d}-{number}.png"
            Image.fromarray(pixels).save(root / "scans" / name)
            rows.append(
                {
                    "path": f"scans/{name}",
                    "patient": f"p{patient:03d}",
                    "left": left if number or patient % 10 else "",
                    "right": right,
                    "letter": "xyz"[grade],
                    "grade": GRADES[grade],
                    "amount": f"{1.5 * left + right + 0.1 * rng.normal():.3f}",
                    "sick": "yes" if left else "no",
                }
            )
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    named = [word for name in list(rows[0])[2:] for word in ("--label", name)]
    said = run_main(
        "ingest",
        root / "scans",
        "-o",
        root / "archive",
        "--labels",
        root / "labels.csv",
        "--key",
        "path",
        "--patient",
        "col:patient",
        *named,
    )
    assert said[0] == 0, said
    return root / "archive"


def changed(south, copy, *, labels=None, images=None, **info):
    """A copy of the archive with other labels, other images or other facts."""
    shutil.copytree(south, copy)
    if labels:
        rows = [labels(row) for row in archive.read_labels(copy).to_pylist()]
        archive.write_labels(copy, tables.build([row for row in rows if row], archive.LABELS))
    if images:
        rows = [images(row) for row in archive.read_images(copy).to_pylist()]
        archive.write_images(copy, tables.build([row for row in rows if row], archive.IMAGES))
    known = replace(archive.read_info(copy), **info)
    archive.write_info(copy, replace(known, hash=archive.content_hash(copy)))
    return copy
