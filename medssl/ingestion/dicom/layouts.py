"""What a DICOM header says of its pixels, checked before memory is taken for them."""

from dataclasses import dataclass

from pydicom import Dataset

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.dicom import parsing
from medssl.ingestion.dicom.elements import integer, text
from medssl.ingestion.dicom.parsing import Parsed
from medssl.ingestion.header import MAX_PIXELS

MAX_FRAMES = 100_000  # of one file; 4D series of 1,000 volumes have fewer
PALETTE = "PALETTE COLOR"
_GRAY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"})
_BITS = {"PixelData": (8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
_ITEM_BYTES = 8  # that a compressed image takes at least


@dataclass(frozen=True, slots=True)
class Layout:
    """The pixels of a file."""

    rows: int
    columns: int
    n_frames: int
    samples: int
    photometric: str
    allocated: int  # bits
    stored: int  # bits
    is_signed: bool
    is_float: bool

    @property
    def is_palette(self) -> bool:
        """Whether pixels are numbers of colours."""
        return self.photometric == PALETTE

    @property
    def is_coloured(self) -> bool:
        """Whether the file holds colours, which may all be gray."""
        return self.samples == 3 or self.is_palette

    @property
    def n_bytes(self) -> int:
        """How many bytes the pixels take where they are not compressed."""
        n = self.rows * self.columns * self.n_frames * self.samples * self.allocated // 8
        return n * 2 // 3 if self.photometric == "YBR_FULL_422" else n


def layout(parsed: Parsed) -> Layout:
    """Return what the header of an image says of its pixels.

    Raises:
        RejectedFile: BAD_HEADER, UNSUPPORTED_PIXELS or TOO_LARGE; TRUNCATED where there are none.
    """
    dataset, keyword = parsed.dataset, "PixelData"
    if parsed.pixels is not None:
        keyword = parsed.pixels.keyword
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    n_frames = integer(dataset, "NumberOfFrames") or 1
    if min(rows, columns, n_frames) < 1:
        raise RejectedFile(Code.BAD_HEADER)
    photometric, samples = _photometric(dataset)
    allocated = integer(dataset, "BitsAllocated") or 0
    if allocated not in _BITS[keyword]:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    if rows * columns * n_frames > MAX_PIXELS or n_frames > MAX_FRAMES:
        raise RejectedFile(Code.TOO_LARGE)
    if parsed.pixels is None:
        raise RejectedFile(Code.TRUNCATED)
    stored = integer(dataset, "BitsStored") or allocated
    return Layout(
        rows=rows,
        columns=columns,
        n_frames=n_frames,
        samples=samples,
        photometric=photometric,
        allocated=allocated,
        stored=min(stored, allocated) if stored > 0 else allocated,
        is_signed=integer(dataset, "PixelRepresentation") == 1,
        is_float=keyword != "PixelData",
    )


def check_length(parsed: Parsed, found: Layout) -> None:
    """Reject what cannot hold the pixels it claims.

    That costs a look at the end of the file, so only what needs it is asked how long it is: files
    of many frames, and those in which nothing but their elements says that they are DICOM.
    """
    assert parsed.pixels is not None
    is_native = not parsed.syntax.is_encapsulated
    claimed = found.n_bytes if is_native else found.n_frames * _ITEM_BYTES
    length = parsed.pixels.length
    if is_native and (length is None or length < claimed):
        raise RejectedFile(Code.TRUNCATED)
    if (found.n_frames > 1 or parsed.is_bare) and parsing.n_left(parsed) < claimed:
        raise RejectedFile(Code.TRUNCATED)


def _photometric(dataset: Dataset) -> tuple[str, int]:
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in _GRAY | _COLOUR | {PALETTE}:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS if photometric else Code.BAD_HEADER)
    samples = integer(dataset, "SamplesPerPixel") or 1
    if samples != (3 if photometric in _COLOUR else 1):
        raise RejectedFile(Code.BAD_HEADER)
    return photometric, samples
