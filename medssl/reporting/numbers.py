"""How numbers are written on a page."""

import math

DASH = "–"
LARGE = 100  # from here on a number is shown with one digit
MOST_DRAWN = 12  # columns, or repeats, in one figure: as many looks can be told apart


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, a dash for none; large amounts have fewer.

    >>> number(0.87654), number(1234.56), number(-0.0001), number(None)
    ('0.877', '1234.6', '0.000', '–')
    """
    if value is None or value != value:
        return DASH
    digits = min(digits, 1) if abs(value) >= LARGE else digits
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None) -> str:
    """Return a difference with its sign; what is shown as 0 has none.

    >>> signed(0.0312), signed(-0.2), signed(0.0), signed(-0.0001), signed(0.0004)
    ('+0.031', '−0.200', '0.000', '0.000', '0.000')
    """
    shown = number(value)
    return f"+{shown}" if value is not None and value > 0 and shown.strip("0.") else shown


def chance(value: float | None) -> str:
    """Return a p-value with two digits that count.

    >>> chance(0.0312), chance(0.5), chance(1.0), chance(0.0001), chance(None)
    ('0.031', '0.50', '1.0', '0.00010', '–')
    """
    if value is None or value != value:
        return DASH
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 1
    return f"{value:.{max(1, digits)}f}"


def plain(value: float) -> str:
    """Return a number with the digits it needs.

    >>> plain(1.0), plain(0.05)
    ('1', '0.05')
    """
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def count(value: int | None) -> str:
    """Return a whole number with thin gaps between thousands, a dash for none."""
    return DASH if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(share: float) -> str:
    """Return a share in percent.

    >>> percent(0.95), percent(0.975)
    ('95 %', '97.5 %')
    """
    return f"{100 * share:.4g} %"
