"""Numbers as people write them, in a cell or an option."""

import math


def is_finite(text: str) -> bool:
    """Say whether a text is a number, and neither infinite nor not-a-number.

    >>> is_finite("1e-3"), is_finite("0,5"), is_finite("inf"), is_finite("nan")
    (True, False, False, False)
    """
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
