"""Stylised chest radiographs as arrays.

Every draw uses `Generator.random` on PCG64, the one stream that stays the same across versions of
numpy, and noise is added before rounding, so that no pixel sits on a rounding edge.

Radiograph coordinates: x to the right of the picture (the patient's left), y downwards, both -1 to
1 over the height of the picture. Brightness 0 is air, 1 is metal.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What makes one patient's chest differ from another's; lengths in half heights."""

    width: float  # of the chest
    lung_base: float  # height of the diaphragm
    heart: float  # radius
    axis: float  # tilt of the heart, radians
    ribs: float  # vertical offset of the rib cage
    bone: float  # brightness of bone
    density: float  # brightness of lung
    vessels: float  # brightness of vessels
    turn: float  # phase of everything that branches, radians
    fat: float  # brightness of soft tissue


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A soft round opacity in one lung."""

    side: int  # -1 left in the picture, 1 right
    across: float  # 0 mediastinum, 1 chest wall
    height: float  # 0 diaphragm, 1 apex
    radius: float
    contrast: float  # brightness added in its middle
    wobble: float  # how far its edge is from a circle


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How a site's detector turns brightness into 12-bit values."""

    gain: float
    gamma: float
    noise: float  # standard deviation at brightness 1
    blur: float  # px at 128 px height
    collimation: float  # largest margin, share of half the height


_RANGES = {
    "width": (0.88, 1.08),
    "lung_base": (0.34, 0.58),
    "heart": (0.22, 0.34),
    "axis": (0.35, 0.85),
    "ribs": (-0.06, 0.06),
    "bone": (0.7, 1.25),
    "density": (0.13, 0.25),
    "vessels": (0.6, 1.3),
    "turn": (0.0, 2 * np.pi),
    "fat": (0.5, 0.62),
}


def generator(seed: int) -> np.random.Generator:
    """Return the generator of one picture; only its `random` is used here."""
    return np.random.Generator(np.random.PCG64(seed))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number from a range."""
    return low + (high - low) * float(rng.random())


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw bell-shaped noise of variance 1 (a sum of four uniform draws)."""
    return np.asarray((rng.random((4, *shape)).sum(axis=0) - 2.0) * np.sqrt(3.0))


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient's chest."""
    return Anatomy(**{f.name: between(rng, *_RANGES[f.name]) for f in fields(Anatomy)})


def draw_finding(rng: np.random.Generator) -> Finding:
    """Draw a finding: more often low than high in the lung, from hard to see to plain."""
    return Finding(
        side=-1 if rng.random() < 0.5 else 1,
        across=between(rng, 0.3, 0.7),
        height=between(rng, 0.0, 1.0) ** 1.6 * 0.45 + 0.12,
        radius=between(rng, 0.15, 0.26),
        contrast=between(rng, 0.10, 0.34),
        wobble=between(rng, 0.05, 0.25),
    )


def radiograph(
    anatomy: Anatomy,
    finding: Finding | None,
    scanner: Scanner,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Return one frontal chest radiograph, 12 bits, bone bright.

    Args:
        anatomy: The patient's.
        finding: None for a chest without one.
        scanner: The site's.
        shape: Rows and columns, px.
        rng: Draws positioning, texture and noise of this exposure.
    """
    x, y = _positioned(shape, rng)
    x = x / anatomy.width
    lungs, brightness = _chest(anatomy, x, y)
    brightness += 0.022 * lungs * ndimage.gaussian_filter(noise(rng, shape), shape[0] / 70) * 6
    if finding is not None:
        brightness += lungs * _opacity(finding, anatomy, x, y)
    return _expose(brightness, scanner, rng)


def _positioned(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Array, Array]:
    """Return coordinates of a patient who stands a little off and turned: x, y, each `shape`."""
    rows, columns = shape
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    x, y = (2 * x - columns) / rows, 2 * y / rows - 1
    angle = between(rng, -0.05, 0.05)
    scale = between(rng, 0.82, 0.93)
    across = (x * np.cos(angle) + y * np.sin(angle)) * scale + between(rng, -0.05, 0.05)
    down = (y * np.cos(angle) - x * np.sin(angle)) * scale + between(rng, -0.05, 0.05)
    return across, down


def inside(distance: Array, softness: float) -> Array:
    """Return 1 where ``distance`` is well above 0, 0 well below it, smooth between."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / softness))


def _bump(distance: Array, width: float) -> Array:
    return np.asarray(np.exp(-np.square(distance / width)))


def _band(distance: Array, width: float) -> Array:
    """Return a bump with a flat top."""
    return np.asarray(np.exp(-np.square(np.square(distance / width))))


def _chest(anatomy: Anatomy, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the lung mask (0 to 1) and the brightness of everything but noise and finding."""
    side = np.abs(x)
    half = np.interp(y, [-1.0, -0.86, -0.62, -0.3, 0.3, 1.0], [0.30, 0.36, 1.12, 1.0, 0.88, 0.94])
    body = inside(half - side, 0.03)
    thick = np.sqrt(np.clip(1 - (side / half) ** 2, 0, 1))
    brightness = body * (anatomy.fat * 0.55 + anatomy.fat * 0.55 * thick)

    heart = _heart(anatomy, x, y)
    lungs = _lungs(anatomy, x, y) * (1 - 0.92 * heart)
    brightness -= lungs * (brightness - anatomy.density - 0.1 * y - 0.05 * (1 - thick))
    brightness += 0.055 * heart * body
    brightness += body * _mediastinum(x, y)
    brightness += lungs * anatomy.vessels * _vessels(anatomy, x, y)
    brightness += body * anatomy.bone * _bones(anatomy, x, y)
    bubble = inside(1 - np.hypot((x - 0.42) / 0.15, (y - anatomy.lung_base - 0.2) / 0.07), 0.3)
    return lungs, brightness - 0.2 * bubble * (1 - lungs)


def _heart(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Return heart, aortic knob and right heart border as one mask."""
    centre = anatomy.lung_base - 0.17
    along = (x - 0.15) * np.cos(anatomy.axis) + (y - centre) * np.sin(anatomy.axis)
    across = (y - centre) * np.cos(anatomy.axis) - (x - 0.15) * np.sin(anatomy.axis)
    ventricles = 1 - np.hypot(along / (anatomy.heart * 1.28), across / (anatomy.heart * 0.92))
    atrium = 1 - np.hypot((x + 0.06) / 0.17, (y - centre + 0.02) / 0.24)
    knob = 1 - np.hypot((x - 0.07) / 0.12, (y + 0.27) / 0.11)
    root = 1 - np.hypot((x - 0.02) / 0.13, (y + 0.1) / 0.34)
    parts = [inside(part, 0.12) for part in (ventricles, atrium, knob, root)]
    return np.asarray(np.maximum.reduce(parts))


def _lungs(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Return both lungs as one mask: a rounded field above each dome of the diaphragm."""
    side = np.abs(x)
    taper = 0.58 + 0.42 * inside(y + 0.42, 0.22)
    field = 1 - (np.abs(side - 0.43) / (0.33 * taper)) ** 2.6 - (np.abs(y + 0.02) / 0.72) ** 4
    dome = anatomy.lung_base - 0.03 * (x < 0) + 0.9 * (side - 0.38) ** 2
    return inside(field, 0.16) * inside(dome - y, 0.025)


def _mediastinum(x: Array, y: Array) -> Array:
    """Return the spine with its vertebrae and the dark windpipe."""
    column = _bump(x, 0.15)
    vertebrae = 0.02 * np.cos(2 * np.pi * y / 0.15) * _bump(x, 0.09)
    windpipe = 0.09 * _bump(x + 0.01, 0.035) * inside(-0.15 - y, 0.06)
    return 0.1 * column + vertebrae - windpipe


def _vessels(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Return vessels that branch outwards from both hila and fade."""
    total = np.zeros_like(x)
    for sign in (-1.0, 1.0):
        u, v = sign * x - 0.2, y + 0.02
        r = np.hypot(u, v) + 1e-3
        reach = 0.13 * np.exp(-r / 0.28) * (1 - _bump(r, 0.09))
        angle = np.arctan2(v, u)
        total += 0.07 * _bump(r, 0.12)
        for k in range(9):
            bend = 0.35 * np.sin(7 * r + anatomy.turn + 1.9 * k + sign)
            aim = -1.35 + 0.34 * k + 0.12 * np.sin(anatomy.turn + 2.4 * k)
            gap = r * np.sin((angle - aim - bend * r) / 2) * 2
            total += reach * _bump(gap, 0.02)
    return total


def _bones(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Return ribs (brighter at their edges), clavicles and shoulder blades."""
    side = np.abs(x)
    total = np.zeros_like(x)
    cage = inside(0.8 - side, 0.03) * inside(side - 0.1, 0.03)
    arch = 0.12 * np.sin(np.pi * side / 0.7) - 0.45 * side * side
    frontal = 0.026 * cage * inside(side - 0.3, 0.06)
    for k in range(9):
        top = -0.68 + 0.155 * k + anatomy.ribs
        behind = y - top + arch
        total += 0.05 * cage * _band(behind, 0.034)
        total += cage * 0.03 * _bump(np.abs(behind) - 0.034, 0.012)
        if k < 6:
            front = y - (top + 0.5 - 0.42 * (side - 0.2))
            total += frontal * _band(front, 0.04)
    clavicle = y - (-0.52 - 0.3 * (side - 0.08) + 0.05 * np.sin(np.pi * side / 0.4))
    reach = inside(side - 0.07, 0.02) * inside(0.78 - side, 0.04)
    total += 0.12 * reach * _band(clavicle, 0.034)
    blade = np.abs(side - (0.8 + 0.12 * y))
    return total + 0.035 * _bump(blade, 0.03) * inside(-0.05 - y, 0.1) * inside(y + 0.6, 0.1)


def _opacity(finding: Finding, anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Return the brightness a finding adds."""
    cx = finding.side * (0.14 + 0.6 * finding.across)
    cy = anatomy.lung_base - 0.04 - finding.height * (anatomy.lung_base + 0.62)
    angle = np.arctan2(y - cy, x - cx)
    edge = 1 + finding.wobble * (np.cos(2 * angle + anatomy.turn) + 0.6 * np.cos(3 * angle))
    return finding.contrast * _bump(np.hypot(x - cx, y - cy) / edge, finding.radius)


def _expose(brightness: Array, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Blur, collimate, add noise and quantise to 12 bits."""
    rows, columns = brightness.shape
    picture = ndimage.gaussian_filter(brightness, scanner.blur * rows / 128)
    top, bottom, left, right = (
        between(rng, -0.5, 1.0) * scanner.collimation * rows / 2 for _ in range(4)
    )
    i, j = np.mgrid[0:rows, 0:columns] + 0.5
    edges = (i - top, rows - bottom - i, j - left, columns - right - j)
    field = np.minimum.reduce(edges)  # px inside the collimated field
    gain = scanner.gain * between(rng, 0.93, 1.07)
    picture = gain * np.clip(picture, 0.015, 1.2) ** scanner.gamma
    picture += scanner.noise * noise(rng, (rows, columns)) * np.sqrt(0.15 + 0.85 * picture)
    picture *= inside(field, 0.6)
    picture += 0.002 * noise(rng, (rows, columns))
    stored: NDArray[np.uint16] = np.clip(np.rint(picture * 4095), 0, 4095).astype(np.uint16)
    return stored
