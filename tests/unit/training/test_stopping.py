"""A training is asked to stop by a signal or by the clock, and only as long as it runs."""

import os
import signal
from pathlib import Path

import pytest

from medssl.foundation.errors import Interrupted, Stopped
from medssl.training import stopping


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGTERM, "stopped by SIGTERM"), (signal.SIGINT, "stopped by Ctrl-C")],
)
def test_a_signal_is_a_request_and_nothing_more(number, reason):
    before = signal.getsignal(number)
    with stopping.requests() as request:
        assert request.reason == ""
        os.kill(os.getpid(), number)
        assert request.reason == reason
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.reason == reason
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait():
    with stopping.requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.reason == "stopped by Ctrl-C"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("reason", "kind", "code", "said"),
    [
        ("stopped by Ctrl-C", Stopped, 130, "stopped by Ctrl-C"),
        ("stopped by SIGTERM", Interrupted, 75, "stopped by SIGTERM"),
        ("", Interrupted, 75, "another process was stopped"),
    ],
)
def test_what_is_saved_is_told_with_the_way_to_go_on(reason, kind, code, said):
    failure = stopping.saved(reason, "step 3 of 9", Path("runs/one"))
    assert (type(failure), failure.exit_code) == (kind, code)
    assert failure.problem == f"{said}; step 3 of 9 is saved"
    assert failure.fix.endswith("-o runs/one --resume")


def test_what_is_lost_is_told_as_well():
    failure = stopping.at_once(Path("runs/one"), has_checkpoint=False)
    assert "nothing is saved yet" in failure.problem
    assert "starts from the beginning" in failure.fix
    assert "are lost" in stopping.at_once(Path("runs/one"), has_checkpoint=True).problem


def test_time_runs_out():
    with stopping.requests(max_seconds=1000) as request:
        assert request.reason == ""
    with stopping.requests(max_seconds=0) as request:
        assert request.reason == "the time given by --max-time is over"
