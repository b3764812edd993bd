"""One number per fold to look at while a run ends; `medssl evaluate` judges."""

import numpy as np
import pyarrow as pa
from scipy import stats

from medssl.config.task import Task
from medssl.evaluation import metrics


def measure(task: Task) -> str:
    """Return what `value` is called."""
    return "rank correlation" if task.kind == "regression" else "AUROC"


def value(part: pa.Table, task: Task) -> float:
    """Return the AUROC of the test rows of a fold, or the Spearman correlation of its amounts.

    Over images; the mean over classes or targets where there are several, those without a value
    left out. Not-a-number where none has one.
    """
    tests = part["part"].to_numpy() == "test"
    names = part["target"].to_numpy()
    found = []
    for column in task.columns:
        rows = tests & (names == column)
        label, score = (part[name].to_numpy()[rows] for name in ("label", "score"))
        if task.kind == "regression":
            differ = len(set(label)) > 1 and len(set(score)) > 1
            found.append(float(stats.spearmanr(label, score)[0]) if differ else np.nan)
        else:
            found.append(float(metrics.auroc(label, score)))
    known = [one for one in found if np.isfinite(one)]
    return float(np.mean(known)) if known else float("nan")
