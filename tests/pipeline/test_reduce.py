"""`reduce` and the random selections of the same size that stand beside it."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from medssl.artifacts import archive, records, reduce_report, run_folder, selection, weights
from medssl.config.reduce import ReduceSettings
from medssl.data.shown import ShownImages
from medssl.ingestion import phantoms
from medssl.stages import reduce
from medssl.thinning import choosing, describing

RESULTS = {"reduce.json", "report.json", "report.html"}


@dataclass(frozen=True)
class Reduced:
    archive: Path
    reduce: Path
    said: str


@pytest.fixture(scope="module")
def reduced(tmp_path_factory, run_main):
    """An archive of volumes and radiographs, reduced as in the paper."""
    root = tmp_path_factory.mktemp("reduced")
    phantoms.generate(root / "scans", n_patients=12, image_size=32, ct_slices=8)
    words = ("ingest", root / "scans", "--max-rejects", 1, "-o", root / "archive")
    assert run_main(*words)[0] == 0
    words = ("reduce", root / "archive", "--preset", "hash6", "-o", root / "reduce")
    code, out, err = run_main(*words)
    assert code == 0, err
    return Reduced(root / "archive", root / "reduce", out)


def ids(folder):
    return selection.read_kept(folder)["image_id"].to_pylist()


def per_scope(reduced, folder, column="series_key"):
    table = archive.read_images(reduced.archive).select(["image_id", column]).to_pylist()
    scope_of = {row["image_id"]: row[column] for row in table}
    return Counter(scope_of[name] for name in ids(folder))


def controls(folder):
    return [folder / name for name in selection.read_info(folder).controls]


def test_controls_keep_as_many_of_each_scope(reduced):
    wanted = per_scope(reduced, reduced.reduce)
    assert max(wanted.values()) > 1
    kept = [ids(folder) for folder in controls(reduced.reduce)]
    assert [per_scope(reduced, folder) for folder in controls(reduced.reduce)] == [wanted] * 3
    assert len({tuple(names) for names in [ids(reduced.reduce), *kept]}) == 4


def test_every_image_a_control_drops_names_a_kept_one(reduced):
    for folder in controls(reduced.reduce):
        kept, dropped = selection.read_kept(folder), selection.read_dropped(folder).to_pylist()
        assert {row["representative_id"] for row in dropped} <= set(ids(folder))
        assert all(row["similarity"] >= row["tau"] for row in dropped)
        assert {row["metric"] for row in dropped} == {"random"}
        images = archive.read_info(reduced.archive).images
        assert kept.num_rows + len(dropped) == images == sum(kept["represents"].to_pylist())


def test_a_control_is_a_run_that_its_settings_repeat(reduced, run_main, tmp_path):
    for seed, folder in enumerate(controls(reduced.reduce)):
        assert run_folder.read_config(folder)["options"] == {"random": {"seed": seed}}
        config = ("-c", folder / "config.yaml", "-o", tmp_path / str(seed))
        assert run_main("reduce", *config)[0] == 0
        for name in ("kept.parquet", "dropped.parquet", "reduce.json", "report.json"):
            assert (tmp_path / str(seed) / name).read_bytes() == (folder / name).read_bytes()


def test_a_control_is_pretrained_on_like_a_selection(reduced, run_main, tmp_path):
    chosen = reduced.reduce / "controls" / "random-1"
    small = ("--epochs", 1, "--image-size", 32, "--batch-size", 16, "--device", "cpu")
    words = ("pretrain", reduced.archive, "--selection", chosen, *small)
    assert run_main(*words, "-o", tmp_path / "run")[0] == 0
    assert weights.read_info(tmp_path / "run" / "export").n_images == len(ids(chosen))


def test_the_console_and_the_result_name_them(reduced, run_main, tmp_path):
    assert "3 random selections of the same size" in reduced.said
    words = ("reduce", reduced.archive, "--by", "every_n", "--controls", 1, "--json")
    code, out, _ = run_main(*words, "-o", tmp_path / "one")
    assert code == 0
    assert json.loads(out)["controls"] == ["controls/random-0"]
    assert [folder.name for folder in controls(tmp_path / "one")] == ["random-0"]


@pytest.mark.parametrize("more", [("--by", "random"), ("--controls", 0)])
def test_a_random_selection_needs_no_control_and_none_may_be_asked_for(
    reduced, run_main, tmp_path, more
):
    code, out, _ = run_main("reduce", reduced.archive, *more, "-o", tmp_path / "run")
    assert code == 0
    assert "controls" not in out
    assert not (tmp_path / "run" / "controls").exists()


def test_every_n_needs_no_pixels(reduced, tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("pixels were read")

    monkeypatch.setattr(ShownImages, "__getitem__", fail)
    settings = ReduceSettings(
        archive=reduced.archive,
        by="every_n",
        within="series",
        options={"every_n": {"n": 3}},
        aliases=False,
    )
    reduce.run(settings, tmp_path / "run")
    table = archive.read_images(reduced.archive)
    by_series: dict[str, list[str]] = {}
    for row in table.select(["image_id", "series_key"]).to_pylist():
        by_series.setdefault(row["series_key"], []).append(row["image_id"])
    assert max(map(len, by_series.values())) > 3
    assert ids(tmp_path / "run") == [name for names in by_series.values() for name in names[::3]]


def test_a_run_killed_among_its_controls_is_finished_by_resume(
    reduced, run_main, tmp_path, monkeypatch
):
    run, real, written = tmp_path / "run", selection.write, []

    def stop(folder, *rest):
        written.append(folder)
        if len(written) == 3:  # the second control
            raise KeyboardInterrupt
        real(folder, *rest)

    words = ("reduce", reduced.archive, "--preset", "hash6", "-o", run)
    monkeypatch.setattr(selection, "write", stop)
    assert run_main(*words)[0] == 130
    monkeypatch.undo()
    for folder in (run, run / "controls" / "random-1"):
        assert run_folder.read_status(folder)["status"] == "interrupted"
    assert run_main(*words, "--resume")[0] == 0
    assert run_folder.read_status(run)["status"] == "finished"
    pairs = zip(controls(run), controls(reduced.reduce), strict=True)
    for again, first in pairs:
        assert ids(again) == ids(first)
        run_folder.require_finished(again, "reduce")


def written(folder):
    """All files of a run that hold results, with their bytes."""
    kinds = {".parquet", ".csv"}
    found = {p for p in folder.rglob("*") if p.suffix in kinds or p.name in RESULTS}
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(found)}


def test_a_run_stopped_while_images_are_described_describes_the_rest(
    reduced, run_main, tmp_path, monkeypatch
):
    real, seen = ShownImages.__getitem__, []

    def look(images, number):
        seen.append(number)
        if len(seen) == 30:
            raise KeyboardInterrupt
        return real(images, number)

    monkeypatch.setattr(describing, "CHUNK", 8)
    words = ("reduce", reduced.archive, "--by", "exact,dhash", "-o")
    assert run_main(*words, tmp_path / "whole")[0] == 0
    monkeypatch.setattr(ShownImages, "__getitem__", look)
    assert run_main(*words, tmp_path / "run", "--workers", 1)[0] == 130
    first = len(seen)
    assert run_main(*words, tmp_path / "run", "--workers", 1, "--resume")[0] == 0
    n_images = archive.read_info(reduced.archive).images
    assert len(seen) - first < 2 * n_images  # hashes and thumbnails: some were there already
    assert written(tmp_path / "run") == written(tmp_path / "whole")
    assert not (tmp_path / "run" / "descriptors").exists()


@pytest.mark.parametrize("by", ["dhash,embedding", "ssim", "entropy,dhash"])
def test_memory_and_threads_do_not_change_a_byte(reduced, run_main, tmp_path, by):
    words = ("reduce", reduced.archive, "--by", by, "--within", "archive", "--controls", 1)
    assert run_main(*words, "-o", tmp_path / "a")[0] == 0
    small = ("--workers", 1, "--memory-budget", 0.01)
    assert run_main(*words, *small, "-o", tmp_path / "b")[0] == 0
    assert written(tmp_path / "a") == written(tmp_path / "b")
    assert selection.read_dropped(tmp_path / "a").num_rows


def test_floors_and_protected_images_hold_for_the_controls_too(reduced, run_main, tmp_path):
    words = ("reduce", reduced.archive, "--within", "archive", "--keep", 0.8)
    more = ("--min-per-patient", 2, "--protect", "modality == 'CT' and slice_index < 2")
    assert run_main(*words, *more, "-o", tmp_path / "run")[0] == 0
    table = archive.read_images(reduced.archive)
    rows = table.select(["image_id", "modality", "slice_index", "patient_key"]).to_pylist()
    needed = {r["image_id"] for r in rows if r["modality"] == "CT" and r["slice_index"] < 2}
    have = Counter(row["patient_key"] for row in rows)
    assert needed
    for folder in (tmp_path / "run", *controls(tmp_path / "run")):
        kept = selection.read_kept(folder)
        reasons = dict(zip(kept["image_id"].to_pylist(), kept["reason"].to_pylist(), strict=True))
        assert {name for name, why in reasons.items() if why == "protected"} == needed
        left = per_scope(reduced, folder, "patient_key")
        assert all(left[key] >= min(2, count) for key, count in have.items())
        assert len(reasons) <= 0.8 * len(rows)


@pytest.mark.parametrize("select", ["k_center", "balanced_kmeans"])
def test_a_diverse_budget_is_spent_to_the_last_image(reduced, run_main, tmp_path, select):
    words = ("reduce", reduced.archive, "--by", "embedding", "--within", "archive")
    assert run_main(*words, "--select", select, "--budget", 20, "-o", tmp_path / "run")[0] == 0
    assert len(ids(tmp_path / "run")) == 20
    dropped = selection.read_dropped(tmp_path / "run").to_pylist()
    assert {row["representative_id"] for row in dropped} <= set(ids(tmp_path / "run"))
    assert all(row["similarity"] >= row["tau"] for row in dropped)


@pytest.mark.parametrize("select", ["k_center", "balanced_kmeans"])
def test_a_diverse_budget_holds_its_floors_and_is_not_exceeded(reduced, run_main, tmp_path, select):
    words = ("reduce", reduced.archive, "--by", "embedding", "--within", "archive")
    more = ("--select", select, "--min-per-patient", 2)
    assert run_main(*words, *more, "--budget", 30, "-o", tmp_path / "run")[0] == 0
    assert len(ids(tmp_path / "run")) == 30
    there = Counter(archive.read_images(reduced.archive)["patient_key"].to_pylist())
    kept = per_scope(reduced, tmp_path / "run", "patient_key")
    assert all(kept[key] >= min(2, count) for key, count in there.items())
    code, _, err = run_main(*words, *more, "--budget", 20, "-o", tmp_path / "few")
    assert (code, "no selection of at most 20 images" in err) == (2, True)


def test_what_a_most_per_patient_cannot_do_is_said(reduced, run_main, tmp_path):
    words = ("reduce", reduced.archive, "--within", "series", "--max-per-patient", 1)
    _, _, err = run_main(*words, "-o", tmp_path / "run")
    most = max(per_scope(reduced, tmp_path / "run", "patient_key").values())
    assert most > 1  # a patient has several series
    assert "more than 1 images" in err
    assert selection.read_info(tmp_path / "run").thresholds == (None,)
    assert records.read(tmp_path / "run" / "report.json", reduce_report.SCHEMA)["warnings"]


def test_a_pool_that_shows_nothing_but_patients_of_the_cohort_is_refused(
    reduced, run_main, tmp_path
):
    scans = reduced.archive.parent / "scans"
    for name, size in (("pool", 32), ("cohort", 24)):
        words = ("ingest", scans, "--max-rejects", 1, "--size", size, "-o", tmp_path / name)
        assert run_main(*words)[0] == 0
    words = ("reduce", tmp_path / "pool", "--against", tmp_path / "cohort", "-o", tmp_path / "run")
    code, _, err = run_main(*words)
    assert (code, "every image shows what will be evaluated on" in err) == (3, True), err
    assert set(selection.read_leaks(tmp_path / "run")["reason"].to_pylist()) == {"patient"}


def test_archives_of_different_keys_are_compared_by_images_alone(reduced, run_main, tmp_path):
    key = tmp_path / "other.key"
    key.touch(mode=0o600)
    key.write_bytes(bytes(range(32)))
    scans = reduced.archive.parent / "scans"
    words = ("ingest", scans, "--max-rejects", 1, "--size", 24, "--key-file", key)
    assert run_main(*words, "-o", tmp_path / "cohort")[0] == 0
    words = ("reduce", reduced.archive, "--against", tmp_path / "cohort", "--set", "same=0.9999")
    code, _, err = run_main(*words, "-o", tmp_path / "run")
    assert (code, "overlap of patients unknown" in err) == (0, True), err
    reasons = selection.read_leaks(tmp_path / "run")["reason"].to_pylist()
    assert "patient" not in reasons


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--by", "dhsh"), 2, "did you mean 'dhash'?"),
        (("--by", "exact,exact"), 2, "named twice"),
        (("--by", "random,entropy"), 2, "each need an order of their own"),
        (("--threshold", "0.9,0.8"), 2, "2 thresholds for 1 strategies"),
        (("--threshold", 95), 2, "less than or equal to 1"),
        (("--set", "options.phash.bits=64"), 2, "options of phash, which is not used"),
        (("--select", "k_center"), 2, "give --keep or --budget"),
        (("--select", "k_center", "--by", "random", "--keep", 0.5), 2, "says nothing about"),
        (("--select", "balanced_kmeans", "--by", "dhash", "--keep", 0.5), 2, "be clustered"),
        (("--max-per-patient", 3, "--within", "site"), 2, "give --within series or patient"),
        (("--within", "patient", "--max-per-patient", 1, "--min-per-patient", 2), 2, "at least 2"),
        (("--encoder", "NOWHERE", "--by", "dhash"), 2, "takes no encoder"),
        (("--encoder", "NOWHERE", "--by", "embedding"), 4, "NOWHERE"),
        (("--against", "ITSELF"), 2, "compared with itself"),
        (("--strict",), 2, "give --against"),
        (("--protect", "modalty == 'CT'"), 2, "did you mean 'modality'?"),
        (("--protect", "labeled"), 2, "did you mean 'labelled'?"),
        (("--set", "options.embedding.encoder=x", "--by", "embedding"), 2, "use --encoder"),
        (("--set", "shown.window_hu=[5,5]"), 2, "window"),
        (("--set", "same_by=random"), 2, "says nothing about likeness"),
        (("--budget", 1, "--within", "patient"), 2, "no selection of at most 1 images"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    reduced, run_main, tmp_path, more, code, message
):
    given = [reduced.archive if word == "ITSELF" else word for word in more]
    found, _, err = run_main("reduce", reduced.archive, *given, "-o", tmp_path / "out")
    assert (found, message in err) == (code, True), err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--by", "dhash", "--set", "match=RUN"), 2, "match draws at random, not by dhash"),
        (("--by", "random", "--set", "match=RUN", "--keep", 0.5), 2, "exclude each other"),
        (("--by", "random", "--set", "match=GONE"), 4, "no such file"),
        (("--by", "random", "--set", "match=FEW", "--within", "series"), 2, "keeps nothing of"),
        (("--by", "random", "--set", "match=OTHER"), 4, "belongs to another archive"),
        (("--by", "every_n", "--set", "options.every_n.n=0"), 2, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_matched_is_said(reduced, run_main, tmp_path, more, code, message):
    if "match=FEW" in more:
        words = ("reduce", reduced.archive, "--within", "archive", "--budget", 2)
        assert run_main(*words, "-o", tmp_path / "FEW")[0] == 0
    if "match=OTHER" in more:
        record = records.read(reduced.reduce / "reduce.json", selection.SCHEMA)
        (tmp_path / "OTHER").mkdir()
        other = {**record, "archive_hash": "other"}
        records.write(tmp_path / "OTHER" / "reduce.json", selection.SCHEMA, other)
    places = {"match=RUN": f"match={reduced.reduce}"}
    places |= {f"match={n}": f"match={tmp_path / n}" for n in ("GONE", "FEW", "OTHER")}
    given = [places.get(word, word) for word in more]
    found, _, err = run_main("reduce", reduced.archive, *given, "-o", tmp_path / "out")
    assert (found, message in err) == (code, True), err
    assert not (tmp_path / "out").exists()


def test_a_wider_scope_may_be_matched(reduced, tmp_path):
    settings = ReduceSettings(
        archive=reduced.archive, by="random", match=reduced.reduce, within="patient"
    )
    reduce.run(settings, tmp_path / "run")
    found, wanted = (
        per_scope(reduced, folder, "patient_key") for folder in (tmp_path / "run", reduced.reduce)
    )
    assert found == wanted


def test_controls_count_from_zero():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        ReduceSettings(archive="somewhere", controls=-1)


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(reduced, run_main, tmp_path):
    words = ("reduce", reduced.archive, "--within", "archive", "--dry-run", "--json")
    found = {}
    for more in ((), ("--keep", 0.5), ("--by", "every_n")):
        code, out, err = run_main(*words, *more, "-o", tmp_path / "out")
        assert code == 0, err
        found[more] = json.loads(out)["cost"]
    plain, searched, _ = found.values()
    assert all(cost["seconds"] > 0 and cost["disk_bytes"] > 0 for cost in found.values())
    assert "at most" in plain["basis"]
    assert searched["memory_bytes"] >= plain["memory_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [(0.29, 100, 29), (0.58, 50, 29), (0.299, 100, 29), (0.001, 100, 1), (1.0, 7, 7)],
)
def test_a_share_of_the_images_is_not_one_short(share, count, expected):
    settings = ReduceSettings(archive="somewhere", keep=share)
    assert choosing.budget(settings, count) == expected


def test_a_reduction_that_drops_nothing_says_so(reduced, run_main, tmp_path):
    words = ("reduce", reduced.archive, "--threshold", 1, "--within", "series")
    _, _, err = run_main(*words, "-o", tmp_path / "all")
    kept = selection.read_info(tmp_path / "all")
    assert ("nothing is redundant within a series" in err) == (kept.n_kept == kept.n_images)
    _, _, err = run_main(
        *words[:2], "--by", "every_n", "--set", "options.every_n.n=1", "-o", tmp_path / "n"
    )
    assert "nothing is redundant within a" in err
    assert "nothing is redundant" not in reduced.said
