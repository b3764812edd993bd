"""The images of a DICOM file: where each lies, how it is scaled, and what tells it from others.

A file of one image says so in its own elements; an enhanced one in functional groups, shared by
all its frames or one for each. Frames of any other file (ultrasound, angiography, nuclear medicine)
follow each other by number.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from pydicom import Dataset

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.dicom.elements import (
    integer,
    integers,
    item,
    number,
    numbers,
    seconds,
    text,
    words,
)
from medssl.ingestion.dicom.layouts import Layout
from medssl.ingestion.geometry import Plane, lps_to_ras, triple
from medssl.ingestion.header import Frame

SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_GROUPS = (
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
    "PixelValueTransformationSequence", "FrameContentSequence", "TemporalPositionSequence",
    "CardiacSynchronizationSequence", "MRDiffusionSequence", "MREchoSequence",
    "MRTimingAndRelatedParametersSequence", "CTXRayDetailsSequence", "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence", "PETFrameTypeSequence", "USImageDescriptionSequence",
    "XRay3DFrameTypeSequence", "XAXRFFrameCharacteristicsSequence",
)  # fmt: skip
_KINDS = ("EnergyWindowVector", "DetectorVector")  # of nuclear medicine
_GATES = ("RRIntervalVector", "TimeSlotVector")  # each a volume of its own where there are slices
_NO_PHASE = -1.0
_DIRECTIONS = 100  # that are told apart along each axis, from the middle to the end


def settings(dataset: Dataset) -> Dataset:
    """Return where the scanner's settings stand; see `facts.facts`."""
    if not _is_enhanced(dataset):
        return dataset
    return next(_gathered(dataset, 1))


def frames(dataset: Dataset, layout: Layout) -> tuple[Frame, ...]:
    """Return the images of a file, in its order.

    Raises:
        RejectedFile: BAD_HEADER where functional groups are missing, or a scale is no number.
    """
    if _is_enhanced(dataset):
        return _enhanced(dataset, layout)
    slope, intercept = rescale(dataset, dataset)
    if layout.n_frames == 1:
        return (
            Frame(
                plane=plane(dataset),
                slope=slope,
                intercept=intercept,
                instance=integer(dataset, "InstanceNumber"),
                phase=_phase(dataset),
                times=_times(dataset),
            ),
        )
    kinds = _nuclear_kinds(dataset, layout.n_frames)
    return tuple(
        Frame(slope=slope, intercept=intercept, instance=place + 1, kind=kinds[place])
        for place in range(layout.n_frames)
    )


def plane(dataset: Dataset) -> Plane | None:
    """Return where an image lies, None where that is not told or makes no sense."""
    origin = numbers(dataset, "ImagePositionPatient", 3)
    directions = numbers(dataset, "ImageOrientationPatient", 6)
    spacing = numbers(dataset, "PixelSpacing", 2)
    if origin is None or directions is None or spacing is None or min(spacing) <= 0:
        return None
    along_row, along_column = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if min(lengths) < 0.9 or abs(float(along_row @ along_column)) > 0.01:
        return None
    return Plane(
        triple(lps_to_ras(origin)),
        triple(lps_to_ras(along_row / lengths[0] * spacing[1])),
        triple(lps_to_ras(along_column / lengths[1] * spacing[0])),
    )


def rescale(dataset: Dataset, otherwise: Dataset) -> tuple[float, float]:
    """Return slope and intercept; one that is given while the other is not still counts.

    Args:
        dataset: Of a frame.
        otherwise: Of the file, for what the frame does not tell.
    """
    values = []
    for name, neutral in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        told = dataset.get(name)
        told = otherwise.get(name) if told in {None, ""} else told
        values.append(neutral if told in {None, ""} else float(told))
    if not all(map(math.isfinite, values)) or values[0] == 0:
        raise RejectedFile(Code.BAD_HEADER)
    return values[0], values[1]


def spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Return the distance between rows and between columns, mm."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = numbers(dataset, name, 2)
        if values is not None and min(values) > 0:
            return values[0], values[1]
    return None


def b_value(found: Sequence[Frame]) -> float | None:
    """Return the b-value of all frames, s/mm2; None where they differ."""
    values = {frame.phase[1] for frame in found if len(frame.phase) > 1}
    return values.pop() if len(values) == 1 and _NO_PHASE not in values else None


def _is_enhanced(dataset: Dataset) -> bool:
    return EACH in dataset or SHARED in dataset


def _enhanced(dataset: Dataset, layout: Layout) -> tuple[Frame, ...]:
    found = []
    for instance, own in enumerate(_gathered(dataset, layout.n_frames), start=1):
        slope, intercept = rescale(own, dataset)
        found.append(
            Frame(
                plane=plane(own),
                slope=slope,
                intercept=intercept,
                instance=instance,
                phase=(*_phase(own), *map(float, integers(own, "DimensionIndexValues"))),
                kind=_frame_kind(own),
            )
        )
    return tuple(found)


def _gathered(dataset: Dataset, n_frames: int) -> Iterator[Dataset]:
    """Yield the elements of each frame's functional groups as one dataset."""
    each = dataset.get(EACH) or ()
    if each and len(each) < n_frames:
        raise RejectedFile(Code.BAD_HEADER)
    shared = Dataset()
    common = item(dataset, SHARED)
    if common is not None:
        _merge(common, shared)
    for place in range(n_frames):
        own = Dataset()
        own.update(shared)
        if each:
            _merge(each[place], own)
        yield own


def _merge(groups: Dataset, into: Dataset) -> None:
    for name in _GROUPS:
        group = item(groups, name) if name in groups else None
        if group is not None:
            into.update(group)


def _phase(dataset: Dataset) -> tuple[float, ...]:
    """Return time, b-value, acquisition, heart phase and direction, -1 for what is not told."""
    names = (
        ("TemporalPositionIdentifier", "TemporalPositionIndex", "TemporalPositionTimeOffset"),
        ("DiffusionBValue",),
        ("AcquisitionNumber", "FrameAcquisitionNumber"),
        ("TriggerTime", "NominalCardiacTriggerDelayTime"),
    )
    told = (
        next((v for v in (number(dataset, name) for name in same) if v is not None), _NO_PHASE)
        for same in names
    )
    return (*told, _direction(dataset))


def _times(dataset: Dataset) -> tuple[float, ...]:
    told = (seconds(dataset, name) for name in ("AcquisitionTime", "ContentTime"))
    return tuple(_NO_PHASE if time is None else time for time in told)


def _direction(dataset: Dataset) -> float:
    """Return a number that stands for the direction of a diffusion gradient, to about a degree."""
    inside = item(dataset, "DiffusionGradientDirectionSequence")
    told = numbers(inside or dataset, "DiffusionGradientOrientation", 3)
    if told is None:
        return _NO_PHASE
    length = max(1.0, math.hypot(*told))
    x, y, z = (round(value / length * _DIRECTIONS) + _DIRECTIONS for value in told)
    return float((x * (2 * _DIRECTIONS + 1) + y) * (2 * _DIRECTIONS + 1) + z)


def _frame_kind(own: Dataset) -> tuple[str, ...]:
    """Return what frames of one volume share: type, component, stack and echo."""
    echo = number(own, "EffectiveEchoTime")
    return (
        "\\".join(words(own, "FrameType")[2:]),
        text(own, "ComplexImageComponent"),
        text(own, "StackID"),
        "" if echo is None else f"{echo:g}",
    )


def _nuclear_kinds(dataset: Dataset, n_frames: int) -> list[tuple[str, ...]]:
    """Return per frame which energy, detector and, for slices, which gate it belongs to."""
    names = [*_KINDS, *(_GATES if "SliceVector" in dataset else ())]
    vectors = [values for name in names if len(values := integers(dataset, name)) == n_frames]
    return [tuple(f"{values[n]}" for values in vectors) for n in range(n_frames)]
