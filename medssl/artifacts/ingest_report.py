"""`report.json` of an archive: what was found, what was written, what is missing and why.

The page `report.html` beside it shows nothing that is not in here, but for thumbnails.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl.artifacts import records

SCHEMA = "medssl.ingest_report/1"


def write(archive: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    records.write(archive / "report.json", SCHEMA, report)


def read(archive: Path) -> dict[str, Any]:
    """Return `report.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read(archive / "report.json", SCHEMA)
