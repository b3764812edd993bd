"""What a reader provides. One file per input format; readers do not know each other."""

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from medssl.ingestion.header import Header, Reading


class Reader(Protocol):
    """Module-level functions of every file in this folder.

    A reader raises `RejectedFile` for what it knows it cannot read; anything else it raises is
    caught in `seam` and becomes a code. It never lets text of a header into a message.
    """

    def recognises(self, head: bytes) -> bool:
        """Tell from the first bytes, up to 1,024, whether the file is of this format."""
        ...

    def read_header(self, path: Path, how: Reading) -> Header:
        """Return what is known without decoding pixels. Positions are RAS+ mm.

        Files are opened with `streams.opened`: a path may lead into a ZIP archive. What a file
        claims to hold is checked before memory is taken for it.
        """
        ...

    def read_pixels(self, path: Path, header: Header, how: Reading) -> NDArray[Any]:
        """Return the pixels as stored, before slope and intercept.

        Shape (frames, rows, columns); (frames, rows, columns, 3) where `header.channels` is 3.
        Integers stay integers, in any dtype that holds them.
        """
        ...
