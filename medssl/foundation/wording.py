"""Numbers with the words for what they count, and lists as people say them."""

from collections.abc import Sequence

_ODD_VERBS = {"have": "has", "are": "is", "were": "was"}


def counted(n: int, thing: str) -> str:
    """Return a number with what it counts.

    >>> counted(1, "file"), counted(1200, "patient"), counted(2, "series"), counted(0, "study")
    ('1 file', '1,200 patients', '2 series', '0 studies')
    """
    return f"{n:,} {thing if n == 1 else plural(thing)}"


def plural(thing: str) -> str:
    """Return a word, or a few of which the last one counts, for several.

    >>> plural("patient id"), plural("series"), plural("study"), plural("day")
    ('patient ids', 'series', 'studies', 'days')
    """
    if thing.endswith("s"):
        return thing
    if thing.endswith("y") and thing[-2:-1] not in "aeiou":
        return f"{thing[:-1]}ies"
    return f"{thing}s"


def verb(n: int, word: str) -> str:
    """Return a verb as it stands after a number of things.

    >>> verb(1, "name"), verb(2, "name"), verb(1, "have"), verb(0, "are")
    ('names', 'name', 'has', 'are')
    """
    return _ODD_VERBS.get(word, f"{word}s") if n == 1 else word


def listed(things: Sequence[str], most: int = 6) -> str:
    """Return the first of some things, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d"], most=2)
    ('a, b', 'a, b and 2 more')
    """
    more = len(things) - most
    return ", ".join(things[:most]) + (f" and {more:,} more" if more > 0 else "")


def alternatives(things: Sequence[str]) -> str:
    """Return things of which one is meant as people say them.

    >>> alternatives(["auto"]), alternatives(["a number", "auto", "none"])
    ('auto', 'a number, auto or none')
    """
    *first, last = things
    return f"{', '.join(first)} or {last}" if first else last
