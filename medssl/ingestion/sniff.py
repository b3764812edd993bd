"""Tell by content what a file is; its name is never asked."""

import hashlib
import io
from dataclasses import replace
from functools import cache
from pathlib import Path

from medssl.foundation import plugins
from medssl.ingestion import claims, readers, seam, streams, zips
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import MAX_PIXELS, PLAIN, Header, Reading
from medssl.ingestion.readers._contract import Reader

HEAD_BYTES = 1024
_OTHER_IMAGES = (
    b"GIF8", b"BM", b"NRRD0", b"\x89HDF", b"CDF\1", b"CDF\2", b"SIMPLE  =",  # netCDF, FITS
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",  # JPEG 2000
    b"\x5c\1\0\0", b"\0\0\1\x5c",  # Analyze
    b"PK\7\x08", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!",  # what may hold images
)  # fmt: skip
_ARRAY = b"\x93NUMPY"
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\b\x1b")


def read_header(path: Path, how: Reading = PLAIN) -> Header | Code:
    """Return the header of an image file, or the code of what is none. Decodes no pixels."""
    return seam.attempt(lambda: _read_header(path, how), Code.BAD_HEADER)


@cache
def reader(name: str) -> Reader:
    """Return the reader called ``name``."""
    found: Reader = plugins.load(readers, name)
    return found


def recognised(head: bytes) -> str | None:
    """Return the reader of files that begin with these bytes, if there is one."""
    return next((name for name in _names() if reader(name).recognises(head)), None)


@cache
def _names() -> tuple[str, ...]:
    return tuple(plugins.names(readers))


def _read_header(path: Path, how: Reading) -> Header:
    with streams.opened(path) as stream:
        head = stream.read(HEAD_BYTES)
        size = stream.seek(0, io.SEEK_END)
    name = recognised(head)
    if name is None:
        raise RejectedFile(_unread_zip(head, path) if zips.is_zip(head) else _unread(head))
    try:
        header = reader(name).read_header(path, how)
    except MemoryError as error:  # for a length that a small file claims, not for what it has
        is_claim = size < claims.HARMLESS
        raise RejectedFile(Code.BAD_HEADER if is_claim else Code.OUT_OF_MEMORY) from error
    if header.rows * header.columns * len(header.frames) * header.channels > MAX_PIXELS:
        raise RejectedFile(Code.TOO_LARGE)
    return header if header.identity.has_uid else replace(header, digest=_digest(path))


def _digest(path: Path) -> str:
    with streams.opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unread_zip(head: bytes, path: Path) -> Code:
    """Say what a ZIP archive is that no reader knows; `discover` lists others as folders."""
    if zips.is_document(head):
        return Code.SKIPPED_OTHER
    return Code.NESTED_ARCHIVE if streams.is_member(path) else Code.UNSUPPORTED_FORMAT


def _unread(head: bytes) -> Code:
    if not head:
        return Code.EMPTY_FILE
    if head.startswith(_ARRAY):
        return Code.ARRAY_LAYOUT
    if head.startswith(_OTHER_IMAGES) or head[4:8] == b"ftyp" or head[257:262] == b"ustar":
        return Code.UNSUPPORTED_FORMAT
    return Code.SKIPPED_TEXT if _is_text(head) else Code.SKIPPED_OTHER


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 with its byte order mark
        return True
    return all(byte >= 0x20 or byte in _TEXT_CONTROLS for byte in head)
