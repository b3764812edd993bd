"""How far one gets without looking at an image: site, scanner, age, sex, view, slices, size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from medssl.evaluation import intervals, metrics
from medssl.evaluation.controls import strata
from medssl.evaluation.controls.facts import Fact
from medssl.evaluation.controls.sides import Bools, Ints, Sides
from medssl.evaluation.controls.verdicts import Verdict
from medssl.evaluation.intervals import Interval
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units

TELLING = 0.55  # AUROC below which a fact is no shortcut worth a warning
_CHANCE = 0.5
_MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What metadata alone comes to."""

    model: tuple[float, Interval]  # AUROC of the model
    alone: tuple[float, Interval]  # AUROC of the metadata
    difference: tuple[float, Interval]  # model minus metadata, from the same resamples
    facts: Mapping[str, float]  # AUROC of each fact by itself, the highest first
    within: tuple[float, Interval] | None = None  # AUROC of the model among images that share the
    # most telling fact


def scores(facts: Sequence[Fact], label: Ints, sides: Sides) -> Floats:
    """Return what a logistic regression of the facts says, in the folds of the models.

    Args:
        facts: Of N rows.
        label: Shape (N, K), 0 or 1; each column is predicted against the rest.
        sides: Of the N rows.

    Returns:
        Probabilities (R, N, K); not-a-number where a row is not tested.
    """
    said = np.full((len(sides.tested), *label.shape), np.nan)
    known: dict[bytes, Floats] = {}  # repeats that differ in their seed alone have the same folds
    for repeat, fold in sides.parts():
        train, test = sides.train(repeat, fold), sides.test(repeat, fold)
        name = np.packbits(train).tobytes() + np.packbits(test).tobytes()
        if name not in known:
            x = np.hstack([fact.design(train) for fact in facts])
            known[name] = _fitted(x, label, train, test)
        said[repeat, test] = known[name]
    return said


def _fitted(x: Floats, label: Ints, train: Bools, test: Bools) -> Floats:
    """Return probabilities of the test rows, (n_test, K); the share where there is one class."""
    found = np.empty((int(test.sum()), label.shape[1]))
    for k in range(label.shape[1]):
        known = label[train, k]
        if known.min() == known.max():
            found[:, k] = known.mean()
            continue
        model = LogisticRegression(max_iter=_MOST_STEPS).fit(x[train], known)
        found[:, k] = model.predict_proba(x[test])[:, 1]
    return found


def by_fact(facts: Sequence[Fact], label: Ints, sides: Sides) -> dict[str, float]:
    """Return the AUROC of each fact by itself within folds of the first repeat, highest first."""
    first = Sides(tested=sides.tested[:1], left_out=sides.left_out[:1])
    fold, found = first.tested[0], {}
    for fact in facts:
        said = scores([fact], label, first)[0]
        seen = np.isfinite(said[:, 0])
        columns = [strata.auroc(label[seen, k], said[seen, k], fold[seen])
                   for k in range(label.shape[1])]  # fmt: skip
        found[fact.name] = float(np.mean(columns))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def compare(
    model: Units, alone: Units, counts: Ints, level: float, facts: Mapping[str, float]
) -> Baseline:
    """Return the AUROCs of model and metadata in the same resamples of patients.

    Args:
        model: Scores of the model.
        alone: The same units with the scores of the metadata.
        counts: From `intervals.draw`, shape (R, P).
        level: Of the intervals.
        facts: From `by_fact`.
    """

    def both(weight: Floats) -> Floats:
        return np.stack([macro(units, weight) for units in (model, alone)], axis=-1)

    value = both(np.ones((1, len(model.truth))))[0]
    drawn = intervals.resampled(both, model.patient, counts)
    parts = [
        (float(one), intervals.percentile(many, level))
        for one, many in (
            (value[0], drawn[:, 0]),
            (value[1], drawn[:, 1]),
            (value[0] - value[1], drawn[:, 0] - drawn[:, 1]),
        )
    ]
    return Baseline(model=parts[0], alone=parts[1], difference=parts[2], facts=facts)


def beside(found: Baseline, within: tuple[float, Interval] | None) -> Baseline:
    """Return it with the AUROC of the model among images that share the most telling fact."""
    return replace(found, within=within)


def macro(units: Units, weight: Floats) -> Floats:
    """Return the AUROC, of several columns the mean, in every row of weights (R, U)."""
    columns = range(len(units.columns))
    return np.asarray(
        np.mean([metrics.auroc(units.truth[:, k], units.score[:, k], weight) for k in columns], 0)
    )


def judge(found: Baseline) -> Verdict:
    """Return whether metadata tell the classes, and whether the model does better."""
    value, interval = found.alone
    gain, apart = found.difference
    telling = value >= TELLING and interval.low > _CHANCE
    better = apart.low > 0
    text = f"AUROC {_said(found.alone)} without looking at an image, the model {_said(found.model)}"
    if telling and found.facts:
        name, most = next(iter(found.facts.items()))
        text += f"; {name} by itself {most:.3f}"
        if found.within is not None:
            text += f", and the model {_said(found.within)} among images of the same {name}"
    if not better:
        text += f". The model is not shown to be better: difference {gain:+.3f} "
        text += f"({apart.low:+.3f} to {apart.high:+.3f})"
    return Verdict(
        name="metadata",
        light="warn" if telling or not better else "pass",
        said=text,
        value=value,
        low=interval.low,
        high=interval.high,
        details={
            "model": _numbers(found.model),
            "difference": _numbers(found.difference),
            "facts": dict(found.facts),
            "within": _numbers(found.within) if found.within else None,
        },
    )


def _said(part: tuple[float, Interval]) -> str:
    return f"{part[0]:.3f} ({part[1].low:.3f} to {part[1].high:.3f})"


def _numbers(part: tuple[float, Interval]) -> dict[str, float]:
    return {"value": part[0], "low": part[1].low, "high": part[1].high}
