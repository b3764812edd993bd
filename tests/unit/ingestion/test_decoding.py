import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medssl.ingestion import decoding, sniff, storing
from medssl.ingestion.codes import Code
from medssl.ingestion.decoding import Copy, Job, Source
from medssl.ingestion.storing import Image
from medssl.ingestion.workers import Lost

TAGS = {"Modality": "CT", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [2, 2],
        "RescaleIntercept": -1024, "RescaleSlope": 1}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """An outcome with the names of the files."""

    job: Job
    decoded: storing.Decoded

    @property
    def pixels(self) -> np.ndarray:
        return self.decoded.pixels

    @property
    def images(self) -> tuple[Image, ...]:
        return self.decoded.outcome.images

    @property
    def rejected(self) -> dict[Path, Code]:
        return {self.job.paths[file]: code for file, code in self.decoded.outcome.rejected}


def source(path: Path, *copies: Path, otherwise: Code = Code.CONFLICTING_COPY) -> Source:
    return Source(
        path=path,
        header=sniff.read_header(path),
        number=0,
        copies=tuple(
            Copy(path=copy, header=sniff.read_header(copy), number=0, otherwise=otherwise)
            for copy in copies
        ),
    )


@pytest.fixture
def write_slice(write_dicom):
    def write(name, z, value=0, **tags):
        pixels = np.arange(128, dtype=np.uint16).reshape(8, 16) + value
        return write_dicom(name, pixels, ImagePositionPatient=[0, 0, z], **TAGS | tags)

    return write


def decode(*sources: Source, at=decoding.nowhere, **how) -> Result:
    how = {"dtype": "int16", "side": 8, "largest": 8} | how
    job = Job(volumes=(sources,), **how)
    return Result(job, decoding.decode(job, at))


def test_a_series_is_shrunk_padded_and_in_hounsfield_units(write_slice):
    result = decode(*(source(write_slice(f"{z}", 3 * z, z)) for z in range(3)))
    assert result.pixels.shape == (3, 1, 8, 8)
    assert result.pixels.dtype == np.int16
    raw = np.arange(128).reshape(4, 2, 8, 2).mean((1, 3)) - 1024
    assert np.array_equal(result.pixels[2, 0, :4], np.rint(raw + 2))
    assert (result.pixels[:, 0, 4:] == -1024).all()
    first = result.images[0]
    assert (first.rows, first.columns, first.flags) == (4, 8, ())
    assert first.spacing == (4, 4, 3)
    # LPS: the corner of the first pixel stays at (-1, -1), its centre moves from 0 to +1.
    assert first.affine == [-4, 0, 0, -1, 0, -4, 0, -1, 0, 0, 3, 0]
    assert [image.position_mm for image in result.images] == [0, 3, 6]


def test_a_damaged_slice_is_named_and_leaves_a_gap(write_slice):
    paths = [write_slice(f"{z}", z) for z in range(5)]
    sources = [source(path) for path in paths]
    paths[2].write_bytes(paths[2].read_bytes()[:-50])
    result = decode(*sources)
    assert result.rejected == {paths[2]: Code.TRUNCATED}
    assert [image.source for image in result.images] == [0, 1, 3, 4]
    assert all("gap" in image.flags for image in result.images)


def test_a_series_of_damaged_slices_is_empty(write_slice):
    path = write_slice("a", 0)
    job = source(path)
    path.write_bytes(b"")
    result = decode(job)
    assert (len(result.images), len(result.pixels)) == (0, 0)
    assert result.rejected[path] in {Code.BAD_HEADER, Code.DECODE_FAILED, Code.TRUNCATED}


def test_a_file_that_changed_its_shape_is_rejected(write_slice, write_dicom):
    path = write_slice("a", 0)
    job = source(path)
    write_dicom("a", np.zeros((3, 3), dtype=np.uint16), **TAGS)
    assert decode(job).rejected == {path: Code.DECODE_FAILED}


def test_copies_are_compared(write_slice):
    first, same, other = write_slice("a", 0), write_slice("b", 0), write_slice("c", 0, value=1)
    result = decode(source(first, same, other))
    assert len(result.images) == 1
    assert result.rejected == {same: Code.SKIPPED_DUPLICATE, other: Code.CONFLICTING_COPY}


def test_a_copy_stands_in_for_a_damaged_file(write_slice):
    first, same = write_slice("a", 0), write_slice("b", 0)
    job = source(first, same)
    first.write_bytes(first.read_bytes()[:-50])
    result = decode(job)
    assert result.rejected == {first: Code.TRUNCATED}
    assert result.job.paths[result.images[0].file] == same


def test_a_copy_whose_values_mean_something_else_is_a_conflict(write_slice):
    first, other = write_slice("a", 0), write_slice("b", 0, RescaleSlope=2)
    assert decode(source(first, other)).rejected == {other: Code.CONFLICTING_COPY}


def test_the_digest_is_that_of_the_image_without_its_padding(write_slice):
    one = source(write_slice("a", 0))
    small, large = decode(one, side=8), decode(one, side=20)
    assert small.images[0].sha256 == large.images[0].sha256
    content = b"<i2 4 8\0" + small.pixels[0, 0, :4].tobytes()
    assert small.images[0].sha256 == hashlib.sha256(content).hexdigest()


def test_a_single_slice_steps_by_its_thickness(write_slice):
    thick = decode(source(write_slice("a", 0, SliceThickness=5))).images[0]
    assert (thick.spacing[2], thick.flags) == (5, ())
    unknown = decode(source(write_slice("b", 0))).images[0]
    assert (unknown.spacing[2], unknown.flags) == (1, ("slice_distance_unknown",))


def test_a_gap_between_slices_of_less_than_a_micron_is_seen(write_slice):
    places = (0, 0.0008, 0.0016, 0.0032)
    sources = [source(write_slice(f"{z}", z, SliceThickness=0.0008)) for z in places]
    assert "gap" in decode(*sources).images[0].flags


def test_native_shapes_are_kept(write_slice):
    result = decode(source(write_slice("a", 0)), side=None, largest=None)
    assert result.pixels.shape == (1, 1, 8, 16)
    assert np.array_equal(result.pixels[0, 0], np.arange(128).reshape(8, 16) - 1024)


def test_a_slice_at_the_same_place_is_a_duplicate_or_refused(write_slice):
    first, same = write_slice("a", 0), write_slice("b", 0, InstanceNumber=2)
    other = write_slice("c", 0, value=1, InstanceNumber=3)
    result = decode(source(first, same, other, otherwise=Code.SAME_POSITION))
    assert result.rejected == {same: Code.SKIPPED_DUPLICATE, other: Code.SAME_POSITION}


def test_series_of_one_file_are_told_apart_and_read_once(write_slice):
    first, second = source(write_slice("a", 0)), source(write_slice("b", 0, value=9))
    opened = []
    job = Job(volumes=((first,), (second, first)), dtype="int16", side=8, largest=8)
    outcome = decoding.decode(job, opened.append).outcome
    assert [image.source for image in outcome.images] == [0, 1, 2]
    assert len(outcome.stacks) == 2
    assert opened == [0, 1, 0]
    assert decoding.decode(replace(job, volumes=((first,), (first,)))).outcome.rejected == ()


def test_a_file_that_ended_its_process_is_not_opened_again(write_slice):
    paths = [write_slice(f"{z}", z) for z in range(3)]
    job = Job(volumes=(tuple(map(source, paths)),), dtype="int16", side=8, largest=8)
    rest = decoding.without(job, Lost(1, Code.TIMED_OUT))
    opened = []
    outcome = decoding.decode(rest, opened.append).outcome
    assert (opened, outcome.rejected) == ([0, 2], ((1, Code.TIMED_OUT),))
    assert [image.file for image in outcome.images] == [0, 2]


def test_a_gray_image_has_equal_channels_in_an_archive_of_colour(write_slice):
    one = source(write_slice("a", 0))
    gray, colour = decode(one), decode(one, channels=3)
    assert colour.pixels.shape == (1, 3, 8, 8)
    for channel in range(3):
        assert np.array_equal(colour.pixels[:, channel], gray.pixels[:, 0])


def test_memory_that_runs_out_while_a_series_is_put_together_costs_its_files(
    write_slice, monkeypatch
):
    def none_left(*_):
        raise MemoryError

    path = write_slice("a", 0)
    one = source(path)
    monkeypatch.setattr(decoding.intensity, "encode", none_left)
    result = decode(one)
    assert (len(result.pixels), result.rejected) == (0, {path: Code.OUT_OF_MEMORY})


def test_what_a_job_claims_grows_with_its_pixels(write_slice):
    one = Job(volumes=((source(write_slice("a", 0)),),), dtype="int16", side=8, largest=8)
    many = replace(one, volumes=(one.volumes[0] * 9,))
    assert 0 < decoding.claims(one) < decoding.claims(many)


def test_a_copy_of_a_file_of_many_frames_is_decoded_once(tmp_path):
    """Frame by frame, each would be decoded anew, and most of the time and memory be lost."""
    clip = get_testdata_file("emri_small.dcm")
    paths = [Path(shutil.copy(clip, tmp_path / name)) for name in ("a", "b")]
    header, other = (sniff.read_header(path) for path in paths)
    conflict = Code.CONFLICTING_COPY
    frames = tuple(
        Source(
            path=paths[0],
            header=header,
            number=n,
            copies=(Copy(path=paths[1], header=other, number=n, otherwise=conflict),),
        )
        for n in range(len(header.frames))
    )
    opened = []
    result = decode(*frames, dtype="uint16", side=64, largest=64, at=opened.append)
    assert opened == [0, 1]
    assert len(result.images) == len(frames) == 10
    assert result.rejected == {paths[1]: Code.SKIPPED_DUPLICATE}
