"""Progress may be abandoned anywhere, and text is shown as it is."""

import gc
import io
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from medssl.cli import console
from medssl.config.finetune import FinetuneSettings


def test_nested_progress_left_by_an_exception_says_nothing(capsys):
    """The traceback keeps both generators; the outer one is closed first."""
    reporter = console.RichReporter()
    outer = reporter.track(range(3), task="epochs")
    inner = reporter.track(range(3), task="steps")

    def work(epochs, steps):
        for _ in epochs:
            for _ in steps:
                raise ValueError("stop here")

    with pytest.raises(ValueError, match="stop here"):
        work(outer, inner)
    outer.close()
    del outer, inner
    gc.collect()  # what a finaliser raises, pytest turns into a failure
    assert "Traceback" not in capsys.readouterr().err
    assert list(reporter.track(range(2), task="again")) == [0, 1]


def test_an_inner_task_goes_on_after_the_outer_one_was_closed():
    reporter = console.RichReporter()
    outer = reporter.track(range(3), task="epochs")
    inner = reporter.track(range(3), task="steps")
    assert (next(outer), next(inner)) == (0, 0)
    outer.close()
    assert list(inner) == [1, 2]


TEXT = "col:x: no [red]such[/red] \\[column] :warning:"


@pytest.mark.parametrize("say", [console.error, console.RichReporter().warn,
                                 console.RichReporter().note])  # fmt: skip
def test_what_looks_like_emoji_or_markup_is_printed_as_it_is(say, capsys):
    say(TEXT)
    assert TEXT in capsys.readouterr().err


def test_so_is_a_task_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=300)
    monkeypatch.setattr(console, "_stderr", terminal)
    reporter = console.RichReporter()
    for step in reporter.track(range(2), task=TEXT):
        reporter.metrics(step, {":x: [b]": 1.0})
        reporter._progress.refresh()
    drawn = terminal.file.getvalue()
    assert TEXT in drawn
    assert ":x: [b] 1" in drawn


def test_so_is_a_cell_of_a_table(capsys):
    console.table(["name"], [[TEXT]])
    assert capsys.readouterr().out.splitlines()[1] == TEXT


@dataclass(frozen=True)
class Plan:
    settings: FinetuneSettings
    n_images: int = 56
    n_validation_images: int = 0
    classes: dict = field(default_factory=lambda: {"0": 20, "1": 12})
    threshold: float | None = None
    metrics: tuple = ("auroc", "brier")
    notes: tuple = ("one thing", "another thing")
    nothing: tuple = ()


def test_a_plan_is_written_as_people_write():
    more = {"n": 4.0, "names": ["a", "b"]}
    settings = FinetuneSettings(archive="scans", init_from="x", dropout=0.5, schedule_options=more)
    rows = dict(console.fields(Plan(settings)))
    assert {name: rows[name] for name in ("images", "validation images", "classes")} == {
        "images": "56", "validation images": "0", "classes": "0 20, 1 12",
    }  # fmt: skip
    assert (rows["threshold"], rows["metrics"], rows["note"]) == (
        "none", "auroc, brier", "another thing",
    )  # fmt: skip
    assert (rows["  dropout"], rows["  smoke"], rows["  archive"]) == ("0.5", "no", "scans")
    assert (rows["  schedule_options.n"], rows["  schedule_options.names"]) == ("4", "a, b")
    assert {"encoder_options", "optim.clip"} <= {*rows["  not set"].split(", ")}
    assert "nothing" not in rows
    for value in rows.values():
        assert not set(str(value)) & set("[](){}'")
        assert str(value) not in {"None", "True", "False"}


def test_the_table_of_a_schedule_tells_norms_and_measured_rates(capsys):
    """Once a plain phase, once norms alone, and rates that are upper limits."""
    row = {"phase": "probe", "first": 1, "last": 1, "norms": [], "measured": False}
    rows = [
        {**row, "max_lr": {"head": 0.01, "stem": 0}, "lr": {"head": [0, 0.01, 0], "stem": [0] * 3}},
        {
            **row, "phase": "own", "first": 2, "last": 4, "norms": ["stem"], "measured": True,
            "max_lr": {"head": 1e-3, "stem": 2e-4},
            "lr": {"head": [0, 1e-3, 0], "stem": [0, 1e-4, 0]},
        },
    ]  # fmt: skip
    console.phases(rows)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[1:4] == [
        ["all", "max", "LR", "0.01", "0.0002"],
        ["1", "probe", "0.01", "frozen"],
        ["2-4", "own", "<=0.001", "<=0.0001*"],
    ]
    assert [line[0] for line in shown[4:]] == ["*", "<="]
    console.phases(rows[:1])
    assert len(capsys.readouterr().out.splitlines()) == 3
