"""The tables of an archive, from what was found and written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import yaml

from medssl import __version__
from medssl.artifacts import archive as formats
from medssl.artifacts import quarantine, source_paths, tables, unmatched_labels
from medssl.artifacts.archive import ArchiveInfo
from medssl.config.ingest import IngestSettings
from medssl.config.settings import relative_to, to_plain
from medssl.foundation import files
from medssl.foundation.errors import DataError
from medssl.foundation.reporting import Reporter
from medssl.foundation.wording import counted
from medssl.ingestion.books import Books
from medssl.ingestion.joining import Joined
from medssl.ingestion.survey import Survey
from medssl.ingestion.writing import Written

VOLUME_SLICES = 4  # fewer slices with positions are not counted as a volume


def write(
    out: Path, seen: Survey, written: Written, books: Books, spatial_dims: int
) -> ArchiveInfo:
    """Write the tables and return what `archive.json` will say.

    Args:
        out: Where the archive is made.
        seen: What was found.
        written: What was written.
        books: Names of the files.
        spatial_dims: 2 or 3.
    """
    images = written.images
    assert pc.count_distinct(images["image_id"]).as_py() == images.num_rows
    ids = {file.path: books.file_id(file) for file in seen.files}
    rejects = {ids[path]: reject for path, reject in written.rejects.items()}
    formats.write_images(out, images)
    formats.write_labels(out, written.labels)
    rows: list[dict[str, object]] = [
        {"file_id": file_id, "stage": r.stage, "code": r.code.value, "patient_key": r.patient_key}
        for file_id, r in sorted(rejects.items())
    ]
    quarantine.write(out, tables.build(rows, quarantine.QUARANTINE))
    source_paths.write(out, tables.build(_path_rows(seen, written, ids), source_paths.PATHS))
    size = seen.joined.settings.size
    return ArchiveInfo(
        medssl=__version__,
        size=None if size == "keep" else size,
        spatial_dims=spatial_dims,
        key_id=books.key.key_id,
        files_found=len(seen.files),
        files_written=len(written.images_of),
        quarantined=dict(sorted(Counter(r.code.value for r in rejects.values()).items())),
        channels=written.channels,
        images=images.num_rows,
        series=pc.count_distinct(images["series_key"]).as_py(),
        studies=pc.count_distinct(images["study_key"]).as_py(),
        patients=pc.count_distinct(images["patient_key"]).as_py(),
        sites=tuple(sorted(name for name in images["site"].unique().to_pylist() if name)),
        targets=_target_counts(written),
        label_rows=_label_rows(seen.joined),
        hash=formats.content_hash(out),
    )


def _path_rows(seen: Survey, written: Written, ids: Mapping[Path, str]) -> list[dict[str, object]]:
    return [
        {"file_id": ids[file.path], "path": _as_text(file.path), "image_id": image, "frame": frame}
        for file in seen.files
        for image, frame in written.images_of.get(file.path, [(None, None)])
    ]


def _label_rows(joined: Joined) -> dict[str, int]:
    if not joined.n_table_rows:
        return {}
    n_files = sum(left.path is not None for left in joined.unmatched)
    return {
        "table_rows": joined.n_table_rows,
        "rows_without_file": len(joined.unmatched) - n_files,
        "files_without_row": n_files,
    }


def require_labels(archive: Path, settings: IngestSettings, info: ArchiveInfo) -> None:
    """Check that an archive that files are added to does not lose its labels by that.

    Raises:
        DataError: A target is not in the new one, or fewer images have it: a table is gone.
    """
    if not (archive / "archive.json").is_file():
        return
    if settings.labels is not None:  # the user has said which table counts
        return
    before = formats.read_info(archive).targets
    counts = {name: sum(values.values()) for name, values in info.targets.items()}
    gone = sorted(n for n, values in before.items() if counts.get(n, 0) < sum(values.values()))
    if gone:
        raise DataError(
            f"the archive has more labels called {', '.join(gone)}: a table of them is gone",
            where=str(archive),
            fix="bring it back, or name a table with --labels",
        )


def write_unmatched(out: Path, joined: Joined, reporter: Reporter) -> None:
    """Write what labels and files have not in common, if there is anything."""
    if not joined.unmatched:
        return
    rows: list[dict[str, object]] = [
        {
            "table": None if left.table is None else _as_text(left.table),
            "line": left.line,
            "key": left.key,
            "path": None if left.path is None else _as_text(left.path),
        }
        for left in joined.unmatched
    ]
    unmatched_labels.write(out, tables.build(rows, unmatched_labels.UNMATCHED))
    counts = _label_rows(joined)
    reporter.note(
        f"labels: private/{unmatched_labels.NAME} lists "
        f"{counted(counts['rows_without_file'], 'row')} without a file and "
        f"{counted(counts['files_without_row'], 'file')} without a row"
    )


def write_settings(out: Path, archive: Path, settings: IngestSettings) -> None:
    """Write the settings with their paths, mode 0600.

    Args:
        out: Where the archive is made.
        archive: Where it will be: paths are relative to its `private/`.
        settings: With every `auto` replaced.
    """
    plain = relative_to(archive / "private", to_plain(settings))
    _write_private(out, "config.yaml", yaml.safe_dump(plain, sort_keys=False))


def write_log(out: Path, said: Sequence[str]) -> None:
    """Write what was said, mode 0600."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _write_private(out, "log.txt", "".join(f"{now} {line}\n" for line in said))


def _write_private(out: Path, name: str, text: str) -> None:
    path = source_paths.folder(out) / name
    files.write_text(path, text)
    path.chmod(0o600)


def spatial_dims(settings: IngestSettings, written: Written, reporter: Reporter) -> int:
    """Return 3 where most images lie in series of several slices with positions, else 2."""
    if settings.spatial_dims != "auto":
        return settings.spatial_dims
    images = written.images
    placed = images.filter(pc.is_valid(images["affine"]))
    lengths = placed.group_by("series_key").aggregate([("image_id", "count")])["image_id_count"]
    in_volumes = sum(n for n in lengths.to_pylist() if n >= VOLUME_SLICES)
    found = 3 if 2 * in_volumes > images.num_rows else 2
    reporter.note(
        f"spatial_dims {found} (auto: {in_volumes:,} of {counted(images.num_rows, 'image')} in "
        "volumes)"
    )
    return found


def _target_counts(written: Written) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    columns = written.labels.select(["target", "value"]).to_pydict()
    for target, value in zip(columns["target"], columns["value"], strict=True):
        counts.setdefault(target, Counter()).update([] if value is None else [value])
    return {target: dict(sorted(values.items())) for target, values in counts.items()}


def _as_text(path: Path) -> str:
    """Return a path as valid UTF-8, whatever bytes its name has."""
    return str(path).encode("utf-8", "backslashreplace").decode()
