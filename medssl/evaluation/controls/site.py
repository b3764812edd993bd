"""Whether the site gives the label away, and whether the model does without it."""

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import folds, intervals, metrics
from medssl.evaluation.controls import strata
from medssl.evaluation.controls.metadata import TELLING, macro
from medssl.evaluation.controls.sides import Ints
from medssl.evaluation.controls.verdicts import Verdict, not_assessed
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units
from medssl.foundation.errors import DataError

_FOLDS = 5
_REPEATS = 5
_CHANCE = 0.5


def judge(images: Units, site: NDArray[np.str_], counts: Ints, level: float, seed: int) -> Verdict:
    """Return the AUROC of the label by site alone, and of the model within sites.

    Args:
        images: One unit per image.
        site: Shape (U,); empty where nobody named it.
        counts: From `intervals.draw`, shape (R, P).
        level: Of the intervals.
        seed: Decides the folds in which the share of positives of a site is learned.
    """
    names = np.unique(site)
    if len(names) < 2:
        one = "no site is named" if names[0] == "" else "all images are of one site"
        return not_assessed("site", f"{one}, so sites cannot be compared")
    by_site = _by_site(images, site, seed)
    if by_site is None:
        return not_assessed("site", "too few patients of a class to learn anything by site")
    values, drawn = _measured(images, by_site, site, counts)
    low, high = np.transpose(
        [(found.low, found.high) for found in (intervals.percentile(d, level) for d in drawn.T)]
    )
    parts = [f"{v:.3f} ({a:.3f} to {b:.3f})" for v, a, b in zip(values, low, high, strict=True)]
    tells = values[0] >= TELLING and low[0] > _CHANCE
    apart = bool(np.isfinite(values[2]))  # patients of both classes in one site
    if not apart and not tells:
        return not_assessed("site", "no site has patients of both classes to compare")
    nothing_else = tells and low[1] > _CHANCE and not low[2] > _CHANCE
    if high[0] < _CHANCE:  # what a site has more of in training it then has less of in testing
        parts[0] += ", below 0.5 as sites do not differ,"
    text = f"image by image AUROC {parts[0]} by the site alone; the model {parts[1]}, "
    text += f"within sites {parts[2]}" if apart else "and no site has patients of both classes"
    if nothing_else:
        text += ": it is not shown to tell more than the site"
    return Verdict(
        name="site",
        light="fail" if nothing_else else "warn" if tells else "pass",
        said=text,
        value=float(values[0]),
        low=float(low[0]),
        high=float(high[0]),
        details={
            "sites": len(names),
            "model": _numbers(values, low, high, 1),
            "within_sites": _numbers(values, low, high, 2) if apart else None,
        },
    )


def _numbers(values: Floats, low: Floats, high: Floats, at: int) -> dict[str, float]:
    return {"value": float(values[at]), "low": float(low[at]), "high": float(high[at])}


def _measured(
    images: Units, by_site: Floats, site: NDArray[np.str_], counts: Ints
) -> tuple[Floats, Floats]:
    """Return three AUROCs, of the site, of the model and of the model within sites: (3,), (R, 3).

    Several classes are each taken against the rest, and averaged.
    """
    columns = range(len(images.columns))

    def compute(weight: Floats) -> Floats:
        alone = [metrics.auroc(images.truth[:, k], by_site[:, k], weight) for k in columns]
        within = [strata.auroc(images.truth[:, k], images.score[:, k], site, weight)
                  for k in columns]  # fmt: skip
        return np.stack([np.mean(alone, 0), macro(images, weight), np.mean(within, 0)], axis=-1)

    once = compute(np.ones((1, len(images.truth))))[0]
    return once, intervals.resampled(compute, images.patient, counts)


def _by_site(images: Units, site: NDArray[np.str_], seed: int) -> Floats | None:
    """Return the share of positives of each image's site among other patients, (U, K).

    Folds are drawn anew, as a split by site would never show the site it tests. A site with few
    images is drawn towards the share of all.
    """
    keys = [f"{number:09d}" for number in images.patient]
    held = np.unique(images.truth, axis=0, return_inverse=True)[1].ravel()
    made = plans(keys, [str(name) for name in held], seed)
    codes = np.unique(site, return_inverse=True)[1]
    total = np.zeros(images.truth.shape)
    for plan in made:
        fold = np.array([plan[key] for key in keys])
        for number in np.unique(fold):
            test, train = fold == number, fold != number
            share = images.truth[train].mean(axis=0)
            n = np.bincount(codes[train], minlength=codes.max() + 1)
            for k in range(images.truth.shape[1]):
                hits = np.bincount(codes[train], images.truth[train, k], minlength=len(n))
                total[test, k] += ((hits + share[k]) / (n + 1))[codes[test]]
    return total / len(made) if made else None


def plans(keys: list[str], held: list[str], seed: int) -> tuple[dict[str, int], ...]:
    """Return patients in folds drawn anew, several times over; none where a class is too rare.

    Args:
        keys: Patient of each row.
        held: What each row is stratified by.
        seed: Decides them.
    """
    for n_folds in range(_FOLDS, 1, -1):
        try:
            return folds.assign(keys, held, n_folds=n_folds, repeats=_REPEATS, seed=seed)
        except DataError:  # a class is too rare for so many folds
            continue
    return ()
