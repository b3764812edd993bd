import pytest

from medssl.ingestion import roles
from medssl.ingestion.codes import Code
from medssl.ingestion.roles import Tags

CT, CR, US = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "1", "6.1"))
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.4"


def of(modality="CT", image_type="", sop_class=CT, **more):
    parts = tuple(image_type.split("/")) if image_type else ()
    return roles.of(Tags(sop_class=sop_class, modality=modality, image_type=parts, **more))


@pytest.mark.parametrize(
    ("modality", "image_type"),
    [
        ("CT", ""),
        ("CT", "ORIGINAL/PRIMARY/AXIAL"),
        ("CT", "ORIGINAL/PRIMARY/AXIAL/CT_SOM5 SPI"),
        ("CT", "DERIVED/PRIMARY/AXIAL"),
        ("CT", "DERIVED/SECONDARY/AXIAL/HELIX"),
        ("MR", "DERIVED/SECONDARY/OTHER"),
        ("MR", "DERIVED/PRIMARY/DIFFUSION/ADC"),
        ("MR", "ORIGINAL/PRIMARY/M/ND/ECHO_00/MOSAIC"),
        ("MR", "ORIGINAL/PRIMARY/MPR"),
        ("CT", "ORIGINAL/PRIMARY/MPR"),
        ("CT", "DERIVED/PRIMARY/OTHER/CSA MPR/CSAPARALLEL"),  # an iodine map
        ("CT", "DERIVED/SECONDARY/OTHER/CSA RESAMPLED"),
        ("XA", "DERIVED/PRIMARY/SINGLE PLANE/SNAPSHOT"),
        ("DX", "ORIGINAL/PRIMARY/MIP"),
        ("DX", "DERIVED/SECONDARY/MPR"),
        ("MG", "DERIVED/PRIMARY/TOMO_PROJ/RIGHT"),
    ],
)
def test_a_plain_image_has_no_role(modality, image_type):
    assert of(modality, image_type) == ()


@pytest.mark.parametrize(
    ("role", "tags"),
    [
        ("localizer", {"image_type": "ORIGINAL/PRIMARY/LOCALIZER"}),
        ("localizer", {"image_type": "ORIGINAL/PRIMARY/LOCALIZER/CT_SOM5 TOP"}),
        ("localizer", {"image_type": "ORIGINAL/PRIMARY/OTHER/CT_SOM5 TOP"}),
        ("localizer", {"modality": "MR", "description": "AAHead_Scout"}),
        ("localizer", {"modality": "MR", "description": "localizer 3-plane"}),
        *(
            ("localizer", {"modality": "MR", "description": name})
            for name in (
                "Survey",
                "SURVEY_32ch",
                "LOC",
                "3-Plane Loc SSFSE",
                "3PLANELOC",
                "3plloc",
                "Loc2",
                "Localizers",
                "localizer_3D",
                "localiser",
                "AAHScout",
                "AAHScout_32",
                "AASpine_Scout",
                "Scouts",
                "Topogram",
            )
        ),
        ("localizer", {"modality": "PT", "description": "Scout"}),
        ("localizer", {"modality": "MR", "image_type": "ORIGINAL/PRIMARY/PILOT"}),
        ("localizer", {"modality": "MR", "image_type": "ORIGINAL/PRIMARY/M_SE/SURVEY"}),
        *(
            ("localizer", {"modality": "MR", key: name})
            for key in ("description", "protocol")
            for name in (
                "PILOT",
                "1_TriPilot",
                "Pilot ax/cor/sag",
                "3-plane",
                "3plane T2 SSFSE",
                "3 Plane FIESTA",
                "localizer_BH",
                "Knee scout",
                "LOC",
                "Survey 2",
            )
        ),
        *(
            ("localizer", {"image_type": "ORIGINAL/PRIMARY/AXIAL", "description": name})
            for name in (
                "Scout",
                "Topogram  0.6  T20f",
                "SCOUT AP/LAT",
                "Surview",
                "Dual Scanogram 120kV",
                "Localizers",
            )
        ),
        ("reformat", {"modality": "MR", "image_type": "ORIGINAL/PRIMARY/MNIP/ND/NORM"}),
        ("reformat", {"modality": "MR", "image_type": "ORIGINAL/PRIMARY/M/MIP"}),
        ("reformat", {"modality": "MR", "image_type": "ORIGINAL/PRIMARY/PROJECTION IMAGE"}),
        ("reformat", {"modality": "CT", "image_type": "DERIVED/SECONDARY/OTHER/CSA MIP"}),
        ("reformat", {"modality": "PT", "image_type": "ORIGINAL/PRIMARY/MINIP"}),
        ("reformat", {"modality": "NM", "image_type": "DERIVED/PRIMARY/MIP"}),
        ("reformat", {"modality": "MR", "image_type": "DERIVED/SECONDARY/MPR/CSAPARALLEL"}),
        ("reformat", {"image_type": "DERIVED/SECONDARY/REFORMATTED/AVERAGE"}),
        ("reformat", {"image_type": "DERIVED/SECONDARY/MPR/CSA MPR"}),
        ("reformat", {"modality": "MR", "image_type": "DERIVED/SECONDARY/PROJECTION IMAGE"}),
        ("reformat", {"modality": "PT", "image_type": "DERIVED/SECONDARY/FUSION"}),
        ("reformat", {"image_type": "DERIVED/PRIMARY/VOLUME/MAXIMUM"}),
        ("dose_report", {"description": "Dose Report"}),
        ("dose_report", {"description": "PATIENT PROTOCOL"}),
        ("dose_report", {"image_type": "DERIVED/SECONDARY/OTHER/CT_SOM5 PROT", "has_plane": True}),
        ("screen_capture", {"image_type": "DERIVED/SECONDARY/SCREEN SAVE"}),
        ("screen_capture", {"sop_class": CAPTURE, "description": "Screenshots", "modality": "OT"}),
        ("screen_capture", {"sop_class": CAPTURE, "image_type": "DERIVED/SECONDARY/SNAPSHOT"}),
        ("screen_capture", {"modality": "other", "image_type": "DERIVED/SECONDARY/SNAPSHOT"}),
        ("screen_capture", {"sop_class": CAPTURE, "description": "Snapshots", "modality": "OT"}),
        ("secondary_capture", {"sop_class": CAPTURE, "modality": "other"}),
        ("secondary_capture", {"sop_class": f"{CAPTURE}.4", "modality": None}),
        ("burned_in", {"sop_class": CR, "modality": "CR", "burned_in": "yes"}),
        ("burned_in", {"sop_class": CAPTURE, "modality": "MR"}),
        ("other_class", {"sop_class": PHOTO, "modality": "other"}),
        ("other_class", {"sop_class": "1.3.46.670589.11.0.0.12.1", "modality": "MR"}),  # Philips
        ("other_class", {"sop_class": f"{CT}.999"}),
    ],
)
def test_each_role_has_its_signs(role, tags):
    assert role in of(**tags)


@pytest.mark.parametrize(
    ("role", "tags"),
    [
        ("localizer", {"modality": "CR", "description": "scout film"}),
        ("localizer", {"description": "Chest after scout 5mm"}),
        ("localizer", {"description": "Survey"}),
        ("localizer", {"description": "AP 120kV"}),
        ("localizer", {"description": ""}),
        ("localizer", {"modality": "MR", "description": "velocity block, collocated"}),
        ("localizer", {"modality": "MR", "description": "T1 localization"}),
        ("localizer", {"modality": "MR", "description": "T1 MPRAGE pilot"}),
        ("localizer", {"modality": "MR", "protocol": "fMRI_pilot"}),
        ("localizer", {"modality": "MR", "protocol": "WHOLE SPINE SURVEY"}),  # an examination
        ("localizer", {"modality": "MR", "protocol": "BRAIN FALL AND LOC"}),
        ("localizer", {"modality": "MR", "description": "13-plane", "protocol": "copilot"}),
        ("localizer", {"modality": "CT", "protocol": "Scout"}),
        ("other_class", {}),
        ("other_class", {"sop_class": ""}),  # judged by all else
        ("other_class", {"sop_class": CAPTURE}),  # has a rule of its own
        ("other_class", {"sop_class": f"{CAPTURE}.4"}),
        ("dose_report", {"description": "low dose chest", "has_plane": True}),
        ("dose_report", {"modality": "MR", "description": "Dose Report"}),
        ("screen_capture", {"description": "SnapShot Segment 75%"}),
        ("screen_capture", {"description": "lung screening"}),
        ("secondary_capture", {"sop_class": CAPTURE, "modality": "CR"}),
        ("burned_in", {"sop_class": CAPTURE, "modality": "CT", "has_plane": True}),
        ("burned_in", {"sop_class": US, "modality": "US"}),
        ("burned_in", {"burned_in": "NO"}),
    ],
)
def test_what_only_looks_like_a_role_is_none(role, tags):
    assert role not in of(**tags)


@pytest.mark.parametrize(
    ("is_risk", "tags"),
    [
        (True, {"sop_class": US, "modality": "US"}),
        (True, {"sop_class": US, "modality": "US", "burned_in": "NO"}),  # no proof
        (True, {"sop_class": CAPTURE, "modality": "NM"}),
        (True, {"sop_class": CR, "modality": "CR", "manufacturer": "Vidar Systems"}),
        (True, {"sop_class": CR, "modality": "MG", "conversion": "DF"}),
        (False, {"sop_class": CR, "modality": "CR", "manufacturer": "Agfa"}),
        (False, {"sop_class": CT, "modality": "CT"}),
    ],
)
def test_a_suspicion_is_no_role(is_risk, tags):
    assert roles.is_burned_in_risk(Tags(**tags)) is is_risk


def test_the_code_is_that_of_the_role_that_says_most():
    every = ("reformat", "localizer", "burned_in", "secondary_capture", "screen_capture",
             "dose_report", "other_class")  # fmt: skip
    codes = []
    wanted: list[str] = []
    for _ in every:
        code = roles.rejection(every, wanted)
        codes.append(code)
        wanted.append(code.removeprefix("SKIPPED_").lower())
    assert codes == [
        Code.SKIPPED_DOSE_REPORT, Code.SKIPPED_SCREEN_CAPTURE, Code.SKIPPED_SECONDARY_CAPTURE,
        Code.SKIPPED_OTHER_CLASS, Code.BURNED_IN, Code.SKIPPED_LOCALIZER, Code.SKIPPED_REFORMAT,
    ]  # fmt: skip
    assert roles.rejection(every, every) is None
    assert roles.rejection((), ()) is None
