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
    SKIPPED_EXCLUDED = "SKIPPED_EXCLUDED"
    SKIPPED_DICOMDIR = "SKIPPED_DICOMDIR"
    SKIPPED_REPORT = "SKIPPED_REPORT"
    SKIPPED_PRESENTATION = "SKIPPED_PRESENTATION"
    SKIPPED_SEGMENTATION = "SKIPPED_SEGMENTATION"
    SKIPPED_RADIOTHERAPY = "SKIPPED_RADIOTHERAPY"
    SKIPPED_DOCUMENT = "SKIPPED_DOCUMENT"
    SKIPPED_NO_PIXELS = "SKIPPED_NO_PIXELS"
    SKIPPED_SECONDARY_CAPTURE = "SKIPPED_SECONDARY_CAPTURE"
    SKIPPED_SCREEN_CAPTURE = "SKIPPED_SCREEN_CAPTURE"
    SKIPPED_OTHER_CLASS = "SKIPPED_OTHER_CLASS"
    SKIPPED_DOSE_REPORT = "SKIPPED_DOSE_REPORT"
    SKIPPED_LOCALIZER = "SKIPPED_LOCALIZER"
    SKIPPED_REFORMAT = "SKIPPED_REFORMAT"
    SKIPPED_SHORT_SERIES = "SKIPPED_SHORT_SERIES"
    SKIPPED_DUPLICATE = "SKIPPED_DUPLICATE"
    EMPTY_FILE = "EMPTY_FILE"
    UNREADABLE = "UNREADABLE"
    VANISHED = "VANISHED"
    ENCRYPTED = "ENCRYPTED"
    NESTED_ARCHIVE = "NESTED_ARCHIVE"
    BOMB = "BOMB"
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
    SAME_POSITION = "SAME_POSITION"
    GAP = "GAP"
    TRUNCATED = "TRUNCATED"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    DECODE_FAILED = "DECODE_FAILED"
    WORKER_DIED = "WORKER_DIED"
    TIMED_OUT = "TIMED_OUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"

    @property
    def is_skip(self) -> bool:
        """Whether the file is no image one would want, so that leaving it out is no reject."""
        return self.startswith("SKIPPED_")


MEANINGS: dict[Code, str] = {
    Code.SKIPPED_TEXT: "A text file: a table, a note, a checksum list.",
    Code.SKIPPED_LINK: "A symbolic link; links are never followed.",
    Code.SKIPPED_SPECIAL: "A pipe, socket or device, not a file.",
    Code.SKIPPED_OTHER: "A binary file in no image format known to medssl.",
    Code.SKIPPED_EXCLUDED: "Its path fits an `--exclude` pattern; it was never opened.",
    Code.SKIPPED_DICOMDIR: "A DICOM directory; the files it lists are found by walking the folder.",
    Code.SKIPPED_REPORT: "A DICOM structured report or key object selection.",
    Code.SKIPPED_PRESENTATION: "A DICOM presentation state.",
    Code.SKIPPED_SEGMENTATION: "A DICOM segmentation, surface, registration or fiducial object.",
    Code.SKIPPED_RADIOTHERAPY: "A radiotherapy object: plan, structures, dose or treatment image.",
    Code.SKIPPED_DOCUMENT: "An encapsulated document, such as a PDF.",
    Code.SKIPPED_NO_PIXELS: "A DICOM object without pixels: waveform, raw data, protocol.",
    Code.SKIPPED_SECONDARY_CAPTURE: "A screen shot or scanned page, not an image from a modality.",
    Code.SKIPPED_SCREEN_CAPTURE: "A screen shot saved by a workstation or scanner.",
    Code.SKIPPED_OTHER_CLASS: "A DICOM image of a SOP class that archives are not made of: a "
    "photograph, an optical scan, a maker's own class.",
    Code.SKIPPED_DOSE_REPORT: "A page of dose figures.",
    Code.SKIPPED_LOCALIZER: "A scout image, which only shows where the others lie.",
    Code.SKIPPED_REFORMAT: "Computed from other images: a reformat, projection or fusion.",
    Code.SKIPPED_SHORT_SERIES: "Its series has fewer slices than `--min-slices`.",
    Code.SKIPPED_DUPLICATE: "A second copy of a DICOM instance, with the same pixels.",
    Code.EMPTY_FILE: "The file has no content.",
    Code.UNREADABLE: "The file, or the folder with all that lies in it, could not be opened.",
    Code.VANISHED: "The file was there when the folder was listed and gone when it was read.",
    Code.ENCRYPTED: "It needs a password.",
    Code.NESTED_ARCHIVE: "A ZIP archive within a ZIP archive, which is not opened.",
    Code.BOMB: "It would unpack to far more than so small a file holds: more than 256 MiB and 200 "
    "times its size.",
    Code.UNSUPPORTED_FORMAT: "An image or container format that is not read (GIF, TAR, …).",
    Code.ARRAY_LAYOUT: "NumPy arrays of an unknown layout; read are `train_images`, `val_images` "
    "and `test_images` of shape (N, H, W) or (N, H, W, 3) in one `.npz`, as in MedMNIST.",
    Code.BAD_HEADER: "The header is damaged or lacks something essential.",
    Code.NO_DECODER: "No installed library decodes its transfer syntax (JPEG lossless, video); "
    "`medssl doctor` says what to install.",
    Code.TOO_LARGE: "The header claims more pixels than an image file may have.",
    Code.UNSUPPORTED_PIXELS: "The pixel type is not read: complex, structured, 1 bit in DICOM, "
    "16 bits with alpha or colour, signed 8 bits in TIFF; or colour of 16 bits is to be kept.",
    Code.COLOUR: "A colour image, and `--colour` says to reject these.",
    Code.MULTI_FRAME: "A DICOM file whose frames are tiles of a slide, or a TIFF of several pages, "
    "which may be anything.",
    Code.MOSAIC: "A Siemens mosaic that does not tell how many slices it holds.",
    Code.FOUR_D: "A volume with more than three dimensions (time, direction, channel).",
    Code.NO_ORIENTATION: "A NIfTI file without sform and qform: its orientation is unknown.",
    Code.BURNED_IN: "The header says that text is burned into the pixels, or it is a page that a "
    "CT, MR or PET scanner stored.",
    Code.MIXED_PATIENTS: "Its study names more than one patient.",
    Code.CONFLICTING_COPY: "Another file has the same instance UID but different pixels.",
    Code.SAME_POSITION: "It lies where another slice of its series lies, with other pixels, and "
    "nothing tells why.",
    Code.GAP: "The distances between the slices of its series vary, as where some are missing, and "
    "`--gaps reject` was asked for.",
    Code.SIZE_MISMATCH: "The compressed image has another size than the header says.",
    Code.TRUNCATED: "The pixels are shorter than the header says.",
    Code.DECODE_FAILED: "The pixels are damaged and could not be decoded.",
    Code.WORKER_DIED: "The process that read it was killed, by a decoder fault or from outside.",
    Code.TIMED_OUT: "Reading it took longer than `file_seconds`.",
    Code.OUT_OF_MEMORY: "Reading it took more memory than its size accounts for.",
}


NO_IMAGES = frozenset(  # of the codes that skip: the others are images nobody asked for
    {Code.SKIPPED_TEXT, Code.SKIPPED_LINK, Code.SKIPPED_SPECIAL, Code.SKIPPED_OTHER,
     Code.SKIPPED_EXCLUDED,
     Code.SKIPPED_DICOMDIR, Code.SKIPPED_REPORT, Code.SKIPPED_PRESENTATION,
     Code.SKIPPED_SEGMENTATION, Code.SKIPPED_RADIOTHERAPY, Code.SKIPPED_DOCUMENT,
     Code.SKIPPED_NO_PIXELS}
)  # fmt: skip

# At which steps of an ingest a code may come up.
_OPENING, _HEADER, _READING = ("sniff",), ("header",), ("header", "decode")
STEPS: dict[Code, tuple[str, ...]] = {
    Code.SKIPPED_TEXT: _OPENING,
    Code.SKIPPED_LINK: _OPENING,
    Code.SKIPPED_SPECIAL: _OPENING,
    Code.SKIPPED_EXCLUDED: _OPENING,
    Code.SKIPPED_OTHER: _OPENING,
    Code.SKIPPED_DICOMDIR: _HEADER,
    Code.SKIPPED_REPORT: _HEADER,
    Code.SKIPPED_PRESENTATION: _HEADER,
    Code.SKIPPED_SEGMENTATION: _HEADER,
    Code.SKIPPED_RADIOTHERAPY: _HEADER,
    Code.SKIPPED_DOCUMENT: _HEADER,
    Code.SKIPPED_NO_PIXELS: _HEADER,
    Code.SKIPPED_SECONDARY_CAPTURE: _HEADER,
    Code.SKIPPED_SCREEN_CAPTURE: _HEADER,
    Code.SKIPPED_OTHER_CLASS: _HEADER,
    Code.SKIPPED_DOSE_REPORT: _HEADER,
    Code.SKIPPED_LOCALIZER: _HEADER,
    Code.SKIPPED_REFORMAT: _HEADER,
    Code.SKIPPED_SHORT_SERIES: ("geometry", "decode"),
    Code.SKIPPED_DUPLICATE: ("decode",),
    Code.EMPTY_FILE: _OPENING,
    Code.UNREADABLE: ("sniff", "decode"),
    Code.VANISHED: ("sniff", "decode"),
    Code.ENCRYPTED: ("sniff", "decode"),
    Code.NESTED_ARCHIVE: _OPENING,
    Code.BOMB: ("sniff", "header", "decode"),
    Code.UNSUPPORTED_FORMAT: _OPENING,
    Code.ARRAY_LAYOUT: _OPENING,
    Code.BAD_HEADER: ("sniff", "header", "decode"),
    Code.NO_DECODER: _READING,
    Code.TOO_LARGE: _READING,
    Code.UNSUPPORTED_PIXELS: _READING,
    Code.COLOUR: _READING,
    Code.MULTI_FRAME: _HEADER,
    Code.MOSAIC: _READING,
    Code.FOUR_D: _HEADER,
    Code.NO_ORIENTATION: ("geometry",),
    Code.BURNED_IN: _HEADER,
    Code.MIXED_PATIENTS: ("group",),
    Code.CONFLICTING_COPY: ("geometry", "decode"),
    Code.SAME_POSITION: ("decode",),
    Code.GAP: ("geometry", "decode"),
    Code.TRUNCATED: _READING,
    Code.SIZE_MISMATCH: _READING,
    Code.DECODE_FAILED: ("decode",),
    Code.WORKER_DIED: _READING,
    Code.TIMED_OUT: _READING,
    Code.OUT_OF_MEMORY: _READING,
}


TITLES: dict[Code, str] = {  # a few words for a figure or a table
    Code.SKIPPED_TEXT: "Text files",
    Code.SKIPPED_LINK: "Symbolic links",
    Code.SKIPPED_SPECIAL: "Pipes, sockets, devices",
    Code.SKIPPED_EXCLUDED: "Excluded paths",
    Code.SKIPPED_OTHER: "Other binary files",
    Code.SKIPPED_DICOMDIR: "DICOM directories",
    Code.SKIPPED_REPORT: "Structured reports",
    Code.SKIPPED_PRESENTATION: "Presentation states",
    Code.SKIPPED_SEGMENTATION: "Segmentations, registrations",
    Code.SKIPPED_RADIOTHERAPY: "Radiotherapy objects",
    Code.SKIPPED_DOCUMENT: "Encapsulated documents",
    Code.SKIPPED_NO_PIXELS: "Objects without pixels",
    Code.SKIPPED_SECONDARY_CAPTURE: "Secondary captures",
    Code.SKIPPED_SCREEN_CAPTURE: "Screen captures",
    Code.SKIPPED_OTHER_CLASS: "Other classes of DICOM image",
    Code.SKIPPED_DOSE_REPORT: "Dose reports",
    Code.SKIPPED_LOCALIZER: "Localizers",
    Code.SKIPPED_REFORMAT: "Reformats, projections, fusions",
    Code.SKIPPED_SHORT_SERIES: "Short series",
    Code.SKIPPED_DUPLICATE: "Duplicates",
    Code.EMPTY_FILE: "Empty files",
    Code.UNREADABLE: "Could not be opened",
    Code.VANISHED: "Gone before they were read",
    Code.ENCRYPTED: "Encrypted",
    Code.NESTED_ARCHIVE: "Archives within archives",
    Code.BOMB: "Unpack to far too much",
    Code.UNSUPPORTED_FORMAT: "Unsupported format",
    Code.ARRAY_LAYOUT: "Arrays of unknown layout",
    Code.BAD_HEADER: "Damaged header",
    Code.NO_DECODER: "No decoder installed",
    Code.TOO_LARGE: "Too large",
    Code.UNSUPPORTED_PIXELS: "Unsupported pixel type",
    Code.COLOUR: "Colour",
    Code.MULTI_FRAME: "Several frames or pages",
    Code.MOSAIC: "Mosaics",
    Code.FOUR_D: "More than three dimensions",
    Code.NO_ORIENTATION: "Unknown orientation",
    Code.BURNED_IN: "Burned-in annotations",
    Code.MIXED_PATIENTS: "Study of several patients",
    Code.CONFLICTING_COPY: "Conflicting copies",
    Code.SAME_POSITION: "Two slices at one position",
    Code.GAP: "Missing slices",
    Code.TRUNCATED: "Truncated pixels",
    Code.SIZE_MISMATCH: "Contradictory size",
    Code.DECODE_FAILED: "Damaged pixels",
    Code.WORKER_DIED: "Reading process killed",
    Code.TIMED_OUT: "Took too long",
    Code.OUT_OF_MEMORY: "Took too much memory",
}


JPEG_INSTALL = "pip install 'medssl[jpeg-gdcm]'"
_AGAIN = "fetch them again from where they came"
_AGAIN_OR_NOT = f"{_AGAIN}; what is kept there without pixels is left out with `--exclude`"
_UNPACK = "unpack them yourself and ingest the unpacked folder"
FIXES: dict[Code, str] = {  # what a user can do; nothing for what is well left out
    Code.SKIPPED_LINK: "give the folder they point to as a source of its own",
    Code.SKIPPED_SECONDARY_CAPTURE: "`--include secondary_capture` keeps them",
    Code.SKIPPED_SCREEN_CAPTURE: "`--include screen_capture` keeps them",
    Code.SKIPPED_OTHER_CLASS: "`--include other_class` keeps them",
    Code.SKIPPED_DOSE_REPORT: "`--include dose_report` keeps them",
    Code.SKIPPED_LOCALIZER: "`--include localizer` keeps them",
    Code.SKIPPED_REFORMAT: "`--include reformat` keeps them",
    Code.SKIPPED_SHORT_SERIES: "a smaller `--min-slices` keeps them",
    Code.EMPTY_FILE: _AGAIN,
    Code.UNREADABLE: "let the account that runs medssl read them",
    Code.VANISHED: "ingest again while nothing is moved in the source",
    Code.ENCRYPTED: _UNPACK,
    Code.NESTED_ARCHIVE: _UNPACK,
    Code.BOMB: "find out where they came from before anybody opens them",
    Code.UNSUPPORTED_FORMAT: "convert them to DICOM, NIfTI, PNG, JPEG or TIFF",
    Code.ARRAY_LAYOUT: "save the arrays under those names",
    Code.BAD_HEADER: _AGAIN_OR_NOT,
    Code.NO_DECODER: f"for JPEG lossless: {JPEG_INSTALL}, then ingest again with --append",
    Code.UNSUPPORTED_PIXELS: "convert them to gray values of 8 or 16 bits",
    Code.COLOUR: "`--colour gray` takes the luminance, `--colour keep` three channels",
    Code.MULTI_FRAME: "save each page as a file of its own",
    Code.MOSAIC: "convert them to NIfTI with a tool that knows the scanner",
    Code.FOUR_D: "`--4d first`, `--4d mean` or `--4d split` reads such NIfTI files",
    Code.NO_ORIENTATION: "convert them from DICOM again; an orientation cannot be guessed",
    Code.BURNED_IN: "`--include burned_in` keeps them, once somebody has looked at them",
    Code.MIXED_PATIENTS: "correct the patient ids of the study",
    Code.CONFLICTING_COPY: "keep the copy that is right and ingest again",
    Code.SAME_POSITION: "look at the series in a viewer and take out what does not belong there",
    Code.GAP: "fetch the missing slices, or keep such series with `--gaps keep` or `--gaps single`",
    Code.TRUNCATED: _AGAIN_OR_NOT,
    Code.SIZE_MISMATCH: _AGAIN,
    Code.DECODE_FAILED: _AGAIN,
    Code.WORKER_DIED: "ingest again; what fails twice is damaged or needs a newer decoder",
    Code.TIMED_OUT: "give them more time with `--set file_seconds=300`",
    Code.OUT_OF_MEMORY: "give them more memory with `--set file_memory_gib=8`",
}


class RejectedFile(Exception):
    """Raised by a reader for a file that cannot be in the archive; it carries a code, no text."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code
