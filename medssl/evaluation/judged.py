"""What is judged: predictions, where they come from, and by which settings."""

from dataclasses import dataclass

import pyarrow as pa

from medssl.artifacts import foreign_columns
from medssl.artifacts.origin import Origin
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import operating_points, units
from medssl.evaluation.units import Units


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Predictions as units, and how a report is made of them."""

    source: Origin
    table: pa.Table  # columns as in `predictions.parquet`
    where: str  # what the table is called in messages
    units: Units  # of its test rows
    threshold: float | None  # None: nothing is called positive
    settings: EvaluateSettings
    internal: "Judged | None" = None  # of an external test: the run's own predictions
    each: pa.Table | None = None  # of an external test: what each model says, as a repeat

    def rebuilt(self, table: pa.Table) -> Units:
        """Return units of a table with other scores, made as these were."""
        return _units(table, self.source, self.settings, self.where)

    def of_images(self) -> Units:
        """Return the predictions with one unit per image, in sorted order of ids."""
        return _units(self.table, self.source, self.settings, self.where, by_image=True)


def of(table: pa.Table, source: Origin, settings: EvaluateSettings, where: str) -> Judged:
    """Return what the settings ask to be judged.

    Args:
        table: Columns as in `predictions.parquet`.
        source: Where it comes from.
        settings: How it is judged.
        where: What it is called in messages.

    Raises:
        DataError: The predictions are refused.
        UsageError: The threshold lies outside the probabilities, or there are none.
    """
    found = _units(table, source, settings, where)
    return Judged(
        source=source,
        table=table,
        where=where,
        units=found,
        threshold=operating_points.declared(settings, found),
        settings=settings,
    )


def _units(
    table: pa.Table,
    source: Origin,
    settings: EvaluateSettings,
    where: str,
    *,
    by_image: bool = False,
) -> Units:
    plan = source.splits
    task = plan.task if plan else source.foreign.task if source.foreign else None
    return units.build(
        table,
        target=task.name if task else foreign_columns.UNNAMED,
        aggregate=settings.aggregate,
        where=where,
        grouped=source.grouped and not by_image,
        task=task,
    )
