import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from medssl.reporting import figures, reconstruction


def pictures(n=2, spatial=(8, 8), channels=1):
    """A dark and a bright half; the left half is hidden and painted in the wrong half's grey."""
    image = np.zeros((n, channels, *spatial), dtype=np.float32)
    image[..., spatial[-1] // 2 :] = 3.0
    hidden = np.zeros(image.shape, dtype=bool)
    hidden[..., : spatial[-1] // 2] = True
    painted = np.where(hidden, 1.5, image)
    masked = np.where(hidden, 0, image)
    return {"image": image, "masked": masked, "hidden": hidden, "painted": painted}


def colours(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has(drawn, colour):
    return (np.abs(drawn.astype(int) - np.round(255 * np.array(colour))) <= 1).all(axis=2).sum()


def test_hidden_pixels_are_no_grey_value_and_the_painting_has_that_of_the_image():
    drawn = colours(reconstruction.draw(pictures(n=1)))
    tile = has(drawn, to_rgb(figures.FAINT))  # half a tile
    assert tile > 5000
    # half of the image is black; half of the painting lies half-way between black and white
    assert has(drawn, (0, 0, 0)) == pytest.approx(tile, rel=0.05)
    assert has(drawn, (0.5, 0.5, 0.5)) == pytest.approx(tile, rel=0.05)


def test_of_a_volume_the_middle_slice_is_drawn():
    shown = pictures(n=1, spatial=(5, 8, 8))
    flat = pictures(n=1)
    for name, volume in shown.items():
        for k in (0, 1, 3, 4):  # would show
            volume[:, :, k] = volume[:, :, k].max()
        volume[:, :, 2] = flat[name]
    assert np.array_equal(colours(reconstruction.draw(shown)), colours(reconstruction.draw(flat)))


def test_colour_stays_colour():
    shown = pictures(n=1, channels=3)
    shown["image"][:, 1:, :, 4:] = 0  # red
    assert has(colours(reconstruction.draw(shown)), (1, 0, 0)) > 5000


def test_of_many_images_the_first_are_drawn(monkeypatch):
    monkeypatch.setattr(reconstruction, "MOST", 1)
    shown = pictures(n=3)
    fewer = {name: values[:1] for name, values in shown.items()}
    assert reconstruction.draw(shown) == reconstruction.draw(fewer)


def test_a_blank_image_is_drawn_and_the_same_numbers_give_the_same_file():
    shown = {name: np.zeros_like(values) for name, values in pictures(n=1).items()}
    assert reconstruction.draw(shown) == reconstruction.draw(shown)


def test_what_the_colours_and_the_painting_mean_is_said_and_not_cut(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        reconstruction.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure)
    )
    reconstruction.draw(pictures(n=1))
    [figure] = drawn
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x1 < figure.bbox.x1
    assert box.y0 > max(axes.title.get_window_extent().y1 for axes in figure.axes)
    assert "Blue-grey" in figure.get_suptitle()
