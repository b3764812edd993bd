"""`archive.json` makes an archive complete; its hash follows the content."""

from dataclasses import replace

import pytest

from medssl.artifacts import archive, tables
from medssl.foundation.errors import ArtifactError

INFO = archive.ArchiveInfo(
    medssl="0.1.0",
    size=256,
    spatial_dims=2,
    key_id="k1",
    files_found=10,
    files_written=8,
    quarantined={"BAD_TRUNCATED": 2},
    images=8,
    series=8,
    studies=7,
    patients=6,
    sites=("north", "south"),
    targets={"finding": {"0": 5, "1": 3}},
    hash="ab",
)


def fill(folder, value: str = "1"):
    rows = [{"image_id": "a", "target": "finding", "value": value}]
    archive.write_labels(folder, tables.build(rows, archive.LABELS))
    archive.write_images(folder, tables.build([{"image_id": "a"}], archive.IMAGES))


@pytest.mark.parametrize("info", [INFO, replace(INFO, size=None, sites=(), targets={})])
def test_what_is_written_is_read(tmp_path, info):
    archive.write_info(tmp_path, info)
    assert archive.read_info(tmp_path) == info


@pytest.mark.parametrize("read", [archive.read_info, archive.read_images, archive.read_labels])
def test_a_folder_that_is_no_archive_is_refused(tmp_path, read):
    with pytest.raises(ArtifactError, match="no archive") as caught:
        read(tmp_path / "absent")
    assert caught.value.fix == "run `medssl ingest` first"


@pytest.mark.parametrize("read", [archive.read_info, archive.read_images, archive.read_labels])
def test_an_archive_without_its_record_is_unfinished(tmp_path, read):
    (tmp_path / "private").mkdir()
    fill(tmp_path)
    with pytest.raises(ArtifactError, match="the archive is unfinished") as caught:
        read(tmp_path)
    assert f"`medssl ingest -o {tmp_path} --resume`" in caught.value.fix
    archive.write_info(tmp_path, INFO)
    read(tmp_path)


def test_the_hash_follows_the_content_and_only_the_content(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, value in zip(folders, ("1", "1", "0"), strict=True):
        folder.mkdir()
        fill(folder, value)
    first, same, other = (archive.content_hash(folder) for folder in folders)
    assert first == same != other
    assert len(first) == 64
    (folders[0] / "archive.json").write_text("anything")
    assert archive.content_hash(folders[0]) == first


def test_nothing_that_names_a_person_has_a_column():
    forbidden = ("name", "birth", "address", "path", "date", "uid", "accession", "institution")
    columns = [*archive.IMAGES.names, *archive.LABELS.names]
    assert not [c for c in columns for word in forbidden if word in c.lower()]
