"""What every test relies on: one thread, fixed seeds, no user configuration, the command line."""

import os

# Before numpy or torch is imported anywhere: two cores are shared, and one thread is repeatable.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what repeatable sums on a GPU need

import gc
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("medssl", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("medssl")

Cli = Callable[..., tuple[int, str, str]]


def pytest_collection_finish() -> None:
    """Let the collector pass over what the imports made: most there is, and never freed."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_every_time() -> Iterator[None]:
    """Fix the global generators; torch only where a test module has imported it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for libraries that still read the global state
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)  # the CPU's: to ask every device takes 60 times as long
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def _config_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders to be, one for every test; only a few make theirs."""
    folder = tmp_path_factory.mktemp("config-homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def config_home(_config_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the institution's key of this machine out of the tests."""
    home = next(_config_homes)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder the project was checked out to."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real scans that MEDSSL_TEST_DATA names; tests that need it skip without."""
    named = os.environ.get("MEDSSL_TEST_DATA", "")
    if not named:
        pytest.skip("set MEDSSL_TEST_DATA to a folder of real scans to run this test")
    folder = Path(named)
    assert folder.is_dir(), f"MEDSSL_TEST_DATA is {named}, which is not a folder"
    return folder


@pytest.fixture
def narrow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make MONAI's residual networks an eighth as wide, also those built by name."""
    import narrow
    from monai.networks.nets import resnet

    monkeypatch.setattr(resnet, "get_inplanes", lambda: narrow.WIDTHS)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one command in this process and return its exit code, stdout and stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        from medssl.cli import main

        capsys.readouterr()  # whatever the test itself printed so far
        code = main.main([str(word) for word in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of 12 patients, two sites; bright in the middle where `finding` is 1.

    Patients 0-7 have 8-bit radiographs with labels, patients 8-11 CT slices without.
    """
    from medssl.artifacts import archive, pixels, tables

    folder = tmp_path_factory.mktemp("tiny") / "archive"
    folder.mkdir()
    rng = np.random.default_rng(7)
    radiographs = rng.integers(40, 90, size=(16, 1, 48, 48)).astype(np.uint8)
    slices = rng.integers(-1000, 400, size=(8, 1, 48, 48)).astype(np.int16)
    images, labels = [], []
    for number in range(24):
        patient, ct = number // 2, number >= 16
        finding = patient % 2
        if finding and not ct:
            radiographs[number, :, 12:30, 12:30] += 90
        images.append(
            {
                "image_id": f"image{number:02d}",
                "patient_key": f"patient{patient:02d}",
                "study_key": f"study{patient:02d}",
                "series_key": f"series{patient:02d}",
                "site": "north" if patient % 3 else "south",
                "modality": "CT" if ct else "DX",
                "slice_index": number % 2,
                "rows": 48,
                "columns": 40 if ct else 48,
                "shard": int(ct),
                "row": number - 16 * ct,
                "unit": "HU" if ct else "arbitrary",
                "slope": 1.0,
                "intercept": 0.0,
                "lossy": False,
                "pixel_sha256": f"{number:064x}",
                "flags": [],
            }
        )
        value = None if ct else str(finding)
        labels.append({"image_id": f"image{number:02d}", "target": "finding", "value": value})
    pixels.write(folder, 0, radiographs)
    pixels.write(folder, 1, slices)
    archive.write_images(folder, tables.build(images, archive.IMAGES))
    archive.write_labels(folder, tables.build(labels, archive.LABELS))
    info = archive.ArchiveInfo(
        medssl="0",
        size=48,
        spatial_dims=2,
        key_id="00000000",
        files_found=24,
        files_written=24,
        images=24,
        series=12,
        studies=12,
        patients=12,
        sites=("north", "south"),
        targets={"finding": {"0": 8, "1": 8}},
        hash=archive.content_hash(folder),
    )
    archive.write_info(folder, info)
    return folder
