"""Images that are kept whatever they resemble."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.config.reduce import ReduceSettings
from medssl.data import conditions
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

CHOICES = ("auto", "none", "labelled")
_COHORT = 0.5  # share of labelled images below which they are a cohort, not the whole archive


def resolve(
    settings: ReduceSettings, table: pa.Table, labels: pa.Table
) -> tuple[ReduceSettings, NDArray[np.bool_], tuple[str, ...]]:
    """Return the settings without `auto`, which images are protected (N,), and what to say.

    Labelled images are protected by default where they are the smaller part of an archive: hashes
    can be blind to a lesion. Where most images are labelled that would leave nothing to reduce.

    Args:
        settings: As given or resolved.
        table: Rows of images.parquet.
        labels: `labels.parquet` of the archive.

    Raises:
        UsageError: The condition cannot be read.
    """
    wanted, notes = settings.protect, []
    labelled = _labelled(table, labels)
    if wanted == "auto":
        share = float(labelled.mean()) if len(labelled) else 0.0
        wanted = "labelled" if 0 < share < _COHORT else "none"
        if share:
            notes.append(f"protect {wanted} (auto: {share:.0%} of the images have a label)")
    if wanted == "none":
        protected = np.zeros(table.num_rows, dtype=bool)
    elif wanted == "labelled":
        protected = labelled
    else:
        _refuse_misspelt(wanted)
        protected = conditions.matches(wanted, table, labels)
        notes.append(f"{int(protected.sum())} of {table.num_rows} images are protected")
    return settings.model_copy(update={"protect": wanted}), protected, tuple(notes)


def _refuse_misspelt(wanted: str) -> None:
    """Refuse a single word that is meant to be one of the choices: no condition is one."""
    if wanted.isidentifier():
        raise UsageError(
            f"{wanted!r} is neither a choice nor a condition",
            where="protect",
            fix=f"{plugins.suggest(wanted, [*CHOICES])}; or a condition such as \"sex == 'F'\"",
        )


def _labelled(table: pa.Table, labels: pa.Table) -> NDArray[np.bool_]:
    """Return which images have a value of any target."""
    known = labels.filter(pc.is_valid(labels["value"]))["image_id"].combine_chunks()
    return np.asarray(pc.is_in(table["image_id"], known))
