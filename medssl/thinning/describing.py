"""Descriptors of many images: written to disk as they are made, continued where a run broke off."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.config.reduce import ReduceSettings
from medssl.foundation import files
from medssl.foundation.reporting import Reporter
from medssl.reduction._contract import StrategyModule
from medssl.thinning.chains import Link
from medssl.thinning.images import Features, Images, Read
from medssl.thinning.metrics import Metric, own_order

CHUNK = 512  # images described at a time; a multiple of the batches an encoder takes
_AHEAD = 4  # chunks in the making per thread: bounds what waits in memory


@dataclass(frozen=True, kw_only=True)
class Describing:
    """Puts strategies to work on images."""

    images: Images
    settings: ReduceSettings
    features: Features | None  # what the encoder makes of images
    folder: Path  # for the descriptors
    reporter: Reporter
    device: str
    memory: int
    threads: int | None

    def metric(self, link: Link) -> Metric:
        """Return a strategy with its descriptors of all images; asked again, it has them."""
        digest = files.sha256_text(repr(link.config) + str(self.images.n))[:8]
        read = self.images.read(link, self.settings.within, self.settings.shown, self.features)
        descriptors = describe(
            link.strategy,
            link.config,
            read,
            self.images.n,
            self.folder / f"{link.name}-{digest}.npy",
            self.reporter,
            1 if link.needs == "features" else self.threads,
        )
        return Metric(
            name=link.name,
            strategy=link.strategy,
            config=link.config,
            descriptors=descriptors,
            places=own_order(link.strategy, link.config, descriptors),
            tau=1.0 if link.tau is None else link.tau,
            device=self.device,
            memory=self.memory,
        )


def describe(  # noqa: PLR0913 - the last two do not decide the result
    strategy: StrategyModule,
    config: Any,  # noqa: ANN401 - the strategy's own
    read: Read,
    n: int,
    path: Path,
    reporter: Reporter,
    threads: int | None = None,
) -> NDArray[Any]:
    """Return the descriptors (N, F) of all images as a memory map.

    Args:
        strategy: A file of this folder.
        config: Its options.
        read: What `describe` is to be given for some images; called from several threads.
        n: Number of images, at least 1.
        path: `.npy` file to make; one that is there, of the same run, is continued.
        reporter: Shown the progress.
        threads: How many chunks to describe at a time; None: as many as there are cores.
    """
    done = _done(path)
    starts = range(done, n, CHUNK)

    def make(start: int) -> NDArray[Any]:
        return strategy.describe(read(start, min(start + CHUNK, n)), config)

    array = np.load(path, mmap_mode="r+") if done else None
    workers = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        parts = _ahead(pool, make, starts, _AHEAD * workers)
        tracked = reporter.track(
            parts,
            task=f"describe {path.stem.partition('-')[0]}",
            total=len(starts),
            unit="images",
            each=CHUNK,
        )
        for start, part in zip(starts, tracked, strict=True):
            if array is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with files.explained(path):
                    array = np.lib.format.open_memmap(
                        path, "w+", dtype=part.dtype, shape=(n, *part.shape[1:])
                    )
            array[start : start + len(part)] = part
            array.flush()
            files.write_text(_marker(path), json.dumps({"done": start + len(part)}))
    described: NDArray[Any] = np.load(path, mmap_mode="r")
    return described


def _ahead(
    pool: ThreadPoolExecutor,
    make: Callable[[int], NDArray[Any]],
    starts: Sequence[int],
    most: int,
) -> Iterator[NDArray[Any]]:
    """Yield the parts in order while the next few, at most ``most``, are made."""
    waiting = []
    for start in starts:
        waiting.append(pool.submit(make, start))
        if len(waiting) >= most:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _marker(path: Path) -> Path:
    return path.with_suffix(".json")


def _done(path: Path) -> int:
    """Return how many images are described already; none where the file is not whole."""
    if not path.is_file() or not _marker(path).is_file():
        return 0
    return int(json.loads(_marker(path).read_text(encoding="utf-8"))["done"])
