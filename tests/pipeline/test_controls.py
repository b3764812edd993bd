"""Controls on runs over real archives with a defect planted in each; splits made and looked at."""

import csv
import json

import numpy as np
import pytest

from medssl.artifacts import aliases, archive, pixels, report, site_models, splits, tables
from medssl.artifacts.aliases import Alias
from medssl.config.evaluate import EvaluateSettings
from medssl.stages import evaluate

SIDE = 32
SMALL = ("--init-from", "none", "--schedule", "linear_probe", "--epochs", 1, "--image-size", 16,
         "--device", "cpu", "--workers", 1)  # fmt: skip


def _archive(folder, rows, view, *, copies=()):
    """Write an archive of the images of a run; ``copies`` are pairs of images that are one."""
    folder.mkdir()
    first = [row for row in rows if row["repeat"] == 0 and row["part"] == "test"]
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 255, (len(first), 1, 4, 4)).astype(np.uint8)
    stored = stored.repeat(SIDE // 4, axis=2).repeat(SIDE // 4, axis=3)  # patches, as in no other
    place = {row["image_id"]: n for n, row in enumerate(first)}
    for one, other in copies:
        stored[place[other]] = stored[place[one]]
    copied = {other: one for one, other in copies}
    images = [
        {
            "image_id": row["image_id"],
            "patient_key": row["patient_key"].partition("-")[0],
            "study_key": f"study{n:04d}",
            "series_key": f"series{n:04d}",
            "site": "north",
            "modality": "DX",
            "view": view(row) if view else None,
            "slice_index": 0,
            "rows": SIDE,
            "columns": SIDE,
            "shard": 0,
            "row": n,
            "unit": "arbitrary",
            "slope": 1.0,
            "intercept": 0.0,
            "lossy": False,
            "pixel_sha256": f"{place[copied.get(row['image_id'], row['image_id'])]:064x}",
            "flags": [],
        }
        for n, row in enumerate(first)
    ]
    labels = [{"image_id": row["image_id"], "target": "finding", "value": str(int(row["label"]))}
              for row in first]  # fmt: skip
    pixels.write(folder, 0, stored)
    archive.write_images(folder, tables.build(images, archive.IMAGES))
    archive.write_labels(folder, tables.build(labels, archive.LABELS))
    n = len(first)
    info = archive.ArchiveInfo(
        medssl="0", size=SIDE, spatial_dims=2, key_id="00000000", files_found=n, files_written=n,
        images=n, series=n, studies=n, patients=len({row["patient_key"] for row in images}),
        sites=("north",), targets={"finding": {"0": 0, "1": n}}, hash=archive.content_hash(folder),
    )  # fmt: skip
    archive.write_info(folder, info)
    return info


@pytest.fixture
def made(tmp_path, finetune_run, model_info):
    """A function that makes a run of 60 patients, and its archive as it is told."""

    def make(view=None, *, copies=(), group="patient", overlap=0):
        place = tmp_path / "archive"
        changes = {"archive": place, "spatial_dims": 2, "group": group, "task": "binary",
                   "target": ("finding",), "positive": "1"}  # fmt: skip
        rows, plan = finetune_run(tmp_path / "run", changes=changes, group=group)
        chosen = copies(rows, plan) if callable(copies) else copies
        info = _archive(place, rows, view, copies=chosen)
        init = {"method": "vicreg", "overlap_patients": overlap}
        site_models.write(
            tmp_path / "run", model_info(archive_hash=info.hash, init=init, group=group)
        )
        return tmp_path / "run", rows, plan

    return make


def _lights(run, out, controls="all"):
    settings = EvaluateSettings(run=run, resamples=300, controls=tuple(controls.split(",")))
    found = evaluate.run(settings, out)
    return {one.name: one for one in found.controls}, found


def _other_side(rows, plan, n=6):
    """Images of patients in different folds of the first repeat, pairwise."""
    images = {}
    for row in rows:
        images.setdefault(row["patient_key"], row["image_id"])
    by_fold = [[key for key, fold in plan.test_fold[0].items() if fold == k] for k in (0, 1)]
    return [(images[a], images[b]) for a, b in zip(*by_fold, strict=False)][:n]


def test_a_clean_cohort_is_quiet(made, tmp_path):
    rng = np.random.default_rng(4)
    views = iter(rng.choice(["AP", "PA"], 1000).tolist())
    run, _, _ = made(lambda _: next(views))
    found, result = _lights(run, tmp_path / "out")
    assert {name: one.light for name, one in found.items()} == {
        "split": "pass", "duplicates": "pass", "pretraining": "pass", "metadata": "pass",
        "label_shuffle": "not assessed", "site": "pass",
    }  # fmt: skip
    assert found["label_shuffle"].said == "the models of the run are not there"
    record = report.read(result.folder)
    assert [row["name"] for row in record["controls"]] == list(found)
    assert record["controls"][4]["value"] == found["metadata"].value
    page = result.report.read_text(encoding="utf-8")
    for one in found.values():
        assert one.title in page
    assert page.count('class="light"') == 8  # and two of sample size and calibration


def test_a_confounder_is_named(made, tmp_path):
    rng = np.random.default_rng(4)
    run, _, _ = made(lambda row: ["PA", "AP"][int((rng.random() < 0.05) != row["label"])])
    found, _ = _lights(run, tmp_path / "out", "metadata,split")
    assert found["metadata"].light == "warn"
    assert found["metadata"].value > 0.85
    assert next(iter(found["metadata"].details["facts"])) == "view"
    assert found["metadata"].details["within"]["value"] < found["metadata"].value
    assert found["duplicates"].said.startswith("not asked for")


def test_the_same_image_in_two_folds_is_found(made, tmp_path, cli):
    run, _, plan = made(copies=_other_side)
    found, _ = _lights(run, tmp_path / "out", "duplicates")
    one = found["duplicates"]
    assert (one.light, one.value) == ("fail", 12)
    assert one.details["exact_on_both_sides"] == 6
    code, out, err = cli("splits", "audit", run, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["digest"] == plan.digest
    assert len(record["pairs_on_both_sides"]) == 6
    assert record["leaks"] == ["6 pairs of patients with the same pixels on both sides"]
    code, out, err = cli("splits", "audit", run, "--strict")
    assert code == 3
    assert "6 pairs of patients with the same pixels" in err
    assert "6 pairs of patients, 6 on both sides" in out


def test_a_split_by_image_has_patients_on_both_sides(made, tmp_path):
    run, rows, _ = made(group="none")
    found, _ = _lights(run, tmp_path / "out", "split")
    several = {}
    for row in rows:
        several.setdefault(row["patient_key"].partition("-")[0], set()).add(row["image_id"])
    assert found["split"].light == "fail"
    assert 0 < found["split"].value <= sum(len(held) > 1 for held in several.values())


def test_an_overlap_with_pretraining_is_found(made, tmp_path):
    run, _, _ = made(overlap=7)
    found, _ = _lights(run, tmp_path / "out", "auto")
    assert (found["pretraining"].light, found["pretraining"].value) == ("fail", 7)


def test_a_failed_control_ends_in_9_where_that_is_asked_for(made, tmp_path, run_main):
    run, _, _ = made(overlap=7)
    asked = ("--resamples", 100, "-o")
    code, said, err = run_main("evaluate", run, "--strict", *asked, tmp_path / "strict")
    assert code == 9
    assert "control pretraining: 7 of" in err
    assert "report.html" in said
    assert (tmp_path / "strict" / "report.html").is_file()
    code, _, _ = run_main("evaluate", run, *asked, tmp_path / "lenient")
    assert code == 0


def test_an_archive_that_changed_is_not_looked_at(made, tmp_path):
    run, _, _ = made()
    (tmp_path / "archive" / "archive.json").rename(tmp_path / "elsewhere.json")
    found, _ = _lights(run, tmp_path / "out")
    for name in ("split", "duplicates", "metadata", "label_shuffle"):
        assert found[name].light == "not assessed"
        assert "not where it was" in found[name].said
    assert found["site"].light == "pass"


def test_a_foreign_table_is_not_assessed(tmp_path):
    lines = [f"p{n},{n % 2},{0.3 + 0.4 * (n % 2)},{'ab'[n // 2 % 2]}" for n in range(60)]
    table = tmp_path / "other.csv"
    table.write_text("\n".join(["patient_id,label,score,site", *lines]), encoding="utf-8")
    settings = EvaluateSettings(predictions=table, resamples=100, controls=("all",))
    found = {one.name: one.light for one in evaluate.run(settings, tmp_path / "out").controls}
    assert found.pop("site") == "pass"
    assert set(found.values()) == {"not assessed"}
    none = settings.model_copy(update={"controls": ("none",)})
    result = evaluate.run(none, tmp_path / "none")
    assert result.controls == ()
    shown = result.report.read_text(encoding="utf-8")
    assert shown.count('class="light"') == 2  # sample size and calibration, which are no controls


# --- splits ------------------------------------------------------------------------------------


def test_folds_are_made_as_finetune_makes_them(cli, tiny_archive, tmp_path):
    chosen = ("--split", "site", "--set", "inner.share=0")
    code, _, err = cli("finetune", tiny_archive, *SMALL, *chosen, "-o", tmp_path / "run")
    assert code == 0, err
    out = tmp_path / "made" / "splits.json"
    code, said, err = cli("splits", "make", tiny_archive, *chosen, "-o", out, "--json")
    assert code == 0, err
    assert splits.read(out) == splits.read(tmp_path / "run" / "splits.json")
    record = json.loads(said)
    assert (record["by"], record["names"], record["tested"]) == ("site", ["north", "south"], [5, 3])
    assert record["next"].startswith("medssl splits audit")
    code, _, err = cli("splits", "make", tiny_archive, *chosen, "-o", out)
    assert code == 2
    assert "something already" in err


def _table(path, rows, who="patient_key"):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([(who, "fold"), *rows])
    return path


def test_a_table_becomes_a_splits_json(cli, tiny_archive, tmp_path):
    table = _table(tmp_path / "t.csv", [(f"patient{p:02d}", p // 4) for p in range(8)])
    out = tmp_path / "splits.json"
    code, said, err = cli("splits", "import", table, "--archive", tiny_archive, "-o", out)
    assert code == 0, err
    assert splits.read(out).test_fold == ({f"patient{p:02d}": p // 4 for p in range(8)},)
    assert splits.read(out).by == "file"
    code, _, err = cli("splits", "import", table, "-o", tmp_path / "x.json")
    assert code == 2
    assert not (tmp_path / "x.json").exists()
    code, said, _ = cli("splits", "import", table, "--archive", tiny_archive, "--dry-run",
                        "-o", tmp_path / "x.json")  # fmt: skip
    assert code == 0
    assert "digest" in said
    assert not (tmp_path / "x.json").exists()


def test_a_leaky_table_is_counted_not_refused(cli, tiny_archive, tmp_path):
    rows = [(f"patient{p:02d}", p // 4) for p in range(8)] + [("patient00", 1), ("patient01", 1)]
    table = _table(tmp_path / "t.csv", rows)
    code, out, err = cli("splits", "audit", table, "--archive", tiny_archive, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert (record["on_both_sides"], record["n_patients"], record["unlisted"]) == (2, 8, 0)
    assert record["classes"] == {"0": [0.5, 0.5], "1": [0.5, 0.5]}
    code, _, err = cli("splits", "audit", table, "--archive", tiny_archive, "--strict")
    assert code == 3
    assert "leakage: 2 patients on both sides" in err


def test_ids_of_a_table_are_never_shown(cli, tmp_path):
    table = _table(tmp_path / "t.csv", [("DOE^JANE", 0), ("DOE^JANE", 1), ("ROE", 1)], "patient_id")
    code, out, err = cli("splits", "audit", table, "--json")
    assert code == 0
    record = json.loads(out)
    assert (record["on_both_sides"], record["pairs"]) == (1, None)
    assert "DOE" not in out + err
    assert "give --archive" in cli("splits", "audit", table)[1]


def test_ids_of_one_patient_in_two_folds_are_found(cli, tiny_archive, tmp_path):
    table = _table(tmp_path / "t.csv", [(f"patient{p:02d}", p // 4) for p in range(8)])
    listed = [Alias(patient_key="patient00", other_patient_key=f"patient{p:02d}", n_pairs=1,
                    similarity=1.0, metric="exact", image_id="image00",
                    other_image_id="image01", kind="alias") for p in (1, 5)]  # fmt: skip
    aliases.write(tmp_path, listed)
    words = ("splits", "audit", table, "--archive", tiny_archive, "--json")
    code, out, err = cli(*words, "--aliases", tmp_path / aliases.NAME)
    assert code == 0, err
    assert json.loads(out)["aliases_on_both_sides"] == 1
    assert json.loads(cli(*words)[1])["aliases_on_both_sides"] is None


def test_the_radiographs_of_children_hold_one_pair(cli, test_data, tmp_path):
    """NORMAL2-IM-0095 and NORMAL2-IM-0096 are one picture under two patients."""
    place = tmp_path / "archive"
    source = test_data / "cxr-pediatric"
    code, _, err = cli("ingest", source, "-o", place, "--size", 64, "--label", "label")
    assert code == 0, err
    words = ("splits", "make", place, "-o", tmp_path / "splits.json")
    assert cli(*words)[0] == 0
    code, out, err = cli("splits", "audit", tmp_path / "splits.json", "--archive", place, "--json")
    assert code == 0, err
    (pair,) = json.loads(out)["pairs"]
    assert pair["metric"] == "exact"


@pytest.mark.slow
def test_the_view_of_the_radiographs_of_adults_gives_the_label_away(cli, test_data, tmp_path):
    """Those with pneumonia are taken from the front, in bed; the others from behind, standing."""
    place, run = tmp_path / "archive", tmp_path / "run"
    words = ("ingest", test_data / "cxr-nih-sample", "-o", place, "--size", 64, "--label", "label")
    assert cli(*words)[0] == 0
    assert cli("finetune", place, *SMALL, "--folds", 2, "-o", run)[0] == 0
    code, out, err = cli("evaluate", run, "--controls", "metadata,duplicates", "--resamples", 500,
                         "-o", tmp_path / "judged", "--json")  # fmt: skip
    assert code == 0, err
    found = {one["name"]: one for one in json.loads(out)["controls"]}
    assert found["metadata"]["light"] == "warn"
    assert found["metadata"]["low"] > 0.55
    facts = found["metadata"]["details"]["facts"]
    assert next(iter(facts)) == "view"
    assert 0.55 < facts["view"] < 0.7
    assert found["duplicates"]["light"] == "pass"
