import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medssl.ingestion import geometry
from medssl.ingestion.geometry import Plane

numbers = st.floats(-500, 500, allow_nan=False)
angles = st.floats(-3.1, 3.1)


def rotation(a: float, b: float, c: float) -> np.ndarray:
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def plane(turn: np.ndarray, origin: np.ndarray, spacing=(0.5, 0.7)) -> Plane:
    column, row = turn[:, 0] * spacing[1], turn[:, 1] * spacing[0]
    return Plane(geometry.triple(origin), geometry.triple(column), geometry.triple(row))


@given(hnp.arrays(np.float64, (5, 3), elements=numbers))
def test_lps_to_ras_twice_is_identity(vectors):
    assert np.array_equal(geometry.lps_to_ras(geometry.lps_to_ras(vectors)), vectors)


def test_lps_to_ras_turns_left_and_posterior_only():
    assert geometry.lps_to_ras([1, 2, 3]).tolist() == [-1, -2, 3]


@given(angles, angles, angles)
def test_the_normal_is_a_unit_vector_across_the_plane_pointing_to_ras(a, b, c):
    found = geometry.normal(plane(rotation(a, b, c), np.zeros(3)))
    assert np.linalg.norm(found) == pytest.approx(1)
    assert np.abs(found @ rotation(a, b, c)[:, :2]).max() < 1e-9
    assert found[np.argmax(np.round(np.abs(found), 6))] > 0


@given(angles, angles, angles, st.integers(2, 9), st.floats(0.5, 6))
def test_a_regular_stack_has_its_step_along_the_normal_and_no_flag(a, b, c, n, mm):
    turn = rotation(a, b, c)
    up = geometry.normal(plane(turn, np.zeros(3)))
    found = geometry.stack([plane(turn, up * mm * k) for k in range(n)])
    assert found.flags == ()
    assert np.allclose(found.step, up * mm)


def test_one_missing_slice_is_a_gap_and_does_not_stretch_the_step():
    planes = [plane(np.eye(3), np.array([0, 0, z])) for z in (0, 2, 4, 8, 10)]
    found = geometry.stack(planes)
    assert found.flags == ("gap",)
    assert found.step == (0, 0, 2)


def test_rounding_of_positions_is_no_gap():
    planes = [plane(np.eye(3), np.array([0, 0, z])) for z in (0, 3.33, 6.67, 10.0)]
    assert geometry.stack(planes).flags == ()


def test_a_sheared_stack_is_a_tilt_whose_step_follows_the_positions():
    planes = [plane(np.eye(3), np.array([0, 0.4 * k, 2.0 * k])) for k in range(4)]
    found = geometry.stack(planes)
    assert found.flags == ("tilt",)
    assert found.step == pytest.approx((0, 0.4, 2))


def test_slices_of_less_than_a_micron_have_a_step_where_their_thickness_is_known():
    planes = [plane(np.eye(3), np.array([0, 0, 0.0008 * k])) for k in range(2)]
    assert geometry.stack(planes).step is None
    assert geometry.stack(planes, 0.0008).step == pytest.approx((0, 0, 0.0008))
    uneven = [plane(np.eye(3), np.array([0, 0, z])) for z in (0, 0.0008, 0.0016, 0.0032)]
    assert geometry.stack(uneven, 0.0008).flags == ("gap",)


def test_one_slice_or_one_position_has_no_step():
    same = plane(np.eye(3), np.zeros(3))
    assert geometry.stack([same]).step is None
    assert geometry.stack([same, same]).step is None


@given(angles, angles, angles, st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_shrinking_keeps_the_outer_corners_of_the_image(a, b, c, rows, columns, factor):
    before = plane(rotation(a, b, c), np.array([10.0, -20.0, 30.0]))
    old_rows, old_columns = rows * factor, columns + factor
    after = geometry.resized(before, old_rows / rows, old_columns / columns)

    def corner(of: Plane, row: float, column: float) -> np.ndarray:
        return np.array(of.origin) + row * np.array(of.row_step) + column * np.array(of.column_step)

    for y, x in ((0, 0), (1, 0), (0, 1), (1, 1)):
        was = corner(before, y * old_rows - 0.5, x * old_columns - 0.5)
        now = corner(after, y * rows - 0.5, x * columns - 0.5)
        assert np.allclose(was, now)


def test_the_affine_takes_column_row_slice_to_mm():
    at = Plane((10, 20, 30), (0.5, 0, 0), (0, -0.7, 0))
    matrix = np.array(geometry.affine(at, (0, 0, 3))).reshape(3, 4)
    assert (matrix @ [2, 1, 4, 1]).tolist() == [11, 19.3, 42]


def test_planes_are_parallel_within_the_tolerance_only():
    flat = plane(np.eye(3), np.zeros(3))
    assert geometry.is_parallel(flat, plane(rotation(0.0005, 0, 0), np.ones(3)))
    assert not geometry.is_parallel(flat, plane(rotation(0.01, 0, 0), np.ones(3)))
