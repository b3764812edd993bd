"""Search files for planted texts: whole or in part, in any case, as bytes and decoded.

A text counts as found from ten letters on, so that one which was cut is found as well. What no
search of bytes can find: a text drawn as pixels, and one that was encrypted or hashed with a key.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from medssl.ingestion.canary.layers import Layer, expand, stretches, table
from medssl.ingestion.canary.register import LEAP_SECOND, LETTERS, YEAR, Kind, Plant

Place = Literal["artefact", "settings", "terminal", "name"]  # name: of a file or a folder

LETTERS_IN_A_ROW = 10  # of a word, from which it is recognised
DIGITS_IN_A_ROW = 14  # of a UID; numbers in tables have 17 digits, so fewer would hit by chance
_DIGEST_HEAD = 16  # hexadecimal digits by which an unkeyed hash is recognised
_MAY_STAND: Mapping[Kind, frozenset[Place]] = {
    "hidden": frozenset(),  # what a scan or a table holds, and how files in a source are called
    "terminal": frozenset({"terminal"}),  # what the user typed to name a source, and headings
    "settings": frozenset({"terminal", "settings", "name"}),  # paths of what medssl made or judges
    "shown": frozenset({"terminal", "settings", "name", "artefact"}),  # targets, classes, sites
}
_NEAR = 24  # bytes to either side of a year or a second in which its whole form is looked for
_ANCHORS = (str(YEAR).encode(), LEAP_SECOND.encode(), b"59:60")
_LEAST_HEX = 32
KEY = Plant("", "the institution's key")


_LETTERS = table(LETTERS.encode() + LETTERS.lower().encode(), b"0123456789")
_HEXADECIMAL = table(b"0123456789abcdefABCDEF")


@dataclass(frozen=True)
class Hit:
    """A planted text that stands where it may not."""

    planted: str  # where it was planted, in words
    found: str  # path of the artefact
    layer: str  # how it stands there: as bytes, in base64 …


@dataclass(frozen=True)
class Needles:
    """What is looked for."""

    plants: Sequence[Plant]
    key: bytes = b""  # the institution's; empty: not looked for

    def find(self, content: bytes) -> dict[Plant, str]:
        """Return the plants found in a file or a text, each with how it stands there."""
        found: dict[Plant, str] = {}
        for layer in expand(content):
            for plant in self._in(layer.content):
                found.setdefault(plant, layer.name)
        return found

    def _in(self, content: bytes) -> Iterator[Plant]:
        for text in stretches(content, _LETTERS, b"\1", LETTERS_IN_A_ROW):
            yield from _parts(text, self._words, LETTERS_IN_A_ROW)
        for text in stretches(content, _LETTERS, b"\2", DIGITS_IN_A_ROW):
            yield from _parts(text, self._uids, DIGITS_IN_A_ROW)
        for text in stretches(content, _HEXADECIMAL, b"\1", _LEAST_HEX):
            yield from _parts(text[:_DIGEST_HEAD], self._digests, _DIGEST_HEAD)
        yield from self._moments_in(content)
        if self.key and any(form in content for form in self._key_forms):
            yield KEY
        for plant, text in self._names:
            if text in content:
                yield plant

    def _moments_in(self, content: bytes) -> Iterator[Plant]:
        for anchor in _ANCHORS:
            at = content.find(anchor)
            while at >= 0:
                near = content[max(0, at - _NEAR) : at + _NEAR]
                for match in self._form.finditer(near):
                    yield self._moments[match[0]]
                at = content.find(anchor, at + 1)

    @cached_property
    def _words(self) -> Mapping[bytes, Plant]:
        words = (plant for plant in self.plants if plant.shape == "word" and plant.kind != "shown")
        return _windows(words, LETTERS_IN_A_ROW)

    @cached_property
    def _uids(self) -> Mapping[bytes, Plant]:
        return _windows((p for p in self.plants if p.shape == "digits"), DIGITS_IN_A_ROW)

    @cached_property
    def _names(self) -> Sequence[tuple[Plant, bytes]]:
        return [(plant, plant.text.encode()) for plant in self.plants if plant.kind == "shown"]

    @cached_property
    def _moments(self) -> Mapping[bytes, Plant]:
        forms = {form.encode(): plant for plant in self.plants for form in _forms(plant)}
        return dict(sorted(forms.items(), key=lambda pair: -len(pair[0])))

    @cached_property
    def _form(self) -> re.Pattern[bytes]:
        any_form = b"|".join(map(re.escape, self._moments)) or b"$^"
        return re.compile(rb"(?<![\d.])(?:" + any_form + rb")(?!\d)")

    @cached_property
    def _digests(self) -> Mapping[bytes, Plant]:
        return {
            hashlib.new(name, plant.text.encode()).hexdigest()[:_DIGEST_HEAD].encode(): plant
            for plant in self.plants
            for name in ("md5", "sha1", "sha256", "sha512")
        }

    @cached_property
    def _key_forms(self) -> Sequence[bytes]:
        as_hex = self.key.hex().encode()
        in_base32 = base64.b32encode(self.key).rstrip(b"=")
        return (self.key, as_hex, as_hex.upper(), in_base32, in_base32.lower())


def place(path: str) -> Place:
    """Return what kind of place a file is, by its path below the folder of a canary."""
    if path.startswith("said/"):
        return "terminal"
    return "settings" if path.endswith("/config.yaml") else "artefact"


def allowed(plant: Plant, where: Place) -> bool:
    """Return whether a planted text may stand in such a place outside `private/`."""
    return where in _MAY_STAND[plant.kind]


def is_markup(plant: Plant, path: str, layer: str) -> bool:
    """Return whether a name stands in a page or a table so that a browser or a sheet obeys it."""
    if plant.kind != "shown" or layer != Layer.BYTES:
        return False
    formula = plant.text.startswith(("=", "+", "-", "@"))
    return path.endswith((".html", ".svg", ".csv") if formula else (".html", ".svg"))


def _windows(plants: Iterable[Plant], length: int) -> dict[bytes, Plant]:
    found: dict[bytes, Plant] = {}
    for plant in plants:
        text = plant.text.rpartition(".")[2].lower().encode()
        for start in range(len(text) - length + 1):
            found[text[start : start + length]] = plant
    return found


def _parts(text: bytes, known: Mapping[bytes, Plant], length: int) -> Iterator[Plant]:
    """Yield the plants of which ``length`` characters in a row stand in the text."""
    for start in range(len(text) - length + 1):
        part = text[start : start + length].lower()
        if part in known:
            yield known[part]


def _forms(plant: Plant) -> Iterator[str]:
    """Yield how programs write the date or the time of a plant."""
    if plant.shape in {"time", "moment"}:
        yield plant.text
        clock = plant.text[-len("235960.000000") :]
        yield f"{clock[:2]}:{clock[2:4]}:{clock[4:]}"
    if plant.shape == "time":
        yield plant.text.partition(".")[0]
        yield f"{clock[:2]}:{clock[2:4]}:{clock[4:6]}"
    if plant.shape in {"date", "moment"}:
        year, month, day = plant.text[:4], plant.text[4:6], plant.text[6:8]
        yield f"{year}{month}{day}"
        for sign in "-/.:_ ":
            yield f"{year}{sign}{month}{sign}{day}"
            yield f"{day}{sign}{month}{sign}{year}"
            yield f"{month}{sign}{day}{sign}{year}"
        yield f"{year}, {int(month)}, {int(day)}"
