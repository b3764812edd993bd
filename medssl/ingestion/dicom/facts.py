"""What a DICOM header says of an image besides its pixels: whose it is, made how, of which kind."""

import hashlib

from pydicom import Dataset

from medssl.ingestion import roles, sop_classes, vocabulary
from medssl.ingestion.dicom import codecs, presentation
from medssl.ingestion.dicom.elements import number, positive, text, words
from medssl.ingestion.dicom.parsing import Parsed
from medssl.ingestion.dicom.pixel_data import lut
from medssl.ingestion.header import Facts, Identity, Unit
from medssl.ingestion.roles import Tags

_HOUNSFIELD = frozenset(
    {"", "HU", "US"}
)  # types of rescaling that CT values may have; US: not told
_ADMITTED = (
    "localizer",
    "secondary_capture",
    "other_class",
)  # roles that stay visible where they are included


def modality(dataset: Dataset) -> str | None:
    """Return the modality in the vocabulary's words."""
    return vocabulary.word(text(dataset, "Modality"), vocabulary.MODALITIES)


def unit(dataset: Dataset, rescale_type: str, *, is_coloured: bool) -> Unit:
    """Return the unit of the values; colours and maps that a CT scanner computes have none."""
    if is_coloured:
        return "arbitrary"
    if modality(dataset) == "CT":
        return "HU" if rescale_type.upper() in _HOUNSFIELD else "arbitrary"
    return "BQML" if text(dataset, "Units") == "BQML" else "arbitrary"


def kind(dataset: Dataset, *, has_plane: bool) -> tuple[str, ...]:
    """Return what the images of one volume share: modality, type, echo and frame of reference."""
    image_type = words(dataset, "ImageType")
    echo = number(dataset, "EchoNumbers")
    frame = text(dataset, "FrameOfReferenceUID") if has_plane else ""
    return (
        str(modality(dataset)),
        "\\".join(image_type[2:]),
        "" if echo is None else f"{echo:g}",
        hashlib.sha256(frame.encode()).hexdigest()[:16] if frame else "",
    )


def role_tags(parsed: Parsed, *, has_plane: bool) -> Tags:
    """Return what decides the roles of an image."""
    dataset = parsed.dataset
    return Tags(
        sop_class=parsed.sop_class,
        modality=modality(dataset),
        image_type=words(dataset, "ImageType"),
        burned_in=text(dataset, "BurnedInAnnotation"),
        conversion=text(dataset, "ConversionType"),
        manufacturer=text(dataset, "Manufacturer"),
        description=text(dataset, "SeriesDescription"),
        protocol=text(dataset, "ProtocolName"),
        has_plane=has_plane,
    )


def flags(dataset: Dataset, tags: Tags, found: tuple[str, ...], unit: Unit) -> tuple[str, ...]:
    """Return what a reader of the archive should know.

    Args:
        dataset: Of the file.
        tags: Of the file.
        found: Its roles.
        unit: Of its values.
    """
    told = [role for role in _ADMITTED if role in found]
    if sop_classes.is_capture(tags.sop_class) and "secondary_capture" not in told:
        told.append("secondary_capture")
    if tags.image_type[:1] == ("DERIVED",):
        told.append("derived")
    if presentation.is_for_processing(dataset, tags.sop_class):
        told.append(presentation.FOR_PROCESSING)
    if roles.is_burned_in_risk(tags):
        told.append(roles.BURNED_IN_RISK)
    has_rescale = "RescaleIntercept" in dataset or "SharedFunctionalGroupsSequence" in dataset
    if unit == "HU" and not has_rescale and lut(dataset) is None:
        told.append("no_rescale")
    is_detector = "PixelSpacing" not in dataset and "ImagerPixelSpacing" in dataset
    if not tags.has_plane and is_detector:
        told.append("detector_spacing")
    return tuple(told)


def identity(dataset: Dataset) -> Identity:
    """Return who and where."""
    dates = (text(dataset, name) for name in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    born = text(dataset, "PatientBirthDate")
    return Identity(
        patient=text(dataset, "PatientID"),
        born=born if vocabulary.parse_date(born) else "",
        issuer=text(dataset, "IssuerOfPatientID"),
        institution=text(dataset, "InstitutionName"),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        image=text(dataset, "SOPInstanceUID"),
        date=next((found for found in dates if vocabulary.parse_date(found)), ""),
    )


def facts(parsed: Parsed, settings: Dataset, b_value: float | None) -> Facts:
    """Return what may be written.

    Args:
        parsed: The file.
        settings: Where the scanner's settings stand: the file itself, or the functional groups of
            its first frame as one dataset.
        b_value: Of all its frames; None where they differ.
    """
    dataset = parsed.dataset
    side = text(dataset, "ImageLaterality") or text(dataset, "Laterality")
    age = vocabulary.age_band(text(dataset, "PatientAge")) or vocabulary.age_band_between(
        text(dataset, "PatientBirthDate"), text(dataset, "StudyDate")
    )
    lossy = text(dataset, "LossyImageCompression")
    return Facts(
        modality=modality(dataset),
        body_part=vocabulary.word(text(dataset, "BodyPartExamined"), vocabulary.BODY_PARTS),
        view=vocabulary.word(text(dataset, "ViewPosition"), vocabulary.VIEWS),
        laterality=vocabulary.word(side, vocabulary.LATERALITIES),
        manufacturer=vocabulary.manufacturer(text(dataset, "Manufacturer")),
        model=vocabulary.model(text(dataset, "ManufacturerModelName")),
        kvp=positive(settings, "KVP"),
        te_ms=positive(settings, "EchoTime") or positive(settings, "EffectiveEchoTime"),
        tr_ms=positive(settings, "RepetitionTime"),
        b_value=b_value,
        age_band=age,
        sex=vocabulary.word(text(dataset, "PatientSex"), vocabulary.SEXES),
        lossy=codecs.is_lossy(lossy, parsed.syntax),
        transfer_syntax=str(parsed.syntax),  # one of the standard's, or it had no decoder
    )
