"""From metrics to a selection: by thresholds, to a size, or as many as another selection."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts import selection
from medssl.config.reduce import ReduceSettings
from medssl.foundation import wording
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter
from medssl.thinning import approximate, balanced_kmeans, k_center, pools, scoping
from medssl.thinning.images import scopes_of
from medssl.thinning.metrics import Metric, ranks
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool

_SERIES_OF_SLICES = 2  # images per series from which series are thinned, not patients


def within(settings: ReduceSettings, table: pa.Table) -> tuple[ReduceSettings, tuple[str, ...]]:
    """Return the settings with the scope images are compared in, and the reason if it was `auto`.

    Raises:
        ArtifactError: There is no selection to match.
    """
    _refuse_cap_across(settings)
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
    settings = settings.model_copy(update={"within": scope})
    _refuse_cap_across(settings)
    return settings, (f"within {scope} (auto: {reason})",)


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
    settings: ReduceSettings,
    chain: Sequence[Metric],
    pool: Pool,
    budget: int | None,
    reporter: Reporter,
) -> tuple[Thinned, tuple[float | None, ...]]:
    """Return the selection and the threshold of each metric, None where it has none of its own.

    Raises:
        UsageError: The budget is too small.
    """
    taus: list[float | None] = [metric.tau for metric in chain]
    if budget is None:
        thinned = _by_thresholds(settings, chain, pool, reporter)
        return thinned, _common(taus, thinned)
    if settings.select == "leader":
        tried: list[tuple[float, int]] = []
        thinned, taus[-1] = pools.thin_to(chain, pool, budget, lambda *one: tried.append(one))
        reporter.note(
            f"threshold {taus[-1]:g} keeps {len(thinned.kept)} images ({len(tried)} were tried)"
        )
        return thinned, _common(taus, thinned)
    scopes = pools.with_floors(pool)
    pools.require(budget, sum(max(1, scope.fixed) for scope in scopes))
    if settings.select == "k_center":
        thinned = k_center.select(chain[0], scopes, budget)
    else:
        thinned = balanced_kmeans.select(chain[0], scopes, budget, seed=settings.seed)
    fixed = np.concatenate([scope.rows[: scope.fixed] for scope in scopes])
    thinned = replace(thinned, restored=np.sort(fixed[~pool.protected[fixed]]))
    return thinned, (float(thinned.tau.min(initial=1.0)),)


def _by_thresholds(
    settings: ReduceSettings, chain: Sequence[Metric], pool: Pool, reporter: Reporter
) -> Thinned:
    """Thin by thresholds, which is what shows progress, and say how much was found."""
    search = approximate.how(chain[0], settings.seed) if settings.approximate else {}
    thinned = pools.thin(
        chain,
        pool,
        watch=lambda blocks, total: reporter.track(
            blocks, task="compare", total=total, unit="blocks"
        ),
        **search,
    )
    if not settings.approximate:
        return thinned
    recall = approximate.measure(chain[0], pool.scopes, thinned, settings.seed)
    if recall is not None:
        reporter.note(approximate.told(recall))
    return replace(thinned, recall=recall)


def warnings(settings: ReduceSettings, pool: Pool, thinned: Thinned) -> Iterator[str]:
    """Yield what the user should know of a selection before using it."""
    n_protected = int(pool.protected.sum())
    if not len(thinned.dropped) and n_protected == len(thinned.kept):
        yield "all images are protected, and so all are kept; --protect none or a condition helps"
    elif not len(thinned.dropped):
        yield (
            f"nothing is redundant within a {settings.within}: all images are kept; "
            "a wider --within or a lower --threshold drops more"
        )
    if not n_protected and settings.protect not in ("none", "labelled"):
        yield f"--protect is true of no image: {settings.protect}"
    most = settings.max_per_patient
    over = 0 if most is None else int((np.bincount(pool.patient[thinned.kept]) > most).sum())
    if over:
        yield (
            f"{wording.counted(over, 'patient')} {wording.verb(over, 'keep')} more than {most} "
            f"images: at least one of each {settings.within} stays, and protected ones do"
        )


def _common(taus: Sequence[float | None], thinned: Thinned) -> tuple[float | None, ...]:
    """Return the thresholds; None for the last one where a patient has another of its own."""
    last = thinned.tau[thinned.stage == len(taus) - 1]
    return (*taus[:-1], None if (last != taus[-1]).any() else taus[-1])


def _refuse_cap_across(settings: ReduceSettings) -> None:
    """Refuse a most per patient where images of several patients stand for each other."""
    if settings.max_per_patient is not None and settings.within in ("site", "archive"):
        raise UsageError(
            "a most per patient needs images to be compared within patients",
            where="max_per_patient",
            fix="give --within series or patient",
        )


def budget(settings: ReduceSettings, n_images: int) -> int | None:
    """Return how many of so many images may be kept, where the user limited that."""
    if settings.keep is not None:
        return max(1, int(settings.keep * n_images + 1e-9))  # 0.29 of 100 is 28.999…
    return settings.budget


def _numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for every value, equal for equal ones."""
    numbers = column.combine_chunks().dictionary_encode().indices
    return np.asarray(numbers, dtype=np.int64)
