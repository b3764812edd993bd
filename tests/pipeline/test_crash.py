"""Kill `ingest` anywhere: what it is resumed to is the same, byte for byte.

A child process counts everything it does to the disk, and ends itself without any clean-up at one
of these points.
"""

import errno
import hashlib
import itertools
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medssl.artifacts import archive, building, pixels
from medssl.cli import main
from medssl.config.ingest import IngestSettings
from medssl.foundation import files, locks
from medssl.foundation.errors import ArtifactError, DataError, ResourceError, UsageError
from medssl.ingestion import identity, phantoms, writing
from medssl.ingestion.writing import Part
from medssl.stages import ingest

DONE, KILLED = 0, 9
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}
POINTS = 50
SMALL_SHARD = 12_000  # bytes: an archive of several


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crash") / "scans"
    phantoms.generate(folder, n_patients=10, image_size=32, ct_slices=5)
    return folder


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(pixels, "SHARD_BYTES", SMALL_SHARD)


@pytest.fixture
def settings(scans, tmp_path) -> IngestSettings:
    key = tmp_path / "site.key"
    key.touch(mode=0o600)
    key.write_bytes(bytes(range(32)))
    return IngestSettings(sources=(scans,), size=24, max_rejects=1, key_file=key)


def content(folder: Path) -> dict[str, str]:
    """Digest of every file of an archive that holds neither a time nor a path."""
    told = {
        "private/journal.sqlite", "private/log.txt", "private/lock", "private/config.yaml",
        "private/given.yaml", "private/begun.yaml",
    }  # fmt: skip
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and (name := path.relative_to(folder).as_posix()) not in told
    }


def in_child(act: Callable[[], None]) -> int:
    """Return the exit code of a child process that does something and then nothing else."""
    child = os.fork()
    if child == 0:
        forkserver._forkserver._forkserver_pid = None  # the parent's is no child of this one
        try:
            act()
        except BaseException:  # noqa: BLE001 - told by the exit code
            traceback.print_exc()
            os._exit(1)
        os._exit(DONE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash(act: Callable[[], object], limit: int, tell: Path | None = None) -> int:
    """Let a child process act; end it at its ``limit``-th touch of the disk, without a clean-up.

    Returns:
        Its exit code. In ``tell`` it says how many touches there were.
    """

    def body() -> None:
        touches = itertools.count(1)

        def touch() -> None:
            if next(touches) == limit:
                os._exit(KILLED)

        def hook(event: str, args: tuple[object, ...]) -> None:
            flags = args[2] if event == "open" else 0
            if event in EVENTS or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
                touch()

        def synced(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
            real(descriptor)
            touch()

        sys.addaudithook(hook)
        os.fsync = synced
        act()
        if tell is not None:
            tell.write_text(str(next(touches) - 1))

    return in_child(body)


def points(act: Callable[[], object], tell: Path, count: int) -> list[int]:
    """Return points spread over nearly all that ``act`` does to the disk, which varies by one."""
    assert crash(act, -1, tell) == DONE
    n_points = int(tell.read_text())
    assert n_points > count
    return sorted({int(n) for n in np.linspace(1, n_points - 3, count)})


def finish(settings: IngestSettings, out: Path) -> None:
    """Do what a user does after a crash, on the command line: go on, or else begin again."""
    code = main.main(["ingest", "-o", str(out), "--resume", "--workers", "1"])
    if code == ArtifactError.exit_code:  # it had not begun
        ingest.run(settings, out, workers=1)
    elif code == UsageError.exit_code:
        assert (out / "archive.json").is_file()
        assert not building.folder(out).exists()
    else:
        assert code == 0


@pytest.mark.parametrize(
    "count", [8, pytest.param(POINTS, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_an_ingest_that_ends_anywhere_is_resumed_to_the_same_bytes(settings, tmp_path, count):
    whole = tmp_path / "whole"
    limits = points(lambda: ingest.run(settings, whole, workers=1), tmp_path / "n", count)
    expected = content(whole)
    assert len(list((whole / "pixels").iterdir())) > 2
    for limit in limits:
        out = tmp_path / f"at-{limit}"
        code = crash(lambda out=out: ingest.run(settings, out, workers=1), limit)
        assert code == KILLED, limit
        finish(settings, out)
        assert content(out) == expected, limit
        assert not building.folder(out).exists()


@pytest.mark.parametrize(
    "count", [4, pytest.param(POINTS // 2, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_an_archive_is_the_old_or_the_new_one_while_files_are_added(settings, tmp_path, count):
    more = tmp_path / "more"
    phantoms.generate(more, n_patients=4, image_size=32, ct_slices=3, seed=7)
    both = settings.model_copy(update={"sources": (*settings.sources, more)})

    def prepare(name: str) -> Path:
        ingest.run(settings, tmp_path / name, workers=1)
        return tmp_path / name

    def append(out: Path) -> None:
        ingest.run(both, out, workers=1, mode="append")

    ingest.run(both, tmp_path / "whole", workers=1)
    old, new = content(prepare("counted")), content(tmp_path / "whole")
    assert old["images.parquet"] != new["images.parquet"]
    for limit in points(lambda: append(tmp_path / "counted"), tmp_path / "n", count):
        out = prepare(f"at-{limit}")
        assert crash(lambda out=out: append(out), limit) == KILLED
        if (out / "archive.json").is_file():  # then it is whole
            torn = (".work", "private/.partial")
            found = {k: v for k, v in content(out).items() if not k.startswith(torn)}
            assert found in (old, new), limit
        else:
            with pytest.raises(ArtifactError, match="unfinished"):
                archive.read_images(out)
        try:
            ingest.run(both, out, workers=1, mode="resume")
        except UsageError:  # it had not begun, or it was done
            append(out)
        assert content(out) == new, limit
    assert content(tmp_path / "counted") == new


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_real_kill_is_resumed_to_the_same_bytes(settings, tmp_path, share):
    begun = time.monotonic()
    ingest.run(settings, tmp_path / "whole", workers=2)
    seconds = time.monotonic() - begun
    child = os.fork()
    if child == 0:
        forkserver._forkserver._forkserver_pid = None
        ingest.run(settings, tmp_path / "out", workers=2)
        os._exit(DONE)
    time.sleep(share * seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    finish(settings, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_nothing_is_decoded_twice(settings, tmp_path, monkeypatch):
    real, calls = pixels.write, []

    def full_at_the_third(archive, shard, images):
        calls.append(shard)
        if len(calls) == 3:
            raise ResourceError("the disk is full")
        real(archive, shard, images)

    monkeypatch.setattr(pixels, "write", full_at_the_third)
    with pytest.raises(ResourceError):
        ingest.run(settings, tmp_path / "out", workers=1)
    ingest.run(settings, tmp_path / "out", workers=1, mode="resume")
    assert calls == [*range(3), *range(2, calls[-1] + 1)]
    ingest.run(settings, tmp_path / "whole", workers=1)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_one_writer_at_a_time(settings, tmp_path):
    ingest.run(settings, tmp_path / "out", workers=1)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with locks.held(tmp_path / "out" / "private" / "lock"):
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    with pytest.raises(UsageError, match=f"another process is writing here: process {child} on"):
        ingest.run(settings, tmp_path / "out", workers=1, mode="append")
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    ingest.run(settings, tmp_path / "out", workers=1, mode="append")


class TestDisk:
    @pytest.mark.parametrize("left", [0, 2, 5])
    def test_a_full_disk_is_said_and_resumed(self, settings, tmp_path, monkeypatch, left):
        real, calls = files._sync, []

        def full(path):
            calls.append(path)
            if len(calls) > left:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(path)

        monkeypatch.setattr(files, "_sync", full)
        with pytest.raises(ResourceError, match="the disk is full"):
            ingest.run(settings, tmp_path / "out", workers=1)
        monkeypatch.setattr(files, "_sync", real)
        finish(settings, tmp_path / "out")
        ingest.run(settings, tmp_path / "whole", workers=1)
        assert content(tmp_path / "out") == content(tmp_path / "whole")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written(self, settings, tmp_path):
        (tmp_path / "shut").mkdir(mode=0o500)
        with pytest.raises(ResourceError, match="no permission to write"):
            ingest.run(settings, tmp_path / "shut" / "out", workers=1)

    def test_a_source_that_vanishes_is_said_and_resumed(
        self, scans, settings, tmp_path, monkeypatch
    ):
        ingest.run(settings, tmp_path / "whole", workers=1)
        away = scans.with_name("away")
        real = writing.write

        def unplugged(*args):
            scans.rename(away)
            return real(*args)

        monkeypatch.setattr(writing, "write", unplugged)
        try:
            with pytest.raises(ResourceError, match="the source has vanished"):
                ingest.run(settings, tmp_path / "out", workers=1)
        finally:
            away.rename(scans)
        monkeypatch.setattr(writing, "write", real)
        finish(settings, tmp_path / "out")
        assert content(tmp_path / "out") == content(tmp_path / "whole")


class TestResume:
    def test_only_what_is_unfinished(self, settings, tmp_path):
        with pytest.raises(ArtifactError, match="nothing to resume"):
            ingest.run(settings, tmp_path / "none", workers=1, mode="resume")
        with pytest.raises(ArtifactError, match="nothing to append"):
            ingest.run(settings, tmp_path / "none", workers=1, mode="append")

    def test_not_with_another_pixel_policy_or_key(self, settings, tmp_path):
        ingest.run(settings, tmp_path / "out", workers=1)
        other = settings.model_copy(update={"size": 16})
        with pytest.raises(UsageError, match=r"begun with other settings: size 24"):
            ingest.run(other, tmp_path / "out", workers=1, mode="append")
        identity.load_or_create(tmp_path / "other.key")
        other = settings.model_copy(update={"key_file": tmp_path / "other.key"})
        with pytest.raises(UsageError, match="begun with the key"):
            ingest.run(other, tmp_path / "out", workers=1, mode="append")


class TestParts:
    def test_merged_parts_are_the_same_archive(self, settings, tmp_path):
        parts = [tmp_path / f"part-{n}" for n in (1, 2, 3)]
        for number, out in enumerate(parts, start=1):
            ingest.run_part(settings, out, Part(number, 3), workers=1)
        ingest.run(settings, tmp_path / "whole", workers=1)
        ingest.merge(parts, tmp_path / "merged", workers=1)
        assert content(tmp_path / "merged") == content(tmp_path / "whole")
        with pytest.raises(UsageError, match=r"missing: \[2\] of 3"):
            ingest.merge([parts[0], parts[2]], tmp_path / "two", workers=1)
        with pytest.raises(UsageError, match="the part is named twice"):
            ingest.merge([parts[0], parts[0]], tmp_path / "two", workers=1)
        with pytest.raises(ArtifactError, match="not a finished part"):
            ingest.merge([tmp_path / "whole"], tmp_path / "one", workers=1)


def append_when_files_are_gone(scans: Path, settings: IngestSettings, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(scans, first, ignore=shutil.ignore_patterns("labels.csv"))
    phantoms.generate(second, n_patients=3, image_size=32, ct_slices=3, seed=9)
    both = settings.model_copy(update={"sources": (first, second)})
    ingest.run(both, tmp_path / "whole", workers=1)
    only = settings.model_copy(update={"sources": (first,)})
    ingest.run(only, tmp_path / "out", workers=1)
    first.rename(tmp_path / "unplugged")
    ingest.run(both, tmp_path / "out", workers=1, mode="append")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


class TestAppend:
    def test_new_files_and_those_of_before_that_are_gone(self, scans, settings, tmp_path):
        """The archive is that of all files at once, though the first are not there any more."""
        append_when_files_are_gone(scans, settings, tmp_path)

    def test_a_file_that_has_changed_is_read_again(self, scans, settings, tmp_path):
        copy = tmp_path / "copy"
        shutil.copytree(scans, copy)
        settings = settings.model_copy(update={"sources": (copy,)})
        ingest.run(settings, tmp_path / "out", workers=1)
        path = sorted(copy.rglob("*.dcm"))[3]
        path.write_bytes(path.read_bytes()[:-40])
        result = ingest.run(settings, tmp_path / "out", workers=1, mode="append")
        assert result.info.quarantined["TRUNCATED"] >= 1
        ingest.run(settings, tmp_path / "whole", workers=1)
        assert content(tmp_path / "out") == content(tmp_path / "whole")

    def test_labels_are_not_lost_with_their_table(self, scans, settings, tmp_path):
        copy = tmp_path / "copy"
        shutil.copytree(scans, copy)
        settings = settings.model_copy(update={"sources": (copy,), "label": ("finding",)})
        ingest.run(settings, tmp_path / "out", workers=1)
        table = copy / "labels.csv"
        table.rename(tmp_path / "elsewhere.csv")
        unlabelled = settings.model_copy(update={"label": ()})
        with pytest.raises(DataError, match="more labels called finding: a table of them is gone"):
            ingest.run(unlabelled, tmp_path / "out", workers=1, mode="append")
        assert archive.read_info(tmp_path / "out").targets
        (tmp_path / "elsewhere.csv").rename(table)
        ingest.run(settings, tmp_path / "out", workers=1, mode="append")
        assert archive.read_info(tmp_path / "out").targets["finding"]


class TestResampled:
    """Volumes on another grid are journaled as they are stored, so that none is made twice."""

    @pytest.fixture
    def settings(self, settings) -> IngestSettings:
        grid = {"size": "keep", "spacing": (2.0, 2.0, 1.5), "orientation": "RAS"}
        return settings.model_copy(update=grid)

    def test_an_ingest_that_ends_anywhere_is_resumed_to_the_same_bytes(self, settings, tmp_path):
        whole = tmp_path / "whole"
        limits = points(lambda: ingest.run(settings, whole, workers=1), tmp_path / "n", 3)
        assert any("resampled" in f for f in archive.read_images(whole)["flags"].to_pylist())
        for limit in limits:
            out = tmp_path / f"at-{limit}"
            assert crash(lambda out=out: ingest.run(settings, out, workers=1), limit) == KILLED
            finish(settings, out)
            assert content(out) == content(whole), limit

    def test_merged_parts_and_more_processes_give_the_same_archive(self, settings, tmp_path):
        ingest.run(settings, tmp_path / "whole", workers=2)
        parts = [tmp_path / f"part-{n}" for n in (1, 2)]
        for number, out in enumerate(parts, start=1):
            ingest.run_part(settings, out, Part(number, 2), workers=1)
        ingest.merge(parts, tmp_path / "merged", workers=1)
        assert content(tmp_path / "merged") == content(tmp_path / "whole")

    def test_volumes_whose_files_are_gone_stay_when_files_are_added(
        self, scans, settings, tmp_path
    ):
        append_when_files_are_gone(scans, settings, tmp_path)


class TestChangedSources:
    """The files change between a crash and its resume: no image gets the pixels of another."""

    @pytest.fixture
    def copy(self, scans, settings, tmp_path):
        shutil.copytree(scans, tmp_path / "copy", ignore=shutil.ignore_patterns("labels.csv"))
        return settings.model_copy(update={"sources": (tmp_path / "copy",)})

    def crash_at_the_third_shard(self, settings, out, monkeypatch):
        real, left = pixels.write, [2]

        def full(archive, shard, images):
            left[0] -= 1
            if left[0] < 0:
                raise ResourceError("the disk is full")
            real(archive, shard, images)

        monkeypatch.setattr(pixels, "write", full)
        with pytest.raises(ResourceError):
            ingest.run(settings, out, workers=1)
        monkeypatch.setattr(pixels, "write", real)

    def test_files_come(self, copy, tmp_path, monkeypatch):
        self.crash_at_the_third_shard(copy, tmp_path / "out", monkeypatch)
        phantoms.generate(tmp_path / "copy" / "late", n_patients=6, image_size=32, seed=5)
        (tmp_path / "copy" / "late" / "labels.csv").unlink()
        ingest.run(copy, tmp_path / "out", workers=1, mode="resume")
        ingest.run(copy, tmp_path / "whole", workers=1)
        assert content(tmp_path / "out") == content(tmp_path / "whole")

    def test_files_go_and_come_back(self, copy, tmp_path, monkeypatch):
        self.crash_at_the_third_shard(copy, tmp_path / "out", monkeypatch)
        home = next(path for path in sorted((tmp_path / "copy").iterdir()) if path.is_dir())
        away = [path.rename(tmp_path / path.name) for path in sorted(home.iterdir())[:2]]
        ingest.run(copy, tmp_path / "out", workers=1, mode="resume")
        ingest.run(copy, tmp_path / "fewer", workers=1)
        assert content(tmp_path / "out") == content(tmp_path / "fewer")
        for path in away:
            path.rename(home / path.name)
        ingest.run(copy, tmp_path / "out", workers=1, mode="append")
        ingest.run(copy, tmp_path / "whole", workers=1)
        assert content(tmp_path / "out") == content(tmp_path / "whole")

    def test_a_part_is_resumed_as_that_part(self, copy, tmp_path):
        ingest.run_part(copy, tmp_path / "part", Part(1, 2), workers=1)
        with pytest.raises(UsageError, match="begun as part 1/2"):
            ingest.run(copy, tmp_path / "part", workers=1, mode="resume")
        with pytest.raises(UsageError, match="begun as part 1/2"):
            ingest.run_part(copy, tmp_path / "part", Part(2, 2), workers=1, mode="resume")

    def test_an_append_of_nothing_leaves_the_archive_as_it_was(self, copy, tmp_path):
        ingest.run(copy, tmp_path / "out", workers=1)
        before = content(tmp_path / "out")
        wrong = copy.model_copy(update={"sources": (*copy.sources, tmp_path / "typo")})
        for _ in range(2):
            with pytest.raises(UsageError, match="no such file or folder"):
                ingest.run(wrong, tmp_path / "out", workers=1, mode="append")
            assert content(tmp_path / "out") == before
        few = copy.model_copy(update={"smoke": True})
        with pytest.raises(UsageError, match="not added to"):
            ingest.run(few, tmp_path / "out", workers=1, mode="append")
        ingest.run(copy, tmp_path / "out", workers=1, mode="append")
        assert content(tmp_path / "out") == before

    def test_images_that_are_gone_are_not_given_up(self, copy, tmp_path):
        copy = copy.model_copy(update={"size": 64})
        ingest.run(copy, tmp_path / "out", workers=1)
        before = content(tmp_path / "out")
        (tmp_path / "copy").rename(tmp_path / "away")
        phantoms.generate(tmp_path / "large", n_patients=2, image_size=40, ct_slices=2, seed=3)
        (tmp_path / "large" / "labels.csv").unlink()
        bigger = copy.model_copy(update={"sources": (*copy.sources, tmp_path / "large")})
        with pytest.raises(DataError, match="files of the archive are gone"):  # all would grow
            ingest.run(bigger, tmp_path / "out", workers=1, mode="append")
        assert content(tmp_path / "out") == before


def test_placeholder_dates_stop_nothing(tmp_path):
    for number, day in enumerate(("99991231", "00010101", "20240229")):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        dataset.StudyDate, dataset.SOPInstanceUID = day, f"1.2.{number}"
        dataset.StudyInstanceUID = f"1.3.{number}"
        dataset.save_as(tmp_path / f"{number}.dcm")
    settings = IngestSettings(sources=(tmp_path,))
    result = ingest.run(settings, tmp_path.with_name("dates"), workers=1)
    assert result.info.images == 3
    ingest.run(settings, tmp_path.with_name("dates"), workers=1, mode="append")
    days = archive.read_images(tmp_path.with_name("dates"))["days_since_first"].to_pylist()
    assert max(days) > 3_000_000
