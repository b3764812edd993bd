"""A training is asked to stop by a signal or by the clock, and only as long as it runs."""

import os
import signal

from medssl.training import stopping


def test_a_signal_is_a_request_and_nothing_more():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.requests() as request:
        assert request.reason == ""
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.reason == "stopped by SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_time_runs_out():
    with stopping.requests(max_seconds=1000) as request:
        assert request.reason == ""
    with stopping.requests(max_seconds=0) as request:
        assert request.reason == "the time given by --max-time is over"
