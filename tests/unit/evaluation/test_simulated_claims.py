"""What is claimed of intervals and tests, in cohorts whose truth is known: `make test-slow`."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import stdtr

from medssl.evaluation import fold_differences, folds, intervals, metrics, swaps
from medssl.evaluation.units import Units

pytestmark = pytest.mark.slow
AUROC = next(metric for metric in metrics.TABLE if metric.name == "auroc")
N, EVENTS, FOLDS, REPEATS = 120, 48, 5, 10
SIMULATIONS = 2000
ENOUGH_TO_FAIL = 300  # simulations of what is plainly wrong
FEATURES, EFFECT = 10, 0.35  # each model sees ten of its own, all equally telling


def units_of(label, by_repeat, fold, patient, stratum):
    return Units(
        target="finding",
        task="binary",
        columns=("finding",),
        kind="patient",
        reason="",
        truth=label[:, None],
        score=by_repeat.mean(axis=1),
        by_repeat=by_repeat,
        fold=fold,
        patient=patient,
        stratum=stratum,
        n_images=len(label),
        grouped=True,
        sites=(),
    )


def out_of_fold(features, label, fold):
    """Scores (N, R) of nearest-centroid models, each trained without the fold it is tested in."""
    scores = np.empty(fold.shape)
    for repeat in range(fold.shape[1]):
        for k in range(FOLDS):
            held = fold[:, repeat] == k
            centre = [features[~held & (label == c)].mean(axis=0) for c in (0, 1)]
            away = features[held] - (centre[0] + centre[1]) / 2
            scores[held, repeat] = away @ (centre[1] - centre[0])
    return 1 / (1 + np.exp(-scores))


def simulate(rng, label, fold):
    """Two models of different features: which is better in a cohort is chance alone."""
    features = rng.normal(size=(2, N, FEATURES)) + EFFECT * label[:, None]
    patient = np.arange(N)
    return [
        units_of(label, out_of_fold(part, label, fold)[..., None], fold, patient, label)
        for part in features
    ]


def naive_p(differences):
    """The paired t-test over folds that this package does not have."""
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(len(differences)))
    return 2 * stdtr(len(differences) - 1, -abs(t))


def test_two_equally_good_models_are_rarely_told_apart():
    """Type-I error at 5 % in 5 x 10 repeated cross-validation; a plain t-test over folds fails."""
    rng = np.random.default_rng(0)
    label = (np.arange(N) < EVENTS).astype(np.int64)
    keys = [f"k{n:03d}" for n in range(N)]
    plans = folds.assign(keys, [str(k) for k in label], n_folds=FOLDS, repeats=REPEATS, seed=0)
    fold = np.array([[plan[key] for plan in plans] for key in keys])
    found = {"interval": 0, "swaps": 0, "corrected": 0, "naive": 0}
    for _ in range(SIMULATIONS):
        ours, theirs = simulate(rng, label, fold)
        counts = intervals.draw(label, 500, rng)
        drawn = [
            metrics.auroc(label, one.score[:, 0], counts.astype(float)) for one in (ours, theirs)
        ]
        interval = intervals.percentile(drawn[0] - drawn[1], 0.95)
        found["interval"] += not interval.low <= 0 <= interval.high
        found["swaps"] += swaps.swapped(AUROC, ours, theirs, (0,), 499, rng).p <= 0.05
        inside = fold_differences.aurocs(ours, (0,)) - fold_differences.aurocs(theirs, (0,))
        found["corrected"] += fold_differences.corrected_t(inside, 1 / (FOLDS - 1), 0.95).p <= 0.05
        found["naive"] += naive_p(inside) <= 0.05
    rate = {name: count / SIMULATIONS for name, count in found.items()}
    assert rate["interval"] <= 0.12, rate
    assert rate["swaps"] <= 0.12, rate
    assert rate["corrected"] <= 0.12, rate
    assert rate["naive"] > 0.4, rate


def test_an_interval_over_patients_covers_and_one_over_images_does_not():
    """40 patients with 10 images each, whose scores have an intraclass correlation of 0.8."""
    n_patients, n_images, shared, shift = 40, 10, 0.8, 1.2
    truth = NormalDist().cdf(shift / np.sqrt(2))  # of two patients of different classes
    stratum = (np.arange(n_patients) < n_patients // 2).astype(np.int64)
    patient = np.repeat(np.arange(n_patients), n_images)
    label = stratum[patient]
    rng = np.random.default_rng(1)
    covered = {"patients": 0, "images": 0}
    for simulation in range(SIMULATIONS):
        own = rng.normal(size=n_patients)[patient] * np.sqrt(shared)
        score = shift * label + own + rng.normal(size=len(label)) * np.sqrt(1 - shared)
        for name, who, strata in (
            ("patients", patient, stratum),
            ("images", np.arange(len(label)), label),
        ):
            if name == "images" and simulation >= ENOUGH_TO_FAIL:
                continue
            counts = intervals.draw(strata, 500, rng)
            drawn = intervals.resampled(
                lambda weight, score=score: metrics.auroc(label, score, weight), who, counts
            )
            interval = intervals.percentile(drawn, 0.95)
            covered[name] += interval.low <= truth <= interval.high
    assert 0.92 <= covered["patients"] / SIMULATIONS <= 0.97, covered
    assert covered["images"] / ENOUGH_TO_FAIL < 0.7, covered
