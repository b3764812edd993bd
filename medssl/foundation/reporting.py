"""What a stage tells the world while it works; the library never prints."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

T = TypeVar("T")


class Record(Protocol):
    """Where measured values and lines of text are kept."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values measured at ``step``."""
        ...

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Take how fast it went up to ``step``.

        It differs from machine to machine, so it is kept apart from `metrics`, which a repeated run
        must repeat.
        """
        ...

    def note(self, text: str) -> None:
        """Say one line the user will want to know."""
        ...

    def warn(self, text: str) -> None:
        """Say one line the user should act on."""
        ...


class Reporter(Record, Protocol):
    """Where progress goes. The command line draws it, tests record it, notebooks may ignore it."""

    def track(
        self,
        items: Iterable[T],
        *,
        task: str,
        total: int | None = None,
        unit: str = "it",
        each: int = 1,
    ) -> Iterator[T]:
        """Yield ``items`` while showing how far along ``task`` is.

        Args:
            items: What is worked through; the time spent waiting for it is the data_wait share.
            task: A few words for the user.
            total: Number of items; taken from ``len(items)`` where that exists.
            unit: What the rate counts ("images", "files").
            each: How many of those one item is.
        """
        ...


class Silent:
    """A reporter that says nothing."""

    def track(
        self,
        items: Iterable[T],
        *,
        task: str,
        total: int | None = None,
        unit: str = "it",
        each: int = 1,
    ) -> Iterator[T]:
        """Yield ``items``."""
        del task, total, unit, each
        yield from items

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Ignore the values."""

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Ignore the values."""

    def note(self, text: str) -> None:
        """Ignore the text."""

    def warn(self, text: str) -> None:
        """Ignore the text."""


class Recording(Silent):
    """A reporter that keeps what it was told, for tests and notebooks."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.values: list[tuple[int, dict[str, float]]] = []

    def track(
        self,
        items: Iterable[T],
        *,
        task: str,
        total: int | None = None,
        unit: str = "it",
        each: int = 1,
    ) -> Iterator[T]:
        """Remember the task and yield ``items``."""
        del total, unit, each
        self.tasks.append(task)
        yield from items

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Remember the values."""
        self.values.append((step, dict(values)))

    def note(self, text: str) -> None:
        """Remember the text."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Remember the text."""
        self.warnings.append(text)


class Tee:
    """Send everything to one reporter that draws and to others that keep records."""

    def __init__(self, drawing: Reporter, *records: Record) -> None:
        self._drawing = drawing
        self._records = records

    def track(
        self,
        items: Iterable[T],
        *,
        task: str,
        total: int | None = None,
        unit: str = "it",
        each: int = 1,
    ) -> Iterator[T]:
        """Let the first reporter draw the progress."""
        return self._drawing.track(items, task=task, total=total, unit=unit, each=each)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the values on to all."""
        for record in (self._drawing, *self._records):
            record.metrics(step, values)

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the values on to all."""
        for record in (self._drawing, *self._records):
            record.pace(step, values)

    def note(self, text: str) -> None:
        """Pass the text on to all."""
        for record in (self._drawing, *self._records):
            record.note(text)

    def warn(self, text: str) -> None:
        """Pass the text on to all."""
        for record in (self._drawing, *self._records):
            record.warn(text)
