"""What is known of each unit besides its images: words of the archive, other labels, the site.

A table of another tool says what stands in the columns that were asked for by name.

Where the unit is the patient, it has a word that all of its images with a known one share. A
patient whose images differ, such as one seen from two views, has none and is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from medssl.artifacts import archive as archives
from medssl.artifacts.origin import Origin
from medssl.config.subgroups import LABEL, SITE, columns_of, parts_of
from medssl.evaluation.units import Units

AND = " × "  # between the words of two attributes
Words = Mapping[str, str | None]  # by image id


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One word about each of U units."""

    name: str
    values: tuple[str | None, ...]  # (U,) None: not known, or the images of the patient differ
    n_several: int = 0  # patients whose images differ in it
    reason: str = ""  # why nothing is known of it; empty where something is

    @property
    def n_unknown(self) -> int:
        """How many units have no word, those whose images differ left out."""
        return sum(value is None for value in self.values) - self.n_several


def read(
    names: Sequence[str], table: pa.Table, judged: Units, source: Origin
) -> tuple[Attribute, ...]:
    """Return attributes of the units; what cannot be read says why.

    Args:
        names: Columns of `images.parquet`, or targets of `labels.parquet` after ``label:``; of a
            table of another tool its columns. Two of them may be crossed, as in ``sex*age_band``.
        table: The predictions.
        judged: Their units.
        source: Where the predictions come from.
    """
    rows = table.filter(pc.equal(table["part"], "test"))
    images = rows["image_id"].to_pylist()
    owners = dict(zip(images, rows["patient_key"].to_pylist(), strict=True))
    known: dict[str, Words] = {SITE: dict(zip(images, rows[SITE].to_pylist(), strict=True))}
    reason, others = "", [name for name in columns_of(names) if name != SITE]
    missing = "the archive has no such label"
    if source.foreign is not None:
        known |= source.foreign.words
        missing = "the table has no such column"
    elif others:
        reason = source.no_archive
        if source.archive is not None:
            known |= _of_archive(source.archive, others, set(owners))
    held = {name: _held(words, owners, judged) for name, words in known.items()}
    found = []
    for name in names:
        parts = parts_of(name)
        if all(part in held for part in parts):
            found.append(_attribute(name, [held[part] for part in parts]))
        else:
            nobody = (None,) * len(judged.truth)
            found.append(Attribute(name=name, values=nobody, reason=reason or missing))
    return tuple(found)


def names_of(table: pa.Table, judged: Units) -> list[tuple[str, str | None]]:
    """Return patient key and image id of each unit, in their order; no image id of patients."""
    rows = table.filter(pc.equal(table["part"], "test"))
    owners = dict(zip(rows["image_id"].to_pylist(), rows["patient_key"].to_pylist(), strict=True))
    if judged.kind == "patient":
        return [(key, None) for key in sorted(set(owners.values()))]
    return [(owners[image], image) for image in sorted(owners)]


def _of_archive(folder: Path, names: Sequence[str], wanted: set[str]) -> dict[str, Words]:
    """Return the words of the images wanted; a target that the archive lacks is left out."""
    found: dict[str, Words] = {}
    targets = [name.removeprefix(LABEL) for name in names if name.startswith(LABEL)]
    if targets:
        labels = archives.read_labels(folder)
        labels = labels.filter(pc.is_in(labels["target"], pa.array(targets)))
        cells = (labels[name].to_pylist() for name in ("target", "image_id", "value"))
        by_target: dict[str, dict[str, str | None]] = {}
        for target, image, value in zip(*cells, strict=True):
            by_target.setdefault(target, {})[image] = value
        found = {f"{LABEL}{target}": words for target, words in by_target.items()}
    columns = [name for name in names if not name.startswith(LABEL)]
    if columns:
        every = archives.read_images(folder)
        every = every.filter(pc.is_in(every["image_id"], pa.array(sorted(wanted))))
        images = every["image_id"].to_pylist()
        for name in columns:
            found[name] = dict(zip(images, every[name].to_pylist(), strict=True))
    return found


def _held(words: Words, owners: Mapping[str, str], judged: Units) -> dict[str, set[str]]:
    """Return the known words of the images of each unit, in the order of the units."""
    found: dict[str, set[str]] = {}
    for image, owner in owners.items():
        word = words.get(image)
        unit = owner if judged.kind == "patient" else image
        found.setdefault(unit, set()).update({str(word)} if word else ())
    return {unit: found[unit] for unit in sorted(found)}


def _attribute(name: str, parts: Sequence[Mapping[str, set[str]]]) -> Attribute:
    """Return an attribute, or several together: who has no word of one has none of all."""
    values: list[str | None] = []
    several = 0
    for words in zip(*(part.values() for part in parts), strict=True):
        several += any(len(held) > 1 for held in words)
        alone = all(len(held) == 1 for held in words)
        values.append(AND.join(next(iter(held)) for held in words) if alone else None)
    empty = not several and not any(values)
    return Attribute(
        name=name,
        values=tuple(values),
        n_several=several,
        reason="not known of any image" if empty else "",
    )
