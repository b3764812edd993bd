"""Raw and recalibrated probabilities side by side.

Several classes are recalibrated together, by one temperature of their logits, and looked at one
against the rest; ordered ones at each cut. Predictions of a finetune run are raw. Each of its
models has a calibrator, fitted on the inner part of its fold (`calibrators`), which `medssl
predict` applies; here it is applied to the test part of that fold, whose patients it never saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl.artifacts import fold_models
from medssl.evaluation import calibrators, curves, intervals, metrics, sizes
from medssl.evaluation.calibrators import Calibrator
from medssl.evaluation.curves import Calibration
from medssl.evaluation.intervals import Draws
from medssl.evaluation.metrics import Metric
from medssl.evaluation.units import Units

TASKS = ("binary", "multi_class", "ordinal")
METRICS = ("brier", "calibration_intercept", "calibration_slope")
Fitted = Mapping[tuple[int, int], Calibrator | None]  # by repeat and fold


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A metric of the raw and of the recalibrated probabilities, from the same resamples."""

    column: str
    metric: str
    title: str
    ideal: float | None
    raw: float
    raw_low: float
    raw_high: float
    value: float  # recalibrated
    low: float
    high: float
    difference: float  # recalibrated minus raw
    difference_low: float
    difference_high: float


@dataclass(frozen=True, kw_only=True)
class Recalibrated:
    """What the calibrators make of the probabilities, or why there is nothing to show."""

    reason: str | None = None  # None: it is shown
    kinds: tuple[str, ...] = ()  # of the calibrators
    n_models: int = 0
    n_unchanged: int = 0  # models whose inner part had too few patients
    rows: tuple[Beside, ...] = ()
    curves: tuple[Calibration, ...] = ()  # of each column the raw one, then the recalibrated one
    left_out: tuple[str, ...] = ()  # columns of too few patients


def fitted(table: pa.Table, run: Path | None) -> Fitted | None:
    """Return the calibrator of every model that has test rows, None where it has none.

    Args:
        table: Columns as in `predictions.parquet`.
        run: The finetune run; None of a table of any tool, which has no calibrators.

    Raises:
        ArtifactError: The record of a fold is damaged.
    """
    if run is None:
        return None
    known = {(one.repeat, one.fold): one.calibrator for one in fold_models.read_all(run)}
    rows = table.filter(pc.equal(table["part"], "test")).select(["repeat", "fold"])
    pairs = rows.group_by(["repeat", "fold"]).aggregate([]).to_pylist()
    tested = sorted((row["repeat"], row["fold"]) for row in pairs)
    records = {pair: known.get(pair) for pair in tested}
    return {pair: calibrators.from_record(one) if one else None for pair, one in records.items()}


def why_not(judged: Units, fitted: Fitted | None) -> str | None:
    """Return why nothing can be recalibrated, or None.

    Args:
        judged: The units of the raw predictions.
        fitted: From `fitted`.
    """
    if judged.task not in TASKS:
        return (
            f"that is done for the classes of one target, and this task is "
            f"{judged.task.replace('_', '-')}"
        )
    if not any(sizes.suffice(judged, k) for k in range(len(judged.columns))):
        return f"a class has fewer than {sizes.FEWEST_PATIENTS} patients"
    if fitted is None:
        return "a table of predictions brings no calibrators"
    if any(one is None for one in fitted.values()) or not fitted:
        return "not every model has a calibrator: no patients were set apart, or none was asked for"
    if all(one is not None and one.kind == "none" for one in fitted.values()):
        return "every model was left as it is: its inner part has too few patients of a class"
    return None


def apply(table: pa.Table, fitted: Fitted, part: str = "test") -> pa.Table:
    """Return the rows of one part with their scores recalibrated, each by its own model.

    Args:
        table: Columns as in `predictions.parquet`, of one target; of K classes every image has K
            rows in each repeat.
        fitted: From `fitted`.
        part: Test or inner.
    """
    rows = table.filter(pc.equal(table["part"], part))
    keys = [(name, "ascending") for name in ("repeat", "fold", "image_id", "target")]
    order = pc.sort_indices(rows, sort_keys=keys).to_numpy()
    n_classes = len(pc.unique(rows["target"]))
    score = rows["score"].to_numpy()[order].reshape(-1, n_classes)
    repeat, fold = (rows[name].to_numpy()[order][::n_classes] for name in ("repeat", "fold"))
    for (own_repeat, own_fold), calibrator in fitted.items():
        own = (repeat == own_repeat) & (fold == own_fold)
        if calibrator is not None:
            score[own] = calibrator.apply(score[own])
    moved = np.empty(len(order))
    moved[order] = score.ravel()
    return rows.set_column(rows.schema.get_field_index("score"), "score", pa.array(moved))


def find(raw: Units, moved: Units, fitted: Fitted, draws: Draws, level: float) -> Recalibrated:
    """Return both side by side, from the same resamples of all patients.

    Args:
        raw: Units of the predictions as they are.
        moved: The same units of `apply`.
        fitted: What was applied.
        draws: From `intervals.draw_both`.
        level: Of the intervals, which are by percentiles.
    """
    known = {metric.name: metric for metric in metrics.TABLE}
    columns = range(len(raw.columns))
    judged = [k for k in columns if sizes.suffice(raw, k)]
    kinds = [one.kind for one in fitted.values() if one is not None]
    rows: list[Beside] = []
    drawn: list[Calibration] = []
    for k in judged:
        rows += [_beside(known[name], raw.only(k), moved.only(k), draws, level) for name in METRICS]
        both = [curves.calibration(units, k, draws.over_all, level) for units in (raw, moved)]
        drawn += [curve for curve in both if curve is not None and None not in both]
    return Recalibrated(
        kinds=tuple(sorted(set(kinds) - {"none"})),
        n_models=len(kinds),
        n_unchanged=kinds.count("none"),
        rows=tuple(rows),
        curves=tuple(drawn),
        left_out=tuple(raw.columns[k] for k in columns if k not in judged),
    )


def _beside(metric: Metric, raw: Units, moved: Units, draws: Draws, level: float) -> Beside:
    """Return a metric of the one column of both."""
    found, resampled = [], []
    for units in (raw, moved):
        truth, score = units.truth[:, 0], units.score[:, 0]

        def statistic(weight: metrics.Floats, t: metrics.Floats = truth, s: metrics.Floats = score
                      ) -> metrics.Floats:  # fmt: skip
            return metric.compute(t, s, weight)

        found.append(float(statistic(np.ones((1, len(truth))))[0]))
        resampled.append(intervals.resampled(statistic, units.patient, draws.over_all))
    before, after = (intervals.percentile(values, level) for values in resampled)
    apart = intervals.percentile(resampled[1] - resampled[0], level)
    return Beside(
        column=raw.columns[0],
        metric=metric.name,
        title=metric.title,
        ideal=metric.ideal,
        raw=found[0],
        raw_low=before.low,
        raw_high=before.high,
        value=found[1],
        low=after.low,
        high=after.high,
        difference=found[1] - found[0],
        difference_low=apart.low,
        difference_high=apart.high,
    )
