"""The sheet of views shows every picture once, where it belongs and as bright as it is."""

import io
from itertools import pairwise

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from medssl.config.training import Views
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


STILL = Views(rotation_deg=0, contrast=0, gamma=0, noise=0, blur=0)


def test_the_title_names_what_varies_and_nothing_else():
    title, captions = view_sheet.wording(STILL, 2, 1)
    assert "by chance (crop)." in title
    assert captions == ["view 1", "view 2", "small view 1"]
    more = STILL.model_copy(update={"flip": 0.5, "noise": 0.1})
    assert "by chance (crop, left-right flip, noise)." in view_sheet.wording(more, 2)[0]


@pytest.mark.parametrize(
    ("positives", "caption", "words"),
    [("slice", "near slice", "another slice"), ("patient", "other image", "the same patient")],
)
def test_views_of_partners_are_told_from_those_of_the_image(positives, caption, words):
    title, captions = view_sheet.wording(STILL, 2, positives=positives)
    assert captions == ["view 1", f"view 2, {caption}"]
    assert words in title
    assert "the image itself if there is none" in title


def test_of_masked_methods_it_is_said_that_nothing_is_hidden_yet():
    title, captions = view_sheet.wording(STILL, 1, masked=True)
    assert captions == ["view 1, before hiding"]
    assert "hides parts" in title


@pytest.mark.parametrize("n_full", [1, 2])
def test_no_heading_is_wider_than_what_it_is_above(monkeypatch, n_full):
    """The narrowest sheet has the longest headings; a figure cuts what does not fit."""
    drawn = []
    monkeypatch.setattr(view_sheet.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    masked = n_full == 1
    positives = "view" if masked else "patient"
    title, captions = view_sheet.wording(Views(), n_full, positives=positives, masked=masked)
    view_sheet.draw([np.zeros((1, 4, 9, 9))], [[np.zeros((1, 4, 9, 9))]] * n_full, captions,
                    title=title)  # fmt: skip
    [figure] = drawn
    figure.draw_without_rendering()
    assert "middle slice" in figure.get_suptitle().replace("\n", " ")
    assert figure._suptitle.get_window_extent().x1 < figure.bbox.x1
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert figure._suptitle.get_window_extent().y0 > max(box.y1 for box in boxes)
