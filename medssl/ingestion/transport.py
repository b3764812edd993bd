"""Messages between two processes of one machine; arrays are sent from where they lie.

Memory that is new to a process costs more than what is written to it, so nothing is copied to be
sent, and what arrives is read in one go.

This file imports nothing heavy.
"""

import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

Message = Sequence[memoryview]

_NUMBER = struct.Struct("!Q")
_SPARE = 3  # times as large as what it holds is a socket, at least


def packed(content: object) -> Message:
    """Return a message that holds anything that can be pickled, ready to be sent."""
    arrays: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(content, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(rest), *(array.raw() for array in arrays)]
    sizes = [len(parts), *(part.nbytes for part in parts)]
    return [memoryview(struct.pack(f"!{len(sizes)}Q", *sizes)), *parts]


def fits(end: socket.socket, message: Message) -> bool:
    """Return whether an empty socket holds a message, so that `send` does not wait."""
    size = sum(part.nbytes for part in message)
    return size * _SPARE <= end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def send(end: socket.socket, message: Message) -> None:
    """Send a message; waits until the other side has read most of it, if it is large.

    Raises:
        ConnectionError: The other side is gone.
    """
    for part in message:
        end.sendall(part)


def receive(end: socket.socket) -> Any:  # noqa: ANN401 - whatever was sent
    """Return the content of a message; arrays are read-only.

    Raises:
        EOFError, ConnectionError: The other side is gone.
    """
    (count,) = _NUMBER.unpack(_exactly(end, _NUMBER.size))
    sizes = struct.unpack(f"!{count}Q", _exactly(end, count * _NUMBER.size))
    rest, *arrays = (_exactly(end, size) for size in sizes)
    return pickle.loads(rest, buffers=arrays)


def _exactly(end: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = end.recv(size - len(found), socket.MSG_WAITALL)  # all, unless a signal comes
        if not more:
            raise EOFError
        found = found + more if found else more
    return found
