"""Which images make up which step, and which image stands beside which: functions of a seed.

An epoch depends on the seed and its number alone, never on the epochs before it, so that a run
can be resumed anywhere.
"""

import math
import warnings
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.foundation import seeding
from medssl.foundation.errors import DataError
from medssl.foundation.wording import counted

_SLACK_UM = 1  # distances are compared in whole micrometres, rounded once each
_FARTHEST_MM = 1e7  # a position beyond is no position
_COMPONENTS = 32  # of the thumbnails
_CHUNK = 16_384  # thumbnails at a time
_RESTARTS = 3
_MIN_STD = 1e-6


class Sampler(Protocol):
    """Which images each step of an epoch shows.

    Attributes:
        batch_size: Images of a step.
        steps_per_epoch: Steps of every epoch.
    """

    batch_size: int
    steps_per_epoch: int

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return image numbers, shape (steps_per_epoch, batch_size), ascending within a step."""
        ...


class Shuffled:
    """Every image once an epoch, but for those of an incomplete batch.

    Args:
        n: Images, at least 1.
        batch_size: Images per step; with fewer images than that, all of them.
        seed: With the epoch it decides the order.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.batch_size = min(batch_size, n)
        self.steps_per_epoch = n // self.batch_size
        self._n, self._seed = n, seed

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """See `Sampler`."""
        return _cut(self, seeding.rng(self._seed, "order", epoch).permutation(self._n))


class Weighted:
    """Drawn with replacement, some images more often; an epoch is as long as one of `Shuffled`.

    Args:
        weight: How often each image is drawn, shape (N,), in any unit.
        batch_size: Images per step.
        seed: With the epoch it decides the draw.
    """

    def __init__(self, weight: NDArray[np.float64], batch_size: int, seed: int) -> None:
        self.batch_size = min(batch_size, len(weight))
        self.steps_per_epoch = len(weight) // self.batch_size
        self._weight, self._seed = weight / weight.sum(), seed

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """See `Sampler`."""
        n = len(self._weight)
        return _cut(self, seeding.rng(self._seed, "order", epoch).choice(n, n, p=self._weight))


class Stratified:
    """Every image once an epoch, each class spread over the steps as evenly as it goes.

    Two steps differ by one image of a class at most, so a class with as many images as there are
    steps is in all of them: what a loss that compares classes within a step needs.

    Args:
        classes: Class of each image, shape (N,), any whole numbers.
        batch_size: Images per step; with fewer images than that, all of them.
        seed: With the epoch it decides the order.
    """

    def __init__(self, classes: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.batch_size = min(batch_size, len(classes))
        self.steps_per_epoch = len(classes) // self.batch_size
        self._classes, self._seed = classes, seed

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """See `Sampler`."""
        rng = seeding.rng(self._seed, "order", epoch)
        wanted = self.steps_per_epoch * self.batch_size
        order = rng.permutation(len(self._classes))[:wanted]
        # Class after class, and dealt out like cards.
        order = order[np.argsort(self._classes[order], kind="stable")]
        steps = order.reshape(self.batch_size, -1).T
        return np.sort(steps[rng.permutation(self.steps_per_epoch)], axis=1)


class OnePerGroup:
    """No two images of a group in a step: of a series, a patient, or images that look alike.

    An epoch has as many full steps as are possible at all. Of a group with more images than steps
    each epoch shows the next ones in turn, so that all are seen in the end.

    Args:
        groups: Group of each image, shape (N,).
        batch_size: Images per step.
        seed: With the epoch it decides the order.

    Raises:
        DataError: There are fewer groups than images in a step.
    """

    def __init__(self, groups: NDArray[np.int64], batch_size: int, seed: int) -> None:
        found, group, self._counts = np.unique(groups, return_inverse=True, return_counts=True)
        if len(found) < batch_size:
            raise DataError(
                f"a step of {counted(batch_size, 'image')} with one of each group needs as many "
                f"groups, and there are {len(found):,}",
                where="batch_size",
                fix=f"use at most {len(found)}, or one_per=image",
            )
        self.batch_size, self._seed = batch_size, seed
        self.steps_per_epoch = _most_steps(self._counts, batch_size)
        shuffled = seeding.rng(seed, "turns").permutation(len(groups))
        self._members = shuffled[np.argsort(group[shuffled], kind="stable")]  # group after group
        self._first = np.cumsum(self._counts) - self._counts

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """See `Sampler`."""
        rng = seeding.rng(self._seed, "order", epoch)
        image, group = self._shown(epoch, rng)
        order = np.argsort(rng.permutation(len(self._counts))[group], kind="stable")
        # Dealt out like cards, a group of at most so many images as steps meets no step twice.
        steps = np.stack([group, image])[:, order].reshape(2, self.batch_size, -1)
        steps = np.ascontiguousarray(steps.swapaxes(1, 2))
        for _ in range(math.ceil(math.log2(max(1, self.steps_per_epoch)))):
            _trade(steps, rng)
        return np.sort(steps[1, rng.permutation(self.steps_per_epoch)], axis=1)

    def _shown(
        self, epoch: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images of an epoch and their groups, group after group."""
        quota = np.minimum(self._counts, self.steps_per_epoch)
        group = np.repeat(np.arange(len(quota)), quota)
        member = np.arange(len(group)) - np.repeat(np.cumsum(quota) - quota, quota)
        turn = (member + epoch * self.steps_per_epoch) % self._counts[group]
        wanted = self.steps_per_epoch * self.batch_size
        kept = np.sort(rng.choice(len(group), wanted, replace=False))
        return self._members[self._first[group] + turn][kept], group[kept]


def _cut(sampler: Sampler, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order as full steps; ascending numbers are read faster."""
    steps, size = sampler.steps_per_epoch, sampler.batch_size
    return np.sort(order[: steps * size].reshape(steps, size), axis=1)


def _most_steps(counts: NDArray[np.int64], batch_size: int) -> int:
    """Return how many full steps are possible: the largest k with sum(min(count, k)) >= k * batch.

    Both sides are 0 at k = 0 and their difference is concave, so that it changes its sign once.
    """
    low, high = 1, int(counts.sum()) // batch_size
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(counts, middle).sum() >= middle * batch_size:
            low = middle
        else:
            high = middle - 1
    return low


def _trade(steps: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Let every step exchange images with another one, drawn at random, in place.

    Groups that are in both steps stay in both, the others are dealt out anew. Repeated, this
    reaches every arrangement with no group twice in a step (Strona et al. 2014, "curveball",
    doi:10.1038/ncomms5114).

    Args:
        steps: Groups and images, shape (2, steps, batch).
        rng: Draws the pairs and who gets what.
    """
    size = steps.shape[2]
    pairs = rng.permutation(steps.shape[1])[: steps.shape[1] // 2 * 2].reshape(-1, 2)
    both = np.concatenate([steps[:, pairs[:, 0]], steps[:, pairs[:, 1]]], axis=2)
    both = np.take_along_axis(both, np.argsort(both[:1], axis=2, kind="stable"), axis=2)
    twice = both[0, :, 1:] == both[0, :, :-1]
    place = rng.random(both.shape[1:])  # the lower half goes to the first step
    place[:, :-1][twice], place[:, 1:][twice] = -1, 2
    dealt = np.take_along_axis(both, np.argpartition(place, size, axis=1)[None], axis=2)
    steps[:, pairs[:, 0]], steps[:, pairs[:, 1]] = dealt[:, :, :size], dealt[:, :, size:]


class Partners(Protocol):
    """Another image to stand beside each image, as the second view of a pair.

    Attributes:
        share_with_partner: Share of the images that have one.
    """

    share_with_partner: float

    def of(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a partner of each image, shape (B,); the image itself where there is none."""
        ...


class Neighbours:
    """Another slice of the same series within a distance, all of them as likely.

    Args:
        series: Series of each image, shape (N,).
        position_mm: Where it lies along the slice normal, shape (N,); not finite where unknown.
        within_mm: Longest distance.
    """

    def __init__(
        self, series: NDArray[np.int64], position_mm: NDArray[np.float64], within_mm: float
    ) -> None:
        known = np.isfinite(position_mm) & (np.abs(position_mm) < _FARTHEST_MM)
        series = np.where(known, _ranks(series), len(series) + np.arange(len(series)))
        series = _ranks(series)  # an image that lies nowhere is a series of its own
        place = np.where(known, position_mm, 0.0)
        self._order = np.lexsort([place, series])
        self._rank = _inverse(self._order)
        um = np.rint(place[self._order] * 1000).astype(np.int64)
        reach = round(within_mm * 1000) + _SLACK_UM
        first = np.flatnonzero(np.diff(series[self._order], prepend=-1))
        last = np.append(first[1:], len(um)) - 1
        # One line with all series on it, one after the other and farther apart than a reach.
        gap = um[last] - um[first] + reach + 1
        line = um + np.repeat(np.cumsum(gap) - gap - um[first], last - first + 1)
        self._low = np.searchsorted(line, line - reach, side="left")
        self._others = np.searchsorted(line, line + reach, side="right") - self._low - 1
        self.share_with_partner = float((self._others > 0).mean())

    def of(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Partners`."""
        rank = self._rank[numbers]
        low, others = self._low[rank], self._others[rank]
        drawn = low + rng.integers(np.maximum(others, 1))
        drawn += drawn >= rank  # leaves the image itself out
        return np.asarray(self._order[np.where(others > 0, drawn, rank)])


class SamePatient:
    """Another image of the same patient, of another series where there is one.

    Args:
        patient: Patient of each image, shape (N,).
        series: Its series, shape (N,).
    """

    def __init__(self, patient: NDArray[np.int64], series: NDArray[np.int64]) -> None:
        patient, series = _ranks(patient), _ranks(series)
        self._order = np.lexsort([series, patient])
        self._rank = _inverse(self._order)
        new = np.diff(patient[self._order], prepend=-1) != 0
        self._of_patient = _runs(new)
        self._of_series = _runs(new | (np.diff(series[self._order], prepend=-1) != 0))
        self.share_with_partner = float((self._of_patient[1] - self._of_patient[0] > 1).mean())

    def of(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Partners`."""
        rank = self._rank[numbers]
        first, end = (bound[rank] for bound in self._of_patient)
        not_from, not_to = (bound[rank] for bound in self._of_series)
        alone = end - first == not_to - not_from  # the patient has no other series
        not_from, not_to = np.where(alone, rank, not_from), np.where(alone, rank + 1, not_to)
        others = end - first - (not_to - not_from)
        drawn = first + rng.integers(np.maximum(others, 1))
        drawn += np.where(drawn >= not_from, not_to - not_from, 0)
        return np.asarray(self._order[np.where(others > 0, drawn, rank)])


def numbered(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the keys of a table's column as numbers; an image without one is alone, shape (N,)."""
    codes = column.combine_chunks().dictionary_encode().indices
    values = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(values < 0, len(values) + np.arange(len(values)), values)


def positions(images: pa.Table) -> NDArray[np.float64]:
    """Return where each image lies along its slice normal, mm, shape (N,); nan where unknown.

    A series of which not every slice has a position is laid out by slice order and spacing.

    Args:
        images: Rows of `images.parquet`.
    """
    placed = images["position_mm"].to_numpy().astype(np.float64)
    spacing = images["spacing"].combine_chunks()
    apart = np.full((len(placed), 3), np.nan)
    apart[spacing.is_valid().to_numpy(zero_copy_only=False)] = (
        spacing.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, 3)
    )
    ordered = images["slice_index"].to_numpy().astype(np.float64) * apart[:, 2]
    series = numbered(images["series_key"])
    unplaced = np.isin(series, series[np.isnan(placed)])
    return np.asarray(np.where(unplaced, ordered, placed))


def look_alikes(thumbnails: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.int64]:
    """Return which cluster of similar images each one belongs to: groups for `OnePerGroup`.

    The idea of G-SimCLR (arXiv:2009.12007), whose clusters come from a denoising auto-encoder:
    here k-means runs on principal components of the thumbnails themselves, which needs no
    training. The result depends on the order of the images, which is that of the archive, and not
    on the number of threads.

    Args:
        thumbnails: Shape (N, P), any unit: brightness and contrast of each are evened out.
        n_clusters: How many, several times the batch size: the smallest clusters limit how many
            steps an epoch has.
        seed: Decides the start of k-means.

    Returns:
        Shape (N,), 0 to ``n_clusters`` - 1; some may be empty.
    """
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415 - slow to import, rarely needed
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    model = MiniBatchKMeans(
        min(n_clusters, len(thumbnails)),
        n_init=_RESTARTS,
        random_state=seeding.derive(seed, "look-alikes"),
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit_predict(_components(thumbnails)), dtype=np.int64)


def _components(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first principal components of standardised thumbnails, shape (N, at most 32)."""
    n, width = thumbnails.shape
    mean, scatter = np.zeros(width), np.zeros((width, width))
    for start in range(0, n, _CHUNK):
        rows = _standardised(thumbnails[start : start + _CHUNK])
        mean += rows.sum(axis=0) / n
        scatter += rows.T @ rows / n
    _, axes = np.linalg.eigh(scatter - np.outer(mean, mean))
    axes = axes[:, : -_COMPONENTS - 1 : -1]  # the largest last
    found = np.empty((n, axes.shape[1]), dtype=np.float32)
    for start in range(0, n, _CHUNK):
        rows = _standardised(thumbnails[start : start + _CHUNK])
        found[start : start + _CHUNK] = (rows - mean) @ axes
    return found


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = thumbnails.astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(rows.std(axis=1, keepdims=True), _MIN_STD))


def _ranks(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return keys as 0, 1, 2… in ascending order of their values."""
    return np.asarray(np.unique(keys, return_inverse=True)[1], dtype=np.int64)


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each number in ``order``."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place


def _runs(new: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the run of each place begins and ends, given where a new one begins."""
    first = np.flatnonzero(new)
    length = np.diff(np.append(first, len(new)))
    return np.repeat(first, length), np.repeat(first + length, length)
