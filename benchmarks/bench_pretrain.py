"""What pretraining pays for its images: loading and views, beside lightly, and with the archive.

Four parts, each in a process of its own:

- a whole step over the same step on a fixed batch, in turns; bar: at most 1.10; peak memory;
- reading and two views, images per CPU second on one core, over lightly's SimCLR transform on the
  same images as PNG; bar: at least 5. `--lightly PYTHON` names the interpreter of an environment
  with lightly 1.6.0; without it that part is null;
- a whole step with lightly's views in place of ours, if they kept all cores busy, over ours;
- from `images.parquet` to the first step of an epoch, for 1,000 to 1,000,000 rows.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from medssl.artifacts import archive, pixels, tables
from medssl.config.pretrain import PretrainOptim
from medssl.config.training import Intensity, Views
from medssl.data.batches import Shown, TrainingBatches
from medssl.data.sampling import Neighbours, OnePerGroup, Shuffled, numbered, positions
from medssl.data.store import ImageStore
from medssl.foundation.cost import peak_memory
from medssl.foundation.reporting import Silent
from medssl.methods import vicreg
from medssl.models.encoders import resnet18
from medssl.training import loop, optim, runtime
from medssl.training.state import TrainState
from medssl.training.step import Step
from medssl.training.update import StepUpdate

N_IMAGES, SIDE, SHAPE, BATCH = 512, 256, (64, 64), 64
ROUNDS, STEPS = 7, 3  # of the whole step and of the fixed one, in turns
ROWS = (1_000, 10_000, 100_000, 1_000_000)
SLICES, SERIES_OF_A_PATIENT = 10, 2
N_STORED, STORED_SIDE = 64, 32  # images behind any number of rows
MIB = 2**20
CPU = torch.device("cpu")
THEIRS = """
import json, random, sys, time
from pathlib import Path
import torch
from PIL import Image
from lightly.transforms import SimCLRTransform
torch.set_num_threads(1)
torch.manual_seed(0)
random.seed(0)
paths, side = sorted(Path(sys.argv[1]).glob("*.png")), int(sys.argv[2])
grey = SimCLRTransform(
    input_size=side, cj_hue=0, cj_sat=0, random_gray_scale=0,
    normalize={"mean": [0.5], "std": [0.25]},
)
found = {}
for name, mode, transform in ("rgb", "RGB", SimCLRTransform(input_size=side)), ("grey", "L", grey):
    def show(path):
        with Image.open(path) as image:
            return transform(image.convert(mode))
    for path in paths[:16]:
        views = show(path)
    assert [tuple(view.shape[1:]) for view in views] == [(side, side)] * 2
    begun = time.process_time()
    torch.stack([torch.stack(show(path)) for path in paths])
    found[name] = (time.process_time() - begun) / len(paths)
print(json.dumps(found))
"""


def write_images(folder: Path) -> None:
    """Write smooth 8-bit images as one shard and as PNGs: a PNG of noise would be slower still."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N_IMAGES, 16, 16)).astype(np.uint8)
    images = [Image.fromarray(c).resize((SIDE, SIDE), 3) for c in coarse]
    pixels.write(folder, 0, (np.asarray(image)[None] for image in images))
    (folder / "png").mkdir()
    for number, image in enumerate(images):
        image.save(folder / "png" / f"{number:03d}.png")


def batches_of(folder: Path) -> TrainingBatches:
    row = {"shard": 0, "rows": SIDE, "columns": SIDE, "slope": 1.0, "intercept": 0.0}
    table = tables.build([{**row, "row": i} for i in range(N_IMAGES)], archive.IMAGES)
    return TrainingBatches(
        ImageStore(folder, table),
        Shuffled(N_IMAGES, BATCH, seed=0),
        device=CPU,
        intensity=Intensity(),
        views=Views(),
        shape=SHAPE,
        seed=0,
        n_views=2,
    )


def trainer() -> Callable[[Iterable[Shown]], object]:
    """Return what takes steps as `medssl pretrain` does: VICReg on a ResNet-18, AdamW."""
    started, settings = runtime.start("cpu", "32"), PretrainOptim(lr=1e-3)
    step = Step(vicreg.Method(resnet18.build(1, 2, resnet18.Config()), vicreg.Config()))
    n_steps = 2 * ROUNDS * STEPS + 1
    module, optimizer = started.setup(step, optim.pretraining(step.method, settings))
    state = TrainState(module, optimizer, optim.moving(optimizer, n_steps, settings), seed=0)
    update = StepUpdate(started, state, step, n_steps, Silent())
    return lambda steps: loop.train(started, state, steps, Silent(), update=update)


def measure_step(folder: Path) -> dict[str, float]:
    """Return the time of a whole step and of one on a fixed batch, s, and memory, bytes."""
    batches, before = batches_of(folder), peak_memory()
    train = trainer()
    fixed = next(batches.steps(range(1)))
    train([fixed])  # the first step of a shape is slow
    whole, bare = [], []
    for number in range(ROUNDS):
        steps = batches.steps(range(number * STEPS, (number + 1) * STEPS))
        whole.append(seconds_of(train, steps))
        bare.append(seconds_of(train, [fixed] * STEPS))
    walls, cpus = np.median(np.divide(whole, bare), axis=0)
    return {
        "ratio": walls,
        "ratio_cpu": cpus,
        "step_s": statistics.median(wall for wall, _ in whole),
        "fixed_step_s": statistics.median(wall for wall, _ in bare),
        "threads": torch.get_num_threads(),
        "peak_bytes": peak_memory(),
        "peak_bytes_before": before,
    }


def seconds_of(train: Callable[[Iterable[Shown]], object], steps: Iterable[Shown]) -> list[float]:
    """Return the time of one step and the CPU time, of all threads, s."""
    wall, cpu = time.perf_counter(), time.process_time()
    train(steps)
    return [(time.perf_counter() - wall) / STEPS, (time.process_time() - cpu) / STEPS]


def measure_views(folder: Path) -> dict[str, float]:
    """Return the CPU seconds of reading an image and making two views of it."""
    torch.set_num_threads(1)
    batches = batches_of(folder)
    next(batches.steps(range(1)))
    begun, steps = time.process_time(), 2 * batches.steps_per_epoch
    for shown in batches.steps(range(steps)):
        assert shown.views[1].shape == (BATCH, 1, *SHAPE)
    return {"cpu_s": (time.process_time() - begun) / (steps * BATCH)}


def write_rows(folder: Path, n: int) -> None:
    """Write an `images.parquet` of ``n`` rows that share the pixels of a few images."""
    number = np.arange(n)
    spacing = pa.array(np.tile([1.0, 1.0, 2.5], n))
    known = {
        "image_id": pa.array([f"{i:016x}" for i in range(n)]),
        "patient_key": pa.array([f"p{i:015x}" for i in number // (SLICES * SERIES_OF_A_PATIENT)]),
        "series_key": pa.array([f"s{i:015x}" for i in number // SLICES]),
        "slice_index": pa.array(number % SLICES, pa.int32()),
        "position_mm": pa.array(number % SLICES * 2.5),
        "spacing": pa.FixedSizeListArray.from_arrays(spacing, 3),
        "rows": pa.array(np.full(n, STORED_SIDE), pa.int32()),
        "columns": pa.array(np.full(n, STORED_SIDE), pa.int32()),
        "shard": pa.array(np.zeros(n), pa.int32()),
        "row": pa.array(number % N_STORED, pa.int32()),
        "unit": pa.array(["HU"] * n),
        "slope": pa.array(np.ones(n)),
        "intercept": pa.array(np.zeros(n)),
    }
    columns = [known.get(field.name, pa.nulls(n, field.type)) for field in archive.IMAGES]
    archive.write_images(folder, pa.table(columns, schema=archive.IMAGES))
    pixels.write(folder, 0, np.zeros((N_STORED, 1, STORED_SIDE, STORED_SIDE), np.int16))
    made = {"files_found": n, "files_written": n, "quarantined": {}}
    archive.write_info(
        folder, archive.ArchiveInfo(medssl="", size=None, spatial_dims=2, key_id="", **made)
    )


def measure_start(folder: Path) -> dict[str, float]:
    """Return the CPU seconds from the table to the first step of an epoch, part by part."""
    before, times, marks = peak_memory(), [time.process_time()], []

    def done(part: str) -> None:
        marks.append(part)
        times.append(time.process_time())

    table = archive.read_images(folder)
    done("table")
    store = ImageStore(folder, table)
    done("store")
    series = numbered(table["series_key"])
    sampler = OnePerGroup(series, BATCH, seed=0)
    done("sampler")
    partners = Neighbours(series, positions(table), within_mm=10.0)
    done("partners")
    sampler.epoch(0)
    done("order")
    batches = TrainingBatches(
        store,
        sampler,
        device=CPU,
        intensity=Intensity(),
        views=Views(),
        shape=(STORED_SIDE, STORED_SIDE),
        seed=0,
        n_views=2,
        patients=numbered(table["patient_key"]),
        partners=partners,
    )
    next(batches.steps(range(1)))
    done("first_step")  # with the order of its epoch once more
    seconds = {part: b - a for part, a, b in zip(marks, times, times[1:], strict=False)}
    return {**seconds, "total": times[-1] - times[0], "bytes": peak_memory() - before}


PARTS = {"step": measure_step, "views": measure_views, "start": measure_start}


def apart(part: str, folder: Path, **environment: str) -> dict[str, float]:
    """Return what a part measures in a process of its own."""
    command = [sys.executable, __file__, "--part", part, str(folder)]
    return output_of(command, environment)


def output_of(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def beside_lightly(python: str | None, folder: Path, step: dict[str, float]) -> dict[str, Any]:
    """Return both sides' images per CPU second, their ratio, and that of whole steps."""
    one_core = {"OMP_NUM_THREADS": "1"}
    ours = apart("views", folder, **one_core)["cpu_s"]
    result: dict[str, Any] = {"images_per_cpu_s": round(1 / ours), "ratio": None, "bar": 5}
    if python is None:
        return result
    command = [python, "-c", THEIRS, str(folder / "png"), str(SHAPE[0])]
    theirs = output_of(command, one_core)
    for name, seconds in theirs.items():
        whole = step["fixed_step_s"] + BATCH * seconds / step["threads"]
        result |= {
            f"lightly_{name}_images_per_cpu_s": round(1 / seconds),
            f"ratio_{name}": round(seconds / ours, 2),
            f"whole_step_ratio_{name}": round(whole / step["step_s"], 2),
        }
    return result | {"ratio": result["ratio_rgb"]}


def growth() -> dict[str, Any]:
    """Return CPU seconds and memory from the table to the first step, for more and more rows."""
    found = {}
    for n in ROWS:
        with tempfile.TemporaryDirectory() as name:
            write_rows(Path(name), n)
            found[n] = apart("start", Path(name))
    last, before = found[ROWS[-1]], found[ROWS[-2]]
    exponent = math.log(last["total"] / before["total"]) / math.log(ROWS[-1] / ROWS[-2])
    return {
        "cpu_s": {str(n): round(one["total"], 3) for n, one in found.items()},
        "mib": {str(n): round(one["bytes"] / MIB) for n, one in found.items()},
        "exponent": round(exponent, 2),
        "parts_of_the_last_cpu_s": {
            part: round(value, 2) for part, value in last.items() if part not in {"total", "bytes"}
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lightly", help="interpreter of an environment with lightly 1.6.0")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part is not None:
        print(json.dumps(PARTS[given.part](given.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name))
        step = apart("step", Path(name))
        views = beside_lightly(given.lightly, Path(name), step)
    result = {
        "benchmark": "pretrain",
        "ratio": round(step["ratio"], 3),
        "ratio_cpu": round(step["ratio_cpu"], 3),
        "bar": 1.10,
        "step_s": round(step["step_s"], 4),
        "images_per_s": round(BATCH / step["step_s"], 1),
        "threads": step["threads"],
        "peak_mib": round(step["peak_bytes"] / MIB),
        "peak_mib_before": round(step["peak_bytes_before"] / MIB),
        "reading_and_two_views": views,
        "from_table_to_first_step": growth(),
        "encoder": "resnet18",
        "method": "vicreg",
        "image_size": SHAPE[0],
        "stored_size": SIDE,
        "batch": BATCH,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
