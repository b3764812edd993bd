"""`medssl doctor --phi-canary`: run the commands on planted texts, then search what they left."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import typer

from medssl.cli import console
from medssl.config.reading import Role
from medssl.foundation import files
from medssl.foundation.errors import MedSSLError, UsageError
from medssl.ingestion.canary import planting as canary
from medssl.ingestion.canary.planting import Planted
from medssl.ingestion.canary.search import KEY, Hit, Needles, allowed, is_markup, place

_SMALL = ("--smoke", "--device", "cpu", "--image-size", 32)
_FEW = ("--resamples", 100)
_EVERY_KIND = (  # what is otherwise left out
    "--thumbnails", "--colour", "keep", "--4d", "split", "--gaps", "single",
    *(word for role in get_args(Role) for word in ("--include", role)),
)  # fmt: skip
_LONGEST_S = 300.0  # that a command may take
_POLL_S = 0.005
_MOST_SHOWN = 20  # leaks in the table; --json has all
_PRIVATE = "private"
_BEGUN = Path(".work", "pixels", "00000.npy")  # there as soon as pixels are written


@dataclass(frozen=True)
class Step:
    """A command as a user types it, and the exit codes it may end in."""

    name: str
    words: Sequence[object]
    codes: tuple[int, ...] = (0,)
    kill_after: Path | None = None  # SIGTERM as soon as this exists


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was planted, run, searched and found."""

    folder: Path
    plants: int
    commands: int
    files: int
    bytes: int
    found_in_private: int  # plants: the search works, and what was planted was read
    leaks: tuple[Hit, ...]
    problems: tuple[str, ...]  # what else is not as it should be

    @property
    def is_clean(self) -> bool:
        """Whether nothing leaked and the search proves it."""
        return not self.leaks and not self.problems


def run(folder: Path, *, as_json: bool) -> None:
    """Plant, run, search and show; exit 1 where anything leaked.

    Raises:
        UsageError: The folder is not empty.
        ResourceError: It cannot be written to.
    """
    result = search(folder, console.RichReporter())
    rows: list[tuple[str, object]] = [
        ("folder", result.folder),
        ("planted", f"{result.plants:,} texts"),
        ("commands", result.commands),
        ("searched", f"{result.files:,} files, {console.size(result.bytes)}"),
        ("in private/", f"{result.found_in_private:,} of the texts, as they should be"),
        *(("leak", _told(hit)) for hit in result.leaks[:_MOST_SHOWN]),
        *[("more", f"{len(result.leaks) - _MOST_SHOWN} leaks: see --json")]
        * (len(result.leaks) > _MOST_SHOWN),
        *(("problem", text) for text in result.problems),
        ("verdict", _verdict(result)),
    ]
    console.show("doctor", asdict(result) | {"verdict": _verdict(result)}, rows, as_json=as_json)
    if not result.is_clean:
        raise typer.Exit(MedSSLError.exit_code)


def search(folder: Path, reporter: console.RichReporter) -> Result:
    """Plant texts below a folder, run the commands on them, and search what they left.

    Raises:
        UsageError: The folder is not empty.
        ResourceError: It cannot be written to.
    """
    _make(folder)
    planted = canary.plant(folder / "scans")
    steps = list(_steps(planted, folder / "out"))
    reporter.note(f"planted {len(planted.plants):,} texts; running {len(steps)} commands")
    problems = []
    for number, step in enumerate(reporter.track(steps, task="running", unit="commands")):
        code = _run(step, folder, number)
        if code not in step.codes:
            problems.append(f"{step.name} ended in exit {code}: see said/{_stem(number, step)}.err")
    key = folder / "key" / "medssl" / "site.key"
    needles = Needles(planted.plants, key.read_bytes() if key.is_file() else b"")
    return _searched(folder, needles, len(steps), [*problems, *_open_doors(folder, key)])


def _searched(folder: Path, needles: Needles, n_commands: int, problems: list[str]) -> Result:
    """Search all but `private/`, and that as well, where texts must be found."""
    leaks: dict[Hit, None] = {}
    artefacts = list(_files(folder, is_private=False))
    for path in artefacts:
        leaks |= dict.fromkeys(_leaks(path, folder, needles))
    inside = set()
    for path in _files(folder, is_private=True):
        found = needles.find(path.read_bytes())
        if KEY in found:
            leaks[Hit(KEY.where, path.relative_to(folder).as_posix(), found[KEY])] = None
        inside |= {*found} - {KEY}
    if not inside:
        problems = [*problems, "no text was found in private/ either, so the search proves nothing"]
    return Result(
        folder=folder,
        plants=len(needles.plants),
        commands=n_commands,
        files=len(artefacts),
        bytes=sum(path.stat().st_size for path in artefacts),
        found_in_private=len(inside),
        leaks=tuple(leaks),
        problems=tuple(problems),
    )


def _leaks(path: Path, folder: Path, needles: Needles) -> Iterator[Hit]:
    """Yield what stands in a file, or in its name, and may not."""
    name = path.relative_to(folder).as_posix()
    for plant, layer in needles.find(path.read_bytes()).items():
        if is_markup(plant, name, layer):
            yield Hit(f"{plant.where}, as markup", name, layer)
        elif not allowed(plant, place(name)):
            yield Hit(plant.where, name, layer)
    for plant in needles.find(name.encode()):
        if not allowed(plant, "name"):
            yield Hit(plant.where, name, "in its name")


def _files(folder: Path, *, is_private: bool) -> Iterator[Path]:
    """Yield the files that commands left, inside or outside the `private/` folders."""
    for path in sorted((*(folder / "out").rglob("*"), *(folder / "said").rglob("*"))):
        if path.is_file() and (_PRIVATE in path.relative_to(folder).parts) is is_private:
            yield path


def _open_doors(folder: Path, key: Path) -> Iterator[str]:
    """Say which of what is private others could read."""
    if os.name != "posix":
        return
    out = folder / "out"
    inside = [path for path in out.rglob("*") if _PRIVATE in path.relative_to(out).parts]
    if not inside or not key.is_file():
        yield "no private/ folder, or no key, was made"
        return
    for path in (*inside, key.parent, key):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o700 if path.is_dir() else 0o600
        if mode != wanted:
            yield f"{path.relative_to(folder)} has mode {mode:04o}, not {wanted:04o}"


def _steps(p: Planted, out: Path) -> Iterator[Step]:
    """Yield the commands in order; the ways to fail are those in which a message might quote."""
    archive = out / p.archive
    ingest = ("ingest", p.source, "--labels", p.labels, "--label", p.target, "--max-rejects", 1)
    slipped = ("ingest", p.source, "--labels", p.bad_labels)
    yield Step("ingest --dry-run", (*ingest, "-o", archive, "--dry-run"))
    yield Step("ingest", (*ingest, "-o", archive))
    yield Step("ingest of every kind", (*ingest, *_EVERY_KIND, "-o", out / "every-kind", "--json"))
    yield Step(
        "ingest with too many rejects",
        ("ingest", p.source, p.unreadable, "-o", out / "rejects", "--max-rejects", 0),
        (8,),
    )
    yield Step("ingest into a used folder", (*ingest, "-o", archive), (2,))
    yield Step("ingest of no image", ("ingest", p.unreadable, "-o", out / "none"), (3,))
    yield Step("ingest of nothing", ("ingest", p.source / p.absent, "-o", out / "none"), (2,))
    yield Step(
        "ingest by a wrong column", (*ingest, "--key-column", p.absent, "-o", out / "none"), (3,)
    )
    yield Step("ingest with a slipped table", (*slipped, "-o", out / "none"), (3,))
    headless = ("ingest", p.source, "--labels", p.headless)
    yield Step("ingest with a table without headings", (*headless, "-o", out / "none"), (3,))
    stopped = (*ingest, "-o", out / "stopped")
    yield Step("ingest that is stopped", stopped, (0, 75), out / "stopped" / _BEGUN)
    yield Step("ingest that goes on", (*stopped, "--resume"), (0, 2))  # 2: it had finished
    for part in (1, 2):
        yield Step(
            f"ingest of part {part}", (*ingest, "--shard", f"{part}/2", "-o", out / f"part-{part}")
        )
    yield Step(
        "ingest --merge",
        ("ingest", out / "part-1", out / "part-2", "--merge", "-o", out / "merged"),
    )
    yield Step("ingest --append", ("ingest", p.unreadable, "--append", "-o", out / "merged"))
    yield from _later_steps(p, archive, out / "runs")


def _later_steps(p: Planted, archive: Path, runs: Path) -> Iterator[Step]:
    reduce, pretrain, finetune = runs / "reduce", runs / "pretrain", runs / "finetune"
    train = ("finetune", archive, *_SMALL)
    judge = ("evaluate", *_FEW, "--predictions")
    yield Step("reduce", ("reduce", archive, "-o", reduce))
    yield Step("pretrain", ("pretrain", archive, "--selection", reduce, *_SMALL, "-o", pretrain))
    yield Step("finetune", (*train, "--init-from", pretrain, "-o", finetune))
    yield Step("finetune from none", (*train, "--init-from", "none", "-o", runs / "scratch"))
    tune = ("tune", archive, *_SMALL, "--trials", 1, "--init-from", "none", "-o", runs / "tune")
    yield Step("tune", tune, (0, 5))
    yield Step("predict", ("predict", finetune, archive, "-o", runs / "predict"))
    yield Step("evaluate", ("evaluate", finetune, *_FEW, "-o", runs / "evaluate"))
    yield Step("evaluate a table", (*judge, p.predictions, "-o", runs / "foreign"))
    yield Step("evaluate a slipped table", (*judge, p.bad_predictions, "-o", runs / "none"), (3,))
    yield Step(
        "evaluate no table", (*judge, p.predictions.with_name(p.absent), "-o", runs / "none"), (3,)
    )
    yield Step("compare", ("compare", finetune, runs / "scratch", *_FEW, "-o", runs / "compare"))
    yield Step("info on an archive", ("info", archive))
    yield Step("info on a run", ("info", runs / "evaluate", "--json"))


def _run(step: Step, folder: Path, number: int) -> int:
    """Run a command as a user does, keep what it says in `said/`, and return its exit code."""
    said = folder / "said" / _stem(number, step)
    said.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "medssl", *map(str, step.words)]
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(folder / "key"),
        "PYTHONWARNINGS": "default",
    }
    with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, env=environment)
        try:
            if (sign := step.kill_after) is not None:
                _wait(lambda: process.poll() is not None or sign.exists())
                process.send_signal(signal.SIGTERM)
            return process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            process.kill()
            process.wait()


def _wait(is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + _LONGEST_S
    while not is_done() and time.monotonic() < until:
        time.sleep(_POLL_S)


def _stem(number: int, step: Step) -> str:
    return f"{number:02d}-{step.name.replace(' --', '-').replace(' ', '-')}"


def _make(folder: Path) -> None:
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError("the folder is not empty", where=str(folder), fix="choose another folder")


def _told(hit: Hit) -> str:
    return f"{hit.planted}: {hit.layer} in {hit.found}"


def _verdict(result: Result) -> str:
    if result.is_clean:
        return "nothing that was planted leaves private/"
    if result.leaks:
        return f"{len(result.leaks)} leaks: this is a bug in medssl, please report it"
    return "not shown: see the problems"
