"""The figure of learning rates: every group can be seen, however far their rates lie apart."""

import io

import numpy as np
import pytest
from PIL import Image

from medssl.reporting import schedule


def rates(low):
    probe, later = np.full(10, 1e-2), np.linspace(low, 0, 20)
    frozen = np.full(10, np.nan)
    return {"head": np.r_[probe, later], "layer4": np.r_[frozen, later]}


@pytest.mark.parametrize(("low", "is_log"), [(1e-4, True), (5e-3, False)])
def test_rates_far_apart_are_drawn_on_a_log_axis(monkeypatch, low, is_log):
    scales = []
    monkeypatch.setattr(schedule, "_mark", lambda axes, _: scales.append(axes))
    png = schedule.draw(rates(low), 5, [("probe", 0), ("lp_ft", 2)])
    (axes,) = scales
    assert (axes.get_yscale() == "log") == is_log
    bottom, top = axes.get_ylim()
    assert bottom < low < 1e-2 < top
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size[0] > 800


def test_peaks_are_those_of_each_phase():
    assert schedule._peaks(rates(1e-4), [0, 10]) == pytest.approx([1e-2, 1e-4, 1e-4])
    assert schedule._peaks({"head": np.full(3, np.nan)}, [0]) == [1.0]
