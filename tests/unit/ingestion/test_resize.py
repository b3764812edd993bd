import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.ingestion import resize

sides = st.integers(1, 60)


def slow_average(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Average over areas, pixel by pixel, from the overlap of intervals."""

    def shares(old: int, new: int) -> np.ndarray:
        step = old / new
        table = np.zeros((new, old))
        for i in range(new):
            for j in range(old):
                overlap = min((i + 1) * step, j + 1) - max(i * step, j)
                table[i, j] = max(0.0, overlap) / step
        return table

    return shares(image.shape[0], rows) @ image @ shares(image.shape[1], columns).T


@given(sides, sides, st.data())
def test_shrinking_is_the_exact_area_average(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    image = np.random.default_rng(height * 61 + width).integers(0, 65536, (height, width))
    found = resize.shrink(image.astype(np.uint16), rows, columns)
    assert found.shape == (rows, columns)
    assert np.allclose(found, slow_average(image, rows, columns), atol=1e-6)


def test_shrinking_keeps_the_mean_of_16_bit_images():
    image = np.full((64, 48), 65535, dtype=np.uint16)
    assert np.allclose(resize.shrink(image, 20, 15), 65535)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(8, 512))
def test_fit_never_enlarges_and_keeps_the_aspect(rows, columns, side):
    new_rows, new_columns = resize.fit(rows, columns, side)
    assert max(new_rows, new_columns) == min(side, max(rows, columns))
    assert new_rows <= rows
    assert new_columns <= columns
    scale = max(rows, columns) / max(new_rows, new_columns)
    assert abs(new_rows - rows / scale) <= 1
    assert abs(new_columns - columns / scale) <= 1


def test_native_shapes_are_kept():
    assert resize.fit(3000, 2000, None) == (3000, 2000)
    image = np.arange(6).reshape(2, 3)
    assert resize.shrink(image, 2, 3) is image


def test_padding_goes_below_and_to_the_right():
    found = resize.pad(np.ones((2, 3), dtype=np.int16), 4, 4, -1024)
    assert found.dtype == np.int16
    assert found[:2, :3].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert set(found[2:].ravel()) == set(found[:, 3]) == {-1024}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_all_number_types_shrink_alike(dtype):
    image = np.arange(64).reshape(8, 8).astype(dtype)
    assert resize.shrink(image, 4, 4)[0, 0] == 4.5
