"""The sheet of views shows every picture once, where it belongs and as bright as it is."""

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from medssl.reporting import view_sheet


def read(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")[:, :, :3]


def flat(*values):
    return [np.full((1, 6, 6), value) for value in values]


def levels(png):
    """The grey levels of large even areas, in the order they are met from the top left."""
    pixels, found = np.rint(255 * read(png).mean(axis=2)).astype(int), []
    for row in pixels:
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
            if end - start > 60 and row[start] not in {255, *found}:
                found.append(int(row[start]))
    return found


def test_every_picture_stands_in_its_row_and_column():
    png = view_sheet.draw(
        flat(0.1, 0.4), [flat(0.2, 0.5), flat(0.3, 0.6)], ["a", "b"], title="What", span=(0, 1)
    )
    assert levels(png) == pytest.approx([255 * k / 10 for k in range(1, 7)], abs=1)


def test_the_sheet_grows_with_the_images_and_views():
    sizes = [
        read(view_sheet.draw(flat(*[0.5] * n), [flat(*[0.5] * n)] * k, ["x"] * k)).shape[:2]
        for n, k in ((1, 2), (3, 2), (1, 6))
    ]
    assert sizes[1][0] > 2 * sizes[0][0] - 110
    assert sizes[1][1] == sizes[0][1]
    assert sizes[2][1] > 1.8 * sizes[0][1]


def test_views_are_scaled_as_their_image_is():
    image = np.linspace(100, 300, 36).reshape(1, 6, 6)
    png = view_sheet.draw([image], [flat(150.0), flat(250.0)], ["x", "y"])
    low, high = np.percentile(image, (0.5, 99.5))
    expected = [255 * (value - low) / (high - low) for value in (150, 250)]
    assert [level for level in levels(png) if level > 0] == pytest.approx(expected, abs=1)


def test_a_volume_is_shown_by_its_middle_slice_and_colours_are_colours():
    volume = np.arange(5.0)[None, :, None, None].repeat(6, axis=2).repeat(6, axis=3) / 5
    assert view_sheet._flat(volume).tolist() == np.full((6, 6), 0.4).tolist()
    colour = np.stack([np.full((6, 6), k / 2) for k in range(3)])
    assert view_sheet._flat(colour)[0, 0].tolist() == [0, 0.5, 1]
    pixels = read(view_sheet.draw([colour], [[colour]], ["x"], span=(0, 1))).reshape(-1, 3)
    assert np.abs(pixels - [0, 0.5, 1]).max(axis=1).min() < 0.01


def test_headings_name_the_views_with_their_shapes(monkeypatch):
    image, local = (np.zeros((1, *size)) for size in ((4, 8, 8), (2, 4, 4)))
    shown = []
    monkeypatch.setattr(Axes, "set_title", lambda _, text, **__: shown.append(text))
    view_sheet.draw([image], [[image], [local]], ["view 1", "local view 1"])
    assert shown == [
        "whole image\n4 × 8 × 8",
        "view 1\n4 × 8 × 8",
        "local view 1\n2 × 4 × 4",
    ]


def test_the_same_pictures_give_the_same_bytes():
    given = (flat(0.5), [flat(0.2)], ["$a_$b"])
    assert view_sheet.draw(*given) == view_sheet.draw(*given)
