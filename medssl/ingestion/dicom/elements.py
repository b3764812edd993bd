"""Values of DICOM elements as plain Python, whatever stands in the file.

A value that is absent, empty or malformed is None (or empty text): most elements only describe.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from pydicom import Dataset

_TIME = re.compile(r"(\d\d):?(\d\d):?(\d\d(?:\.\d{1,6})?)")


def described(read: Callable[[], Any]) -> Any:  # noqa: ANN401 - pydicom values are untyped
    """Return what ``read`` returns, or None where the text it reads is malformed."""
    try:
        return read()
    except (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError):
        return None


def text(dataset: Dataset, name: str) -> str:
    """Return an element as text without its padding."""
    value = described(lambda: dataset.get(name))
    return "" if value is None else str(value).strip(" \0")


def words(dataset: Dataset, name: str) -> tuple[str, ...]:
    """Return the values of an element in upper case."""
    value = described(lambda: dataset.get(name))
    if value is None:
        return ()
    parts = [value] if isinstance(value, str) else list(value)
    return tuple(str(part).strip().upper() for part in parts)


def number(dataset: Dataset, name: str) -> float | None:
    """Return a finite number."""
    value = described(lambda: float(dataset.get(name)))
    return float(value) if value is not None and math.isfinite(value) else None


def positive(dataset: Dataset, name: str) -> float | None:
    """Return a number above zero."""
    value = number(dataset, name)
    return value if value is not None and value > 0 else None


def seconds(dataset: Dataset, name: str) -> float | None:
    """Return a time of day, s; None where it is not told to the second."""
    told = _TIME.fullmatch(text(dataset, name))
    return None if told is None else int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])


def integer(dataset: Dataset, name: str) -> int | None:
    """Return a whole number."""
    value = described(lambda: int(dataset.get(name)))
    return None if value is None else int(value)


def numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """Return ``count`` finite numbers; None where there are more or fewer."""
    values = described(lambda: tuple(float(part) for part in dataset.get(name)))
    if values is None or len(values) != count or not all(map(math.isfinite, values)):
        return None
    return tuple(values)


def integers(dataset: Dataset, name: str) -> tuple[int, ...]:
    """Return all whole numbers of an element, of which there may be one or none."""
    value = described(lambda: dataset.get(name))
    if value is None:
        return ()
    parts = described(lambda: tuple(int(part) for part in value))
    if parts is None:
        parts = described(lambda: (int(value),))
    return parts or ()


def item(dataset: Dataset, name: str) -> Dataset | None:
    """Return the first item of a sequence."""
    sequence = described(lambda: dataset.get(name))
    return sequence[0] if sequence else None
