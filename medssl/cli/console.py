"""The only place that talks: results on stdout, progress and errors on stderr."""

import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from medssl.evaluation.assessment import Estimate
    from medssl.evaluation.calibration_error import CalibrationError
    from medssl.evaluation.delong import CrossCheck
    from medssl.evaluation.operating_points import OperatingPoint
    from medssl.foundation.cost import Cost

T = TypeVar("T")
WIDE = 120  # columns of a terminal that has room for the latest values beside the bar
PLAIN_EVERY_S = 15.0  # between two lines of progress where stderr is not a terminal
MAIN = ("auroc", "quadratic_kappa", "class_mae", "mae", "r2", "spearman")  # of several columns
RESULT_SCHEMA = "medssl.result/1"

_stderr = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


class RichReporter:
    """Progress bars on stderr, or a plain line now and then where that is not a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._latest = ""
        self._said = time.monotonic()

    def track(
        self,
        items: Iterable[T],
        *,
        task: str,
        total: int | None = None,
        unit: str = "it",
        each: int = 1,
    ) -> Iterator[T]:
        """Yield ``items`` behind a bar with rate, time left and the share spent waiting."""
        if total is None and isinstance(items, Sequence):
            total = len(items)
        line = _Pace(task, total, unit, each)
        owner = self._progress is None
        progress = self._progress = self._progress or _open()  # an outer one may close first
        bar = progress.add_task(task, total=total, pace="", latest="")
        iterator = iter(items)
        try:
            while True:
                asked = time.monotonic()
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                line.waited += time.monotonic() - asked
                yield item
                line.done += 1
                self._show(progress, bar, line)
        finally:
            progress.remove_task(bar)
            if owner:
                self._close(progress)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Show the latest values beside the bar."""
        shown = [f"{name} {value:.4g}" for name, value in values.items()]
        self._latest = "  ".join([f"step {step}", *shown])

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Show nothing: the bar says how fast it goes."""

    def note(self, text: str) -> None:
        """Print one line."""
        _stderr.print(text)

    def warn(self, text: str) -> None:
        """Print one line that stands out."""
        _stderr.print(Text.assemble(("warning:", "yellow"), " ", text))

    def _show(self, progress: Progress, bar: TaskID, line: "_Pace") -> None:
        progress.update(bar, completed=line.done, pace=line.text(), latest=self._latest)
        now = time.monotonic()
        if not _stderr.is_terminal and now - self._said >= PLAIN_EVERY_S:
            self._said = now
            parts = (f"{line.task} {line.text()}", line.left(), self._latest)
            _stderr.print("  ".join(part for part in parts if part))

    def _close(self, progress: Progress) -> None:
        progress.stop()
        self._progress = None
        self._latest = ""


def _open() -> Progress:
    wide = _stderr.width >= WIDE
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[pace]}", markup=False),
        TimeRemainingColumn(),
        *([TextColumn("{task.fields[latest]}", style="dim", markup=False)] if wide else []),
        console=_stderr,
        transient=True,
        disable=not _stderr.is_terminal,
    )
    progress.start()
    return progress


class _Pace:
    """How fast a task goes."""

    def __init__(self, task: str, total: int | None, unit: str, each: int) -> None:
        self.task, self.total, self.unit, self.each = task, total, unit, each
        self.done = 0
        self.waited = 0.0
        self._started = time.monotonic()

    def text(self) -> str:
        """Return done/total, rate and the share of the time spent waiting for data."""
        spent = max(1e-9, time.monotonic() - self._started)
        of = f"/{self.total}" if self.total else ""
        rate = self.done * self.each / spent
        return f"{self.done}{of}  {rate:.3g} {self.unit}/s  data_wait {self.waited / spent:.0%}"

    def left(self) -> str:
        """Return the time left."""
        if not (self.total and self.done):
            return ""
        seconds = (time.monotonic() - self._started) / self.done * (self.total - self.done)
        return f"eta {int(seconds) // 60}:{int(seconds) % 60:02d}"


def show(
    command: str,
    result: object,
    rows: Sequence[tuple[str, object]],
    *,
    as_json: bool,
    next_command: str = "",
) -> None:
    """Print a result: as one JSON object, or as a short table and the next command.

    Args:
        command: Name of the command.
        result: A frozen dataclass, for JSON.
        rows: What to show to people, in order.
        as_json: Which of the two.
        next_command: What the user may want to run now.
    """
    if as_json:
        plain = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
        assert isinstance(plain, dict)
        content = {"schema": RESULT_SCHEMA, "command": command, **plain}
        if next_command:
            content["next"] = next_command
        print(json.dumps(content, default=_plain, indent=1))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    if next_command:
        print(f"{'next':<{width}}  {next_command}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout."""
    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False, soft_wrap=True, emoji=False).print(drawn)


def error(text: str) -> None:
    """Print an error on stderr."""
    _stderr.print(f"medssl: {text}")


def _plain(value: Any) -> Any:  # noqa: ANN401 - what json cannot write
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


def fields(planned: object) -> list[tuple[str, object]]:
    """Return the fields of a plan as rows: what it comes to, then its settings one a line."""
    assert is_dataclass(planned)
    rows: list[tuple[str, object]] = []
    chosen: list[tuple[str, object]] = []
    for name, value in vars(planned).items():
        if name in {"phases", "cost"}:
            continue
        title = name.removeprefix("n_").replace("_", " ")
        if hasattr(value, "model_dump"):
            chosen += settings(value.model_dump(mode="json"))
        elif isinstance(value, tuple) and any(" " in str(item) for item in value):
            rows += [(title.removesuffix("s"), item) for item in value]
        elif value != ():
            rows.append((title, said(value)))
    return [*rows, *chosen]


def settings(values: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return settings as rows, under the keys that `--set` takes; what is not set in one row."""
    flat = dict(_flat(values))
    unset = [key for key, value in flat.items() if value is None or value in ([], {})]
    rows: list[tuple[str, object]] = [
        (f"  {key}", said(value)) for key, value in flat.items() if key not in unset
    ]
    return [*rows, ("  not set", ", ".join(unset))] if unset else rows


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def said(value: object) -> str:
    """Return a value as people write it.

    >>> said(None), said(True), said(60.0), said(("a", 0.5)), said({"0": 20, "1": 12})
    ('none', 'yes', '60', 'a, 0.5', '0 20, 1 12')
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {said(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "none"
    return str(value)


def plan(
    command: str,
    planned: object,
    cost: "Cost",
    out: Path,
    *,
    as_json: bool,
    shown: Sequence[tuple[str, object]] | None = None,
) -> None:
    """Print what a run would do and what it would take.

    Args:
        command: Name of the command.
        planned: A frozen dataclass.
        cost: Of the run.
        out: Where it would write.
        as_json: One JSON object instead of a table.
        shown: Rows of the table, where they are not the fields of the plan.
    """
    assert is_dataclass(planned)
    free = shutil.disk_usage(next(p for p in out.absolute().parents if p.is_dir())).free
    rows = [
        ("time", f"about {duration(cost.seconds)} ({cost.basis})"),
        ("disk", f"about {size(cost.disk_bytes)}, {size(free)} free"),
        ("memory", f"about {size(cost.memory_bytes)}" if cost.memory_bytes else "unknown"),
    ]
    if cost.disk_bytes > free:
        _stderr.print(f"warning: needs {size(cost.disk_bytes)} of disk, {size(free)} are free")
    content = {**vars(planned), "cost": asdict(cost)} if as_json else planned
    first = fields(planned) if shown is None else shown
    show(command, content, [*first, *rows], as_json=as_json)


def duration(seconds: float) -> str:
    """Return a time in the unit people would say it in.

    >>> duration(4.2), duration(95), duration(7000)
    ('4 s', '1.6 min', '1.9 h')
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(1, round(seconds))} s"


def size(n_bytes: float) -> str:
    """Return a size in the unit people would say it in.

    >>> size(1500), size(2.5e6), size(134e9)
    ('2 kB', '2.5 MB', '134.0 GB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{max(1, round(n_bytes / 1e3))} kB"


def phases(planned: Sequence[Mapping[str, Any]]) -> None:
    """Print which layer groups train in which epochs, and the highest rate each reaches there."""
    names = list(planned[0]["max_lr"])
    peaks = {name: max(row["max_lr"][name] for row in planned) for name in names}
    rows = [("all", "max LR", *(f"{peaks[name]:g}" if peaks[name] else "never" for name in names))]
    for row in planned:
        span = f"{row['first']}-{row['last']}" if row["last"] > row["first"] else f"{row['first']}"
        rows.append((span, row["phase"], *(_rate(row, name) for name in names)))
    table(["epochs", "phase", *names], rows)
    if any(row["norms"] for row in planned):
        print("*  scale and shift of its norms alone")
    if any(row["measured"] for row in planned):
        print("<= scaled every epoch by the gradients then")


def _rate(row: Mapping[str, Any], name: str) -> str:
    """Return the highest rate of a layer group in some epochs, and what it is a rate of."""
    highest = row["lr"][name][1]
    if not highest:
        return "frozen"
    most = "<=" if row["measured"] else ""
    return f"{most}{highest:.2g}{'*' if name in row['norms'] else ''}"


def estimates(found: "Sequence[Estimate]") -> list[tuple[str, object]]:
    """Return metrics with their intervals as rows; of several columns the main ones only."""
    several = len({estimate.column for estimate in found}) > 1
    shown = [one for one in found if not several or one.metric in MAIN]
    rows: list[tuple[str, object]] = []
    threshold = None
    for one in shown:
        if one.threshold != threshold:
            threshold = one.threshold
            rows.append(("at threshold", f"{threshold:g}"))
        name = f"{one.title} {one.column}" if several else one.title
        rows.append((name if threshold is None else f"  {name}", _estimate(one)))
    if len(shown) < len(found):
        rows.append(("more", "the other metrics are in the report"))
    return rows


def _estimate(one: "Estimate") -> str:
    if math.isnan(one.value):
        return "no value: a class is absent"
    against = f"; no skill {one.no_skill:.3f}" if one.no_skill is not None else ""
    if one.ideal is not None:
        against = f"; ideal {one.ideal:g}"
    return f"{one.value:.3f}  ({one.low:.3f} to {one.high:.3f}{against})"


def predictive(points: "Sequence[OperatingPoint]") -> list[tuple[str, object]]:
    """Return predictive values at the prevalences asked for as rows."""
    return [
        (
            f"  {row.metric.upper()} at {row.prevalence:.4g}"
            + (f" {point.column}" if len(points) > 1 else ""),
            f"{row.value:.3f}  ({row.low:.3f} to {row.high:.3f})",
        )
        for point in points
        for row in point.predictive
    ]


def beside(
    checks: "Sequence[CrossCheck]", errors: "Sequence[CalibrationError]"
) -> list[tuple[str, object]]:
    """Return what stands beside the estimates of one column as rows; of several, nothing."""
    rows: list[tuple[str, object]] = [
        ("AUROC after DeLong", f"{one.low:.3f} to {one.high:.3f}, without resampling")
        for one in checks
        if len(checks) == 1
    ]
    return rows + [
        (
            "calibration error",
            f"{one.value:.3f}; {one.expected:.3f} on average under perfect calibration",
        )
        for one in errors
        if len(errors) == 1
    ]
