"""Read a label table from the first sheet of an XLSX file, as if it had been saved as CSV.

Numbers lose the `.0` a sheet gives them and keep zeros before them that the sheet shows; dates are
ISO 8601; a formula counts as the value the sheet was saved with, and as empty without one.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from itertools import dropwhile
from pathlib import Path
from typing import Any

from medssl.foundation.errors import DataError, MissingExtra
from medssl.ingestion import claims, regular, seam, zips
from medssl.ingestion.codes import Code, RejectedFile

SUFFIXES = frozenset({".xlsx", ".xlsm"})
MAX_ROWS = 2**20  # of a sheet, by its format
_ZEROS = re.compile("0+")  # a number format that only fills up with zeros
_DIGITS = 15  # of a number, beyond which a sheet holds noise

Line = tuple[int, Sequence[str]]


def lines(path: Path) -> Iterator[Line]:
    """Yield the cells of every row that has any, from the header on, with its number in the sheet.

    Rows are as long as the header, or longer where cells stand beyond it.

    Raises:
        MissingExtra: openpyxl is not installed.
        DataError: It cannot be read as XLSX, or would unpack to far more than it holds.
        FileNotFoundError: There is no such file.
    """
    try:
        import openpyxl  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise MissingExtra(
            "openpyxl, which reads XLSX, is not installed",
            where=str(path),
            fix="pip install 'medssl[xlsx]', or save the table as CSV UTF-8",
        ) from error
    path.stat()
    found = seam.attempt(lambda: list(_rows(path)), Code.BAD_HEADER)
    if isinstance(found, Code):
        is_bomb = found is Code.BOMB
        raise DataError(
            "the table would unpack to far too much" if is_bomb else "not a readable XLSX file",
            where=str(path),
            fix="save it as CSV UTF-8",
        )
    return _of_one_length(found)


def text(value: object, number_format: str = "General") -> str:
    """Return a cell as CSV would have it.

    >>> text(3.0), text(0.1 + 0.2), text(None), text(True), text(42, "00000")
    ('3', '0.3', '', 'TRUE', '00042')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        is_day = value.time() == time()
        return value.date().isoformat() if is_day else value.isoformat(timespec="seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        value = int(value) if value.is_integer() else f"{value:.{_DIGITS}g}"
    if isinstance(value, int) and _ZEROS.fullmatch(number_format):
        return str(value).zfill(len(number_format))
    return str(value)


def _rows(path: Path) -> Iterator[Line]:
    from openpyxl import load_workbook  # noqa: PLC0415 - an optional extra

    path = path.resolve()
    members = zips.members(path, path.stat()).values()
    if any(member.code is Code.BOMB for member in members) or claims.is_bomb(
        sum(member.size for member in members), path.stat().st_size
    ):
        raise RejectedFile(Code.BOMB)
    with open(path, "rb", opener=regular.opener) as stream:
        book = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # which may be anything
        for number, cells in enumerate(sheet.iter_rows(), start=1):
            if number > MAX_ROWS:
                raise RejectedFile(Code.BOMB)
            found = _trimmed([_cell(cell) for cell in cells])
            if found:
                yield number, found


def _cell(cell: Any) -> str:  # noqa: ANN401 - openpyxl has no types
    return text(cell.value, cell.number_format if isinstance(cell.value, int | float) else "")


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Return a row without the empty cells at its end: sheets have any number of them."""
    return list(dropwhile(lambda cell: not cell.strip(), reversed(cells)))[::-1]


def _of_one_length(rows: Sequence[Line]) -> Iterator[Line]:
    width = len(rows[0][1]) if rows else 0
    for number, cells in rows:
        yield number, [*cells, *[""] * (width - len(cells))]
