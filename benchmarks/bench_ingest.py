"""Ingest over a plain loop of pydicom read and PNG write, files/s per core. Bar: at least 1.

With two processes the bar is 1.8; how much faster two are than one is printed beside it. CT slices
of 512 x 512 px, uncompressed and in JPEG 2000 (lossless). Every ingest runs in a process of its
own, so that its start counts, about half a second, and its memory can be told.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

N_SERIES, N_SLICES, SIDE = 48, 50, 512
SHARE_COMPRESSED = 4  # of that many slices one: decoding takes so much longer
LOOPED = 120  # files that the plain loop reads: each takes it as long
ROUNDS = 3
INGEST = """
import json, resource, sys, time
from pathlib import Path
from medssl.config.ingest import IngestSettings
from medssl.stages import ingest
if __name__ == "__main__":
    source, out, key, workers = sys.argv[1:]
    settings = IngestSettings(sources=(Path(source),), key_file=Path(key))
    begun = time.perf_counter()
    ingest.run(settings, Path(out), workers=int(workers))
    seconds = time.perf_counter() - begun
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in whose)
    print(json.dumps({"seconds": seconds, "peak_mib": peak / 1024}))
"""


def write_scans(folder: Path, *, compressed: bool) -> list[Path]:
    """Write CT series of smooth bodies with noise, as scanners make them."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 1200, (16, 16)).astype(np.float32))
    body = np.asarray(coarse.resize((SIDE, SIDE), 3))
    paths = []
    n_slices = N_SLICES // SHARE_COMPRESSED if compressed else N_SLICES
    for series in range(N_SERIES):
        uid = generate_uid()[:60]
        for number in range(n_slices):
            pixels = np.clip(body + rng.normal(0, 12, body.shape), 0, 4095).astype(np.uint16)
            path = folder / str(series) / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset = _slice(pixels, series, number, uid)
            if compressed:
                dataset.compress(JPEG2000Lossless, pixels, generate_instance_uid=False)
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def _slice(pixels: np.ndarray, series: int, number: int, uid: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientID, dataset.Modality = f"p{series}", "CT"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{uid}.1", uid
    dataset.ImagePositionPatient = [0, 0, number * 2.5]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.InstanceNumber = [0.7, 0.7], number
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for k in range(200):  # as many elements as headers of scanners have
        dataset.add_new((0x0019, 0x1000 + k), "LO", f"value {k}")
    return dataset


def plain_loop(paths: list[Path], out: Path) -> float:
    """Return the seconds of what people write first: read, stretch to 8 bits, save as PNG."""
    out.mkdir()
    begun = time.perf_counter()
    for number, path in enumerate(paths):
        values = pydicom.dcmread(path).pixel_array.astype(np.float32)
        scaled = (values - values.min()) / max(1.0, np.ptp(values)) * 255
        Image.fromarray(scaled.astype(np.uint8)).save(out / f"{number}.png")
    return time.perf_counter() - begun


def ingest(source: Path, out: Path, workers: int) -> dict[str, float]:
    """Return seconds and peak memory of an ingest in a process of its own."""
    script = out.parent / "ingest.py"
    script.write_text(INGEST, encoding="utf-8")
    key = out.parent / "site.key"
    if not key.is_file():
        key.touch(mode=0o600)
        key.write_bytes(bytes(range(32)))
    command = [sys.executable, script, source, out, key, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measured(root: Path, *, compressed: bool) -> dict[str, object]:
    """Return the ratios for one kind of files."""
    paths = write_scans(root / "scans", compressed=compressed)
    some = paths[:: len(paths) // LOOPED]
    rounds = [
        (
            plain_loop(some, root / f"png-{number}") * len(paths) / len(some),
            ingest(root / "scans", root / f"one-{number}", 1),
            ingest(root / "scans", root / f"two-{number}", 2),
        )
        for number in range(ROUNDS)
    ]
    loop = statistics.median(loop for loop, _, _ in rounds)
    one = statistics.median(one["seconds"] for _, one, _ in rounds)
    two = statistics.median(two["seconds"] for _, _, two in rounds)
    return {
        "files": len(paths),
        "ratio": round(loop / one, 2),
        "ratio_two_processes": round(loop / two, 2),
        "one_process_over_two": round(one / two, 2),
        "files_per_s": round(len(paths) / one, 1),
        "peak_mib": round(max(result["peak_mib"] for _, *both in rounds for result in both)),
    }


def main() -> None:
    result: dict[str, object] = {"benchmark": "ingest", "bar": 1.0, "bar_two_processes": 1.8}
    for name in ("raw", "jpeg2000"):
        with tempfile.TemporaryDirectory() as folder:
            result[name] = measured(Path(folder), compressed=name != "raw")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
