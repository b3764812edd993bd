"""All files that pydicom is tested with: read like pydicom reads them, or refused with a code."""

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1

from medssl.ingestion import roles, seam, sniff
from medssl.ingestion.codes import Code
from medssl.ingestion.header import Header, Reading

data_store = pytest.importorskip("data_store")  # of pydicom-data
FOLDERS = (
    Path(pydicom.data.__file__).parent / "test_files",
    Path(data_store.__file__).parent / "data",
)
FILES = [path for folder in FOLDERS for path in sorted(folder.rglob("*")) if path.is_file()]
ALWAYS = {
    "SKIPPED_NO_PIXELS": 1,  # a waveform
    "SKIPPED_RADIOTHERAPY": 13,
    "SKIPPED_DICOMDIR": 8,
    "SKIPPED_TEXT": 7,
    "SKIPPED_SEGMENTATION": 4,
    "SKIPPED_REPORT": 3,
    "SKIPPED_OTHER": 2,
    "UNSUPPORTED_FORMAT": 1,  # a gzipped file
    "NO_DECODER": 6,  # JPEG lossless, JPEG of 12 bits
    "BAD_HEADER": 55,  # 50 images of a DICOMDIR tree without pixel matrix, 5 fragments of images
    "TRUNCATED": 1,
    "SIZE_MISMATCH": 1,  # damaged within the size of its codestream
}
OUTCOMES = {
    "reject": {"read": 74, "COLOUR": 68},
    "gray": {"read": 142},
    "keep": {"read": 130, "UNSUPPORTED_PIXELS": 12},  # colours of 16 and 32 bits
}
EXPLAINED = {
    # Slope and intercept stand in functional groups, where `apply_modality_lut` does not look.
    "eCT_Supplemental.dcm",
    # pydicom 3.0.2 reads words of a big-endian palette as little-endian; see the test below.
    "OBXXXX1A_expb.dcm",
    "OBXXXX1A_expb_2frame.dcm",
    # The fragments lack their end, so pydicom finds no pixels in its own data set.
    "emri_small_jpeg_2k_lossless_too_short.dcm",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    path: Path
    code: Code | None
    header: Header | None = None
    pixels: Any = None


def read(path: Path, colour: str) -> Outcome:
    how = Reading(colour=colour)
    header = sniff.read_header(path, how)
    if isinstance(header, Code):
        return Outcome(path, header)
    reader = sniff.reader(header.reader)
    pixels = seam.attempt(lambda: reader.read_pixels(path, header, how), Code.DECODE_FAILED)
    if isinstance(pixels, Code):
        return Outcome(path, pixels)
    return Outcome(path, None, header, pixels)


@cache
def outcomes(colour: str) -> list[Outcome]:
    return [read(path, colour) for path in FILES]


def named(name: str) -> Path:
    return next(path for path in FILES if path.name == name)


def expected(path: Path, colour: str) -> np.ndarray:
    """Return the values of a file as pydicom computes them, its colours as they are asked for."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    values = pixel_array(dataset, allow_excess_frames=False)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    elif dataset.SamplesPerPixel == 1:
        values = apply_modality_lut(values, dataset)
        return values if values.ndim == 3 else values[None]
    values = values if values.ndim == 4 else values[None]
    if colour == "keep":
        return values if values.dtype == np.uint8 else values >> 8
    weighted = sum(
        weight * values[..., n].astype(np.uint64) for n, weight in enumerate((299, 587, 114))
    )
    return (weighted + 500) // 1000


def is_as_expected(outcome: Outcome, colour: str) -> bool:
    header, pixels = outcome.header, outcome.pixels
    if header.channels == 1:
        pixels = np.stack(
            [f.slope * image + f.intercept for f, image in zip(header.frames, pixels, strict=True)]
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            wanted = expected(outcome.path, colour)
        except AttributeError:  # no pixels, says pydicom
            return False
        finally:
            logging.disable(logging.NOTSET)
    return np.array_equal(pixels, wanted)


@pytest.mark.skipif(
    get_decoder(JPEGLosslessSV1).is_available, reason="counts are for no JPEG extra"
)
@pytest.mark.parametrize("colour", OUTCOMES)
def test_every_file_is_read_or_has_its_code(colour):
    counts = Counter("read" if one.code is None else one.code.value for one in outcomes(colour))
    assert counts == ALWAYS | OUTCOMES[colour]
    assert sum(counts.values()) == len(FILES)


@pytest.mark.parametrize("colour", ["gray", "keep"])
def test_values_are_those_of_pydicom(colour):
    found = [one for one in outcomes(colour) if one.code is None and one.header.reader == "dicom"]
    compared = found if colour == "gray" else [one for one in found if one.header.channels == 3]
    assert len(compared) >= 50
    differing = {one.path.name for one in compared if not is_as_expected(one, colour)}
    assert differing == EXPLAINED & {one.path.name for one in compared}


def test_values_lie_within_the_bits_of_the_header():
    for one in outcomes("gray"):
        if one.code is None and one.header.bits is not None:
            bits = one.header.bits - one.header.signed
            assert one.pixels.max() < 2**bits, one.path.name
            assert one.pixels.min() >= (-(2**bits) if one.header.signed else 0), one.path.name


def test_what_is_explained_is_right_by_another_computation():
    gray = {one.path.name: one.pixels for one in outcomes("gray")}
    for name in ("OBXXXX1A_expb.dcm", "OBXXXX1A_expb_2frame.dcm"):
        assert np.array_equal(gray[name], gray[name.replace("_expb", "")])
    cut_off, whole = "emri_small_jpeg_2k_lossless_too_short.dcm", "emri_small_jpeg_2k_lossless.dcm"
    assert np.array_equal(gray[cut_off], gray[whole])
    plain = pydicom.dcmread(named("eCT_Supplemental.dcm"))
    assert np.array_equal(gray["eCT_Supplemental.dcm"], plain.pixel_array)
    groups = plain.PerFrameFunctionalGroupsSequence, plain.SharedFunctionalGroupsSequence
    scale = next(
        item.PixelValueTransformationSequence[0]
        for sequence in groups
        for item in sequence
        if "PixelValueTransformationSequence" in item
    )
    frame = sniff.read_header(named("eCT_Supplemental.dcm")).frames[0]
    assert (frame.slope, frame.intercept) == (scale.RescaleSlope, scale.RescaleIntercept)


def test_planes_of_an_enhanced_file_are_where_highdicom_puts_them():
    highdicom = pytest.importorskip("highdicom")
    volume = highdicom.imread(named("eCT_Supplemental.dcm")).get_volume()
    header = sniff.read_header(named("eCT_Supplemental.dcm"))
    for number, frame in enumerate(header.frames):
        origin = volume.affine @ [number, 0, 0, 1]  # L P S
        assert frame.plane.origin == pytest.approx(origin[:3] * [-1, -1, 1])
        assert frame.plane.row_step == pytest.approx(volume.affine[:3, 1] * [-1, -1, 1])
        assert frame.plane.column_step == pytest.approx(volume.affine[:3, 2] * [-1, -1, 1])


def test_roles_in_the_dicomdir_trees():
    tree = FOLDERS[0] / "dicomdirtests"
    headers = {path: sniff.read_header(path) for path in FILES if tree in path.parents}
    images = {path: header for path, header in headers.items() if isinstance(header, Header)}
    codes = Counter(
        (path.parent.name, roles.rejection(header.roles, ())) for path, header in images.items()
    )
    assert codes == {
        ("CR1", None): 1, ("CR2", None): 1, ("CR3", None): 1, ("CT2", None): 4, ("CT5N", None): 5,
        ("MR1", Code.SKIPPED_LOCALIZER): 3, ("MR2", Code.SKIPPED_LOCALIZER): 1,  # by description
        ("MR2", None): 6, ("CT2N", Code.SKIPPED_LOCALIZER): 2, ("MR700", Code.SKIPPED_REFORMAT): 7,
    }  # fmt: skip
