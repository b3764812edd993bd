"""Who is one person under several patient keys, as a list of aliases says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medssl.artifacts import aliases
from medssl.artifacts import archive as archives
from medssl.foundation import files
from medssl.foundation.errors import DataError
from medssl.foundation.wording import counted


@dataclass(frozen=True, kw_only=True)
class People:
    """Which patient keys are one person; nobody has two where no list is given."""

    group_of: Mapping[str, str] = field(default_factory=dict)  # of the keys that have another
    inputs: Mapping[str, str] = field(default_factory=dict)  # digest of the list
    notes: tuple[str, ...] = ()

    def among(self, keys: Iterable[str]) -> set[str]:
        """Return who some patient keys are."""
        return {self.group_of.get(key, key) for key in keys}


def read(archive: Path, given: Path | None) -> People:
    """Return the people of a list that a person has looked at.

    Args:
        archive: Archive folder.
        given: A reduce run or its `probable_alias.csv`, or a copy of that; None: no list.

    Raises:
        ArtifactError: There is no such list.
        DataError: It cannot be read, or names nobody of the archive.
    """
    if given is None:
        return People()
    path = aliases.path_of(given)
    listed = aliases.read(path)
    named = {key for row in listed for key in (row.patient_key, row.other_patient_key)}
    strange = named - set(archives.read_images(archive)["patient_key"].to_pylist())
    if named and strange == named:
        raise DataError(
            f"none of the {counted(len(named), 'patient')} listed is in the archive: it is the "
            "list of another one, or pseudonyms were made with another key",
            where=str(path),
            fix="give the list of a reduction of this archive, or of one made with the same key",
        )
    note = f"{len(strange)} of {len(named)} patients listed as aliases are not in the archive"
    return People(
        group_of=aliases.groups(listed),
        inputs={"aliases": files.sha256(path)},
        notes=(note,) if strange else (),
    )
