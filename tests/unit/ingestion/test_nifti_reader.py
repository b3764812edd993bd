import gzip
import struct
import zipfile

import nibabel as nib
import numpy as np
import pytest

from medssl.ingestion import colour, sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Header, Reading
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


SERIES = np.random.default_rng(1).integers(0, 900, (2, 3, 4, 5)).astype(np.int16)
IN_ORDER = SERIES.transpose(3, 2, 1, 0)  # volumes, slices, rows, columns


@pytest.mark.parametrize(
    ("shape", "code"), [((2, 3, 4, 1), None), ((2, 3), None), ((2, 3, 4, 1, 1, 1), None),
                        ((2, 3, 4, 2), Code.FOUR_D), ((2, 3, 4, 1, 3), Code.FOUR_D)]
)  # fmt: skip
def test_only_further_axes_of_length_one_are_dropped(tmp_path, shape, code):
    path = save(tmp_path / "a.nii", np.zeros(shape, dtype=np.int16))
    header = sniff.read_header(path)
    if code is not None:
        assert header is code
    else:
        assert nifti.read_pixels(path, header).shape == (len(header.frames), 3, 2)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("further", [(5,), (1, 5)])
def test_several_volumes_are_read_as_asked_for(tmp_path, name, further):
    path = save(tmp_path / name, SERIES.reshape(2, 3, 4, *further))
    shared = {"rows": 3, "columns": 2}
    expected = {
        "first": (IN_ORDER[0], 16), "mean": (IN_ORDER.mean(axis=0), None),
        "split": (IN_ORDER.reshape(20, 3, 2), 16),
    }  # fmt: skip
    for four_d, (pixels, bits) in expected.items():
        how = Reading(four_d=four_d)
        header = sniff.read_header(path, how)
        assert {key: getattr(header, key) for key in shared} == shared
        assert (len(header.frames), header.bits) == (len(pixels), bits)
        found = nifti.read_pixels(path, header, how)
        assert found.dtype == (np.float32 if four_d == "mean" else np.int16)
        assert np.allclose(found, pixels, rtol=1e-6)


def test_volumes_apart_lie_in_the_same_place_at_another_time(tmp_path):
    path = save(tmp_path / "a.nii", SERIES)
    frames = sniff.read_header(path, Reading(four_d="split")).frames
    assert [frame.phase for frame in frames] == [(float(n // 4),) for n in range(20)]
    origins = [frame.plane.origin for frame in frames]
    assert origins == origins[:4] * 5
    assert len(set(origins)) == 4
    single = sniff.read_header(save(tmp_path / "b.nii"), Reading(four_d="split"))
    assert {frame.phase for frame in single.frames} == {()}


def test_a_mean_of_scaled_volumes_is_the_mean_of_the_values(tmp_path):
    image = nib.Nifti1Image(SERIES, AFFINE)
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    how = Reading(four_d="mean")
    header = sniff.read_header(tmp_path / "a.nii", how)
    stored = nifti.read_pixels(tmp_path / "a.nii", header, how)
    real = stored * header.frames[0].slope + header.frames[0].intercept
    expected = nib.load(tmp_path / "a.nii").get_fdata().mean(axis=-1).transpose(2, 1, 0)
    assert np.allclose(real, expected, rtol=1e-6)


@pytest.mark.parametrize("four_d", ["first", "mean", "split"])
def test_more_than_one_further_axis_is_never_read(tmp_path, four_d):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4, 2, 3), dtype=np.int16))
    assert sniff.read_header(path, Reading(four_d=four_d)) is Code.FOUR_D


def test_the_first_volume_needs_no_other(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).random((20, 20, 20, 9)))
    how = Reading(four_d="first")
    header = sniff.read_header(path, how)
    whole = nifti.read_pixels(path, header, how)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert np.array_equal(nifti.read_pixels(path, header, how), whole)


def in_colour(names, shape=(2, 3, 4)):
    rng = np.random.default_rng(2)
    volume = np.zeros(shape, dtype=[(name, "u1") for name in names])
    for name in names:
        volume[name] = rng.integers(0, 256, shape)
    return volume


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
def test_colour_is_read_as_asked_for(tmp_path, names):
    volume = in_colour(names)
    path = save(tmp_path / "a.nii", volume)
    channels = np.stack([volume[name].transpose(2, 1, 0) for name in "RGB"], -1)
    header = sniff.read_header(path)
    with pytest.raises(RejectedFile, match="COLOUR"):
        nifti.read_pixels(path, header)
    for how, pixels in (
        (Reading(colour="keep"), channels),
        (Reading(colour="gray"), np.stack([colour.luminance(one) for one in channels])),
    ):
        header = sniff.read_header(path, how)
        assert (header.channels, header.bits) == (3 if how.colour == "keep" else 1, 8)
        assert np.array_equal(nifti.read_pixels(path, header, how), pixels)


def test_equal_channels_are_gray_and_coloured_volumes_have_no_mean(tmp_path):
    volume = in_colour("RGB", (2, 3, 4, 5))
    volume["G"] = volume["B"] = volume["R"]
    path = save(tmp_path / "a.nii", volume)
    how = Reading(four_d="split")
    pixels = nifti.read_pixels(path, sniff.read_header(path, how), how)
    assert np.array_equal(pixels, volume["R"].transpose(3, 2, 1, 0).reshape(20, 3, 2))
    assert sniff.read_header(path, Reading(four_d="mean", colour="gray")) is Code.FOUR_D


def test_other_pixel_types_are_rejected(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), dtype=np.complex64))
    assert sniff.read_header(path) is Code.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("dtype", ["<i1", ">u2", "<i4", ">i8", "<f4", ">f8"])
def test_every_number_is_that_of_nibabel(tmp_path, dtype):
    volume = (np.random.default_rng(3).random((4, 3, 5)) * 100).astype(dtype)
    header = nib.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    nib.Nifti1Image(volume, AFFINE, header).to_filename(tmp_path / "a.nii")
    found = sniff.read_header(tmp_path / "a.nii")
    pixels = nifti.read_pixels(tmp_path / "a.nii", found)
    assert np.array_equal(pixels, np.asarray(nib.load(tmp_path / "a.nii").dataobj).T)
    assert found.bits == (None if dtype[1] == "f" else int(dtype[2]) * 8)
    assert found.signed is (dtype[1] == "i")


def test_extensions_are_passed_over_and_never_read(tmp_path):
    image = nib.Nifti1Image(VOLUME, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Mr Smith" * 200))
    image.to_filename(tmp_path / "a.nii.gz")
    header = sniff.read_header(tmp_path / "a.nii.gz")
    pixels = nifti.read_pixels(tmp_path / "a.nii.gz", header)
    assert np.array_equal(pixels, VOLUME.transpose(2, 1, 0))


def test_a_volume_in_a_zip_is_read_gzipped_or_not(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.nii", "a.nii.gz"):
            archive.write(save(tmp_path / name), name)
    for name in ("a.nii", "a.nii.gz"):
        header = sniff.read_header(tmp_path / "a.zip" / name)
        assert np.array_equal(
            nifti.read_pixels(tmp_path / "a.zip" / name, header), VOLUME.transpose(2, 1, 0)
        )


def test_header_and_pixels_in_two_files_are_not_read(tmp_path):
    nib.Nifti1Pair(VOLUME, AFFINE).to_filename(tmp_path / "a.hdr")
    assert sniff.read_header(tmp_path / "a.hdr") is Code.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("four_d", ["reject", "mean", "split"])
def test_volumes_that_are_cut_off_are_told(tmp_path, name, four_d):
    volume = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    volume = volume if four_d == "reject" else volume.reshape(20, 20, 10, 2)
    path, how = save(tmp_path / name, volume), Reading(four_d=four_d)
    header = nifti.read_header(path, how)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(RejectedFile, match="TRUNCATED"):
        nifti.read_pixels(path, header, how)


def test_a_plain_file_shorter_than_its_header_says_is_told_at_once(tmp_path):
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-1])
    assert sniff.read_header(path) is Code.TRUNCATED


def test_a_wrong_checksum_is_noticed(tmp_path):
    """The pixels inflate, and differ from those that were packed."""
    plain = save(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(plain, compresslevel=0).replace(plain[-5:-1], b"\7\7\7\7"))
    header = nifti.read_header(path)
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        nifti.read_pixels(path, header)


def claiming(shape, dtype=np.int16, kind=nib.Nifti2Header):
    header = kind()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(AFFINE, code=1)
    header["vox_offset"] = header.single_vox_offset
    return bytes(header.binaryblock) + bytes(4)


def test_a_claim_of_more_pixels_than_any_scan_has_is_refused_at_once(tmp_path):
    (tmp_path / "a").write_bytes(claiming((2**20, 2**20, 2**20)))
    assert sniff.read_header(tmp_path / "a") is Code.TOO_LARGE
    (tmp_path / "b").write_bytes(claiming((2**10, 2**10, 2**10, 3)))
    for four_d in ("first", "mean", "split"):
        assert sniff.read_header(tmp_path / "b", Reading(four_d=four_d)) is Code.TOO_LARGE


@pytest.mark.parametrize(
    ("megabytes", "held", "code"), [(257, 2**20, Code.BOMB), (255, 2**20, None), (257, 2**21, None),
                                    (255, 2**17, Code.TRUNCATED)]
)  # fmt: skip
def test_what_packs_too_well_is_a_bomb_unless_it_is_small(tmp_path, megabytes, held, code):
    """A blank volume packs a thousand times, so only what is large as well is refused."""
    packed = gzip.compress(claiming((1024, 1024, megabytes), np.uint8))
    (tmp_path / "a").write_bytes(packed + bytes(held - len(packed)))
    found = sniff.read_header(tmp_path / "a")
    assert found is code if code else found.reader == "nifti"


@pytest.mark.parametrize("field", ["vox_offset", "pixdim", "dim", "datatype", "scl_slope"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1, 32767, 2**31 - 1])
def test_an_absurd_header_is_a_code_or_an_image(tmp_path, field, value):
    content = bytearray(save(tmp_path / "a.nii").read_bytes())
    dtype, offset = nib.Nifti1Header.template_dtype.fields[field]
    with np.errstate(all="ignore"):
        cells = np.full(dtype.shape, value).astype(dtype.base)
    content[offset : offset + dtype.itemsize] = cells.tobytes()
    (tmp_path / "b").write_bytes(content)
    assert isinstance(sniff.read_header(tmp_path / "b"), Header | Code)


def test_other_zipped_files_are_not_recognised():
    assert not nifti.recognises(gzip.compress(b"some text"))
    assert not nifti.recognises(b"\x1f\x8bnot really")
