"""Find the label row of every image: in the user's table, a table beside it, or its container.

What the tables leave over on either side is listed; it may name patients, so it stays private.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.config.ingest import IngestSettings
from medssl.foundation import plugins
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.reporting import Reporter
from medssl.foundation.wording import counted, verb
from medssl.ingestion import assignment, labels
from medssl.ingestion.assignment import Item, Rules
from medssl.ingestion.labels import Join, Names, Table

TABLE_NAME = "labels.csv"  # joined without being asked where it lies in a source folder
MANY_UNMATCHED = 0.1  # share of a table's rows from which the key is likely wrong

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Unmatched:
    """A row of a table that names no file, or a file that no row of a table names."""

    table: Path | None = None
    line: int | None = None  # in the table, from 1
    key: str | None = None  # the cell of the key column
    path: Path | None = None  # of the file


@dataclass(frozen=True, kw_only=True, repr=False)
class Joined:
    """Whose row is whose."""

    rows: Sequence[Row | None]  # one per item
    targets: tuple[str, ...]
    settings: IngestSettings  # with the key of the label table as found
    n_table_rows: int = 0  # of all tables that were joined
    unmatched: Sequence[Unmatched] = ()


def join(items: Sequence[Item], settings: IngestSettings, reporter: Reporter) -> Joined:
    """Return the row of every item.

    Raises:
        UsageError: A rule names a column, and there is no table.
        DataError: The label table is refused, or lacks a column.
    """
    rows: list[Row | None] = [None] * len(items)
    targets: dict[str, None] = {}
    resolved = settings
    tables = list(_tables(settings, reporter))
    own = _own_columns(items) if settings.labels is None else ()
    _check_columns(settings, [table for table, _ in tables], own)
    unmatched: list[Unmatched] = []
    joined_tables = []
    for table, source in tables:
        names = labels.targets(table, settings.label, required=source is None)
        members = [n for n, item in enumerate(items) if source in {None, item.file.source}]
        is_asked = source is None and not settings.smoke  # which draws files without asking
        joined = _join(table, [items[n] for n in members], settings, names, is_asked=is_asked)
        if joined is None:
            those = "drawn" if source is None else "beside it"
            reporter.warn(f"labels: {table.where} names none of the files {those}; not joined")
            continue
        reporter.note(
            f"labels: matched {joined.n_matched:,} of {assignment.counted(len(members), items)} "
            f"by {joined.kind} in column {joined.column}"
        )
        _tell(joined, table, names, reporter, is_part=settings.smoke)
        _tell_empty(joined, table, names, reporter)
        joined_tables.append(table)
        targets |= dict.fromkeys(names)
        for number, row in zip(members, joined.rows, strict=True):
            rows[number] = row if row is not None else rows[number]
        unmatched += _rows_left(table, joined)
        if len(tables) == 1 and names:
            found = {"key": joined.kind, "key_column": joined.column, "label": names}
            resolved = settings.model_copy(update=found)
    if own:
        targets |= dict.fromkeys(_take_own(items, rows, own, settings, reporter))
    if joined_tables:
        left = (item.path for item, row in zip(items, rows, strict=True) if row is None)
        unmatched += [Unmatched(path=path) for path in left]
    return Joined(
        rows=rows,
        targets=tuple(targets),
        settings=resolved,
        n_table_rows=sum(len(table.rows) for table in joined_tables),
        unmatched=unmatched,
    )


def _tables(settings: IngestSettings, reporter: Reporter) -> Iterator[tuple[Table, int | None]]:
    """Yield the label tables, each with the source it belongs to; None for all sources."""
    if settings.labels is not None:
        yield labels.read(settings.labels.expanduser()), None
        return
    for number, source in enumerate(settings.sources):
        path = source.expanduser() / TABLE_NAME
        if path.is_file():
            of = "a source folder" if len(settings.sources) == 1 else f"source {number + 1}"
            reporter.note(f"labels: found {TABLE_NAME} in {of}; joining it")
            where = TABLE_NAME if len(settings.sources) == 1 else f"{TABLE_NAME} of {of}"
            yield labels.read(path, where), number


def _check_columns(settings: IngestSettings, tables: Sequence[Table], own: Sequence[str]) -> None:
    """Check that columns the rules name exist in some table or container."""
    rules = Rules(settings.patient, settings.site, settings.series)
    for name in rules.columns:
        if name in own:
            continue
        if not tables:
            raise UsageError(
                f"col:{name} needs a label table", fix="give the table with --labels FILE"
            )
        if not any(name in table.columns for table in tables):
            labels.require_column(tables[0], name)


def _join(
    table: Table,
    members: Sequence[Item],
    settings: IngestSettings,
    targets: Sequence[str],
    *,
    is_asked: bool,
) -> Join | None:
    names = [
        Names(
            path=item.path,
            patient=item.header.identity.patient,
            study=item.header.identity.study,
            series=item.header.identity.series,
        )
        for item in members
    ]
    joined = labels.join(
        table, names, kind=settings.key, column=settings.key_column, targets=targets
    )
    if joined is None and is_asked and members:
        raise labels.no_match(table)
    return joined


def _rows_left(table: Table, joined: Join) -> Iterator[Unmatched]:
    for number in joined.unmatched:
        key = table.rows[number][joined.column]
        yield Unmatched(table=table.path, line=table.lines[number], key=key)


def _own_columns(items: Iterable[Item]) -> tuple[str, ...]:
    """Return the columns containers have, in order."""
    containers = {item.file.path: item.header for item in items if item.number is not None}
    members = [member for header in containers.values() for member in header.members]
    return tuple(dict.fromkeys(name for member in members for name in member.cells))


def _take_own(
    items: Sequence[Item],
    rows: list[Row | None],
    own: Sequence[str],
    settings: IngestSettings,
    reporter: Reporter,
) -> tuple[str, ...]:
    """Give the images of containers that no table names their own cells; return the targets."""
    named = {item.file.path for item, row in zip(items, rows, strict=True) if row is not None}
    taken = 0
    for number, item in enumerate(items):
        if item.number is not None and item.file.path not in named:
            rows[number] = item.header.members[item.number].cells
            taken += 1
    if not taken:
        return ()
    targets = settings.label or tuple(n for n in own if n.partition("_")[0] == "label")
    for name in targets:
        if name not in own and not named:
            raise DataError(f"no column {name!r}", fix=plugins.suggest(name, list(own)))
    told = ", ".join(targets) or "none"
    told = f"{counted(taken, 'image')} of containers {verb(taken, 'bring')} their own: {told}"
    reporter.note(f"labels: {told}")
    return targets


def _tell(
    joined: Join, table: Table, targets: Sequence[str], reporter: Reporter, *, is_part: bool
) -> None:
    n_left, n_rows = len(joined.unmatched), len(table.rows)
    of = f"{n_left:,} of {counted(n_rows, 'row')} of {table.where}"
    text = f"labels: {of} {verb(n_left, 'name')} no readable file"
    if n_left > MANY_UNMATCHED * n_rows and not is_part:
        reporter.warn(f"{text}; is {joined.column!r} the right --key-column, are files missing?")
    elif n_left:
        reporter.note(text)
    if joined.kind == "stem" and (n_alike := _several_files(joined)):
        reporter.warn(
            f"labels: {counted(n_alike, 'row')} of {table.where} {verb(n_alike, 'name')} several "
            "files each, which are called alike; if these are different images, name them by path"
        )
    if not targets:
        columns = ", ".join(table.headings) or "the first line must name the columns"
        reporter.note(
            f"labels: {table.where} has no column {labels.DEFAULT_TARGET!r}, so no label was "
            f"taken; name one with --label ({columns})"
        )


def _tell_empty(joined: Join, table: Table, targets: Sequence[str], reporter: Reporter) -> None:
    for name in targets:
        if not any(row[name] for row in joined.rows if row is not None):
            reporter.warn(
                f"labels: column {name!r} of {table.where} gives no image a label: its cells are "
                "empty"
            )


def _several_files(joined: Join) -> int:
    """Return how many rows belong to more than one file."""
    counts = Counter(id(row) for row in joined.rows if row is not None)
    return sum(count > 1 for count in counts.values())
