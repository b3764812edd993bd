import numpy as np
import pytest
from hypothesis import given, settings
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
    assert (found.flags, found.has_gap) == (("gap",), True)
    assert found.step == (0, 0, 2)
    assert (found.missing, found.missing_mm) == (1, 2)


@given(angles, angles, angles, st.floats(0.5, 6), st.sets(st.integers(1, 38), max_size=9))
def test_as_many_slices_are_missing_as_were_taken_out(a, b, c, mm, gone):
    turn = rotation(a, b, c)
    up = geometry.normal(plane(turn, np.zeros(3))) * mm
    found = geometry.stack([plane(turn, up * k) for k in range(40) if k not in gone])
    assert found.missing == len(gone)
    assert found.missing_mm == pytest.approx(len(gone) * mm)
    assert found.has_gap == bool(gone)
    assert np.allclose(found.step, up)


def test_a_surplus_slice_is_uneven_and_nothing_is_missing():
    planes = [plane(np.eye(3), np.array([0, 0, z])) for z in (0, 2, 3, 4, 6, 8, 10)]
    found = geometry.stack(planes)
    assert (found.flags, found.missing, found.missing_mm) == (("gap",), 0, 0)


@pytest.mark.parametrize(("share", "flags"), [(0.009, ()), (0.011, ("gap",))])
def test_distances_may_vary_by_one_per_cent(share, flags):
    along = np.cumsum([0, 3, 3, 3 * (1 + share), 3, 3])
    planes = [plane(np.eye(3), np.array([0, 0, z])) for z in along]
    assert geometry.stack(planes).flags == flags


def test_rounding_of_positions_is_no_gap():
    planes = [plane(np.eye(3), np.array([0, 0, z])) for z in (0, 3.33, 6.67, 10.0)]
    assert geometry.stack(planes).flags == ()
    planes = [plane(np.eye(3), np.array([0, 0, z])) for z in (0, 0.02, 0.0405, 0.06)]
    assert geometry.stack(planes).flags == ()


def test_a_sheared_stack_is_a_tilt_whose_step_follows_the_positions():
    planes = [plane(np.eye(3), np.array([0, 0.4 * k, 2.0 * k])) for k in range(4)]
    found = geometry.stack(planes)
    assert found.flags == ("tilt",)
    assert found.step == pytest.approx((0, 0.4, 2))
    assert found.tilt == pytest.approx(np.degrees(np.arctan(0.2)))


@pytest.mark.parametrize(("sine", "flags"), [(0.0049, ()), (0.0051, ("tilt",))])
def test_a_stack_may_lean_by_a_third_of_a_degree(sine, flags):
    lean = np.tan(np.arcsin(sine))
    planes = [plane(np.eye(3), np.array([0, lean * z, z])) for z in (0.0, 2.0, 4.0)]
    assert geometry.stack(planes).flags == flags


def test_a_gantry_of_15_degrees_leaves_its_shear_in_the_affine():
    tilt = np.radians(15)  # the table moves along z, the planes lean
    turn = rotation(tilt, 0, 0)
    planes = [plane(turn, np.array([0, 0, 3.0 * k]), (0.5, 0.5)) for k in range(6)]
    found = geometry.stack(planes)
    assert (found.flags, found.tilt) == (("tilt",), pytest.approx(15))
    matrix = np.array(geometry.affine(planes[0], found.step)).reshape(3, 4)
    for k, one in enumerate(planes):
        assert matrix @ [0, 0, k, 1] == pytest.approx(one.origin)
        corner = np.add(one.origin, 7 * np.array(one.column_step) + 5 * np.array(one.row_step))
        assert matrix @ [7, 5, k, 1] == pytest.approx(corner)
    across = np.cross(matrix[:, 0], matrix[:, 1])
    cosine = across @ matrix[:, 2] / np.linalg.norm(across) / np.linalg.norm(matrix[:, 2])
    assert np.degrees(np.arccos(abs(cosine))) == pytest.approx(15)
    assert np.linalg.det(matrix[:, :3]) == pytest.approx(0.5 * 0.5 * 3 * np.cos(tilt))


@pytest.mark.parametrize(("beside", "flags"), [(0.2, ()), (0.3, ("shifted",))])
def test_a_slice_beside_the_line_of_the_others_is_told(beside, flags):
    origins = [(0, 0, 0), (0, beside, 2), (0, 0, 4), (0, 0, 6)]  # pixels of 0.5 mm
    planes = [plane(np.eye(3), np.array(origin)) for origin in origins]
    assert geometry.stack(planes).flags == flags


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


def test_planes_are_alike_within_the_tolerance_only():
    flat = plane(np.eye(3), np.zeros(3))
    others = [
        plane(rotation(0.0005, 0, 0), np.ones(3)),
        plane(rotation(0.01, 0, 0), np.ones(3)),
        plane(np.eye(3), np.zeros(3), (0.501, 0.7)),
        plane(np.eye(3), np.zeros(3), (0.51, 0.7)),
        plane(-np.eye(3), np.zeros(3)),
    ]
    found = geometry.alike([flat, *others])
    assert [number == found[0] for number in found] == [True, True, False, True, False, False]


@given(st.permutations(range(30)))
@settings(max_examples=30)
def test_jitter_goes_with_the_most_frequent_direction_in_any_order(order):
    jitter = [0.0] * 4 + list(np.linspace(-0.0009, 0.0009, 11))  # on both sides: 1.8 tolerances
    planes = [plane(rotation(angle, 0, 0), np.zeros(3)) for angle in [*jitter, *jitter]]
    found = geometry.alike([planes[k] for k in order])
    assert len(set(found)) == 1


@settings(max_examples=60)
@given(st.lists(st.tuples(angles, st.integers(-3, 3), st.integers(0, 2)), min_size=1, max_size=12))
def test_planes_follow_the_most_frequent_they_are_alike_to(told):
    # a few directions, each in steps of 0.4 tolerances, and spacings in steps of 0.6
    planes = [
        plane(rotation(round(a), 4e-4 * b, -4e-4 * b), np.zeros(3), (0.5 * 1.003**c, 0.7))
        for a, b, c in told
    ]
    kinds = [(one.column_step, one.row_step) for one in planes]
    order = sorted(set(kinds), key=lambda kind: (-kinds.count(kind), kind))
    leaders: list[tuple] = []
    expected = {}
    for kind in order:
        near = [leader for leader in leaders if is_alike(kind, leader)]
        leaders += [] if near else [kind]
        expected[kind] = near[0] if near else kind
    found = geometry.alike(planes)
    for one, number in zip(kinds, found, strict=True):
        assert order[number] == expected[one]


def is_alike(first, second):
    for a, b in zip(first, second, strict=True):
        a, b = np.array(a), np.array(b)
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        if abs(np.log(lengths[0] / lengths[1])) >= geometry.SAME_SPACING:
            return False
        if np.abs(a / lengths[0] - b / lengths[1]).max() >= geometry.SAME_DIRECTION:
            return False
    return True


def test_a_radial_series_has_as_many_groups_as_directions():
    turns = [rotation(0, 0, np.pi * k / 500) for k in range(500)]
    planes = [plane(turn @ rotation(np.pi / 2, 0, 0), np.zeros(3)) for turn in turns]
    found = np.array(geometry.alike(planes * 3)).reshape(3, 500)
    assert len(set(found[0].tolist())) == 500
    assert (found == found[0]).all()


def test_offsets_are_pixels_along_rows_and_columns():
    turn = rotation(0.3, -0.2, 1.0)
    moved = turn @ [7 * 0.7, -3 * 0.5, 11]  # columns 0.7 mm and rows 0.5 mm apart
    planes = [plane(turn, np.array([1.0, 2, 3])), plane(turn, np.array([1.0, 2, 3]) + moved)]
    assert np.allclose(geometry.offsets(planes), [[0, 0], [7, -3]])
