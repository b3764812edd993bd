"""What is drawn of an image, of a volume and of pooled slices, beside its map."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medssl.training import explaining
from medssl.training.explaining import Input
from medssl.training.saliency import Evidence


def given(*shape):
    """An input with a value of its own in every voxel."""
    values = torch.arange(float(np.prod(shape))).reshape(1, *shape)
    return Input(images=values, slices={}), values[0].numpy()


def test_an_image_is_one_plane_and_three_channels_are_one_grey():
    image, values = given(1, 4, 5)
    assert np.array_equal(image.planes(1), values)
    colour, values = given(3, 4, 5)
    np.testing.assert_allclose(colour.planes(3), values.mean(axis=0)[None])


def test_slices_are_planes_in_order():
    volume, values = given(1, 6, 4, 5)
    assert np.array_equal(volume.planes(1), values[0])
    pooled, values = given(6, 4, 5)
    assert np.array_equal(pooled.planes(1), values)
    sequences, values = given(6, 4, 5)  # three slices of two channels: the first of each is shown
    assert np.array_equal(sequences.planes(2), values[::2])


@pytest.mark.parametrize(
    ("shape", "cells", "highest", "plane", "shown"),
    [
        ((1, 8, 8), (2, 2), (0, 1), 0, None),
        ((1, 8, 6, 6), (2, 2, 2), (1, 0, 1), 6, 7),  # the middle of the upper half
        ((1, 9, 6, 6), (3, 2, 2), (0, 0, 1), 1, 2),
        ((4, 6, 6), (4, 2, 2), (3, 1, 1), 3, 4),  # pooled slices, one map each
        ((1, 8, 6, 6), (2, 2, 2), None, 6, 7),  # blank
    ],
)
def test_the_slice_with_the_highest_cell_is_drawn(shape, cells, highest, plane, shown):
    image, _ = given(*shape)
    found = np.full(cells, 0.5) if highest else np.zeros(cells)
    if highest:
        found[highest] = 3.0
    work = SimpleNamespace(
        chosen=[SimpleNamespace(image_id="a")],
        given={"a": image},
        models=SimpleNamespace(info=SimpleNamespace(in_channels=1)),
    )
    evidence = Evidence(cells=found, smooth=found)
    one, picture = explaining._drawn(work, 0, evidence, None, None)
    assert one.slice == shown
    assert np.array_equal(picture.image, image.planes(1)[plane])
    assert (one.low, one.high, one.blank) == ((0.5, 3.0, False) if highest else (0.0, 0.0, True))
    assert picture.cells.max() == one.high
    assert picture.cells.shape == cells[-2:]
