import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from medssl.artifacts import reduce_report, selection, tables
from medssl.artifacts.aliases import Alias
from medssl.artifacts.archive import IMAGES, LABELS
from medssl.artifacts.selection import SelectionInfo
from medssl.reduction import dhash, random
from medssl.thinning import accounting, cautions, leader, scoping
from medssl.thinning.accounting import Account
from medssl.thinning.metrics import Metric
from medssl.thinning.pools import Pool

N = 60  # images: ten patients with a series of six; those of the last two are all alike
TAU = 1 - 6 / 64


def hashed(tau=TAU):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**62, N, dtype=np.uint64)
    bits[48:] = 7
    described = np.stack([bits, np.zeros(N, dtype=np.uint64)], axis=1)
    return Metric(name="dhash", strategy=dhash, config=dhash.Config(), descriptors=described,
                  tau=tau)  # fmt: skip


def drawn(tau=0.5):
    config = random.Config()
    described = random.describe([f"i{n}" for n in range(N)], config)
    return Metric(name="random", strategy=random, config=config, descriptors=described, tau=tau)


def account(*chain, within=True, left_out=(), found=None):
    chain = chain or (hashed(),)
    keys = np.arange(N) // 6
    rows = [
        {"image_id": f"i{n}", "patient_key": f"secret{k}", "series_key": f"hidden{k}",
         "site": "south" if k >= 8 else "north", "modality": "CT", "slice_index": n % 6}
        for n, k in enumerate(keys)
    ]  # fmt: skip
    table = tables.build(rows, IMAGES)
    scopes = [np.setdiff1d(s, left_out) for s in scoping.rows_of(keys if within else None, N)]
    protected = np.zeros(N, dtype=bool)
    protected[0] = True
    pool = Pool(
        scopes=scoping.ordered([s for s in scopes if len(s)], np.arange(N), protected),
        protected=protected, patient=keys, series=keys,
    )  # fmt: skip
    thinned = leader.select(chain, pool.scopes)
    leaks = [{"image_id": f"i{n}", "against": "ab", "reason": "patient"} for n in left_out]
    info = SelectionInfo(
        archive_hash="cd" * 32, by=tuple(m.name for m in chain), select="leader",
        within="series" if within else "archive", thresholds=tuple(m.tau for m in chain),
        n_images=N, n_kept=len(thinned.kept), controls=("controls/random-0",),
        encoder={"method": "vicreg", "file": "of-mr-smith.safetensors"},
    )  # fmt: skip
    values = {"seed": 0, "archive": "/home/mr-smith/arc", "by": ["dhash"],
              "options": {"embedding": {"encoder": "/home/mr-smith/run", "side": 32}},
              "against": ["/home/mr-smith/cohort"] if len(left_out) else []}  # fmt: skip
    return Account(
        info=info, images=table, labels=LABELS.empty_table(), chain=chain, pool=pool,
        thinned=thinned, leaks=pa.Table.from_pylist(leaks, schema=selection.LEAKS), aliases=found,
        settings=values,
    )  # fmt: skip


def abouts(record):
    return [caution["about"] for caution in cautions.find(record)]


def test_every_image_is_accounted_for():
    told = accounting.compose(account(left_out=range(6)))
    counts = told.record["counts"]
    assert counts["images"] == N == counts["left_out"] + counts["pool"]
    assert counts["pool"] == counts["kept"] + counts["dropped"]
    assert (counts["left_out"], counts["patients"], counts["scopes"]) == (6, 9, 9)
    assert counts["protected"] == 0  # the protected image was left out
    assert told.kept.sum() == counts["kept"]
    for column in ("site", "modality"):
        rows = [row for row in told.record["strata"] if row["column"] == column]
        assert sum(row["images"] for row in rows) == counts["pool"]
        assert sum(row["images_kept"] for row in rows) == counts["kept"]
        assert sum(row["images_left_out"] for row in rows) == counts["left_out"]
    for grouped, per in ((told.per_patient, "patients"), (told.per_series, "series")):
        assert sum(grouped["images_kept"].to_pylist()) == counts["kept"]
        assert sum(told.record["shares"][per]["counts"]) == counts[per]
    assert sum(link["dropped"] for link in told.record["how"]["chain"]) == counts["dropped"]


def test_the_record_names_no_patient_no_series_and_no_path():
    told = accounting.compose(account(left_out=range(6), found=[]))
    text = json.dumps(told.record)
    for gone in ("secret", "hidden", "mr-smith", '"i1"'):
        assert gone not in text
    assert told.record["settings"]["options"] == {"embedding": {"side": 32}}


def test_what_is_written_reads_back(tmp_path):
    told = accounting.compose(account())
    reduce_report.write(tmp_path, told.record, told.strata, told.per_patient, told.per_series)
    assert reduce_report.read(tmp_path) == json.loads(json.dumps(told.record))
    assert reduce_report.read_per_patient(tmp_path).num_rows == 10
    assert reduce_report.read_per_series(tmp_path)["series_key"][9].as_py() == "hidden9"
    strata = reduce_report.read_strata(tmp_path).to_pylist()
    assert [row | {"share": row["images_kept"] / row["images"]} for row in strata] == [
        {**row, "share": pytest.approx(row["share"], abs=1e-6)} for row in told.record["strata"]
    ]


def test_the_likeness_is_that_of_the_last_metric_that_measures_it():
    told = accounting.compose(account(hashed(), drawn(0.9)))
    assert told.stage == 0
    assert told.record["likeness"]["metric"] == "dhash"
    assert [link["is_likeness"] for link in told.record["how"]["chain"]] == [True, False]
    assert accounting.compose(account(drawn())).record["likeness"] is None


def test_the_threshold_is_the_one_that_was_found():
    whole = account()
    found = replace(whole, info=replace(whole.info, thresholds=(0.9,)))
    record = accounting.compose(found).record
    assert record["likeness"]["tau"] == record["how"]["chain"][0]["tau"] == 0.9


def test_a_site_of_copies_is_marked_and_said():
    record = accounting.compose(account()).record
    south = next(row for row in record["strata"] if row["value"] == "south")
    assert (south["images"], south["images_kept"], south["is_low"]) == (12, 2, False)  # too few
    record = accounting.compose(account(drawn(0.3))).record
    assert "Some lose more than others" not in abouts(record)
    low = dict(south, is_low=True, images=1200, share=0.1)
    told = cautions.find(record | {"strata": [low]})[0]
    kept = record["counts"]["kept"]
    assert told["text"] == (
        f"site south keeps 10.0% of 1,200 images; of all images {kept / N:.1%} are kept"
    )


def test_patients_without_an_image_are_said():
    record = accounting.compose(account(within=False)).record
    assert record["counts"]["patients_without"] == 1  # its images are copies of another's
    caution = next(c for c in record["cautions"] if c["about"] == "Patients without an image")
    assert caution["text"].startswith("1 of 10 patients has no image in the selection")
    assert "Patients without an image" not in abouts(accounting.compose(account()).record)


def test_what_was_left_out_is_said():
    record = accounting.compose(account(left_out=range(6))).record
    assert record["left_out"] == {
        "against": 1, "images": 6, "patients": 1, "of_their_patients": 6, "probably_the_same": 0,
    }  # fmt: skip
    assert "Left out" in abouts(record)
    assert "leaks.parquet" in cautions.find(record)[-1]["fix"]


def test_nothing_dropped_and_no_control_are_said_once_each():
    record = accounting.compose(account(hashed(1.5))).record
    assert record["counts"]["dropped"] == 0
    assert abouts(record) == ["Nothing dropped"]
    assert abouts(record | {"controls": []}) == ["Nothing dropped"]  # there is nothing to control
    dropped = accounting.compose(account()).record | {"controls": []}
    assert abouts(dropped) == ["No control"]
    is_control = dropped["how"] | {"is_control": True}
    assert abouts(dropped | {"how": is_control}) == []
    assert abouts(accounting.compose(account(drawn())).record | {"controls": []}) == []


def test_aliases_are_counted_by_kind():
    row = Alias(patient_key="a", other_patient_key="b", n_pairs=1, similarity=1.0,
                metric="dhash", image_id="i", other_image_id="j", kind="alias")  # fmt: skip
    record = accounting.compose(account(found=[row, row, replace(row, kind="shared")])).record
    assert record["aliases"] == {"alias": 2, "shared": 1}
    assert abouts(record) == ["Patients under two ids"]
    assert accounting.compose(account()).record["aliases"] is None


def test_many_marked_strata_are_summed_up():
    record = accounting.compose(account()).record
    low = dict(record["strata"][0], is_low=True)
    told = cautions.find(record | {"strata": [dict(low, value=f"v{n}") for n in range(9)]})[0]
    assert told["text"].count("keeps") == 6
    assert ", and 3 more;" in told["text"]
