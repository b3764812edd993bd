"""Which numbers speak for a run where not all of them fit: by task, the same on every page."""

from collections.abc import Iterable

from medssl.config.task import Kind
from medssl.evaluation.assessment import MACRO

Row = tuple[str, str]  # name of a metric, and the column it is of
MOST = 8  # shown in figures and on the console
_AMOUNTS = ("mae", "rmse", "r2", "spearman")
_CLASSES = ("auroc", "average_precision", "brier", "quadratic_kappa")


def metric(task: Kind) -> str:
    """Return the name of the metric that stands first."""
    return "mae" if task == "regression" else "auroc"


def first(task: Kind, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows of the first metric: of each amount, else of what is known of all together.

    Args:
        task: Kind of the task.
        rows: Of estimates or differences, in their order; those of all columns stand first.
    """
    found = [row for row in dict.fromkeys(rows) if row[0] == metric(task)]
    return tuple(found) if task == "regression" else tuple(found[:1])


def shown(task: Kind, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the few rows that are drawn and printed, at most `MOST`.

    Of several classes or cuts only what is about all of them; of several targets the AUROC of each
    as well.
    """
    there = list(dict.fromkeys(rows))
    if task == "regression":
        found = [row for row in there if row[0] in _AMOUNTS]
        columns = dict.fromkeys(column for _, column in found)
        found = [row for column in columns for row in found if row[1] == column]
    elif task == "multi_label":
        found = [row for row in there if row[0] == "auroc"]
    else:
        alone = not any(column == MACRO for _, column in there)
        found = [
            (name, column)
            for wanted in _CLASSES
            for name, column in there
            if name == wanted and (alone or column == MACRO or name == "quadratic_kappa")
        ]
    return tuple(found[:MOST])
