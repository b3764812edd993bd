"""Why a file is not in the archive: stable codes, each with one sentence for people.

Codes that begin with ``SKIPPED_`` are for files that are no images; they do not count as rejects.
"""

from enum import StrEnum


class Code(StrEnum):
    """A reason; `docs/reference/quarantine-codes.md` lists the same."""

    SKIPPED_TEXT = "SKIPPED_TEXT"
    SKIPPED_LINK = "SKIPPED_LINK"
    SKIPPED_SPECIAL = "SKIPPED_SPECIAL"
    SKIPPED_OTHER = "SKIPPED_OTHER"
    SKIPPED_DICOMDIR = "SKIPPED_DICOMDIR"
    SKIPPED_REPORT = "SKIPPED_REPORT"
    SKIPPED_PRESENTATION = "SKIPPED_PRESENTATION"
    SKIPPED_SEGMENTATION = "SKIPPED_SEGMENTATION"
    SKIPPED_RADIOTHERAPY = "SKIPPED_RADIOTHERAPY"
    SKIPPED_DOCUMENT = "SKIPPED_DOCUMENT"
    SKIPPED_NO_PIXELS = "SKIPPED_NO_PIXELS"
    SKIPPED_SECONDARY_CAPTURE = "SKIPPED_SECONDARY_CAPTURE"
    SKIPPED_DUPLICATE = "SKIPPED_DUPLICATE"
    EMPTY_FILE = "EMPTY_FILE"
    UNREADABLE = "UNREADABLE"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    ARRAY_LAYOUT = "ARRAY_LAYOUT"
    BAD_HEADER = "BAD_HEADER"
    NO_DECODER = "NO_DECODER"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED_PIXELS = "UNSUPPORTED_PIXELS"
    COLOUR = "COLOUR"
    MULTI_FRAME = "MULTI_FRAME"
    MOSAIC = "MOSAIC"
    FOUR_D = "FOUR_D"
    NO_ORIENTATION = "NO_ORIENTATION"
    BURNED_IN = "BURNED_IN"
    MIXED_PATIENTS = "MIXED_PATIENTS"
    CONFLICTING_COPY = "CONFLICTING_COPY"
    TRUNCATED = "TRUNCATED"
    DECODE_FAILED = "DECODE_FAILED"
    WORKER_DIED = "WORKER_DIED"

    @property
    def is_skip(self) -> bool:
        """Whether the file is no image, so that leaving it out loses nothing."""
        return self.startswith("SKIPPED_")


MEANINGS: dict[Code, str] = {
    Code.SKIPPED_TEXT: "A text file: a table, a note, a checksum list.",
    Code.SKIPPED_LINK: "A symbolic link; links are never followed.",
    Code.SKIPPED_SPECIAL: "A pipe, socket or device, not a file.",
    Code.SKIPPED_OTHER: "A binary file in no image format known to medssl.",
    Code.SKIPPED_DICOMDIR: "A DICOM directory; the files it lists are found by walking the folder.",
    Code.SKIPPED_REPORT: "A DICOM structured report or key object selection.",
    Code.SKIPPED_PRESENTATION: "A DICOM presentation state.",
    Code.SKIPPED_SEGMENTATION: "A DICOM segmentation, surface, registration or fiducial object.",
    Code.SKIPPED_RADIOTHERAPY: "A radiotherapy object: plan, structures, dose or treatment image.",
    Code.SKIPPED_DOCUMENT: "An encapsulated document, such as a PDF.",
    Code.SKIPPED_NO_PIXELS: "A DICOM object without pixels: waveform, raw data, protocol.",
    Code.SKIPPED_SECONDARY_CAPTURE: "A screen shot or scanned page, not an image from a modality.",
    Code.SKIPPED_DUPLICATE: "A second copy of a DICOM instance, with the same pixels.",
    Code.EMPTY_FILE: "The file has no content.",
    Code.UNREADABLE: "The file, or the folder with all that lies in it, could not be opened.",
    Code.UNSUPPORTED_FORMAT: "An image or container format that is not read yet (GIF, ZIP, …).",
    Code.ARRAY_LAYOUT: "NumPy arrays of an unknown layout; read are `train_images`, `val_images` "
    "and `test_images` of shape (N, H, W) in one `.npz`, as in MedMNIST.",
    Code.BAD_HEADER: "The header is damaged or lacks something essential.",
    Code.NO_DECODER: "No installed library decodes its transfer syntax (JPEG lossless, video); "
    "`medssl doctor` says what to install.",
    Code.TOO_LARGE: "The header claims more pixels than an image file may have.",
    Code.UNSUPPORTED_PIXELS: "The pixel type is not read: complex, structured, 1 bit in DICOM, "
    "16 bits with alpha or colour, signed 8 bits in TIFF.",
    Code.COLOUR: "A colour image; only images with equal channels are read as gray.",
    Code.MULTI_FRAME: "A DICOM file of several frames, which is not read yet, or a TIFF of several "
    "pages, which may be anything.",
    Code.MOSAIC: "A Siemens mosaic, many slices tiled into one image, which is not read yet.",
    Code.FOUR_D: "A volume with more than three dimensions (time, direction, channel).",
    Code.NO_ORIENTATION: "A NIfTI file without sform and qform: its orientation is unknown.",
    Code.BURNED_IN: "The header says that annotations are burned into the pixels.",
    Code.MIXED_PATIENTS: "Its study names more than one patient.",
    Code.CONFLICTING_COPY: "Another file has the same instance UID but different pixels.",
    Code.TRUNCATED: "The pixels are shorter than the header says.",
    Code.DECODE_FAILED: "The pixels are damaged and could not be decoded.",
    Code.WORKER_DIED: "The process that read it was killed, by a decoder fault or lack of memory.",
}


JPEG_INSTALL = "pip install 'medssl[jpeg-gdcm]'"
FIXES: dict[Code, str] = {
    Code.NO_DECODER: f"for JPEG lossless and JPEG of 12 bits: {JPEG_INSTALL}, then ingest again",
}


class RejectedFile(Exception):
    """Raised by a reader for a file that cannot be in the archive; it carries a code, no text."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code
