"""`report.json`: the numbers behind `report.html`. The JSON is the truth, the page draws it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl.artifacts import records

SCHEMA = "medssl.report/1"


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    records.write(folder / "report.json", SCHEMA, report)


def read(folder: Path) -> dict[str, Any]:
    """Return `report.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read(folder / "report.json", SCHEMA)
