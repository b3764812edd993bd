"""What a canary plants, and the words it plants: each stands for one place and for no other.

Letters are consonants only, so that no word of a language is hit by chance; all dates lie in one
year in which no scanner existed, and all times in a second that no clock shows.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
WORD_LETTERS = 16  # what the shortest text of a DICOM header has room for
UID_DIGITS = 30
YEAR = 1913
LEAP_SECOND = "235960"
_UUID_ROOT = "2.25."

Kind = Literal["hidden", "terminal", "settings", "shown"]
Shape = Literal["word", "digits", "date", "time", "moment"]


@dataclass(frozen=True, slots=True)
class Plant:
    """A text that is found nowhere but where it was planted."""

    text: str
    where: str  # in words, for people
    kind: Kind = "hidden"  # where else than in `private/` it may stand: see `search`
    shape: Shape = "word"


@dataclass
class Register:
    """Makes what is planted and remembers it."""

    plants: list[Plant] = field(default_factory=list)
    _known: dict[tuple[Shape, str], Plant] = field(default_factory=dict)
    _n_days: int = 0

    def word(self, where: str, kind: Kind = "hidden") -> str:
        """Return 16 capital consonants."""
        return self._add("word", where, _spell(where, LETTERS, WORD_LETTERS), kind)

    def uid(self, where: str) -> str:
        """Return a DICOM UID."""
        return self._add("digits", where, _UUID_ROOT + _spell(where, "123456789", UID_DIGITS))

    def day(self, where: str) -> str:
        """Return a date (YYYYMMDD); a day of its own for each of the first 365 places."""
        known = self._known.get(("date", where))
        return known.text if known else self._add("date", where, self._next_day())

    def time(self, where: str) -> str:
        """Return a time (HHMMSS.FFFFFF)."""
        return self._add("time", where, self._next_time())

    def moment(self, where: str) -> str:
        """Return a date with a time (YYYYMMDDHHMMSS.FFFFFF)."""
        known = self._known.get(("moment", where))
        if known:
            return known.text
        return self._add("moment", where, f"{self._next_day()}{self._next_time()}")

    def shown(self, text: str, where: str) -> str:
        """Remember a name that the user gives and that may stand anywhere, but not as markup."""
        return self._add("word", where, text, "shown")

    def _next_day(self) -> str:
        day = date(YEAR, 1, 1) + timedelta(self._n_days % 365)
        self._n_days += 1
        return f"{day:%Y%m%d}"

    def _next_time(self) -> str:
        return f"{LEAP_SECOND}.{len(self.plants):06d}"

    def _add(self, shape: Shape, where: str, text: str, kind: Kind = "hidden") -> str:
        plant = self._known.get((shape, where))
        if plant is None:
            plant = self._known[shape, where] = Plant(text, where, kind, shape)
            self.plants.append(plant)
        return plant.text


def _spell(where: str, alphabet: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(where.encode()).digest(), "big")
    letters = []
    for _ in range(length):
        number, letter = divmod(number, len(alphabet))
        letters.append(alphabet[letter])
    return "".join(letters)
