"""How often Python looks for objects that only refer to each other."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 100_000  # new ones between two looks


@contextmanager
def kept_longer() -> Iterator[None]:
    """Look rarely during the block, where much is made that is kept: each look goes through it."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
