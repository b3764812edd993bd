"""Which kinds of DICOM objects are images that archives are made of.

A list of what is taken, not of what is refused: a class that the standard gets tomorrow is none of
them until somebody has looked at it. Reports, plans, segmentations and their like have codes of
their own, and secondary captures a rule of their own.
"""

from pydicom.uid import (
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    EnhancedUSVolumeStorage,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    XRay3DAngiographicImageStorage,
    XRay3DCraniofacialImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

_RETIRED = frozenset(  # in old archives; pydicom has no names for them
    {
        "1.2.840.10008.5.1.4.1.1.3",  # ultrasound of several frames
        "1.2.840.10008.5.1.4.1.1.5",  # nuclear medicine
        "1.2.840.10008.5.1.4.1.1.6",  # ultrasound
        "1.2.840.10008.5.1.4.1.1.12.3",  # angiography in two planes
    }
)
_FOR_PROCESSING = frozenset(
    {
        BreastProjectionXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalXRayImageStorageForProcessing,
    }
)
_TAKEN = (
    _RETIRED
    | _FOR_PROCESSING
    | frozenset(
        {
            BreastProjectionXRayImageStorageForPresentation,
            BreastTomosynthesisImageStorage,
            ComputedRadiographyImageStorage,
            CTImageStorage,
            DigitalIntraOralXRayImageStorageForPresentation,
            DigitalMammographyXRayImageStorageForPresentation,
            DigitalXRayImageStorageForPresentation,
            EnhancedCTImageStorage,
            EnhancedMRColorImageStorage,
            EnhancedMRImageStorage,
            EnhancedPETImageStorage,
            EnhancedUSVolumeStorage,
            EnhancedXAImageStorage,
            EnhancedXRFImageStorage,
            LegacyConvertedEnhancedCTImageStorage,
            LegacyConvertedEnhancedMRImageStorage,
            LegacyConvertedEnhancedPETImageStorage,
            MRImageStorage,
            NuclearMedicineImageStorage,
            PositronEmissionTomographyImageStorage,
            UltrasoundImageStorage,
            UltrasoundMultiFrameImageStorage,
            XRay3DAngiographicImageStorage,
            XRay3DCraniofacialImageStorage,
            XRayAngiographicImageStorage,
            XRayRadiofluoroscopicImageStorage,
        }
    )
)


def is_taken(sop_class: str) -> bool:
    """Return whether images of a class are taken without being asked for.

    A file that does not tell its class, as some old exports do not, is judged by its modality and
    its other elements alone.
    """
    return not sop_class or sop_class in _TAKEN or is_capture(sop_class)


def is_capture(sop_class: str) -> bool:
    """Return whether a class is one of the secondary captures."""
    base = SecondaryCaptureImageStorage
    return sop_class == base or sop_class.startswith(f"{base}.")


def is_for_processing(sop_class: str) -> bool:
    """Return whether images of a class are as the detector gave them, not as they are read."""
    return sop_class in _FOR_PROCESSING
