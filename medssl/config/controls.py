"""Which controls `medssl evaluate` runs beside its estimates."""

from collections.abc import Sequence

from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

QUICK = ("split", "pretraining", "site")  # need no images and no other model
NAMES = ("split", "duplicates", "pretraining", "label_shuffle", "metadata", "site")  # as shown
_WORDS = {"none": (), "auto": QUICK, "all": NAMES}


def chosen(given: Sequence[str]) -> tuple[str, ...]:
    """Return the controls that are meant, in the order of a report.

    Raises:
        UsageError: There is no such control, or none, auto or all stands beside others.

    >>> chosen(["site", "split"]), chosen(["none"])
    (('split', 'site'), ())
    """
    if len(given) == 1 and given[0] in _WORDS:
        return _WORDS[given[0]]
    for name in given:
        if name not in NAMES:
            alone = name in _WORDS
            raise UsageError(
                f"{name} stands alone" if alone else f"no control called {name!r}",
                where="controls",
                fix=f"--controls {name}" if alone else plugins.suggest(name, [*NAMES, *_WORDS]),
            )
    return tuple(name for name in NAMES if name in given)
