"""Which configuration to try next, given those that were tried.

By a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) as Optuna has it: the first
ten are random, each later one is drawn where good configurations are denser than others.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from medssl.artifacts.trials import Trial
from medssl.config.tune import Dimension
from medssl.foundation.errors import MissingExtra

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def require() -> None:
    """Check that Optuna is there.

    Raises:
        MissingExtra: It is not installed.
    """
    if find_spec("optuna") is None:
        raise MissingExtra("Optuna is not installed", fix="pip install 'medssl[tune]'")


def propose(space: Sequence[Dimension], tried: Sequence[Trial], seed: int) -> dict[str, Any]:
    """Return the configuration to try next.

    It follows from the arguments alone, so that a tuning that was stopped goes on as if it had not
    been. Nothing is stored, nothing leaves the machine.

    Args:
        space: What is chosen among what.
        tried: What came of earlier proposals; those without a value do not count.
        seed: Of this proposal.

    Returns:
        Setting -> value.

    Raises:
        MissingExtra: Optuna is not installed.
    """
    require()
    import optuna  # noqa: PLC0415 - an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    drawn_from = {dimension.setting: _distribution(dimension) for dimension in space}
    for one in tried:
        if one.value is not None:
            known = {dim.setting: _coded(dim, one.settings[dim.setting]) for dim in space}
            study.add_trial(
                optuna.trial.create_trial(params=known, distributions=drawn_from, value=one.value)
            )
    drawn = study.ask(drawn_from).params
    return {dim.setting: _decoded(dim, drawn[dim.setting]) for dim in space}


def _distribution(dimension: Dimension) -> "BaseDistribution":
    from optuna import distributions  # noqa: PLC0415 - an extra

    if dimension.choices:
        return distributions.CategoricalDistribution([json.dumps(c) for c in dimension.choices])
    low, high = dimension.ends
    if isinstance(low, int) and isinstance(high, int):
        return distributions.IntDistribution(low, high, log=dimension.log)
    return distributions.FloatDistribution(low, high, log=dimension.log)


def _coded(dimension: Dimension, value: object) -> Any:  # noqa: ANN401 - a category is text
    return json.dumps(value) if dimension.choices else value


def _decoded(dimension: Dimension, drawn: Any) -> Any:  # noqa: ANN401 - any setting
    return json.loads(drawn) if dimension.choices else drawn
