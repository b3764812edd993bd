"""From metrics to a selection: by thresholds, to a size, or as many as another selection."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts import selection
from medssl.config.reduce import ReduceSettings
from medssl.thinning import balanced_kmeans, k_center, pools, scoping
from medssl.thinning.images import scopes_of
from medssl.thinning.metrics import Metric, ranks
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool

_SERIES_OF_SLICES = 2  # images per series from which series are thinned, not patients
Told = Callable[[float, int], None]  # a threshold that was tried, and how many images it keeps


def within(settings: ReduceSettings, table: pa.Table) -> tuple[ReduceSettings, tuple[str, ...]]:
    """Return the settings with the scope images are compared in, and the reason if it was `auto`.

    Raises:
        ArtifactError: There is no selection to match.
    """
    if settings.within != "auto":
        return settings, ()
    per_series = table.num_rows / max(1, len(scopes_of(table, "series")))
    scope, reason = "patient", f"{per_series:.1f} images per series"
    if per_series >= _SERIES_OF_SLICES:
        scope = "series"
    most = budget(settings, table.num_rows)
    if most is not None and most < len(scopes_of(table, scope)):
        scope, reason = "archive", f"{most} images are fewer than one per {scope}"
    if settings.match is not None:
        scope, reason = selection.read_info(settings.match).within, "as in the selection to match"
    update = {"within": scope}
    return settings.model_copy(update=update), (f"within {scope} (auto: {reason})",)


def pool(
    settings: ReduceSettings,
    table: pa.Table,
    chain: Sequence[Metric],
    protected: NDArray[np.bool_],
    left_out: NDArray[np.bool_],
) -> Pool:
    """Return the images to choose from, scope by scope in walking order.

    Args:
        settings: Resolved.
        table: Rows of images.parquet.
        chain: Their ranks decide the order.
        protected: Which images are kept in any case, shape (N,).
        left_out: Which images are in no scope, shape (N,).
    """
    inside = (rows[~left_out[rows]] for rows in scopes_of(table, settings.within))
    scopes = [rows for rows in inside if len(rows)]
    return Pool(
        scopes=scoping.ordered(scopes, ranks(tuple(chain)), protected),
        protected=protected,
        patient=_numbers(table["patient_key"]),
        series=_numbers(table["series_key"]),
        min_per_patient=settings.min_per_patient,
        min_per_series=settings.min_per_series,
        max_per_patient=settings.max_per_patient,
    )


def choose(
    settings: ReduceSettings, chain: Sequence[Metric], pool: Pool, budget: int | None, told: Told
) -> tuple[Thinned, tuple[float | None, ...]]:
    """Return the selection and the threshold of each metric, None where it has none of its own.

    Raises:
        UsageError: The budget is too small.
    """
    taus: list[float | None] = [metric.tau for metric in chain]
    if budget is None:
        return pools.thin(chain, pool), tuple(taus)
    if settings.select == "leader":
        thinned, taus[-1] = pools.thin_to(chain, pool, budget, told)
        return thinned, tuple(taus)
    pools.require(budget, sum(max(1, scope.fixed) for scope in pool.scopes))
    if settings.select == "k_center":
        thinned = k_center.select(chain[0], pool.scopes, budget)
    else:
        thinned = balanced_kmeans.select(chain[0], pool.scopes, budget, seed=settings.seed)
    thinned = pools.floored(thinned, pool)
    return thinned, (float(thinned.tau.min(initial=1.0)),)


def budget(settings: ReduceSettings, n_images: int) -> int | None:
    """Return how many of so many images may be kept, where the user limited that."""
    if settings.keep is not None:
        return max(1, int(settings.keep * n_images + 1e-9))  # 0.29 of 100 is 28.999…
    return settings.budget


def _numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for every value, equal for equal ones."""
    numbers = column.combine_chunks().dictionary_encode().indices
    return np.asarray(numbers, dtype=np.int64)
