"""What lies in a ZIP archive, judged from its table of contents before anything is inflated.

Names are made harmless: no member has a path that leads out of the archive.
"""

import io
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from os import stat_result
from pathlib import Path, PurePosixPath
from re import sub
from typing import NamedTuple

from medssl.ingestion import claims, regular
from medssl.ingestion.codes import Code, RejectedFile

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
MAX_MEMBERS = 10**6
MAX_MEMBER = 2**32  # bytes of one member, unpacked
MAX_TOTAL = 2**34  # bytes of all members, unpacked, beyond which the archive must not be a bomb
_MAX_TABLE = 2**27  # bytes of the table of contents
_MAX_NAME = 1000  # characters; some paths with longer names cannot be opened
_STARTS = (b"PK\3\4", b"PK\5\6")  # the second: no member at all
_ENTRY = b"PK\1\2"
_LOCKED = 0x2041  # bits that say: encrypted
_LOCAL_HEADER = 30  # bytes, before a name
_UNIX = 3  # made on a system where members have a file mode
_CACHED = 4  # tables kept, each of up to some 300 MB
# What office documents, books and Java programs begin with; each of them is one file.
_OFFICE, _BOOK, _PROGRAM = "[Content_Types].xml", b"mimetype", "META-INF/MANIFEST.MF"
_STARTS_DOCUMENT = frozenset(
    {_OFFICE.encode(), b"_rels/.rels", _BOOK, b"META-INF/", _PROGRAM.encode()}
)
_ARRAY, _CLASS = ".npy", ".class"
_RESOURCES = frozenset(  # what lies in a Java program beside its classes
    {_CLASS, ".properties", ".xml", ".xsd", ".dtd", ".json", ".txt", ".md", ".html", ".css", ".js",
     ".png", ".gif", ".jpg", ".svg", ".ico", ".ttf", ".jar", ".dll", ".so", ".dylib", ".jnilib"}
)  # fmt: skip


class Packed(NamedTuple):
    """Where a member lies, and why it is not opened, if it is not."""

    offset: int
    packed_size: int
    size: int
    method: int
    checksum: int
    code: Code | None


def is_zip(head: bytes) -> bool:
    """Tell from the first bytes whether a file is a ZIP archive."""
    return head.startswith(_STARTS)


def is_document(head: bytes) -> bool:
    """Guess from the first bytes whether a ZIP archive is an office document or the like.

    Enough for an archive that is not opened anyway; `holds_document` is sure.
    """
    return is_zip(head) and _first(head) in _STARTS_DOCUMENT


def holds_document(head: bytes, names: Collection[str]) -> bool:
    """Tell whether a ZIP archive is an office document, a book or a Java program.

    Args:
        head: Its first bytes.
        names: Of its members; none where its table of contents is damaged.
    """
    if _OFFICE in names or (is_zip(head) and _first(head) == _OFFICE.encode()):
        return True
    is_stored = int.from_bytes(head[8:10], "little") == STORED
    if is_zip(head) and _first(head) == _BOOK and is_stored:
        return True
    return _PROGRAM in names and _is_program(names)


def holds_arrays(names: Collection[str]) -> bool:
    """Tell whether all members are NumPy arrays, so that they may be one `.npz` file."""
    return bool(names) and all(name.endswith(_ARRAY) for name in names)


def _first(head: bytes) -> bytes:
    """Return the name of the first member."""
    return head[_LOCAL_HEADER : _LOCAL_HEADER + int.from_bytes(head[26:28], "little")]


def _is_program(names: Collection[str]) -> bool:
    """Classes and what belongs to them; anything else may be an image."""
    others = [PurePosixPath(name) for name in names if not name.startswith("META-INF/")]
    kinds = {path.suffix.lower() for path in others}
    return _CLASS in kinds and kinds <= _RESOURCES


def members(path: Path, found: stat_result) -> Mapping[str, Packed]:
    """Return the members of a ZIP archive by name, in the order of its table; folders are none.

    Names have forward slashes. A name that is taken already gets ``~2``, ``~3`` and so on.

    Args:
        path: The archive.
        found: What the file system says of it: an archive that has changed is listed anew.

    Raises:
        RejectedFile: Its members cannot be what they claim.
        zipfile.BadZipFile: It is damaged; other damage raises other errors.
    """
    return _members(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=_CACHED)
def _members(path: Path, size: int, _changed: int) -> Mapping[str, Packed]:
    with _Table(_raw(path)) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    _check_sums(entries, size)
    names: dict[str, Packed] = {}
    seen: Counter[str] = Counter()
    for entry in entries:
        if entry.is_dir():
            continue
        name = _harmless(entry.filename)
        names[_free(name, names, seen)] = Packed(
            entry.header_offset,
            entry.compress_size,
            entry.file_size,
            entry.compress_type,
            entry.CRC,
            _code(entry),
        )
    return names


def _raw(path: Path) -> io.FileIO:
    return io.FileIO(path, opener=regular.opener)


class _Table(io.BufferedReader):
    """A ZIP file whose table of contents is measured before it becomes a million objects."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_TABLE:
            raise RejectedFile(Code.BOMB)
        found = super().read(size)
        if len(found) > MAX_MEMBERS and found.count(_ENTRY) > MAX_MEMBERS:
            raise RejectedFile(Code.BOMB)
        return found


def _check_sums(entries: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Reject members that overlap, so that few bytes are unpacked over and over."""
    if sum(entry.compress_size for entry in entries) > size:
        raise RejectedFile(Code.BOMB)
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL and claims.is_bomb(total, size):
        raise RejectedFile(Code.BOMB)


def _code(entry: zipfile.ZipInfo) -> Code | None:
    mode = entry.external_attr >> 16 if entry.create_system == _UNIX else 0
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return Code.SKIPPED_LINK
    if kind not in {0, stat.S_IFREG}:
        return Code.SKIPPED_SPECIAL
    if entry.flag_bits & _LOCKED:
        return Code.ENCRYPTED
    if entry.compress_type not in {STORED, DEFLATED}:
        return Code.UNSUPPORTED_FORMAT
    too_much = entry.file_size > MAX_MEMBER or claims.is_bomb(entry.file_size, entry.compress_size)
    return Code.BOMB if too_much else None


def _harmless(name: str) -> str:
    """Return a relative path that stays inside the archive, whatever the name says."""
    without_drive = sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    parts = [part for part in without_drive.split("/") if part not in {"", ".", ".."}]
    return "/".join(parts)[-_MAX_NAME:].strip("/") or "unnamed"


def _free(name: str, taken: Mapping[str, Packed], seen: Counter[str]) -> str:
    """Return a name that no other member has."""
    free = name
    while free in taken:
        seen[name] += 1
        path = PurePosixPath(name)
        free = str(path.with_name(f"{path.stem}~{seen[name] + 1}{path.suffix}"))
    return free
