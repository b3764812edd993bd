import numpy as np
import pytest
from pydicom.uid import UID, UID_dictionary

from medssl.ingestion import roles, sop_classes
from medssl.ingestion.codes import Code
from medssl.ingestion.readers import dicom

STORAGE = "1.2.840.10008.5.1.4.1.1."
KNOWN = {uid: told[0] for uid, told in UID_dictionary.items() if uid.startswith(STORAGE)}
OF_SCANNERS = (
    "CT Image", "MR Image", "Positron", "PET Image", "Nuclear", "X-Ray", "XA Image", "XRF Image",
    "Ultrasound", "US Volume", "Computed Radiography", "Tomosynthesis", "Secondary Capture",
    "MR Color Image",
)  # fmt: skip
OF_OTHERS = ("Raw", "Spectroscopy", "SR Storage", "DICOS")


def test_the_images_of_the_scanners_in_the_standard_are_taken_and_no_other_object_is():
    taken = {name for uid, name in KNOWN.items() if sop_classes.is_taken(uid)}
    expected = {
        name
        for name in KNOWN.values()
        if any(word in name for word in OF_SCANNERS)
        and "Storage" in name
        and not any(word in name for word in OF_OTHERS)
    }
    assert taken == expected
    assert len(taken) > 30


@pytest.mark.parametrize("end", ["3", "5", "6"])
def test_retired_classes_are_taken(end):
    assert sop_classes.is_taken(STORAGE + end)


def test_what_is_taken_is_not_skipped_as_something_else():
    for uid in KNOWN:
        if sop_classes.is_taken(uid):
            assert not any(uid.startswith(prefix) for prefix, _ in dicom._SKIPPED_CLASSES)


def test_classes_for_processing_say_so_in_their_name():
    found = {UID(uid).name for uid in KNOWN if sop_classes.is_for_processing(uid)}
    taken = [name for uid, name in KNOWN.items() if sop_classes.is_taken(uid)]
    assert found == {name for name in taken if name.endswith("For Processing")}
    assert len(found) == 4


def test_an_image_of_another_class_is_read_and_left_out_by_its_role(write_dicom):
    photo = STORAGE + "77.1.4"
    header = dicom.read_header(
        write_dicom("a", np.zeros((4, 4), np.uint8), SOPClassUID=photo, Modality="XC")
    )
    assert header.roles == ("other_class",)
    assert "other_class" in header.flags
    assert roles.rejection(header.roles, ()) is Code.SKIPPED_OTHER_CLASS
    assert roles.rejection(header.roles, ("other_class",)) is None
