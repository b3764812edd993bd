"""`medssl info`."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medssl.cli import console, options


def info(
    path: Annotated[Path, typer.Argument(help="An archive or a run.")],
    as_json: options.AsJson = False,
) -> None:
    """Show what an archive or a run holds."""
    facts = _run(path) if (path / "status.json").is_file() else _archive(path)
    rows = [(name, _text(value)) for name, value in facts.items()]
    console.show("info", facts, rows, as_json=as_json)


def _archive(path: Path) -> dict[str, Any]:
    import numpy as np

    from medssl.artifacts import archive

    record = archive.read_info(path)
    table = archive.read_images(path)

    def count(column: str) -> dict[str, int]:
        values = (str(value or "unknown") for value in table[column].to_pylist())
        return dict(Counter(values).most_common())

    spacing = np.array([s for s in table["spacing"].to_pylist() if s is not None], dtype=float)
    lengths = sorted(Counter(table["series_key"].to_pylist()).values())
    flags = Counter(flag for row in table["flags"].to_pylist() for flag in row or ())
    middle = np.nanmedian(spacing, axis=0).round(3).tolist() if len(spacing) else None
    return {
        "archive": str(path),
        "images": record.images,
        "patients": record.patients,
        "studies": record.studies,
        "series": record.series,
        "images_per_series": {
            "least": lengths[0],
            "median": lengths[len(lengths) // 2],
            "most": lengths[-1],
        },
        "sites": count("site"),
        "modalities": count("modality"),
        "manufacturers": count("manufacturer"),
        "units": count("unit"),
        "stored_px": {
            "longest": int(max(table["rows"].to_numpy().max(), table["columns"].to_numpy().max()))
        },
        "spacing_mm": {"with_spacing": len(spacing), "median_row_column_slice": middle},
        "with_affine": sum(value is not None for value in table["affine"].to_pylist()),
        "flags": dict(flags.most_common()),
        "targets": {name: dict(values) for name, values in record.targets.items()},
        "files_found": record.files_found,
        "files_written": record.files_written,
        "quarantined": dict(record.quarantined),
        "key_id": record.key_id,
        "hash": record.hash,
    }


def _run(path: Path) -> dict[str, Any]:
    from medssl.artifacts import run_folder

    status = run_folder.read_status(path)
    settings = run_folder.read_config(path)
    files = sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file())
    return {"run": str(path), **status, "settings": settings, "files": files}


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
