import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing

from medssl.data import resampling

SHAPE = (20, 24, 9)  # columns, rows, slices
MM = (0.7, 0.9, 3.0)
SLOPE = np.array([0.3, -0.2, 0.5])  # of a ramp, per mm


def oblique(shear: float = 0.0, spacing=MM, *, up: int = 1) -> np.ndarray:
    """An affine turned by about 20 degrees, its slices leaning by ``shear`` towards the rows."""
    turn = np.linalg.qr(np.array([[1, 0.2, -0.3], [-0.3, 1, 0.2], [0.2, -0.2, 1]]))[0]
    turn = turn * np.sign(np.diag(turn)) * [-1, -1, up]  # rows and columns run as in DICOM
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 2] += shear * spacing[2] * turn[:, 1]
    affine[:3, 3] = 10, -20, 30
    return affine


def places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS+ mm of each voxel, (columns, rows, slices, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def ramp(affine: np.ndarray) -> np.ndarray:
    return (places(SHAPE, affine) @ SLOPE).astype(np.float32)[None]


def noise(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(channels, *SHAPE)).astype(np.float32)


def inside(found_affine: np.ndarray, shape, affine: np.ndarray, margin: float) -> np.ndarray:
    """Which voxels of a result lie in the volume, that many of its voxels from the edge."""
    index = (places(shape, found_affine) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    return ((index >= margin) & (index <= np.array(SHAPE) - 1 - margin)).all(axis=-1)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "PIR", None])
def test_turning_moves_voxels_and_changes_no_value(orientation):
    volume, affine = noise(2), oblique(shear=0.2)
    found, matrix = resampling.resample(volume, affine, orientation=orientation)
    assert np.array_equal(np.sort(found, axis=None), np.sort(volume, axis=None))
    image = nib.Nifti1Image(np.moveaxis(volume, 0, -1), affine)
    if orientation is not None:
        target = nib.orientations.axcodes2ornt(orientation)
        turn = nib.orientations.ornt_transform(nib.io_orientation(affine), target)
        image = image.as_reoriented(turn)
        assert "".join(nib.aff2axcodes(matrix)) == orientation
    assert np.array_equal(np.moveaxis(found, 0, -1), np.asarray(image.dataobj))
    assert np.allclose(matrix, image.affine, atol=1e-12)
    assert found.dtype == np.float32


def test_the_same_spacing_is_the_same_volume():
    volume, affine = noise(), oblique()
    found, matrix = resampling.resample(volume, affine, spacing=MM, orientation=None)
    assert np.array_equal(found, volume)
    assert np.array_equal(matrix, affine)


def test_spacing_is_that_of_the_axes_of_the_result():
    found, matrix = resampling.resample(
        noise(), oblique(), spacing=(3, 0.9, 0.7), orientation="SAR"
    )
    assert found.shape == (1, 9, 24, 20)
    assert np.linalg.norm(matrix[:3, :3], axis=0) == pytest.approx((3, 0.9, 0.7))
    turned, _ = resampling.resample(noise(), oblique(), orientation="SAR")
    assert np.array_equal(found, turned)


@pytest.mark.parametrize("orientation", ["RAS", "LPI", None])
@pytest.mark.parametrize("spacing", [(0.5, 0.5, 1), (1, 1, 2), (0.7, 1.9, 0.8)])
@pytest.mark.parametrize(("shear", "up"), [(0.0, 1), (0.25, 1), (-0.25, 1), (0.25, -1)])
def test_a_ramp_is_the_same_ramp_in_the_patient(shear, up, spacing, orientation):
    affine = oblique(shear, up=up)
    found, matrix = resampling.resample(
        ramp(affine), affine, spacing=spacing, orientation=orientation
    )
    edges = matrix[:3, :3]
    assert np.linalg.norm(edges, axis=0) == pytest.approx(spacing)
    assert np.allclose(edges.T @ edges, np.diag(np.square(spacing)))
    if orientation is None:  # the axes point where they pointed
        assert (np.diag(edges.T @ affine[:3, :3]) > 0).all()
    expected = places(found.shape[1:], matrix) @ SLOPE
    here = inside(matrix, found.shape[1:], affine, margin=4 * max(0, 1.9 / 0.9 - 1) / 2 + 1)
    assert here.any()
    assert np.abs(found[0] - expected)[here].max() < 1e-4


@pytest.mark.parametrize(("shear", "up"), [(0.0, 1), (0.25, 1), (-0.25, 1), (0.25, -1)])
def test_no_voxel_of_the_volume_is_left_out(shear, up):
    affine, spacing = oblique(shear, up=up), np.array((0.5, 0.6, 2))
    found, matrix = resampling.resample(ramp(affine), affine, spacing=spacing)
    index = (places(SHAPE, affine) - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    assert (index > -0.51).all()
    assert (index < np.array(found.shape[1:]) - 0.49).all()


def test_smaller_voxels_are_those_of_monai():
    affine, spacing = oblique(), (0.5, 0.6, 1.1)
    found, matrix = resampling.resample(noise(2), affine, spacing=spacing, orientation=None)
    image = MetaTensor(torch.from_numpy(noise(2)), affine=torch.from_numpy(affine))
    theirs = Spacing(spacing, mode="bilinear", padding_mode="border", dtype=torch.float64)(image)
    assert np.allclose(matrix, theirs.affine)
    assert np.allclose(found, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("spacing", [(0.3, 0.4, 1), (2, 5, 9)])
def test_a_volume_of_one_value_keeps_it_up_to_the_edge(spacing):
    found, _ = resampling.resample(np.full((1, *SHAPE), -7, np.float32), oblique(), spacing=spacing)
    assert np.allclose(found, -7)


def test_larger_voxels_average_what_they_cover():
    affine = oblique(spacing=(1, 1, 1))
    found, _ = resampling.resample(noise(), affine, spacing=(4, 4, 1), orientation=None)
    assert found.shape == (1, 6, 7, 9)
    assert found.std() < 0.4  # every fourth voxel would leave it at 1


@pytest.mark.parametrize("name", ["XYZ", "RA", "RLS", "RASA", "ras", ""])
def test_an_orientation_is_one_of_each_pair(name):
    with pytest.raises(ValueError, match=f"{name!r} is no orientation"):
        resampling.resample(noise(), oblique(), orientation=name)


def test_slabs_join_to_the_whole(monkeypatch):
    affine, how = oblique(shear=0.2), {"spacing": (0.6, 0.8, 0.7), "orientation": "LPS"}
    whole, matrix = resampling.resample(noise(2), affine, **how)
    monkeypatch.setattr(resampling, "_SLAB", 2000)
    found, same = resampling.resample(noise(2), affine, **how)
    assert np.allclose(found, whole, atol=1e-6)
    assert np.array_equal(same, matrix)
