"""How long a reduction would take, from a few of its images."""

import time
from collections.abc import Sequence

import numpy as np

from medssl.config.reduce import ReduceSettings
from medssl.thinning.chains import Link
from medssl.thinning.images import Features, Images

_ROWS = 256  # compared with each other


def seconds(
    links: Sequence[tuple[Link, int]],
    some: Images,
    settings: ReduceSettings,
    features: Features | None,
    n: int,
) -> float:
    """Return the seconds that describing and comparing takes here.

    Args:
        links: Strategies, each with the pairs it has to compare.
        some: Images to try them on.
        settings: Resolved.
        features: What the encoder makes of images.
        n: How many images there are.
    """
    total = 0.0
    for link, pairs in links:
        read = some.read(link, settings.within, settings.shown, features)
        started = time.perf_counter()
        descriptors = link.strategy.describe(read(0, some.n), link.config)
        total += (time.perf_counter() - started) / some.n * n
        block = np.resize(descriptors, (_ROWS, *descriptors.shape[1:]))
        started = time.perf_counter()
        link.strategy.similarity(block, block, link.config)
        total += (time.perf_counter() - started) / _ROWS**2 * pairs
    return total
