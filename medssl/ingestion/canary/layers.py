"""Everything a file says: its bytes, and what they decode to, however deep."""

import base64
import gzip
import html
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

_DEEPEST = 4  # containers in containers
_WHOLE_BASE64 = 64  # characters from which base64 may be a file
_LEAST_BASE64 = 11  # characters of a date
_LEAST_WIDE = 8  # characters
_ESCAPED = re.compile(rb"\\(?:u00|x)([0-9a-fA-F]{2})")
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a]")
_HEAD = 4096  # bytes that tell a text from other content


class Layer(StrEnum):
    """How a text stands in a file."""

    BYTES = "as it is"
    WIDE = "in UTF-16 or UTF-32"
    BASE64 = "in base64"
    ESCAPED = "escaped"
    VALUES = "among the values"
    UNPACKED = "compressed"


class Content(NamedTuple):
    """Bytes to search, and how they stand in the file."""

    name: Layer
    content: bytes


def table(first: bytes, second: bytes = b"") -> bytes:
    """Return a table for `bytes.translate` that makes two kinds of bytes 1 and 2, others 0."""
    kinds = dict.fromkeys(first, 1) | dict.fromkeys(second, 2)
    return bytes(kinds.get(byte, 0) for byte in range(256))


def stretches(content: bytes, kinds: bytes, unit: bytes, least: int) -> Iterator[bytes]:
    """Yield the parts of a content that repeat a unit of kinds at least so often.

    Far faster in binary content than a regular expression, which tries every byte.

    Args:
        content: To look in.
        kinds: Made by `table`.
        unit: Kinds of the bytes that repeat.
        least: How often.
    """
    classes = content.translate(kinds)
    run, step = unit * least, len(unit)
    at = classes.find(run)
    while at >= 0:
        end = at + len(run)
        while classes.startswith(unit, end):
            end += step
        yield content[at:end]
        at = classes.find(run, end)


_PRINTABLE = table(bytes(range(0x20, 0x7F)), b"\0")
_STANDARD = bytes.maketrans(b"-_", b"+/")  # from the alphabet of URLs
_BASE64 = table(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


def expand(content: bytes, name: Layer = Layer.BYTES, depth: int = 0) -> Iterator[Content]:
    """Yield a content and all it decodes to; what cannot be decoded is left as it is."""
    yield Content(name, content)
    if depth >= _DEEPEST:
        return
    yield from (Content(Layer.WIDE, text) for text in _narrowed(content))
    if _NOT_TEXT.search(content[:_HEAD]) is None:  # a text, or the values of a table
        yield from (Content(Layer.ESCAPED, text) for text in _unescaped(content))
        yield from (Content(Layer.VALUES, text) for text in _values(content))
        for decoded in _base64(content):
            yield from expand(decoded, Layer.BASE64, depth + 2)
    for inner in _unpacked(content):
        yield from expand(inner, Layer.UNPACKED, depth + 1)
    if content.startswith(b"PAR1"):
        yield from expand(_parquet(content), Layer.VALUES, depth + 1)


def _narrowed(content: bytes) -> Iterator[bytes]:
    for order in (b"\1\2", b"\2\1", b"\1\2\2\2", b"\2\2\2\1"):
        found = stretches(content, _PRINTABLE, order, _LEAST_WIDE)
        yield b"\n".join(text.replace(b"\0", b"") for text in found)


def _unescaped(content: bytes) -> Iterator[bytes]:
    if b"&" in content:
        yield html.unescape(content.decode("utf-8", "replace")).encode()
    if b"%" in content:
        yield unquote_to_bytes(content)
    if b"\\" in content:
        yield _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), content)


def _values(content: bytes) -> Iterator[bytes]:
    """Yield keys and values of JSON, JSON lines or YAML, one a line."""
    text = content.decode("utf-8", "replace")
    starts = text.lstrip()[:1]
    try:
        if starts in {"{", "["}:
            parsed = [json.loads(part) for part in _documents(text)]
        elif starts != "<" and len(text) < _HEAD * 16:
            parsed = [yaml.safe_load(text)]
        else:
            return
    except (ValueError, yaml.YAMLError):
        return
    yield "\n".join(_scalars(parsed)).encode("utf-8", "replace")


def _documents(text: str) -> list[str]:
    lines = text.splitlines()
    return lines if len(lines) > 1 and lines[0].rstrip().endswith("}") else [text]


def _scalars(value: Any) -> Iterator[str]:  # noqa: ANN401 - parsed JSON or YAML
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    else:
        yield str(value)


def _base64(content: bytes) -> Iterator[bytes]:
    """Yield what base64 in a text decodes to, read from each of its four possible starts."""
    runs = list(stretches(content, _BASE64, b"\1", _LEAST_BASE64))
    for run in runs:
        if len(run) >= _WHOLE_BASE64:
            yield _decoded(run)
    for start in range(4):
        yield b"\n".join(_decoded(run[start:]) for run in runs)


def _decoded(run: bytes) -> bytes:
    whole = run[: len(run) - (len(run) % 4 == 1)].translate(_STANDARD)
    return base64.b64decode(whole + b"=" * (-len(whole) % 4))


def _unpacked(content: bytes) -> Iterator[bytes]:
    try:
        if content.startswith(b"\x1f\x8b"):
            yield gzip.decompress(content)
        elif content.startswith(b"PK\3\4"):
            yield from _members(content)
        elif content.startswith(b"\x89PNG"):
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                yield repr(image.info).encode()
    except (OSError, EOFError, ValueError, SyntaxError, zlib.error, zipfile.BadZipFile):
        return


def _members(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield archive.comment
        for member in archive.infolist():
            yield member.filename.encode() + b"\n" + member.comment
            yield archive.read(member)


def _parquet(content: bytes) -> bytes:
    """Return every name, every cell and all metadata of a table, one a line."""
    table = pq.read_table(pa.BufferReader(content))
    said = [repr(table.schema.metadata), *(repr(field.metadata) for field in table.schema)]
    for name in table.column_names:
        said += [name, *(str(value) for value in table[name].to_pylist())]
    return "\n".join(said).encode("utf-8", "replace")
