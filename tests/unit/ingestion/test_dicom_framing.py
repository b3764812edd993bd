import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code
from medssl.ingestion.header import Reading
from medssl.ingestion.readers import dicom

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
STACK = np.arange(6 * 12, dtype=np.uint16).reshape(6, 3, 4)


def item(**tags):
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, Sequence(value) if isinstance(value, list) and value
                and isinstance(value[0], Dataset) else value)  # fmt: skip
    return made


def group(name, **tags):
    return {name: [item(**tags)]}


def frame(number, *, slope=1.0, time=1, b=0.0, kind="M"):
    """Return the functional groups of one frame."""
    return item(
        **group("PlanePositionSequence", ImagePositionPatient=[1, 2, 3.0 * number]),
        **group("PixelValueTransformationSequence", RescaleSlope=slope, RescaleIntercept=-number),
        **group("FrameContentSequence", TemporalPositionIndex=time, StackID="1",
                InStackPositionNumber=number, DimensionIndexValues=[number, time]),
        **group("MRDiffusionSequence", DiffusionBValue=b),
        **group("MRImageFrameTypeSequence", FrameType=["ORIGINAL", "PRIMARY", "DIFFUSION", kind]),
    )  # fmt: skip


SHARED = item(
    **group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    **group("PixelMeasuresSequence", PixelSpacing=[0.5, 0.25], SliceThickness=3),
    **group("MREchoSequence", EffectiveEchoTime=90.0),
    **group("MRTimingAndRelatedParametersSequence", RepetitionTime=2000.0),
)


def enhanced(write_dicom, frames, **tags):
    return write_dicom(
        "a", STACK[0], SOPClassUID=ENHANCED_MR, NumberOfFrames=len(frames),
        PixelData=STACK[: len(frames)].tobytes(),
        SharedFunctionalGroupsSequence=Sequence([SHARED]),
        PerFrameFunctionalGroupsSequence=Sequence(frames), **tags,
    )  # fmt: skip


def test_functional_groups_of_all_and_of_each_frame_are_joined(write_dicom):
    frames = [frame(n, slope=2.0 + n) for n in range(3)]
    header = dicom.read_header(enhanced(write_dicom, frames))
    assert [f.plane.origin for f in header.frames] == [(-1, -2, 3.0 * n) for n in range(3)]
    assert {f.plane.column_step for f in header.frames} == {(-0.25, 0, 0)}
    assert {f.plane.row_step for f in header.frames} == {(0, -0.5, 0)}
    assert [(f.slope, f.intercept) for f in header.frames] == [(2, 0), (3, -1), (4, -2)]
    assert [f.instance for f in header.frames] == [1, 2, 3]
    assert (header.spacing, header.thickness) == ((0.5, 0.25), 3)
    facts = header.facts
    assert (facts.te_ms, facts.tr_ms, facts.b_value) == (90, 2000, 0)


def test_times_b_values_and_types_keep_frames_apart(write_dicom):
    frames = [frame(0, time=1, b=0), frame(0, time=2, b=0), frame(0, b=800), frame(0, kind="ADC")]
    header = dicom.read_header(enhanced(write_dicom, frames))
    first, later, diffusion, other = header.frames
    assert first.phase[0] != later.phase[0]
    assert first.phase[1] != diffusion.phase[1]
    assert first.kind == later.kind == diffusion.kind != other.kind
    assert header.facts.b_value is None
    assert len({len(f.phase) for f in header.frames}) == 1


def test_stacks_and_components_keep_frames_apart_and_origins_do_not(write_dicom):
    frames = [frame(0), frame(1), frame(2), frame(3)]
    frames[1].FrameContentSequence[0].StackID = "2"
    frames[2].MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    frames[3].MRImageFrameTypeSequence[0].FrameType = ["DERIVED", "SECONDARY", "DIFFUSION", "M"]
    header = dicom.read_header(enhanced(write_dicom, frames))
    plain, stack, component, derived = (one.kind for one in header.frames)
    assert len({plain, stack, component}) == 3
    assert derived == plain


@pytest.mark.parametrize("name", ["TriggerTime", "NominalCardiacTriggerDelayTime"])
def test_phases_of_the_heart_keep_images_apart(write_dicom, name):
    if name == "TriggerTime":
        told = [phase(write_dicom, TriggerTime=time) for time in (0, 40)]
    else:
        frames = [frame(0), frame(0)]
        for one, time in zip(frames, (0, 40), strict=True):
            delay = item(NominalCardiacTriggerDelayTime=time)
            one.CardiacSynchronizationSequence = Sequence([delay])
        told = [one.phase for one in dicom.read_header(enhanced(write_dicom, frames)).frames]
    first, second = told
    assert (first[3], second[3]) == (0, 40)
    assert first[:3] == second[:3]


def test_pixels_of_all_frames_come_in_order(write_dicom):
    path = enhanced(write_dicom, [frame(n) for n in range(6)])
    assert np.array_equal(dicom.read_pixels(path, dicom.read_header(path)), STACK)


def test_fewer_groups_than_frames_are_a_bad_header(write_dicom):
    groups = Sequence([frame(n) for n in range(3)])
    path = write_dicom("a", STACK[0], NumberOfFrames=4, PixelData=STACK[:4].tobytes(),
                       PerFrameFunctionalGroupsSequence=groups)  # fmt: skip
    assert sniff.read_header(path) is Code.BAD_HEADER


def test_a_map_that_a_ct_scanner_computes_is_not_in_hounsfield_units(write_dicom):
    plain = frame(0)
    path = enhanced(write_dicom, [plain], Modality="CT")
    assert dicom.read_header(path).unit == "HU"
    plain.PixelValueTransformationSequence[0].RescaleType = "ML/100ML"
    path = enhanced(write_dicom, [plain], Modality="CT")
    assert dicom.read_header(path).unit == "arbitrary"


def test_frames_of_a_clip_follow_each_other_by_number(write_dicom):
    path = write_dicom("a", STACK[0], Modality="XA", NumberOfFrames=6, PixelData=STACK.tobytes(),
                       RescaleSlope=2, InstanceNumber=77)  # fmt: skip
    header = dicom.read_header(path)
    assert [f.instance for f in header.frames] == [1, 2, 3, 4, 5, 6]
    assert {(f.plane, f.slope, f.kind) for f in header.frames} == {(None, 2, ())}
    assert np.array_equal(dicom.read_pixels(path, header), STACK)


def test_a_clip_in_colour_is_read_as_the_user_wants_it(write_dicom):
    clip = np.stack([STACK, STACK + 1, STACK + 2], axis=3).astype(np.uint8)
    path = write_dicom(
        "a", clip[0], Modality="US", NumberOfFrames=6, PixelData=clip.tobytes(),
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
    )  # fmt: skip
    keep = Reading(colour="keep")
    header = dicom.read_header(path, keep)
    assert header.channels == 3
    assert np.array_equal(dicom.read_pixels(path, header, keep), clip)
    gray = dicom.read_pixels(path, header, Reading(colour="gray"))
    assert np.array_equal(gray, STACK.astype(np.uint8) + 1)  # 0.587 of G + 0.228 of B: 0.815 + R


@pytest.mark.parametrize(
    ("vectors", "kinds"),
    [
        ({"EnergyWindowVector": [1, 1, 1, 2, 2, 2], "DetectorVector": [1] * 6}, 2),
        ({"DetectorVector": [1, 2, 1, 2, 1, 2]}, 2),
        ({"TimeSlotVector": [1, 2, 3, 1, 2, 3], "SliceVector": [1, 1, 1, 2, 2, 2]}, 3),
        ({"TimeSlotVector": [1, 2, 3, 4, 5, 6]}, 1),  # without slices, time is the order
        ({"DetectorVector": [1, 2]}, 1),  # of wrong length
    ],
)
def test_nuclear_frames_are_kept_apart_by_energy_detector_and_gate(write_dicom, vectors, kinds):
    path = write_dicom("a", STACK[0], Modality="NM", NumberOfFrames=6, PixelData=STACK.tobytes(),
                       **vectors)  # fmt: skip
    header = dicom.read_header(path)
    assert len({f.kind for f in header.frames}) == kinds


def test_frames_of_a_slide_are_tiles(write_dicom):
    path = write_dicom("a", STACK[0], NumberOfFrames=6, PixelData=STACK.tobytes(),
                       TotalPixelMatrixRows=9)  # fmt: skip
    assert sniff.read_header(path) is Code.MULTI_FRAME


def test_images_of_other_types_or_frames_of_reference_are_of_another_kind(write_dicom):
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
             "PixelSpacing": [1, 1]}  # fmt: skip

    def kind(**tags):
        return dicom.read_header(write_dicom("a", STACK[0], **tags)).kind

    water, fat = (["DERIVED", "PRIMARY", "DIXON", word] for word in ("WATER", "FAT"))
    assert kind(ImageType=water) != kind(ImageType=fat)
    assert kind(ImageType=water) == kind(ImageType=["ORIGINAL", "SECONDARY", "DIXON", "WATER"])
    assert kind(EchoNumbers=1) != kind(EchoNumbers=2)
    assert kind(**place, FrameOfReferenceUID="1.2") != kind(**place, FrameOfReferenceUID="1.3")
    assert kind(FrameOfReferenceUID="1.2") == kind(FrameOfReferenceUID="1.3")  # nothing to refer to
    assert "1.2.3" not in str(kind(**place, FrameOfReferenceUID="1.2.3"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("093015.25", 34215.25), ("093015", 34215), ("09:30:15", 34215), ("", -1), ("0930", -1),
        ("noon", -1),
    ],
)  # fmt: skip
def test_times_of_day_are_told_in_seconds(write_dicom, text, seconds):
    path = write_dicom("a", STACK[0], AcquisitionTime="111111", ContentTime="222222")
    content = path.read_bytes()
    assert content.count(b"111111") == content.count(b"222222") == 1
    assert dicom.read_header(path).frames[0].times == (40271, 80542)
    tags = {"AcquisitionTime": text, "ContentTime": "222222"}
    path = write_dicom("b", STACK[0], **tags)
    assert dicom.read_header(path).frames[0].times == (seconds, 80542)


def phase(write_dicom, **tags):
    return dicom.read_header(write_dicom("a", STACK[0], **tags)).frames[0].phase


def test_directions_of_a_diffusion_gradient_keep_images_apart(write_dicom):
    # 300 directions, about 7 degrees apart: more than scanners take
    k = np.arange(300) + 0.5
    height, turn = 1 - 2 * k / 300, k * np.pi * (1 + 5**0.5)
    radius = np.sqrt(1 - height**2)
    directions = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
    told = [phase(write_dicom, DiffusionGradientOrientation=v.tolist()) for v in directions]
    assert len({len(one) for one in told}) == 1
    assert len(set(told)) == 300
    assert len({one[:4] for one in told}) == 1


def test_the_same_direction_is_the_same_whatever_its_last_digits(write_dicom):
    names = ("0.26726\\0.53452\\0.80178", "0.267261\\0.534522\\0.801784")
    first, second = (
        phase(write_dicom, DiffusionGradientOrientation=[float(v) for v in name.split("\\")])
        for name in names
    )
    assert first == second != phase(write_dicom)


@pytest.mark.parametrize("told", [[], [1.0, 0.0], [float("nan"), 0.0, 1.0]])
def test_a_direction_that_is_none_tells_nothing(write_dicom, told):
    assert phase(write_dicom, DiffusionGradientOrientation=told) == phase(write_dicom)


@pytest.mark.parametrize("told", [[1e308, 1e308, -1e308], [0.0, 0.0, 0.0], [0.0, 0.0, 7.0]])
def test_any_three_numbers_are_a_direction(write_dicom, told):
    assert np.isfinite(phase(write_dicom, DiffusionGradientOrientation=told)).all()


def test_frames_of_an_enhanced_image_tell_their_directions(write_dicom):
    frames = [frame(0, b=800), frame(0, b=800), frame(0, b=800)]
    for one, vector in zip(frames[:2], ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]), strict=True):
        direction = item(DiffusionGradientOrientation=vector)
        one.MRDiffusionSequence[0].DiffusionGradientDirectionSequence = Sequence([direction])
    header = dicom.read_header(enhanced(write_dicom, frames))
    assert len({f.phase for f in header.frames}) == 3
    assert header.facts.b_value == 800
