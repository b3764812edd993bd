"""Words about units, read from an archive, from labels and from the predictions."""

from dataclasses import replace

import pytest

from medssl.artifacts import archive, origin, site_models, tables
from medssl.artifacts.foreign_predictions import Foreign
from medssl.artifacts.origin import Origin
from medssl.config.task import Task
from medssl.evaluation import attributes, units

PATIENTS = ["k0", "k0", "k1", "k1", "k2", "k3"]
LABELS = [1, 1, 0, 0, 1, 0]


def write(folder):
    """An archive of six images; in k0 the views differ, the sex of k3 is not known."""
    folder.mkdir()
    facts = {
        "sex": ["F", "F", "M", None, "M", None],
        "view": ["AP", "PA", "AP", "AP", "PA", "PA"],
    }
    images = [
        dict.fromkeys(archive.IMAGES.names)
        | {"image_id": f"i{n:05d}", "sex": facts["sex"][n], "view": facts["view"][n]}
        for n in range(6)
    ]
    labels = [
        {"image_id": f"i{n:05d}", "target": "smoker", "value": value}
        for n, value in enumerate(["yes", "yes", "no", "no", None, "yes"])
    ]
    archive.write_images(folder, tables.build(images[::-1], archive.IMAGES))
    archive.write_labels(folder, tables.build(labels, archive.LABELS))
    info = archive.ArchiveInfo(
        medssl="0", size=4, spatial_dims=2, key_id="0", files_found=6, files_written=6,
        hash=archive.content_hash(folder),
    )  # fmt: skip
    archive.write_info(folder, info)
    return info.hash


@pytest.fixture
def read(tmp_path, table_of):
    """Attributes by name: of an archive beside the run, as the settings of the run name it."""
    (tmp_path / "run").mkdir()
    hash_ = write(tmp_path / "archive")

    def build(*names, grouped=True, run=tmp_path / "run", of=hash_, words=None):
        table = table_of(PATIENTS, LABELS, [0.5] * 6, site=["n", "n", "s", "s", "s", None])
        judged = units.build(
            table, target="finding", aggregate="mean", where="table", grouped=grouped
        )
        source = Origin(predictions_sha256="")
        if run:
            folder, reason = origin.archive_of(run / "../archive", model(of))
            source = replace(source, run=run, archive=folder, no_archive=reason)
        if words is not None:
            task = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
            source = replace(source, foreign=Foreign(table=table, task=task, words=words))
        found = attributes.read(names, table, judged, source)
        return {one.name: one for one in found}

    return build


def model(archive_hash):
    facts = dict.fromkeys(site_models.FinetuneInfo.__dataclass_fields__)
    return site_models.FinetuneInfo(**(facts | {"archive_hash": archive_hash}))


def test_images_have_the_words_of_their_rows_in_sorted_order(read):
    found = read("sex", "view", "site", grouped=False)
    assert found["sex"].values == ("F", "F", "M", None, "M", None)
    assert found["view"].values == ("AP", "PA", "AP", "AP", "PA", "PA")
    assert found["site"].values == ("n", "n", "s", "s", "s", None)
    assert (found["sex"].n_unknown, found["sex"].n_several) == (2, 0)


def test_a_patient_has_the_word_that_all_known_images_share(read):
    found = read("sex", "view", "label:smoker")
    assert found["sex"].values == ("F", "M", "M", None)
    assert (found["sex"].n_unknown, found["sex"].n_several) == (1, 0)
    assert found["view"].values == (None, "AP", "PA", "PA")
    assert (found["view"].n_unknown, found["view"].n_several) == (0, 1)
    assert found["label:smoker"].values == ("yes", "no", None, "yes")


def test_what_cannot_be_read_says_why(read, tmp_path):
    assert read("label:absent")["label:absent"].reason == "the archive has no such label"
    assert read("modality")["modality"].reason == "not known of any image"
    assert "has changed" in read("sex", of="ff00")["sex"].reason
    (tmp_path / "archive" / "archive.json").unlink()
    found = read("sex", "site")
    assert "not where it was" in found["sex"].reason
    assert found["site"].values == ("n", "s", "s", None)


def test_a_foreign_table_has_its_site_and_the_columns_that_were_read(read):
    wards = {f"i{n:05d}": ["east", "west", None][n % 3] for n in range(6)}
    found = read("ward", "sex", "site", "site*ward", run=None, words={"ward": wards})
    assert (found["site"].reason, found["site"].values[0]) == ("", "n")
    assert found["ward"].values == (None, "east", "west", None)
    assert found["ward"].n_several == 1
    assert found["site*ward"].values == (None, "s × east", "s × west", None)
    assert found["sex"].reason == "the table has no such column"
    assert set(found["sex"].values) == {None}


def test_two_attributes_have_a_word_where_both_are_known(read):
    found = read("sex*view", "sex", "view*label:smoker")
    assert found["sex*view"].values == (None, "M × AP", "M × PA", None)
    assert (found["sex*view"].n_unknown, found["sex*view"].n_several) == (1, 1)
    assert found["sex"].values == ("F", "M", "M", None)  # alone as before
    assert found["view*label:smoker"].values == (None, "AP × no", None, "PA × yes")
    images = read("sex*view", grouped=False)["sex*view"]
    assert images.values == ("F × AP", "F × PA", "M × AP", None, "M × PA", None)
    assert read("sex*modality")["sex*modality"].reason == "not known of any image"


def test_units_are_named_by_their_keys(table_of):
    table = table_of(PATIENTS, LABELS, [0.5] * 6)

    def names(**kwargs):
        judged = units.build(table, target="finding", aggregate="mean", where="t", **kwargs)
        return attributes.names_of(table, judged)

    assert names() == [("k0", None), ("k1", None), ("k2", None), ("k3", None)]
    assert names(grouped=False)[:3] == [("k0", "i00000"), ("k0", "i00001"), ("k1", "i00002")]
