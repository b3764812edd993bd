"""Another selection, to keep as many images of each scope as it does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.artifacts import archive, selection
from medssl.config.reduce import ReduceSettings
from medssl.foundation.errors import UsageError


def pool(match: Path, table: pa.Table) -> NDArray[np.bool_]:
    """Return which images the other selection was chosen from, shape (N,)."""
    return _is_in(table, selection.read_pool(match))


def counts(
    settings: ReduceSettings, table: pa.Table, scopes: Sequence[NDArray[np.int64]]
) -> list[int]:
    """Return how many images of each scope the selection to match keeps.

    Raises:
        UsageError: Of a scope it keeps none.
        ArtifactError: There is no such selection, or it belongs to another archive.
    """
    assert settings.match is not None
    selection.require_archive(settings.match, archive.read_info(settings.archive).hash)
    inside = pool(settings.match, table)
    kept = _is_in(table, selection.read_kept(settings.match)["image_id"])
    found = [int(kept[rows].sum()) for rows in scopes if inside[rows].any()]
    if 0 in found:
        raise UsageError(
            f"the selection to match keeps nothing of {found.count(0)} of {len(scopes)} "
            f"{settings.within} scopes",
            where=str(settings.match),
            fix="leave out --within, and give --smoke if it was given there",
        )
    return found


def _is_in(table: pa.Table, ids: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.is_in(table["image_id"], ids.combine_chunks()))
