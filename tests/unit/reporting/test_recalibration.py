"""Raw and recalibrated probabilities in one figure."""

import re

import pytest

from medssl.reporting import recalibration


def curve(shift):
    at = [0.1, 0.3, 0.5, 0.7]
    return {
        "column": "finding",
        "predicted": at,
        "observed": [min(1.0, x + shift) for x in at],
        "low": [max(0.0, x + shift - 0.1) for x in at],
        "high": [None, *(min(1.0, x + shift + 0.1) for x in at[1:])],
    }


@pytest.fixture(scope="module")
def drawn():
    return recalibration.draw([curve(0.2), curve(0.0)])


def test_both_lines_are_named_and_differ_without_colour(drawn):
    assert drawn.startswith("<svg")
    for name in ("ideal", "raw", "recalibrated", "Predicted probability"):
        assert f">{name}<" in drawn
    styles = {style for _, style, _ in recalibration.LOOKS}
    assert len(styles) == len(recalibration.LOOKS)
    dashes = set(re.findall(r"stroke-dasharray: ([\d., ]+)", drawn))
    assert len(dashes) == 2  # the ideal is dotted, raw is dashed, recalibrated has a whole line


def test_the_same_curves_give_the_same_bytes_and_ids_of_their_own(drawn):
    assert recalibration.draw([curve(0.2), curve(0.0)]) == drawn
    assert all(name.startswith("recalibrated-") for name in re.findall(r'\bid="([^"]+)"', drawn))
    assert recalibration.draw([curve(0.0), curve(0.2)]) != drawn


def test_two_curves_are_needed():
    with pytest.raises(ValueError, match="zip"):
        recalibration.draw([curve(0.0)])
