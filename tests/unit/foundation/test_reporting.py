"""Reporters: silent, remembering, and one that passes everything on."""

import pytest

from medssl.foundation.reporting import Recording, Silent, Tee


@pytest.mark.parametrize("reporter", [Silent(), Recording(), Tee(Silent(), Recording())])
def test_tracking_yields_every_item_once_and_lazily(reporter):
    taken = []

    def items():
        for n in range(3):
            taken.append(n)
            yield n

    tracked = reporter.track(items(), task="reading", total=3, unit="files", each=2)
    assert taken == []
    assert next(tracked) == 0
    assert taken == [0]
    assert list(tracked) == [1, 2]


def test_recording_keeps_what_it_is_told():
    reporter = Recording()
    values = {"loss": 1.0}
    list(reporter.track([], task="epoch 1"))
    reporter.metrics(3, values)
    values["loss"] = 2.0  # the caller goes on using its mapping
    reporter.note("a")
    reporter.warn("b")
    assert reporter.tasks == ["epoch 1"]
    assert reporter.values == [(3, {"loss": 1.0})]
    assert (reporter.notes, reporter.warnings) == (["a"], ["b"])


def test_tee_tells_all_but_lets_only_the_first_draw():
    drawing, record = Recording(), Recording()
    tee = Tee(drawing, record)
    list(tee.track([1], task="reading"))
    tee.metrics(1, {"loss": 0.5})
    tee.note("a")
    tee.warn("b")
    assert (drawing.tasks, record.tasks) == (["reading"], [])
    assert drawing.values == record.values == [(1, {"loss": 0.5})]
    assert drawing.notes == record.notes == ["a"]
    assert drawing.warnings == record.warnings == ["b"]


def test_silent_writes_nothing(capsys):
    reporter = Silent()
    reporter.metrics(1, {"loss": 1.0})
    reporter.note("a")
    reporter.warn("b")
    assert capsys.readouterr() == ("", "")
