"""By what `medssl evaluate` groups patients to look at each group by itself."""

from collections.abc import Sequence

from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

AUTO = ("sex", "age_band", "site", "view", "manufacturer", "modality")
NAMES = (*AUTO, "model", "laterality", "body_part")  # columns of `images.parquet`
LABEL = "label:"  # before the name of a target of `labels.parquet`
CROSS = "*"  # between two attributes whose groups are looked at together
SITE = "site"  # what a table of another tool is grouped by unless its columns are named
MOST_GROUPS = 20  # of one attribute; an amount or a free text has more values
_NO_GROUPS = ("patient_id", "patient_key", "image_id", "target", "label", "score", "fold", "repeat")
_WORDS = {"none": (), "auto": AUTO}


def chosen(given: Sequence[str], *, of_table: bool = False) -> tuple[str, ...]:
    """Return the attributes that are meant, each once, in the order given.

    Args:
        given: Names, or none or auto alone.
        of_table: They are columns of a table of another tool, which may be called anything; auto
            is its site, as nothing else is read that nobody asked for.

    Raises:
        UsageError: There is no such attribute, a column makes no groups, more than two attributes
            are crossed, or none or auto stands beside others.

    >>> chosen(["sex", "label:smoker", "sex*age_band", "sex"]), chosen(["none"])
    (('sex', 'label:smoker', 'sex*age_band'), ())
    >>> chosen(["auto"], of_table=True), chosen(["ward"], of_table=True)
    (('site',), ('ward',))
    """
    if len(given) == 1 and given[0] in _WORDS:
        return (SITE,) if of_table and given[0] == "auto" else _WORDS[given[0]]
    for name in given:
        parts = parts_of(name)
        if len(parts) > 2 or len(set(parts)) < len(parts):
            raise UsageError(
                f"{name} is no pair of two attributes",
                where="subgroups",
                fix=f"cross two of them, for example sex{CROSS}age_band",
            )
        for part in parts:
            (_require_column if of_table else _require_known)(part)
    return tuple(dict.fromkeys(given))


def parts_of(name: str) -> tuple[str, ...]:
    """Return the attributes that a name joins.

    >>> parts_of("sex"), parts_of("sex*age_band")
    (('sex',), ('sex', 'age_band'))
    """
    return tuple(name.split(CROSS))


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return every single attribute among the names, each once.

    >>> columns_of(["sex*age_band", "sex", "site"])
    ('sex', 'age_band', 'site')
    """
    return tuple(dict.fromkeys(part for name in names for part in parts_of(name)))


def table_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a table that are read for groups only; its site is read anyway.

    >>> table_columns(["ward*sex", "site"]), table_columns(["none"])
    (('ward', 'sex'), ())
    """
    return tuple(name for name in columns_of(chosen(names, of_table=True)) if name != SITE)


def _require_column(name: str) -> None:
    if name in _WORDS:
        raise _stands_alone(name)
    if not name or name in _NO_GROUPS:
        raise UsageError(
            f"the column {name!r} makes no groups" if name else "an attribute without a name",
            where="subgroups",
            fix="name a column of the table such as sex, age_band or site",
        )


def _require_known(name: str) -> None:
    if name in NAMES or name.removeprefix(LABEL) != name != LABEL:
        return
    if name in _WORDS:
        raise _stands_alone(name)
    raise UsageError(
        f"no attribute called {name!r}",
        where="subgroups",
        fix=plugins.suggest(name, [*NAMES, *_WORDS, f"{LABEL}NAME"]),
    )


def _stands_alone(name: str) -> UsageError:
    return UsageError(f"{name} stands alone", where="subgroups", fix=f"--subgroups {name}")
