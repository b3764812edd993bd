"""JSON records: one object per file, its first key the schema."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from medssl.artifacts import schema
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

T = TypeVar("T")


def read(path: Path, expected: str, *, remake: str | None = None) -> dict[str, Any]:
    """Return the record at ``path`` without its schema key.

    Args:
        path: The file.
        expected: Its schema as this version writes it.
        remake: What makes the file anew, where older ones are refused; None: they are read.

    Raises:
        ArtifactError: The file is missing, is not JSON, or has another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("no such file", where=str(path), fix=schema.RESTORE) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError("not a JSON file", where=str(path), fix=schema.RESTORE) from error
    if not isinstance(record, dict):
        raise ArtifactError("not a JSON object", where=str(path), fix=schema.RESTORE)
    schema.require(record.pop("schema", None), expected, where=path, remake=remake)
    return record


def read_as(kind: type[T], path: Path, expected: str) -> T:
    """Return the record at ``path`` as the frozen dataclass ``kind``; lists become tuples.

    Raises:
        ArtifactError: The file is missing, is not JSON, has another schema, or lacks a key.
    """
    return fill(kind, read(path, expected), path)


def fill(kind: type[T], record: Mapping[str, Any], path: Path) -> T:
    """Return a record as the frozen dataclass ``kind``; lists become tuples.

    Raises:
        ArtifactError: It lacks a key.
    """
    known = fields(kind)  # type: ignore[arg-type]  # a dataclass by contract
    needed = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in needed if name not in record]
    if missing:
        raise ArtifactError(
            f"lacks the keys {', '.join(missing)}", where=str(path), fix=schema.RESTORE
        )
    values = {f.name: record[f.name] for f in known if f.name in record}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def write(path: Path, expected: str, record: Mapping[str, Any]) -> None:
    """Write ``record`` atomically, with its schema first. Not-a-number becomes null."""
    content = {"schema": expected, **record}
    files.write_text(path, json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
