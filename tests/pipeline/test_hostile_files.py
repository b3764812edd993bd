"""Files that would fill the memory are refused from what they claim, in no time and no memory.

Each really unpacks to what it claims: a gigabyte out of a megabyte, mostly.
"""

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medssl.artifacts import quarantine, source_paths
from medssl.config.ingest import IngestSettings
from medssl.stages import ingest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures with fork and wait4")

MIB = 2**20
MOST_MIB = 300
MOST_SECONDS = 1.0  # of processor time
READER = Path(__file__).with_name("read_apart.py")


def zeros(mebibytes: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """Deflate so many MiB of zeros, and what is before and after, without having them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes + packer.compress(after) + packer.flush()


def checksum(mebibytes: int, before: bytes = b"") -> int:
    """CRC-32 of what `zeros` packs."""
    value, block = zlib.crc32(before), bytes(MIB)
    for _ in range(mebibytes):
        value = zlib.crc32(block, value)
    return value


def as_gzip(mebibytes: int, before: bytes) -> bytes:
    size = len(before) + mebibytes * MIB
    tail = struct.pack("<II", checksum(mebibytes, before), size % 2**32)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + zeros(mebibytes, before) + tail


def as_zlib(mebibytes: int) -> bytes:
    return b"\x78\xda" + zeros(mebibytes) + b"\0\0\0\1"  # nobody gets to the checksum


def as_zip(mebibytes: int, name: bytes, before: bytes = b"", copies: int = 1) -> bytes:
    """A ZIP archive with one packed member, and as many entries that lead to it."""
    packed = zeros(mebibytes, before)
    sizes = (checksum(mebibytes, before), len(packed), len(before) + mebibytes * MIB, len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes) + name + packed
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, 0, 0, 0, 0, 0) + name
    table = entry * copies
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, copies, copies, len(table), len(local), 0)
    return local + table + end


def nifti_header(shape: tuple[int, ...], offset: int = 352) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), code=1)
    header["magic"], header["vox_offset"] = b"n+1", offset
    return bytes(header.binaryblock) + bytes(4)


def png(columns: int, rows: int, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0)
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), *chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(columns: int, rows: int, strip: bytes) -> bytes:
    tags = [
        (256, columns), (257, rows), (258, 8), (259, 8), (262, 1), (273, 8 + 2 + 9 * 12 + 4),
        (277, 1), (278, rows), (279, len(strip)),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4) + strip


def jpeg(columns: int, rows: int) -> bytes:
    """A JPEG that begins well and claims a size it has no data for."""
    stream = BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, format="JPEG")
    content = bytearray(stream.getvalue())
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, rows, columns)
    return bytes(content)


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(128 - 10 - 1) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def deflated_dicom(mebibytes: int) -> bytes:
    """A whole small image, and before its pixels a private element of that many zeros."""
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.remove_private_tags()
    plain = BytesIO()
    dataset.save_as(plain)
    content = plain.getvalue()
    start = content.index(struct.pack("<HH", 8, 5))  # the first element after the file's meta
    pixels = content.index(struct.pack("<HH", 0x7FE0, 0x10))
    creator = struct.pack("<HH2sH", 0x7F01, 0x10, b"LO", 4) + b"bomb"
    private = struct.pack("<HH2sHI", 0x7F01, 0x1001, b"OB", 0, mebibytes * MIB)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    small = BytesIO()
    dataset.save_as(small)
    deflated = small.getvalue()
    length = deflated[140:144]  # of the meta, which stands behind the preamble
    meta = deflated[: 144 + int.from_bytes(length, "little")]
    return meta + zeros(mebibytes, content[start:pixels] + creator + private, content[pixels:])


def mismatched_jpeg2000() -> bytes:
    """A DICOM file of 1 megapixel whose codestream says 3.6 gigapixels."""
    content = bytearray(Path(get_testdata_file("MR_small_jp2klossless.dcm")).read_bytes())
    size = content.index(b"\xff\x4f\xff\x51") + 2
    struct.pack_into(">II", content, size + 6, 60_000, 60_000)
    struct.pack_into(">II", content, size + 22, 60_000, 60_000)
    return bytes(content)


FILES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "deflated_dicom": (lambda: deflated_dicom(1024), {"BOMB"}),
    "jpeg2000": (mismatched_jpeg2000, {"SIZE_MISMATCH"}),
    "nifti_of_zeros": (lambda: as_gzip(1024, nifti_header((1024, 1024, 512))), {"BOMB"}),
    "nifti_of_volumes": (lambda: as_gzip(1024, nifti_header((256, 256, 64, 128))), {"BOMB"}),
    "nifti_that_begins_late": (
        lambda: as_gzip(1024, nifti_header((64, 64, 64), 2**30)),
        {"BOMB"},
    ),
    "nifti_without_data": (lambda: nifti_header((1024, 1024, 1024)), {"TRUNCATED"}),
    "png_too_large": (
        lambda: png(30_000, 30_000, 0, (b"IDAT", as_zlib(859))),
        {"BOMB"},
    ),
    "png_in_colour": (lambda: png(16_000, 16_000, 2, (b"IDAT", as_zlib(733))), {"BOMB"}),
    "png_with_a_text": (
        lambda: png(8, 8, 0, (b"zTXt", b"x\0\0" + as_zlib(1024)), (b"IDAT", as_zlib(1))),
        {"BAD_HEADER"},
    ),
    "png_with_a_profile": (
        lambda: png(8, 8, 0, (b"iCCP", b"x\0\0" + as_zlib(1024)), (b"IDAT", as_zlib(1))),
        {"BAD_HEADER"},
    ),
    "tiff": (lambda: tiff(30_000, 30_000, as_zlib(859)), {"BOMB"}),
    "jpeg": (lambda: jpeg(65_500, 65_500), {"BOMB"}),
    "npz": (
        lambda: as_zip(1024, b"train_images.npy", npy_header((1024, 1024, 1024))),
        {"BOMB"},
    ),
    "zip_of_overlaps": (lambda: as_zip(10, b"x" * 9, copies=10_000), {"BOMB"}),
    "zip_of_zeros": (lambda: as_zip(1024, b"scan.nii", nifti_header((1024, 1024, 512))), {"BOMB"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in FILES.items():
        (made / name).write_bytes(make())
    with zipfile.ZipFile(made / "zip_in_zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(made / "zip_of_zeros", "x")
        archive.writestr("notes.txt", "text")
    return made


@pytest.fixture(scope="module")
def measured(folder) -> dict[str, dict]:
    command = [sys.executable, str(READER), *map(str, sorted(folder.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["file"]: row for row in rows}


CODES = {name: codes for name, (_, codes) in FILES.items()} | {
    "zip_in_zip": {"NESTED_ARCHIVE", "SKIPPED_TEXT"}
}


@pytest.mark.parametrize("name", CODES)
def test_it_is_refused_in_no_time_and_no_memory(name, measured):
    row = measured[name]
    assert set(row["codes"]) == CODES[name]
    assert row["mib"] < MOST_MIB
    assert row["seconds"] < MOST_SECONDS


def test_an_ingest_goes_on_past_them(folder, tmp_path):
    picture = tmp_path / "good.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(picture)
    settings = IngestSettings(
        sources=(folder, picture), colour="gray", four_d="mean", max_rejects=1, size=32
    )
    ingest.run(settings, tmp_path / "archive", workers=1)
    listed = source_paths.read(tmp_path / "archive").to_pylist()
    paths = {row["file_id"]: row["path"] for row in listed}
    codes: dict[str, set[str]] = {name: set() for name in CODES}
    for row in quarantine.read(tmp_path / "archive").to_pylist():
        name = Path(paths[row["file_id"]]).relative_to(folder).parts[0]
        codes[name].add(row["code"])
    assert codes == CODES
