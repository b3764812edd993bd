import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.readers import nifti

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 1.5, 0, 20], [0, 0, -3, 30], [0, 0, 0, 1]])
VOLUME = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def save(path, volume=VOLUME, affine=AFFINE, kind=nib.Nifti1Image):
    kind(volume, affine).to_filename(path)
    return path


def with_codes(path, qform, sform):
    """Write a file with these codes; nibabel would set one of them itself."""
    image = nib.Nifti1Image(VOLUME, AFFINE)
    image.header.set_qform(AFFINE, code=1)
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<2h", qform, sform)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_columns_rows_and_slices_are_the_axes_of_the_file(tmp_path, name, kind):
    path = save(tmp_path / name, kind=kind)
    header = nifti.read_header(path)
    assert (header.columns, header.rows, len(header.frames)) == VOLUME.shape
    assert np.array_equal(nifti.read_pixels(path, header), VOLUME.transpose(2, 1, 0))
    assert header.spacing == (1.5, 2.0)


def test_planes_are_the_affine_of_the_file(tmp_path):
    for k, frame in enumerate(nifti.read_header(save(tmp_path / "a.nii")).frames):
        plane = frame.plane
        assert plane.origin == tuple((AFFINE @ [0, 0, k, 1])[:3])
        assert plane.column_step == (-2, 0, 0)
        assert plane.row_step == (0, 1.5, 0)


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000), ("micron", 0.001), ("mm", 1), (0, 1)])
def test_lengths_are_in_mm_whatever_the_unit_of_the_file(tmp_path, unit, mm):
    image = nib.Nifti1Image(VOLUME, np.diag([0.8, 0.8, 0.8, 1.0]) / (mm if mm > 1 else 1))
    image.header.set_xyzt_units(xyz=unit, t="sec")
    image.to_filename(tmp_path / "a.nii")
    header = nifti.read_header(tmp_path / "a.nii")
    edge = 0.8 * min(mm, 1)
    assert header.spacing == pytest.approx((edge, edge))
    assert header.thickness == pytest.approx(edge)
    origins = [frame.plane.origin[2] for frame in header.frames]
    assert origins == pytest.approx([edge * k for k in range(4)])
    assert header.frames[0].plane.column_step == pytest.approx((edge, 0, 0))


@pytest.mark.parametrize("column", [[0.0, 0, 0], [1.0, 0, 0]])
def test_axes_in_one_plane_are_no_orientation(tmp_path, column):
    flat = AFFINE.copy()
    flat[:3, 1] = column
    image = nib.Nifti1Image(VOLUME, None)
    image.header.set_sform(flat, code=1)
    image.to_filename(tmp_path / "a.nii")
    assert sniff.read_header(tmp_path / "a.nii") is Code.NO_ORIENTATION


def test_the_content_decides_not_the_name(tmp_path):
    zipped = tmp_path / "scan.dcm"
    zipped.write_bytes(save(tmp_path / "a.nii.gz").read_bytes())
    plain = tmp_path / "scan.nii.gz"
    plain.write_bytes(save(tmp_path / "b.nii").read_bytes())
    for path in (zipped, plain):
        header = sniff.read_header(path)
        assert header.reader == "nifti"
        assert np.array_equal(nifti.read_pixels(path, header), VOLUME.transpose(2, 1, 0))


def test_big_endian_files_are_read(tmp_path):
    image = nib.Nifti1Image(VOLUME, AFFINE, nib.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    image.to_filename(tmp_path / "a.nii")
    header = sniff.read_header(tmp_path / "a.nii")
    assert nifti.read_pixels(tmp_path / "a.nii", header)[1, 2, 1] == VOLUME[1, 2, 1]


def test_slope_and_intercept_are_kept_apart_from_the_integers(tmp_path):
    image = nib.Nifti1Image(VOLUME, AFFINE)
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    header = nifti.read_header(tmp_path / "a.nii")
    stored = nifti.read_pixels(tmp_path / "a.nii", header)
    assert stored.dtype.kind == "i"
    real = stored * header.frames[0].slope + header.frames[0].intercept
    expected = nib.load(tmp_path / "a.nii").get_fdata().transpose(2, 1, 0)
    assert np.allclose(real, expected)


def test_the_sform_goes_before_the_qform_and_one_is_needed(tmp_path):
    other = np.diag([1.0, 1, 1, 1])
    image = nib.Nifti1Image(VOLUME, AFFINE)
    image.header.set_sform(AFFINE, code=1)
    image.header.set_qform(other, code=1)
    image.to_filename(tmp_path / "both.nii")
    assert nifti.read_header(tmp_path / "both.nii").frames[0].plane.column_step == (-2, 0, 0)
    with_codes(tmp_path / "q.nii", qform=1, sform=0)
    step = nifti.read_header(tmp_path / "q.nii").frames[0].plane.column_step
    assert step == pytest.approx((-2, 0, 0), abs=1e-6)
    with_codes(tmp_path / "none.nii", qform=0, sform=0)
    assert sniff.read_header(tmp_path / "none.nii") is Code.NO_ORIENTATION


@pytest.mark.parametrize(
    ("shape", "code"), [((2, 3, 4, 1), None), ((2, 3), None), ((2, 3, 4, 2), Code.FOUR_D),
                        ((2, 3, 4, 1, 3), Code.FOUR_D)]
)  # fmt: skip
def test_only_a_fourth_axis_of_length_one_is_dropped(tmp_path, shape, code):
    path = save(tmp_path / "a.nii", np.zeros(shape, dtype=np.int16))
    header = sniff.read_header(path)
    if code is not None:
        assert header is code
    else:
        assert nifti.read_pixels(path, header).shape == (len(header.frames), 3, 2)


@pytest.mark.parametrize(
    ("dtype", "code"), [(np.complex64, Code.UNSUPPORTED_PIXELS),
                        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), Code.COLOUR)]
)  # fmt: skip
def test_other_pixel_types_are_rejected(tmp_path, dtype, code):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), dtype=dtype))
    assert sniff.read_header(path) is code


def test_header_and_pixels_in_two_files_are_not_read(tmp_path):
    nib.Nifti1Pair(VOLUME, AFFINE).to_filename(tmp_path / "a.hdr")
    assert sniff.read_header(tmp_path / "a.hdr") is Code.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_volumes_that_are_cut_off_are_told(tmp_path, name):
    volume = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / name, volume)
    header = nifti.read_header(path)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(RejectedFile, match="TRUNCATED"):
        nifti.read_pixels(path, header)


def test_a_claim_of_more_pixels_than_any_scan_has_is_refused_at_once(tmp_path):
    header = nib.Nifti2Header()
    header.set_data_shape((2**20, 2**20, 2**20))
    header.set_sform(AFFINE, code=1)
    (tmp_path / "a").write_bytes(bytes(header.binaryblock) + bytes(8))
    assert sniff.read_header(tmp_path / "a") is Code.TOO_LARGE


def test_other_zipped_files_are_not_recognised():
    assert not nifti.recognises(gzip.compress(b"some text"))
    assert not nifti.recognises(b"\x1f\x8bnot really")
