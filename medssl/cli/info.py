"""`medssl info`."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medssl.cli import console, options
from medssl.foundation import plugins
from medssl.foundation.errors import ArtifactError, UsageError


def info(
    path: Annotated[Path, typer.Argument(help="An archive or a run.")],
    codes: Annotated[
        list[str] | None,
        typer.Argument(metavar="CODE", help="With --quarantined: only these.", show_default=False),
    ] = None,
    quarantined: Annotated[
        bool,
        typer.Option("--quarantined", help="List the files that are not in it, with their paths."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what an archive or a run holds."""
    if quarantined:
        _show_quarantined(path, tuple(codes or ()), as_json=as_json)
        return
    if codes:
        raise UsageError(f"{codes[0]!r} is a code only with --quarantined", fix="add it")
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


def _show_quarantined(path: Path, codes: tuple[str, ...], *, as_json: bool) -> None:
    """Print where the files lie that are not in an archive; only this machine knows.

    Raises:
        UsageError: There is no such code.
        ArtifactError: There is no archive, or it has no `private/` any more.
    """
    import pyarrow.compute as pc

    from medssl.artifacts import archive, quarantine, source_paths
    from medssl.ingestion.codes import Code

    for code in codes:
        if code not in {*Code}:
            raise UsageError(f"no code {code!r}", fix=plugins.suggest(code, [*map(str, Code)]))
    archive.read_info(path)
    if not (path / "private").is_dir():
        raise ArtifactError(
            "the archive has no private/ here, and nothing else knows the paths of its files",
            where=str(path),
            fix="ask on the machine where it was made",
        )
    left = source_paths.read(path)
    left = left.filter(pc.is_null(left["image_id"]))
    paths = dict(zip(left["file_id"].to_pylist(), left["path"].to_pylist(), strict=True))
    files = [
        {"code": row["code"], "stage": row["stage"], "path": paths[row["file_id"]]}
        for row in quarantine.read(path).to_pylist()
        if not codes or row["code"] in codes
    ]
    files.sort(key=lambda file: (file["code"], file["path"]))
    rows = [(file["code"], _printable(file["path"])) for file in files] or [("files", "none")]
    console.show("info", {"archive": str(path), "files": files}, rows, as_json=as_json)


def _printable(path: str) -> str:
    """Return a path in which nothing moves the cursor or begins a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


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
