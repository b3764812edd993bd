"""What a user may have overlooked: label tables that are not joined, masks among the images.

Only counts and words of this page are told, never a name of a file.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from medssl.config.ingest import IngestSettings
from medssl.foundation.reporting import Reporter
from medssl.foundation.wording import counted, verb
from medssl.ingestion import joining
from medssl.ingestion.assignment import Item
from medssl.ingestion.discover import SourceFile

_TABLES = ("labels.csv", "labels.xlsx")
_FOLDERS = frozenset(
    {"mask", "masks", "label", "labels", "labelstr", "labelsts", "seg", "segs", "segmentation",
     "segmentations"}
)  # fmt: skip
_NAME = re.compile(r"[_-](mask|seg|segmentation)$", re.IGNORECASE)
_LOOSE = frozenset({"nifti", "picture"})  # readers of formats in which masks come like images


def tell(
    files: Iterable[SourceFile],
    items: Iterable[Item],
    settings: IngestSettings,
    reporter: Reporter,
) -> None:
    """Warn of label tables that are not joined and of masks that are taken as images.

    Args:
        files: What was found.
        items: What of it is images.
        settings: Of the ingest.
        reporter: Where it is told.
    """
    if settings.labels is None:
        _tell_of_tables(files, reporter)
    _tell_of_masks(items, reporter)


def mask_pattern(relative: str) -> str | None:
    """Return what leaves out files like this one, if it is called like a mask.

    >>> mask_pattern("a/Masks/1.png"), mask_pattern("1_seg.nii.gz"), mask_pattern("masks.png")
    ('*/Masks/*', '*_seg.*', None)
    """
    path = PurePosixPath(relative)
    folder = next((name for name in path.parts[:-1] if name.casefold() in _FOLDERS), None)
    if folder is not None:
        return f"*/{folder}/*"
    found = _NAME.search(path.name.partition(".")[0])
    return f"*{found[0]}.*" if found else None


def _tell_of_tables(files: Iterable[SourceFile], reporter: Reporter) -> None:
    left = sum(
        Path(file.relative).name.casefold() in _TABLES and file.relative != joining.TABLE_NAME
        for file in files
        if file.code is None
    )
    if left:
        reporter.warn(
            f"label tables: {counted(left, 'file')} called {' or '.join(_TABLES)} "
            f"{verb(left, 'are')} not joined, as only a {joining.TABLE_NAME} at the top of a "
            "source is; give --labels FILE to join one"
        )


def _tell_of_masks(items: Iterable[Item], reporter: Reporter) -> None:
    loose = {item.file.relative for item in items if item.header.reader in _LOOSE}
    patterns = [pattern for name in loose if (pattern := mask_pattern(name))]
    if patterns:
        n = len(patterns)
        reporter.warn(
            f"masks: {counted(n, 'file')} {verb(n, 'are')} called like masks, or {verb(n, 'lie')} "
            f"in a folder called so, and {verb(n, 'are')} taken as images; "
            f"{_options(patterns)} leaves them out"
        )


def _options(patterns: Collection[str]) -> str:
    return " ".join(f"--exclude '{pattern}'" for pattern in sorted({*patterns}))
