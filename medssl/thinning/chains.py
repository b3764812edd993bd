"""From settings to metrics: which strategies, with which options and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from medssl import reduction
from medssl.config.loading import decode
from medssl.config.reduce import ReduceSettings
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError
from medssl.reduction._contract import Needs, StrategyModule

_ALIASES_SECONDS = 60  # that looking for them may take unasked


@dataclass(frozen=True, kw_only=True)
class Link:
    """One strategy of a chain."""

    name: str
    strategy: StrategyModule
    config: Any  # its options
    tau: float | None  # None: what it has to be is searched, or not used

    @property
    def needs(self) -> Needs:
        """What it describes images by."""
        return self.strategy.needs(self.config)

    @property
    def is_ranking(self) -> bool:
        """Whether its similarity says nothing about likeness."""
        return self.strategy.SAME is None


def links(settings: ReduceSettings) -> tuple[Link, ...]:
    """Return the strategies of a reduction.

    Raises:
        UsageError: A strategy or one of its options does not exist, two of them rank images each
            in its own way, or one has no descriptors that the selector could cluster.
    """
    strategies = [plugins.load(reduction, name) for name in settings.by]
    taus = _thresholds(settings, strategies)
    found = tuple(
        Link(
            name=name,
            strategy=strategy,
            config=decode(strategy.Config, _options(settings, name), where=f"options.{name}"),
            tau=tau,
        )
        for name, strategy, tau in zip(settings.by, strategies, taus, strict=True)
    )
    _check(settings, found)
    return found


def with_thresholds(
    settings: ReduceSettings, chain: Sequence[Link]
) -> tuple[ReduceSettings, tuple[str, ...]]:
    """Return the settings with the thresholds of their strategies, and a note where they chose."""
    taus = tuple(link.tau for link in chain if link.tau is not None)
    if settings.match is not None or taus == settings.threshold:
        return settings, ()
    own = ", ".join(f"{link.tau:g} ({link.name})" for link in chain if link.tau is not None)
    return settings.model_copy(update={"threshold": taus}), (f"threshold {own} (default)",)


def judge(settings: ReduceSettings) -> Link:
    """Return the strategy that says whether two images are probably the same, and from when.

    Raises:
        UsageError: There is no such strategy, or it says nothing about likeness.
    """
    strategy: StrategyModule = plugins.load(reduction, settings.same_by)
    if strategy.SAME is None:
        raise UsageError(
            f"{settings.same_by} says nothing about likeness",
            where="same_by",
            fix="use embedding, which compares thumbnails",
        )
    tau = strategy.SAME if settings.same is None else settings.same
    return Link(name=settings.same_by, strategy=strategy, config=strategy.Config(), tau=tau)


def with_aliases(settings: ReduceSettings, n_images: int) -> tuple[ReduceSettings, tuple[str, ...]]:
    """Return the settings that say whether to look for patients under two ids."""
    link = judge(settings)
    if settings.aliases != "auto":
        return settings, ()
    seconds = n_images**2 / 2 * link.strategy.PAIR_NS * 1e-9
    wanted = seconds <= _ALIASES_SECONDS
    note = f"no search for patients under two ids (auto: {n_images} images); --aliases asks for it"
    return settings.model_copy(update={"aliases": wanted}), () if wanted else (note,)


def _options(settings: ReduceSettings, name: str) -> Mapping[str, Any]:
    options = dict(settings.options.get(name, {}))
    if "encoder" in options:
        raise UsageError(
            "an encoder is no option of a strategy", where=f"options.{name}", fix="use --encoder"
        )
    if settings.encoder is not None and _sees(plugins.load(reduction, name)):
        options["encoder"] = str(settings.encoder)
    return options


def _sees(strategy: StrategyModule) -> bool:
    """Whether a strategy can look at images through an encoder."""
    return any(field.name == "encoder" for field in fields(strategy.Config))


def _thresholds(
    settings: ReduceSettings, strategies: Sequence[StrategyModule]
) -> list[float | None]:
    """Return a threshold for each strategy; None for the last one where a size is given."""
    wanted = len(strategies) - (settings.limits_size or settings.match is not None)
    own: list[float | None] = [strategy.THRESHOLD for strategy in strategies[:wanted]]
    if len(settings.threshold) == wanted:
        own = list(settings.threshold)
    elif settings.threshold:
        own[-1] = settings.threshold[-1]
    return own + [None] * (len(strategies) - wanted)


def _check(settings: ReduceSettings, chain: Sequence[Link]) -> None:
    rankings = [link.name for link in chain if link.strategy.OWN_ORDER]
    if len(rankings) > 1:
        raise UsageError(
            f"{' and '.join(rankings)} each need an order of their own",
            where="by",
            fix=f"leave out {rankings[-1]}",
        )
    if settings.select == "k_center" and chain[0].is_ranking:
        raise UsageError(
            f"{chain[0].name} says nothing about likeness, so that no choice is diverse",
            where="by",
            fix="use --select leader, or another strategy",
        )
    if settings.select == "balanced_kmeans" and not chain[0].strategy.VECTORS:
        raise UsageError(
            f"what {chain[0].name} describes images by cannot be clustered",
            where="by",
            fix="use --by embedding, or --select k_center",
        )
    if settings.encoder is not None and not any(_sees(link.strategy) for link in chain):
        raise UsageError(
            f"{','.join(settings.by)} takes no encoder", where="encoder", fix="use --by embedding"
        )
