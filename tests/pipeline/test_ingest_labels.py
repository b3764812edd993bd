"""Labels of containers, and what a label table and the files have not in common."""

import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image

from medssl.artifacts import (
    archive,
    ingest_report,
    pixels,
    quarantine,
    source_paths,
    unmatched_labels,
)
from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.reporting import Recording
from medssl.stages import ingest

CANARY = "Zebulon"
SPLITS = {"train": 5, "val": 2, "test": 3}
LABELS = [0, 1, 1, 0, 2, 1, 0, 2, 2, 1]  # in the order of the splits


@dataclass(frozen=True)
class Ingested:
    out: Path
    result: ingest.IngestResult
    reporter: Recording

    def images(self) -> list[dict]:
        return archive.read_images(self.out).to_pylist()

    def by_frame(self) -> dict[int, dict]:
        rows = {row["image_id"]: row for row in self.images()}
        paths = source_paths.read(self.out).to_pylist()
        return {path["frame"]: rows[path["image_id"]] for path in paths if path["image_id"]}

    def labels(self, target: str = "label") -> list[str | None]:
        """Labels in the order of the container."""
        told = archive.read_labels(self.out).to_pylist()
        values = {row["image_id"]: row["value"] for row in told if row["target"] == target}
        frames = self.by_frame()
        return [values[frames[n]["image_id"]] for n in sorted(frames)]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ingested]:
    def call(*sources: Path, name: str = "archive", **more) -> Ingested:
        reporter = Recording()
        settings = IngestSettings(sources=sources, **more)
        return Ingested(
            tmp_path / name, ingest.run(settings, tmp_path / name, reporter, workers=1), reporter
        )

    return call


def save_npz(path: Path, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, np.iinfo(dtype).max, (10, 6, 5)).astype(dtype)
    labels = np.array(LABELS, np.uint8)[:, None]
    arrays, start = {}, 0
    for split, count in SPLITS.items():
        arrays[f"{split}_images"] = images[start : start + count]
        arrays[f"{split}_labels"] = labels[start : start + count]
        start += count
    np.savez_compressed(path, **arrays)
    return images


def save_png(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_container_is_one_file_of_images_that_stand_alone(run, tmp_path, dtype):
    images = save_npz(tmp_path / "in" / "a.npz", dtype=dtype)
    found = run(tmp_path / "in")
    info, rows = found.result.info, found.by_frame()
    assert (info.files_found, info.files_written, info.images) == (1, 1, 10)
    assert (info.patients, info.studies, info.series, info.spatial_dims) == (10, 10, 10, 2)
    assert {row["slice_index"] for row in rows.values()} == {0}
    assert all(row["flags"] == ["no_patient"] for row in rows.values())
    for number, row in rows.items():
        store = pixels.read(found.out, row["shard"])
        assert store.dtype == dtype
        valid = store[row["row"], 0, : row["rows"], : row["columns"]]
        assert np.array_equal(valid * row["slope"] + row["intercept"], images[number])
    assert found.labels() == [str(label) for label in LABELS]
    assert info.targets == {"label": {"0": 3, "1": 4, "2": 3}}
    assert info.label_rows == {}
    assert "labels: 10 images of containers bring their own: label" in found.reporter.notes
    assert any("10 of 10 files or images of containers name no" in w for w in found.result.notes)


def test_ids_of_a_container_belong_to_its_content(run, tmp_path):
    save_npz(tmp_path / "a" / "x.npz")
    first = run(tmp_path / "a", name="first")
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "deeper")
    shutil.copy(tmp_path / "a" / "x.npz", tmp_path / "b" / "twin.npz")
    save_npz(tmp_path / "b" / "other.npz", seed=1)
    second = run(tmp_path / "b", name="second")
    for name in ("image_id", "patient_key", "series_key"):
        ids = [row[name] for row in second.images()]
        assert len(set(ids)) == len(ids) == 30
        assert {row[name] for row in first.images()} < set(ids)
    assert second.result.info.files_written == 3


def test_a_run_repeated_and_a_dry_run_agree(run, tmp_path, cli):
    save_npz(tmp_path / "in" / "a.npz")
    save_png(tmp_path / "in" / "b.png", 3)
    found = run(tmp_path / "in")
    planned = ingest.plan(IngestSettings(sources=(tmp_path / "in",)))
    assert (planned.images, planned.series, planned.patients) == (11, 11, 11)
    assert planned.kinds == {"npz": 1, "picture": 1}
    config = found.out / "private" / "config.yaml"
    assert cli("ingest", "-c", config, "-o", tmp_path / "again")[0] == 0
    assert archive.read_info(tmp_path / "again") == found.result.info


def test_the_split_can_be_taken_as_a_target_or_as_the_site(run, tmp_path):
    save_npz(tmp_path / "in" / "a.npz")
    found = run(tmp_path / "in", label=("label", "split"), site="col:split")
    expected = [split for split, count in SPLITS.items() for _ in range(count)]
    assert found.labels("split") == expected
    frames = found.by_frame()
    assert [frames[n]["site"] for n in sorted(frames)] == expected
    with pytest.raises(DataError, match=r"(?s)no column 'labl'.*did you mean 'label'"):
        run(tmp_path / "in", name="wrong", label=("labl",))
    with pytest.raises(UsageError, match="col:splits needs a label table"):
        run(tmp_path / "in", name="wrong", site="col:splits")


def test_a_table_may_name_the_images_of_a_container(run, tmp_path):
    save_npz(tmp_path / "in" / "a.npz")
    rows = [
        f"{split}_images[{n}],word {n}" for split, count in SPLITS.items() for n in range(count)
    ]
    table = "image,label\n" + "".join(f"{row}\n" for row in rows[1:])
    (tmp_path / "in" / "labels.csv").write_text(table, encoding="utf-8")
    found = run(tmp_path / "in")
    assert found.labels() == [None, *(row.partition(",")[2] for row in rows[1:])]
    assert found.result.info.label_rows == {
        "table_rows": 9, "rows_without_file": 0, "files_without_row": 1,
    }  # fmt: skip
    (left,) = unmatched_labels.read(found.out).to_pylist()
    assert left["path"] == str(tmp_path / "in" / "a.npz" / "train_images[0]")


def test_a_table_the_user_names_goes_before_the_labels_of_a_container(run, tmp_path):
    save_npz(tmp_path / "in" / "a.npz")
    (tmp_path / "table.csv").write_text("image,label\nin/a.npz,all\n", encoding="utf-8")
    found = run(tmp_path / "in", labels=tmp_path / "table.csv", key="path")
    assert found.labels() == ["all"] * 10
    (tmp_path / "other.csv").write_text("image,label\nb.png,x\n", encoding="utf-8")
    with pytest.raises(DataError, match="names any of the files"):
        run(tmp_path / "in", name="wrong", labels=tmp_path / "other.csv")


def test_a_damaged_container_is_one_row_of_the_quarantine(run, tmp_path):
    save_npz(tmp_path / "in" / "a.npz")
    big = np.zeros((2, 100, 100), np.uint8)
    big[1] = 7
    np.savez(tmp_path / "in" / "b.npz", train_images=big)
    content = (tmp_path / "in" / "b.npz").read_bytes()
    (tmp_path / "in" / "b.npz").write_bytes(content.replace(b"\x07\x07\x07", b"\x07\x08\x07", 1))
    np.savez(tmp_path / "in" / "c.npz", x=big)
    np.save(tmp_path / "in" / "d.npy", big)
    found = run(tmp_path / "in", max_rejects=1)
    info = found.result.info
    assert info.quarantined == {"ARRAY_LAYOUT": 2, "DECODE_FAILED": 1}
    assert info.files_found == info.files_written + sum(info.quarantined.values()) == 4
    rows = quarantine.read(found.out).to_pylist()
    assert [row["patient_key"] for row in rows if row["code"] == "DECODE_FAILED"] == [None]


def test_a_real_container_is_read_whole(run, test_data):
    folder = test_data / "pneumoniamnist-28"
    found = run(folder)
    info = found.result.info
    assert (info.images, info.patients, info.files_written) == (5856, 5856, 1)
    assert info.targets == {"label": {"normal": 1583, "pneumonia": 4273}}  # of labels.csv
    with np.load(next(folder.glob("*.npz"))) as arrays:
        images = np.concatenate([arrays[f"{split}_images"] for split in SPLITS])
    frames = found.by_frame()
    store = pixels.read(found.out, 0)
    for number in (0, 4707, 4708, 5231, 5232, 5855):
        assert np.array_equal(store[frames[number]["row"], 0], images[number])


def test_what_matches_nothing_is_listed_for_the_owner_only(run, tmp_path, capsys):
    for number in range(4):
        save_png(tmp_path / "in" / f"{number}.png", number)
    save_png(tmp_path / "in" / f"{CANARY} file.png", 9)
    rows = [f"{n}.png,1" for n in range(3)] + [f"{CANARY}-77,1", f"{CANARY}-78,0"]
    (tmp_path / "in" / "labels.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    found = run(tmp_path / "in")
    left = unmatched_labels.read(found.out).to_pylist()
    table = str((tmp_path / "in" / "labels.csv").resolve())
    assert left[:2] == [
        {"table": table, "line": 5, "key": f"{CANARY}-77", "path": None},
        {"table": table, "line": 6, "key": f"{CANARY}-78", "path": None},
    ]
    assert [Path(row["path"]).name for row in left[2:]] == ["3.png", f"{CANARY} file.png"]
    assert found.result.info.label_rows == {
        "table_rows": 5, "rows_without_file": 2, "files_without_row": 2,
    }  # fmt: skip
    told = "labels: private/unmatched_labels.parquet lists 2 rows without a file and 2 files"
    assert any(note.startswith(told) for note in found.reporter.notes)
    assert any("2 of 5 rows of labels.csv name no" in text for text in found.reporter.warnings)
    path = found.out / "private" / unmatched_labels.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for said in (*found.result.notes, *capsys.readouterr(), str(found.result.rows())):
        assert CANARY not in said
    others = [p for p in found.out.rglob("*") if p.is_file() and "private" not in p.parts]
    assert len(others) >= 5
    for other in others:
        assert CANARY.encode() not in other.read_bytes()


def test_where_everything_matches_nothing_is_listed(run, tmp_path):
    save_png(tmp_path / "in" / "a.png", 1)
    (tmp_path / "in" / "labels.csv").write_text("image,label\na.png,1\n", encoding="utf-8")
    found = run(tmp_path / "in")
    assert not os.path.lexists(found.out / "private" / unmatched_labels.NAME)
    assert found.result.info.label_rows == {
        "table_rows": 1, "rows_without_file": 0, "files_without_row": 0,
    }  # fmt: skip
    assert not any(text.startswith("labels:") for text in found.reporter.warnings)


def test_a_name_that_several_files_have_is_warned_of(run, tmp_path):
    """A row called p0 stands for north/p0 and south/p0, who may be two patients."""
    for value, place in enumerate(("north/p0", "north/p1", "south/p0")):
        save_png(tmp_path / "in" / f"{place}.png", value)
    table = tmp_path / "table.csv"
    table.write_text("name,label\np0,1\np1,0\n")
    warned = run(tmp_path / "in", labels=table).reporter.warnings
    assert any("1 row of table.csv names several files each" in text for text in warned)
    (tmp_path / "in" / "south" / "p0.png").rename(tmp_path / "in" / "south" / "p2.png")
    warned = run(tmp_path / "in", labels=table, name="apart").reporter.warnings
    assert not any("several files" in text for text in warned)


def test_a_sheet_of_labels_gives_the_archive_of_the_same_csv(run, tmp_path):
    for number in range(3):
        save_png(tmp_path / "in" / f"{number}.png", number)
    book = openpyxl.Workbook()
    for row in (("image", "label"), ("0.png", 1), ("1.png", 0), ("2.png", None)):
        book.active.append(row)
    book.save(tmp_path / "in" / "table.xlsx")
    (tmp_path / "in" / "table.csv").write_text("image,label\n0.png,1\n1.png,0\n2.png,\n")
    sheet = run(tmp_path / "in", name="sheet", labels=tmp_path / "in" / "table.xlsx")
    text = run(tmp_path / "in", name="text", labels=tmp_path / "in" / "table.csv")
    assert sheet.result.info == text.result.info
    assert sheet.result.info.targets == {"label": {"0": 1, "1": 1}}


def test_new_labels_for_the_same_scans_are_appended(cli, tmp_path):
    """They replace the old ones; nothing else changes, and the scans need not be there."""
    for number in range(3):
        save_png(tmp_path / "in" / f"{number}.png", number)
    for name, values in (("old", "10"), ("new", "011")):
        rows = "".join(f"{n}.png,{value}\n" for n, value in enumerate(values))
        (tmp_path / f"{name}.csv").write_text(f"image,label\n{rows}")
    out = tmp_path / "archive"
    words = ("--labels", tmp_path / "old.csv", "-o", out)
    assert cli("ingest", tmp_path / "in", *words)[0] == 0
    before, images = archive.read_info(out), archive.read_images(out)
    (tmp_path / "in").rename(tmp_path / "gone")
    code, _, err = cli("ingest", "--append", "--labels", tmp_path / "new.csv", "-o", out)
    assert code == 0, err
    after = archive.read_info(out)
    assert archive.read_images(out) == images
    assert before.targets == {"label": {"0": 1, "1": 1}}
    assert after.targets == {"label": {"0": 1, "1": 2}}
    assert after.hash != before.hash


def test_a_target_without_a_label_is_told_everywhere(cli, tmp_path):
    save_png(tmp_path / "in" / "a.png", 1)
    (tmp_path / "in" / "labels.csv").write_text("image,label\na.png,\n")
    code, out, err = cli("ingest", tmp_path / "in", "-o", tmp_path / "archive")
    assert code == 0
    assert "target label      none" in out
    assert "gives no image a label" in err
    cautions = ingest_report.read(tmp_path / "archive")["cautions"]
    assert [row["text"] for row in cautions if row["about"] == "Target label"] == [
        "no image has a label"
    ]


def test_a_dry_run_reads_like_a_result_and_says_nothing_twice(cli, tmp_path):
    save_png(tmp_path / "in" / "a.png", 1)
    save_png(tmp_path / "in" / "masks" / "a.png", 1)
    (tmp_path / "in" / "note.txt").write_text("x")
    (tmp_path / "in" / "empty").touch()
    words = ("ingest", tmp_path / "in", "-o", tmp_path / "archive", "--dry-run")
    code, out, err = cli(*words)
    rows = [tuple(re.split(r" {2,}", line.strip())) for line in out.splitlines()]
    assert code == 0
    assert rows[:10] == [
        ("files found", "4"), ("to be read", "2"), ("picture", "2"), ("left out by rule", "1"),
        ("SKIPPED_TEXT", "1"), ("rejected", "1"), ("EMPTY_FILE", "1"), ("images", "2"),
        ("series", "2"), ("patients", "2"),
    ]  # fmt: skip
    for python in ("None", "True", "False", "[", "(Posix", "'"):
        assert python not in out
    assert "masks: 1 file is called like masks" in err
    assert "masks:" not in out
    assert any("masks: 1 file" in note for note in json.loads(cli(*words, "--json")[1])["notes"])
