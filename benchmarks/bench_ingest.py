"""Ingest over a plain loop of pydicom read and PNG write, files/s per core. Bar: at least 1.

With two processes the bar is 1.8 times one.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from medssl.config.ingest import IngestSettings
from medssl.ingestion import phantoms
from medssl.stages import ingest

N_PATIENTS, IMAGE_SIZE = 120, 256


def plain_loop(files: list[Path], out: Path) -> None:
    """What people write first: read, stretch to 8 bits, save as PNG."""
    for number, path in enumerate(files):
        values = pydicom.dcmread(path).pixel_array.astype(np.float32)
        scaled = (values - values.min()) / max(1.0, np.ptp(values)) * 255
        Image.fromarray(scaled.astype(np.uint8)).save(out / f"{number}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        phantoms.generate(
            root / "scans", n_patients=N_PATIENTS, image_size=IMAGE_SIZE, rejects=False
        )
        files = sorted((root / "scans").rglob("*.dcm"))
        (root / "png").mkdir()
        settings = IngestSettings(sources=(root / "scans",), key_file=root / "site.key")
        ingest.run(settings, root / "warm", workers=1)
        seconds = []
        for act in (
            lambda: plain_loop(files, root / "png"),
            lambda: ingest.run(settings, root / "one", workers=1),
            lambda: ingest.run(settings, root / "two", workers=2),
        ):
            begun = time.perf_counter()
            act()
            seconds.append(time.perf_counter() - begun)
    loop, one, two = seconds
    result = {
        "benchmark": "ingest",
        "ratio": round(loop / one, 2),
        "bar": 1.0,
        "ratio_two_processes": round(one / two, 2),
        "bar_two_processes": 1.8,
        "files": len(files),
        "files_per_s": round(len(files) / one, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
