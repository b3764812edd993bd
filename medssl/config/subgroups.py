"""By what `medssl evaluate` groups patients to look at each group by itself."""

from collections.abc import Sequence

from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

AUTO = ("sex", "age_band", "site", "view", "manufacturer", "modality")
NAMES = (*AUTO, "model", "laterality", "body_part")  # columns of `images.parquet`
LABEL = "label:"  # before the name of a target of `labels.parquet`
_WORDS = {"none": (), "auto": AUTO}


def chosen(given: Sequence[str]) -> tuple[str, ...]:
    """Return the attributes that are meant, each once, in the order given.

    Raises:
        UsageError: There is no such attribute, or none or auto stands beside others.

    >>> chosen(["sex", "label:smoker", "sex"]), chosen(["none"])
    (('sex', 'label:smoker'), ())
    """
    if len(given) == 1 and given[0] in _WORDS:
        return _WORDS[given[0]]
    for name in given:
        if name in NAMES or name.removeprefix(LABEL) != name != LABEL:
            continue
        alone = name in _WORDS
        raise UsageError(
            f"{name} stands alone" if alone else f"no attribute called {name!r}",
            where="subgroups",
            fix=f"--subgroups {name}"
            if alone
            else plugins.suggest(name, [*NAMES, *_WORDS, f"{LABEL}NAME"]),
        )
    return tuple(dict.fromkeys(given))
