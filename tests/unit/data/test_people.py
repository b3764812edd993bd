"""Who is one person under several keys, as far as an archive knows them."""

import pytest

from medssl.artifacts import aliases
from medssl.artifacts.aliases import Alias
from medssl.data import people
from medssl.foundation import files
from medssl.foundation.errors import DataError


def listed(folder, *pairs, kind="alias"):
    aliases.write(
        folder,
        [
            Alias(
                patient_key=one,
                other_patient_key=other,
                n_pairs=1,
                similarity=1.0,
                metric="exact",
                image_id="a",
                other_image_id="b",
                kind=kind,
            )
            for one, other in pairs
        ],
    )
    return folder / aliases.NAME


def test_without_a_list_everybody_is_himself(tiny_archive):
    found = people.read(tiny_archive, None)
    assert (found.inputs, found.notes) == ({}, ())
    assert found.among(["b", "a", "b"]) == {"a", "b"}


def test_a_list_says_who_is_who_and_is_known_by_its_digest(tiny_archive, tmp_path):
    path = listed(tmp_path, ("patient03", "patient01"), ("patient03", "elsewhere"))
    found = people.read(tiny_archive, path)
    assert found.among(["patient01", "patient02"]) == found.among(["patient02", "patient03"])
    assert found.among(["patient01"]) == found.among(["elsewhere"])
    assert found.inputs == {"aliases": files.sha256(path)}
    assert found.notes == ("1 of 3 patients listed as aliases are not in the archive",)


def test_a_list_of_another_archive_is_refused(tiny_archive, tmp_path):
    with pytest.raises(DataError, match=r"none of the 2 patients listed is in the archive.*key"):
        people.read(tiny_archive, listed(tmp_path, ("x", "y")))


def test_an_empty_list_and_one_of_shared_images_merge_nobody(tiny_archive, tmp_path):
    assert people.read(tiny_archive, listed(tmp_path)).group_of == {}
    path = listed(tmp_path, ("patient01", "patient02"), kind="shared")
    assert people.read(tiny_archive, path).group_of == {}
