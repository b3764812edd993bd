"""Account for every image of a reduction: what was kept of whom, and how alike the images are.

The record made here is what `report.json` of a reduction holds; it names no patient, no series and
no path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl import __version__
from medssl.artifacts import aliases, reduce_report
from medssl.artifacts.aliases import Alias
from medssl.artifacts.selection import SelectionInfo
from medssl.thinning import cautions, covering, retention
from medssl.thinning.covering import Coverage, Likeness
from medssl.thinning.metrics import Metric
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool
from medssl.thinning.retention import Shares, Stratum

Record = dict[str, Any]
PATHS = frozenset({"archive", "against", "encoder", "match"})  # settings that say where files lie
DIGITS = 6  # of a measured number


@dataclass(frozen=True, kw_only=True)
class Account:
    """All that a report on a reduction is made from."""

    info: SelectionInfo
    images: pa.Table  # rows of images.parquet, as the pool numbers them
    labels: pa.Table  # labels.parquet
    chain: Sequence[Metric]
    pool: Pool
    thinned: Thinned
    leaks: pa.Table  # leaks.parquet
    aliases: Sequence[Alias] | None  # None: not looked for
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Accounted:
    """The record of a reduction, its tables, and the neighbours that a gallery shows."""

    record: Record
    strata: pa.Table
    per_patient: pa.Table
    per_series: pa.Table
    inside: NDArray[np.bool_]  # (N,) which images were in the pool
    kept: NDArray[np.bool_]  # (N,)
    coverage: Coverage | None  # None: no metric of the chain says how alike images are
    stage: int | None  # position of that metric in the chain


def compose(account: Account) -> Accounted:
    """Return the record of a reduction, in reading order, as JSON values, and what goes with it."""
    inside, kept = _masks(account)
    strata = retention.strata(account.images, account.labels, kept, inside)
    patients, series = (
        retention.groups(account.images, key, kept, inside) for key in ("patient_key", "series_key")
    )
    stage = _judge(account.chain)
    coverage = None
    if stage is not None:
        seed = int(account.settings.get("seed", 0))
        metric = _at_its_threshold(account, stage)
        coverage = covering.measure(metric, account.pool, account.thinned, seed, stage)
    spread = {"patients": retention.shares(patients), "series": retention.shares(series)}
    record = {
        "medssl": __version__,
        "counts": _counts(account, inside, spread),
        "cautions": [],
        "how": _how(account),
        "strata": [asdict(row) | {"share": _short(row.share)} for row in strata],
        "lower": _lower(),
        "shares": {name: _shares(one) for name, one in spread.items()},
        "likeness": coverage and _likeness(coverage),
        "left_out": _left_out(account),
        "aliases": _aliases(account.aliases),
        "controls": list(account.info.controls),
        "smoke": account.info.smoke,
        "archive": {"hash": account.info.archive_hash},
        "encoder": {k: v for k, v in account.info.encoder.items() if k != "file"},
        "settings": without_paths(account.settings),
        "notes": list(account.notes),
        "warnings": list(account.warnings),
    }
    return Accounted(
        record=record | {"cautions": cautions.find(record)},
        strata=_table(strata),
        per_patient=patients.cast(reduce_report.PER_PATIENT),
        per_series=series.cast(reduce_report.PER_SERIES),
        inside=inside,
        kept=kept,
        coverage=coverage,
        stage=stage,
    )


def without_paths(settings: Mapping[str, Any]) -> Record:
    """Return settings without those that name files, at any depth."""
    return {
        key: without_paths(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in PATHS
    }


def _masks(account: Account) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images were in the pool and which are kept."""
    inside, kept = np.zeros((2, account.images.num_rows), dtype=bool)
    for scope in account.pool.scopes:
        inside[scope.rows] = True
    kept[account.thinned.kept] = True
    assert not (kept & ~inside).any()
    assert kept.sum() + len(account.thinned.dropped) == inside.sum()
    return inside, kept


def _judge(chain: Sequence[Metric]) -> int | None:
    """Return the last metric of a chain that says how alike images are."""
    places = [k for k, metric in enumerate(chain) if metric.strategy.SAME is not None]
    return places[-1] if places else None


def _at_its_threshold(account: Account, stage: int) -> Metric:
    """Return a metric with the threshold that was used, which may have been searched."""
    tau = account.info.thresholds[stage]
    return account.chain[stage] if tau is None else account.chain[stage].at(tau)


def _counts(
    account: Account, inside: NDArray[np.bool_], spread: Mapping[str, Shares]
) -> dict[str, int]:
    pool, thinned = account.pool, account.thinned
    return {
        "images": account.images.num_rows,
        "left_out": int((~inside).sum()),
        "pool": int(inside.sum()),
        "kept": len(thinned.kept),
        "dropped": len(thinned.dropped),
        "protected": int(pool.protected[inside].sum()),
        "floor": len(thinned.restored),
        "patients": spread["patients"].n,
        "patients_without": spread["patients"].n_without,
        "series": spread["series"].n,
        "series_without": spread["series"].n_without,
        "scopes": len(pool.scopes),
        "scopes_of_one": sum(len(scope.rows) == 1 for scope in pool.scopes),
    }


def _how(account: Account) -> Record:
    info = account.info
    return {
        "select": info.select,
        "within": info.within,
        "chain": [_link(account, k) for k in range(len(account.chain))],
        "keep": account.settings.get("keep"),
        "budget": account.settings.get("budget"),
        "approximate": dict(info.approximate),
        "is_control": account.settings.get("match") is not None,
    }


def _link(account: Account, stage: int) -> Record:
    """Return what one metric of the chain dropped."""
    metric, thinned = account.chain[stage], account.thinned
    own = thinned.similarity[thinned.stage == stage]
    return {
        "metric": metric.name,
        "is_likeness": metric.strategy.SAME is not None,
        "tau": account.info.thresholds[stage],
        "dropped": len(own),
        "similarity": _rounded(retention.quantiles(own)),
    }


def _lower() -> Record:
    """Return from when on a stratum is marked."""
    return {
        "by": retention.LOWER_BY,
        "times": retention.LOWER_TIMES,
        "least_images": retention.LEAST_IMAGES,
        "chance": retention.CHANCE,
    }


def _shares(shares: Shares) -> Record:
    return asdict(shares) | {"quantiles": _rounded(shares.quantiles)}


def _likeness(coverage: Coverage) -> Record:
    return {
        "metric": coverage.metric,
        "tau": coverage.tau,
        "drawn": coverage.drawn,
        "edges": list(coverage.edges),
        **{
            name: _one_likeness(getattr(coverage, name))
            for name in ("before", "after", "represented")
        },
    }


def _one_likeness(likeness: Likeness) -> Record:
    return asdict(likeness) | {"quantiles": _rounded(likeness.quantiles)}


def _left_out(account: Account) -> Record:
    """Return how much was left out because of archives to be evaluated on."""
    reasons = account.leaks["reason"].to_pylist()
    leaking = pc.is_in(account.images["image_id"], account.leaks["image_id"].combine_chunks())
    patients = pc.unique(account.images["patient_key"].filter(leaking))
    return {
        "against": len(account.settings.get("against") or ()),
        "images": pc.sum(leaking).as_py() or 0,
        "patients": len(patients),
        "of_their_patients": reasons.count("patient"),
        "probably_the_same": reasons.count("image"),
    }


def _aliases(found: Sequence[Alias] | None) -> Record | None:
    if found is None:
        return None
    return {kind: sum(row.kind == kind for row in found) for kind in aliases.KINDS}


def _table(strata: Sequence[Stratum]) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in strata], schema=reduce_report.STRATA)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in values.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
