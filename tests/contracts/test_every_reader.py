"""What holds for every input format: recognised by content, and nothing gets out of a bad file."""

import inspect
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from medssl.foundation import plugins
from medssl.ingestion import decoding, readers, sniff
from medssl.ingestion.codes import Code
from medssl.ingestion.decoding import Job, Source
from medssl.ingestion.header import PLAIN, Facts, Header, Identity
from medssl.ingestion.readers import _contract
from medssl.ingestion.storing import Decoded

NAMES = plugins.names(readers)


def _dicom(folder: Path) -> Path:
    (folder / "dicom").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    return folder / "dicom"


def _nifti(folder: Path) -> Path:
    volume = np.random.default_rng(0).integers(0, 900, (7, 6, 5)).astype(np.int16)
    nib.Nifti1Image(volume, np.diag([-2.0, -3.0, 4.0, 1.0])).to_filename(folder / "a.nii")
    return (folder / "a.nii").rename(folder / "nifti")


def _picture(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "picture", format="PNG")
    return folder / "picture"


def _npz(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_{name}": array
        for split in ("train", "test")
        for name, array in (
            ("images", rng.integers(0, 255, (3, 7, 6), dtype=np.uint8)),
            ("labels", rng.integers(0, 2, (3, 1), dtype=np.uint8)),
        )
    }
    np.savez_compressed(folder / "a.npz", **arrays)
    return (folder / "a.npz").rename(folder / "npz")


SAMPLES = {"dicom": _dicom, "nifti": _nifti, "npz": _npz, "picture": _picture}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("samples")
    missing = [name for name in NAMES if name not in SAMPLES]
    assert missing == [], f"add a sample file for {missing}"
    return {name: SAMPLES[name](folder) for name in NAMES}


def decode(path: Path, header: Header) -> Decoded:
    sources = tuple(Source(path=path, header=header, number=n) for n in range(len(header.frames)))
    return decoding.decode(Job(volumes=(sources,), dtype="", side=16, largest=16))


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name):
    reader = sniff.reader(name)
    wanted = inspect.getmembers(_contract.Reader, inspect.isfunction)
    for function, promised in wanted:
        if function.startswith("_"):
            continue
        found = inspect.signature(getattr(reader, function))
        assert list(found.parameters) == list(inspect.signature(promised).parameters)[1:]


@pytest.mark.parametrize("name", NAMES)
def test_it_recognises_its_files_and_no_other(name, samples):
    for other, path in samples.items():
        head = path.read_bytes()[: sniff.HEAD_BYTES]
        assert sniff.reader(name).recognises(head) == (other == name)


@pytest.mark.parametrize("name", NAMES)
@given(head=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_it_survives_any_head(name, head):
    assert sniff.reader(name).recognises(head) in {True, False}


@pytest.mark.parametrize("name", NAMES)
def test_header_and_pixels_agree(name, samples):
    header = sniff.read_header(samples[name])
    assert header.reader == name
    pixels = sniff.reader(name).read_pixels(samples[name], header, PLAIN)
    assert pixels.shape == (len(header.frames), header.rows, header.columns)
    assert (pixels.dtype.kind in "iu") == (header.bits is not None)
    assert pixels.size > 1
    assert np.ptp(pixels) > 0


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_a_zip_archive_is_the_same_file(name, method, samples, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.write(samples[name], "folder/file")
    member = tmp_path / "a.zip" / "folder" / "file"
    loose, packed = sniff.read_header(samples[name]), sniff.read_header(member)
    assert packed.looks_like(loose)
    assert packed.digest == loose.digest
    read = sniff.reader(name).read_pixels
    assert np.array_equal(read(member, packed, PLAIN), read(samples[name], loose, PLAIN))


@pytest.mark.parametrize("name", NAMES)
def test_headers_show_nothing_of_a_patient(name, samples):
    header = sniff.read_header(samples[name])
    assert isinstance(header.facts, Facts)
    for secret in (header, header.identity, *header.frames):
        assert repr(secret).startswith("<medssl.ingestion.header.")
    assert isinstance(header.identity, Identity)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_anywhere_is_a_code_or_an_image(name, samples, tmp_path):
    whole = samples[name].read_bytes()
    path = tmp_path / "cut"
    outcomes = set()
    for length in {0, 1, 3, 132, *range(0, len(whole), max(1, len(whole) // 40))}:
        path.write_bytes(whole[:length])
        header = sniff.read_header(path)
        if isinstance(header, Header):
            result = decode(path, header)
            assert len(result.outcome.images) + len(result.outcome.rejected) >= 1
            outcomes.update(code for _, code in result.outcome.rejected)
        else:
            outcomes.add(header)
    assert outcomes <= set(Code)
    assert Code.EMPTY_FILE in outcomes
    assert outcomes & {Code.TRUNCATED, Code.DECODE_FAILED, Code.BAD_HEADER}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_file_with_wrong_bytes_is_a_code_or_an_image(name, samples, tmp_path_factory, data):
    content = bytearray(samples[name].read_bytes())
    places = st.integers(0, min(len(content), 2000) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("wrong") / "file"
    path.write_bytes(content)
    header = sniff.read_header(path)
    # Sizes beyond the file are not decoded here: memory budgets are not this test's subject.
    if isinstance(header, Header) and header.rows * header.columns * len(header.frames) < 2**20:
        result = decode(path, header)
        assert len(result.outcome.images) + len(result.outcome.rejected) >= 1
        assert np.isfinite(result.pixels).all()
    else:
        assert isinstance(header, Header | Code)
