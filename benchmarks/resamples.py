"""What a study says of a number that it has in every resample."""

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import intervals


def interval(values: NDArray[np.float64], level: float) -> dict[str, float]:
    """Return the value over all patients, the last one, and the interval of the resamples."""
    span = intervals.percentile(values[:-1], level)
    return {
        "value": round(float(values[-1]), 4),
        "low": round(span.low, 4),
        "high": round(span.high, 4),
    }
