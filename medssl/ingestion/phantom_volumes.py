"""Stylised volumes as arrays: a chest CT in HU and an MR-like head."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssl.ingestion.phantom_images import Array, between, inside, noise

AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, BONE_HU = -1000.0, -860.0, -95.0, 45.0, 60.0, 420.0
TABLE_HU = 150.0


def chest_ct(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.int16]:
    """Return a chest CT whose neighbouring slices are nearly the same.

    Args:
        shape: Slices, rows, columns; slices from foot to head, rows from front to back, columns
            from the patient's right to left.
        rng: Draws proportions, vessels and noise.

    Returns:
        HU, shape ``shape``.
    """
    n, rows, columns = shape
    height = np.linspace(-1.0, 1.0, n)  # of the slice in the chest, foot to head
    proportions = {name: between(rng, 0.92, 1.08) for name in ("body", "lung", "heart")}
    vessels = [_vessel(rng) for _ in range(26)]
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    x, y = 2 * x / columns - 1, 2 * y / rows - 1
    grain = ndimage.gaussian_filter(noise(rng, shape), (0.6, 0.8, 0.8)) * 30.0
    slices = np.stack([_ct_slice(z, x, y, proportions, vessels) for z in height])
    hu: NDArray[np.int16] = np.rint(np.clip(slices + grain, -1024, 3071)).astype(np.int16)
    return hu


def head_mr(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.int16]:
    """Return a T1-like head: skull, folded cortex, white matter, dark ventricles.

    Args:
        shape: Voxels from left to right, back to front and foot to head (the caller may tilt it).
        rng: Draws the folds and the noise.

    Returns:
        Intensity in arbitrary units, shape ``shape``, at least 0.
    """
    x, y, z = (np.mgrid[0 : shape[0], 0 : shape[1], 0 : shape[2]].T + 0.5).T
    x, y, z = (2 * axis / n - 1 for axis, n in zip((x, y, z), shape, strict=True))
    folds = ndimage.gaussian_filter(noise(rng, shape), shape[0] / 24)
    folds = folds / np.abs(folds).max()
    r = np.sqrt((x / 0.86) ** 2 + (y / 0.92) ** 2 + (z / 0.9) ** 2)
    scalp, brain = inside(1 - r, 0.04), inside(0.84 - r, 0.03)
    white = inside(0.68 + 0.5 * folds - r, 0.05)
    ventricle = inside(
        1 - np.hypot(np.hypot((np.abs(x) - 0.13) / 0.1, (y + 0.02) / 0.34), z / 0.24), 0.2
    )
    skull = scalp * (1 - inside(0.95 - r, 0.02))
    signal = 700 * skull + brain * (420 + 330 * white) * (1 - 0.8 * ventricle)
    signal *= 1 + 0.12 * x - 0.1 * y  # the coil's uneven sensitivity
    magnitude = np.abs(signal + 14 * noise(rng, shape))
    volume: NDArray[np.int16] = np.rint(magnitude).astype(np.int16)
    return volume


def _vessel(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw a lung vessel: where it crosses, how it leans with height, how wide it is."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    return (
        side * between(rng, 0.22, 0.55),
        between(rng, -0.3, 0.3),
        between(rng, -0.25, 0.25),
        between(rng, -0.25, 0.25),
        between(rng, 0.012, 0.03),
    )


def _ellipse(x: Array, y: Array, radii: tuple[float, float]) -> Array:
    return np.asarray(1 - np.hypot(x / radii[0], y / radii[1]))


def _ct_slice(
    z: float,
    x: Array,
    y: Array,
    proportions: dict[str, float],
    vessels: list[tuple[float, ...]],
) -> Array:
    """Return one slice in HU; every shape changes smoothly with ``z``."""
    body = proportions["body"] * (0.86 - 0.05 * z * z)
    hu = np.full_like(x, AIR_HU)
    hu = _fill(hu, 0.012 - np.abs(y - 0.78 + 0.12 * x * x), TABLE_HU, 0.01)
    hu = _fill(hu, _ellipse(x, y, (body, 0.66 * body)), FAT_HU)
    hu = _fill(hu, _ellipse(x, y, (body - 0.05, 0.66 * body - 0.05)), MUSCLE_HU)
    lung = proportions["lung"] * np.sqrt(max(0.03, 1 - 0.75 * (z - 0.05) ** 2))
    for side in (-1.0, 1.0):
        field = _ellipse(x - side * 0.4 * body, y + 0.01, (0.29 * lung, 0.44 * lung))
        hu = _fill(hu, field, LUNG_HU, 0.06)
        for across, down, lean, drop, width in vessels:
            if across * side > 0:
                path = _ellipse(x - across - lean * z, y - down - drop * z, (width, width))
                hu += 700 * inside(path, 0.35) * inside(field, 0.06)
    heart = proportions["heart"] * max(0.04, 0.34 * (1 - (z + 0.45) ** 2))
    hu = _fill(hu, _ellipse(x - 0.08, y + 0.12, (heart, 0.8 * heart)), BLOOD_HU, 0.08)
    hu = _fill(hu, _ellipse(x - 0.06, y - 0.2, (0.06, 0.06)), BLOOD_HU, 0.1)  # aorta
    hu = _fill(hu, _ellipse(x, y - 0.36, (0.11, 0.1)), BONE_HU, 0.12)  # vertebra
    hu = _fill(hu, _ellipse(x, y - 0.36 - 0.14, (0.045, 0.045)), MUSCLE_HU, 0.2)  # spinal canal
    return hu + _ribs(z, x, y, body)


def _fill(hu: Array, distance: Array, value: float, softness: float = 0.03) -> Array:
    """Return ``hu`` with ``value`` where ``distance`` is above 0."""
    share = inside(distance, softness)
    return np.asarray(hu * (1 - share) + value * share)


def _ribs(z: float, x: Array, y: Array, body: float) -> Array:
    """Return what ribs and breastbone add in HU: spots on a ring that walk round with height."""
    ring = np.abs(np.hypot(x / (body - 0.1), y / (0.66 * body - 0.1)) - 1)
    angle = np.arctan2(y, np.abs(x))
    spots = np.cos(7 * angle - 6 * z) - 0.55
    return (BONE_HU - MUSCLE_HU) * inside(0.045 - ring, 0.02) * inside(spots, 0.15)
