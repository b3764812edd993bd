"""Which images are explained, what their maps depend on, and whether they are worth a look.

Adebayo et al. (arXiv:1810.03292) draw the weights of a model anew, from the head down: a map that
stays as it was does not show what the model has learned. How alike two maps are is told by their
structural similarity (Wang et al. 2004) and by the rank correlation of their cells. Here is no
model and no pixel; the maps are drawn in `training/`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import ndimage, stats

from medssl.config.task import Task
from medssl.evaluation import attributes, confident
from medssl.evaluation.judged import Judged
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import NO_FOLD, Ints, Units

BOUND = 0.5  # of a median: maps more alike than this do not hang on the weights
FEWEST_CELLS = 9  # of a map: fewer have a high rank correlation by chance too often
DRAWS = 5  # of random weights; a map of one of them may be blank, or alike by chance
_SIGMA, _RADIUS = 1.5, 5  # of the Gaussian window of the structural similarity, px
_C1, _C2 = 0.01**2, 0.03**2  # its constants, for values up to 1

Verdict = Literal["change with the weights", "hardly change", "not assessed"]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One image that is explained, for what, and by which model: the one that tested it."""

    column: str
    kind: str  # of `confident.KINDS`, or of its EXTREMES
    patient_key: str
    image_id: str  # of a series its first image
    unit_score: float  # by which it was chosen
    score: float  # of this image by this model
    repeat: int
    fold: int
    others: tuple[tuple[int, int], ...]  # repeat and fold of other trainings that tested it


@dataclass(frozen=True, kw_only=True)
class Alike:
    """How alike two maps are, or a median of that."""

    ssim: float  # -1 to 1; 0 where one of the two is blank
    rank: float | None  # correlation of the cells, -1 to 1; None: all cells of one are equal


@dataclass(frozen=True, kw_only=True)
class Map:
    """One map, in numbers; its picture is a `Picture`."""

    chosen: Chosen
    low: float  # of the cells, in units of the logit
    high: float
    blank: bool  # nothing in the image speaks for it
    slice: int | None  # which of the input is drawn, from 1; None of a single image
    random: Alike | None  # to the map of random weights, median over draws; None: blank
    other: Alike | None  # to those of other trainings; None: blank, or there is none


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is drawn of one map; it shows a patient, and never stands in a record."""

    image: Floats  # (rows, columns) as the model is given it
    cells: Floats  # (rows, columns) of the map, fewer


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of values over the images."""

    median: float
    low: float  # smallest
    high: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """How alike maps are to others of the same images, or to those of other images."""

    name: str
    n: int  # images, or pairs of them
    ssim: Spread | None  # None: there were none
    rank: Spread | None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What all maps of a report share."""

    layer: str  # of the encoder
    input: tuple[int, ...]  # sides, px; of pooled slices those of one
    grid: tuple[int, ...]  # cells of a map along each of them
    slices: int | None  # of the input; None of single images


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """All maps of a report, and what they depend on."""

    reason: str  # why there are none; empty where there are
    most: int  # of each kind and column
    frame: Frame | None = None
    shows: Mapping[str, str] = field(default_factory=dict)  # column -> for what it is evidence
    kinds: tuple[str, ...] = ()  # that were looked for
    maps: tuple[Map, ...] = ()
    pictures: tuple[Picture, ...] = ()  # one of each map
    checks: tuple[Check, ...] = ()
    verdict: Verdict = "not assessed"
    said: str = ""  # the verdict with its number
    repeatability: str = ""

    @property
    def scale(self) -> float:
        """Largest value of all maps: one colour scale for them all."""
        return max((one.high for one in self.maps), default=0.0)


def why_none(judged: Judged) -> str:
    """Return why no image can be chosen; empty where some can."""
    if judged.units.task != "regression" and judged.threshold is None:
        return "without a threshold no call is made, and images are chosen by their calls"
    return ""


def choose(judged: Judged, most: int) -> tuple[Chosen, ...]:
    """Return the images to explain: by a fixed rule, never picked by hand.

    Of each column the most confident true and false positives and negatives; of an amount the
    highest and the lowest. Where the unit is the patient, the image with the patient's highest
    score stands for who is called positive, that with the lowest for all others.

    Args:
        judged: Predictions of a run; see `why_none`.
        most: Of each kind and column.
    """
    units, images = judged.units, judged.of_images()
    names = attributes.names_of(judged.table, images)
    found = []
    for k, column in enumerate(units.columns):
        for kind, rows in _lists(judged, k).items():
            for row in rows[:most]:
                image = _image_of(units, images, k, int(row), kind)
                key, name = names[image]
                (repeat, fold), *others = _tested(images.fold[image])
                found.append(
                    Chosen(
                        column=column,
                        kind=kind,
                        patient_key=key,
                        image_id=str(name),
                        unit_score=float(units.score[row, k]),
                        score=float(images.by_repeat[image, repeat, k]),
                        repeat=repeat,
                        fold=fold,
                        others=tuple(others),
                    )
                )
    return tuple(found)


def kinds_of(judged: Judged) -> tuple[str, ...]:
    """Return the kinds of which `choose` looks for examples."""
    return confident.EXTREMES if judged.units.task == "regression" else confident.KINDS


def _lists(judged: Judged, column: int) -> Mapping[str, Ints]:
    if judged.units.task == "regression":
        return confident.extremes(judged.units, column)
    assert judged.threshold is not None  # see `why_none`
    return confident.by_call(judged.units, column, judged.threshold)


def _image_of(units: Units, images: Units, column: int, row: int, kind: str) -> int:
    """Return the row of the image that stands for a unit."""
    if units.kind == "image":
        return row
    own = np.flatnonzero((images.patient == units.patient[row]) & images.known(column))
    score = images.score[own, column]
    highest = kind in (*confident.CALLED_POSITIVE, confident.EXTREMES[0])
    return int(own[score.argmax() if highest else score.argmin()])


def _tested(fold: Ints) -> list[tuple[int, int]]:
    """Return repeat and fold of every model that tested an image."""
    return [(repeat, int(one)) for repeat, one in enumerate(fold) if one != NO_FOLD]


def output_of(task: Task, columns: Sequence[str], column: str) -> int:
    """Return which output of the head speaks of a column: of two classes there is one."""
    if task.kind == "binary":
        return 0
    if task.kind == "multi_class":
        return task.classes.index(column)
    if task.kind == "ordinal":  # output k is above class k, and so the k-th cut
        return list(columns).index(column)
    return task.targets.index(column)


def shown_for(task: Task, column: str) -> str:
    """Return for what a map of a column is evidence, in words."""
    if task.kind == "binary":
        return f"{task.name}: {task.positive}"
    if task.kind == "regression":
        return f"a larger {column}"
    return f"{task.name}: {column}" if task.kind in ("multi_class", "ordinal") else column


def alike(one: Floats, other: Floats, cells: Floats, other_cells: Floats) -> Alike | None:
    """Return how alike two maps of the same shape are; None where both are blank.

    Args:
        one: Not negative, (..., rows, columns), at the sides of the input.
        other: Another.
        cells: The first as it was before interpolation.
        other_cells: And the other.
    """
    found = ssim(one, other)
    return None if found is None else Alike(ssim=found, rank=rank_correlation(cells, other_cells))


def ssim(one: Floats, other: Floats) -> float | None:
    """Return the mean structural similarity of two maps, each stretched from 0 to 1.

    Stretched, it is the pattern that is compared: how much evidence there is at all is another
    matter. A map without a pattern, such as a blank one, is like no other: 0. Of two of them there
    is no similarity: None. Of volumes it is the mean over slices.

    Args:
        one: Shape (..., rows, columns).
        other: Likewise.
    """
    spans = [np.ptp(one), np.ptp(other)]
    if not all(spans):
        return 0.0 if any(spans) else None
    a, b = ((x - x.min()) / np.ptp(x) for x in (one, other))
    mean_a, mean_b = _windowed(a), _windowed(b)
    spread = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    together = _windowed(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _C1) * (2 * together + _C2)
    below = (mean_a**2 + mean_b**2 + _C1) * (spread + _C2)
    return float((above / below).mean())


def _windowed(maps: Floats) -> Floats:
    """Return means under a Gaussian window of 11 px along rows and columns, mirrored outside."""
    found = ndimage.gaussian_filter(maps, _SIGMA, radius=_RADIUS, mode="reflect", axes=(-2, -1))
    return np.asarray(found, dtype=np.float64)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Return Spearman's rank correlation of two maps; None where all cells of one are equal."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def middle(found: Sequence[Alike | None]) -> Alike | None:
    """Return the medians of several comparisons of one image; None where there are none."""
    there = [one for one in found if one is not None]
    if not there:
        return None
    ranks = [one.rank for one in there if one.rank is not None]
    return Alike(
        ssim=float(np.median([one.ssim for one in there])),
        rank=float(np.median(ranks)) if ranks else None,
    )


def check(name: str, found: Sequence[Alike | None]) -> Check:
    """Return the distribution of comparisons, one for each image or pair of images."""
    there = [one for one in found if one is not None]
    return Check(
        name=name,
        n=len(there),
        ssim=_spread([one.ssim for one in there]),
        rank=_spread([one.rank for one in there if one.rank is not None]),
    )


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(median=float(np.median(values)), low=min(values), high=max(values))


def judge(random: Check, grid: tuple[int, ...]) -> tuple[Verdict, str]:
    """Return whether maps hang on the weights of a model, and the sentence that says so.

    They do where the medians of both measures between maps of the trained model and of one with
    all weights random are at most `BOUND`.

    Args:
        random: Of all weights.
        grid: Cells of a map.
    """
    if math.prod(grid) < FEWEST_CELLS:
        return "not assessed", (
            f"{cells_in_words(grid)} are too few to tell whether a map hangs on the weights: "
            "do not read them"
        )
    if random.ssim is None:
        return "not assessed", "every map is blank"
    rank = "" if random.rank is None else f", median rank correlation {_two(random.rank.median)}"
    number = f"median SSIM {_two(random.ssim.median)}{rank} to maps of random weights"
    if max(random.ssim.median, random.rank.median if random.rank else -1.0) > BOUND:
        return (
            "hardly change",
            f"the maps hardly change with the weights: do not read them ({number})",
        )
    return "change with the weights", f"the maps change with the weights ({number})"


def repeatable(other: Check, *, several: bool) -> str:
    """Return what other trainings make of the same images, as a sentence.

    Args:
        other: Of their maps.
        several: Whether there is another training at all.
    """
    if not several:
        return "one training only: not assessed"
    if other.ssim is None:
        return "every map is blank: not assessed"
    rank = (
        "" if other.rank is None else f" and a median rank correlation of {_two(other.rank.median)}"
    )
    return (
        f"maps of other trainings that had not seen the image either have a median SSIM of "
        f"{_two(other.ssim.median)} ({_two(other.ssim.low)} to {_two(other.ssim.high)}){rank}"
    )


def _two(value: float) -> str:
    return f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")


def cells_in_words(grid: tuple[int, ...]) -> str:
    """Return the cells of a map as people say them.

    >>> cells_in_words((2, 3))
    '2 × 3 cells'
    """
    return f"{' × '.join(map(str, grid))} cells"
