"""Damaged files by the hundred: none ends the ingest, none is lost, and nothing is said of any."""

import gzip
import io
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medssl.artifacts import archive, quarantine, source_paths
from medssl.config.ingest import IngestSettings
from medssl.config.reading import Role
from medssl.ingestion import identity, sniff
from medssl.ingestion.codes import Code
from medssl.ingestion.header import Header, Reading
from medssl.stages import ingest

LARGEST = 200_000  # bytes of a file that is damaged
HEADER = 2048  # bytes, where a good part of the damage is done
HOW = Reading(colour="gray", four_d="split")
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x8000_0000)
PICTURES = (("a.png", {}), ("b.tif", {"compression": "tiff_lzw"}), ("c.tif", {}), ("d.jpg", {}))


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    """Real DICOM and NIfTI images of the libraries' own tests, and generated ones of the others."""
    found = []
    for package, below in (
        ("pydicom", "data/test_files"), ("data_store", "data"), ("nibabel", "tests/data"),
    ):  # fmt: skip
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        found += [
            path.read_bytes()
            for path in sorted((Path(spec.origin).parent / below).rglob("*"))
            if path.is_file()
            and path.stat().st_size <= LARGEST
            and isinstance(sniff.read_header(path, HOW), Header)
        ]
    assert len(found) > 100
    return found + generated()


def generated() -> list[bytes]:
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (24, 20), dtype=np.uint8)
    files = []
    for pixels in (gray, gray.astype(np.uint16) * 200, np.dstack([gray] * 3)):
        for name, options in PICTURES:
            if name != "d.jpg" or pixels.dtype == np.uint8:
                files.append(saved(lambda to, p=pixels, n=name, o=options: picture(to, p, n, o)))
    volume = nib.Nifti1Image(rng.integers(0, 900, (9, 8, 5, 3)).astype(np.int16), np.eye(4))
    files += [volume.to_bytes(), gzip.compress(volume.to_bytes(), mtime=0)]
    arrays = {"train_images": rng.integers(0, 256, (5, 9, 8), dtype=np.uint8),
              "train_labels": np.arange(5)[:, None]}  # fmt: skip
    files += [saved(lambda to: np.savez(to, **arrays)),
              saved(lambda to: np.savez_compressed(to, **arrays))]  # fmt: skip
    files += [saved(lambda to, m=method: bundle(to, files, m)) for method in (0, 8)]
    return files * 4  # together about as many as there are real ones


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def picture(to: io.BytesIO, pixels: np.ndarray, name: str, options: dict[str, str]) -> None:
    kind = {"png": "PNG", "tif": "TIFF", "jpg": "JPEG"}[name[-3:]]
    Image.fromarray(pixels).save(to, format=kind, **options)


def bundle(to: io.BytesIO, files: list[bytes], method: int) -> None:
    with zipfile.ZipFile(to, "w", method) as made:
        for number, content in enumerate(files[:6]):
            made.writestr(zipfile.ZipInfo(f"folder/{number}"), content, compress_type=method)


def flip(content: bytearray, draw: random.Random, _: bytes) -> bytes:
    for _ in range(draw.choice([1, 2, 4, 8, 32])):
        content[place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(content)


def cut(content: bytearray, draw: random.Random, _: bytes) -> bytes:
    return bytes(content[: draw.randrange(len(content))])


def repeat(content: bytearray, draw: random.Random, _: bytes) -> bytes:
    start = place(content, draw)
    return bytes(content[:start] + content[start - draw.randrange(512) : start] + content[start:])


def leave_out(content: bytearray, draw: random.Random, _: bytes) -> bytes:
    start = place(content, draw)
    return bytes(content[:start] + content[start + draw.randrange(512) :])


def claim(content: bytearray, draw: random.Random, _: bytes) -> bytes:
    """Write numbers where a length may stand."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        size = draw.choice([1, 2, 4])
        number = draw.choice(NUMBERS) & (256**size - 1)
        start = place(content, draw)
        content[start : start + size] = number.to_bytes(size, draw.choice(["little", "big"]))
    return bytes(content)


def splice(content: bytearray, draw: random.Random, other: bytes) -> bytes:
    return bytes(content[: place(content, draw)] + other[draw.randrange(len(other)) :])


def place(content: bytearray, draw: random.Random) -> int:
    is_early = draw.random() < 0.25
    return draw.randrange(min(HEADER, len(content)) if is_early else len(content))


MUTATIONS = (flip, cut, repeat, leave_out, claim, splice)


def damage(files: list[bytes], folder: Path, count: int, seed: int) -> list[Path]:
    folder.mkdir()
    draw = random.Random(seed)
    paths = []
    for number in range(count):
        content, other = draw.choice(files), draw.choice(files)
        for _ in range(draw.choice([1, 1, 2])):
            content = draw.choice(MUTATIONS)(bytearray(content), draw, other) or b"\0"
        paths.append(folder / f"{number:05d}")
        paths[-1].write_bytes(content)
    return paths


def check(out: Path, paths: list[Path]) -> Counter[str]:
    """Check that every file has one fate; return how often there was which code."""
    info = archive.read_info(out)
    fates: dict[str, set[str]] = {}
    listed = source_paths.read(out).to_pylist()
    for row in listed:
        fates.setdefault(row["file_id"], set()).add("image" if row["image_id"] else "")
    codes = {row["file_id"]: row["code"] for row in quarantine.read(out).to_pylist()}
    for file_id, fate in fates.items():
        assert (file_id in codes) == (fate == {""})
    assert set(codes) <= set(fates)
    assert info.files_found == len(fates) == info.files_written + len(codes)
    names = {Path(row["path"]).relative_to(paths[0].parent).parts[0] for row in listed}
    assert names == {path.name for path in paths}  # members of a ZIP begin with its name
    return Counter(codes.values())


def ingested(paths: list[Path], tmp_path: Path, how: Reading) -> Counter[str]:
    identity.load_or_create(tmp_path / "key")
    settings = IngestSettings(
        sources=(tmp_path / "files",),
        size=32,
        max_rejects=1,
        include=get_args(Role),
        key_file=tmp_path / "key",
        colour=how.colour,
        four_d=how.four_d,
    )
    ingest.run(settings, tmp_path / "archive", workers=1)
    return check(tmp_path / "archive", paths)


LOST = {Code.WORKER_DIED, Code.TIMED_OUT, Code.OUT_OF_MEMORY}


def test_no_damaged_file_ends_an_ingest_or_is_lost(corpus, tmp_path, capfd):
    paths = damage(corpus, tmp_path / "files", 500, seed=0)
    codes = ingested(paths, tmp_path, HOW)
    assert capfd.readouterr() == ("", "")
    assert not codes.keys() & LOST
    assert len(codes) > 8  # the damage is of many kinds
    assert archive.read_info(tmp_path / "archive").files_written > 100  # and not always fatal


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_ten_thousand_damaged_files(corpus, tmp_path, capfd, seed):
    paths = damage(corpus, tmp_path / "files", 1000, seed)
    how = (Reading(colour="keep", four_d="mean"), Reading(colour="reject", four_d="first"))
    codes = ingested(paths, tmp_path, how[seed % 2])
    assert capfd.readouterr() == ("", "")
    assert not codes.keys() & LOST
