"""Open a file for reading, whether it lies in a folder or in a ZIP archive."""

import errno
import io
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any

from medssl.ingestion import regular, zips
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.zips import Packed

_BLOCK = 2**16  # bytes read and inflated at a time
_REWOUND = 2**20  # bytes that are inflated anew when someone goes back
_HELD = 2**26  # bytes of a member that may be held in memory, so that going back costs nothing
_LOCAL_HEADER = 30  # bytes, before a name and an extra field of any length


def opened(path: Path) -> io.BufferedIOBase:
    """Return the content of a file as a stream, to be closed, that can be read from any place.

    What a member of a ZIP archive inflates to is checked as it is read: its end raises where the
    checksum is wrong.

    Args:
        path: A file, or a member of a ZIP archive as if that were a folder.

    Raises:
        RejectedFile: There is no such file any more, or it cannot be opened.
    """
    try:
        return _file(path)
    except PermissionError as error:
        raise RejectedFile(Code.UNREADABLE) from error
    except OSError as error:
        archive = _archive(path)
        if archive is not None:
            return _member(archive, path.relative_to(archive).as_posix())
        is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        is_gone = is_gone or error.errno == errno.ELOOP  # a link has taken its place
        raise RejectedFile(Code.VANISHED if is_gone else Code.UNREADABLE) from error


def is_member(path: Path) -> bool:
    """Tell whether a path leads into a ZIP archive."""
    return _archive(path) is not None


def _file(path: Path) -> io.BufferedReader:
    return open(path, "rb", opener=regular.opener)


def _archive(path: Path) -> Path | None:
    """Return the file that a path leads into as if it were a folder."""
    for parent in path.parents:
        try:
            mode = parent.lstat().st_mode
        except OSError:
            continue
        return parent if stat.S_ISREG(mode) else None
    return None


def _member(archive: Path, name: str) -> io.BufferedIOBase:
    try:
        found = zips.members(archive, archive.stat()).get(name)
        if found is None:
            raise RejectedFile(Code.VANISHED)
        if found.code is not None:
            raise RejectedFile(found.code)
        file = _file(archive)
    except OSError as error:
        raise RejectedFile(Code.UNREADABLE) from error
    return io.BufferedReader(_Member(file, found), _BLOCK)


class _Member(io.RawIOBase):
    """A member of a ZIP archive, inflated as far as it is read and never beyond its size."""

    name = ""  # some libraries ask a file for its path; this one has none

    def __init__(self, file: io.BufferedReader, packed: Packed) -> None:
        self._file = file
        self._packed = packed
        self._held: memoryview | None = None  # all of it
        self._wanted = 0  # where the next byte is to come from
        file.seek(packed.offset)
        head = file.read(_LOCAL_HEADER)
        if len(head) < _LOCAL_HEADER or not zips.is_zip(head):
            file.close()
            raise RejectedFile(Code.BAD_HEADER)
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        self._start = packed.offset + _LOCAL_HEADER + lengths
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._start)
        self._left = self._packed.packed_size  # bytes not yet read
        self._at = 0  # bytes inflated
        self._checksum = 0
        deflated = self._packed.method == zips.DEFLATED
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if deflated else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._wanted, io.SEEK_END: self._packed.size}[whence]
        self._wanted = max(0, base + offset)
        return self._wanted

    def readinto(self, room: Any, /) -> int:  # noqa: ANN401 - anything with a buffer
        if self._wanted >= self._packed.size:
            return 0
        if self._wanted < self._at:
            self._go_back()
        found = self._held_part(len(room)) if self._held is not None else self._ahead(len(room))
        room[: len(found)] = found
        self._wanted += len(found)
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _go_back(self) -> None:
        if self._held is None and self._at > _REWOUND and self._packed.size <= _HELD:
            self._rewind()
            content = bytearray()
            while self._at < self._packed.size:
                content += self._next(_BLOCK)
            self._held = memoryview(content)
        elif self._held is None:
            self._rewind()

    def _held_part(self, most: int) -> memoryview:
        assert self._held is not None
        return self._held[self._wanted : self._wanted + most]

    def _ahead(self, most: int) -> bytes:
        while self._at < self._wanted:
            self._next(min(_BLOCK, self._wanted - self._at))
        return self._next(most)

    def _next(self, most: int) -> bytes:
        """Return at least one byte and at most ``most``, of those that are left."""
        most = min(most, self._packed.size - self._at)
        found = self._stored(most) if self._inflate is None else self._inflated(most)
        if not found:
            raise RejectedFile(Code.TRUNCATED)
        self._at += len(found)
        self._checksum = zlib.crc32(found, self._checksum)
        if self._at == self._packed.size and self._checksum != self._packed.checksum:
            raise zipfile.BadZipFile("wrong checksum")
        return found

    def _stored(self, most: int) -> bytes:
        found = self._file.read(min(most, self._left))
        self._left -= len(found)
        return found

    def _inflated(self, most: int) -> bytes:
        inflate = self._inflate
        assert inflate is not None
        while not inflate.eof:
            packed = inflate.unconsumed_tail or self._stored(_BLOCK)
            found = inflate.decompress(packed, most)
            if found or not packed:
                return found
        return b""
