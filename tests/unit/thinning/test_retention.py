import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.artifacts import tables
from medssl.artifacts.archive import IMAGES, LABELS
from medssl.thinning import retention

WORDS = st.sampled_from([None, "a", "b", "c"])


def images(rows):
    return tables.build(
        [{"image_id": f"i{n}", "patient_key": "p", "series_key": "s"} | row
         for n, row in enumerate(rows)], IMAGES,
    )  # fmt: skip


def labels(values, target="finding"):
    return [{"image_id": f"i{n}", "target": target, "value": v} for n, v in values.items()]


def strata(rows, kept, pool=None, labelled=()):
    kept = np.array(kept, dtype=bool)
    pool = np.ones(len(kept), dtype=bool) if pool is None else np.array(pool, dtype=bool)
    return retention.strata(images(rows), tables.build(list(labelled), LABELS), kept, pool)


def of(found, column):
    return [row for row in found if row.column == column]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(WORDS, WORDS, WORDS, WORDS, st.sampled_from("xyz"), st.sampled_from("kdl")),
        min_size=1,
        max_size=30,
    )
)
def test_every_count_is_that_of_a_plain_count(rows):
    table = [{"site": site, "manufacturer": maker, "model": model, "patient_key": patient}
             for site, maker, model, _, patient, _ in rows]  # fmt: skip
    kept, pool = ([fate in which for *_, fate in rows] for which in ("k", "kd"))
    values = {n: row[3] for n, row in enumerate(rows) if n % 3}
    found = strata(table, kept, pool, labels(values))
    scanner = [" ".join(word for word in row[1:3] if word) or None for row in rows]
    columns = {"site": [row[0] for row in rows], "scanner": scanner,
               "label": [values.get(n) for n in range(len(rows))]}  # fmt: skip
    assert {row.column for row in found} == {n for n, c in columns.items() if any(c)}
    for column, own in columns.items():
        told = of(found, column)
        assert len(told) == (len(set(own)) if any(own) else 0)
        for stratum in told:
            mine = [n for n, value in enumerate(own) if value == stratum.value]
            inside, left = ([n for n in mine if pool[n]], [n for n in mine if kept[n]])
            assert stratum.images == len(inside)
            assert stratum.images_kept == len(left)
            assert stratum.images_left_out == len(mine) - len(inside)
            assert stratum.patients == len({rows[n][4] for n in inside})
            assert stratum.patients_kept == len({rows[n][4] for n in left})
            assert stratum.target == ("finding" if column == "label" else None)


def marked(images_of, kept_of):
    """Whether sites with so many images and kept ones are marked."""
    rows, kept = [], []
    for site, (n, k) in enumerate(zip(images_of, kept_of, strict=True)):
        rows += [{"site": f"site{site}"}] * n
        kept += [True] * k + [False] * (n - k)
    return {row.value: row.is_low for row in strata(rows, kept) if row.column == "site"}


@pytest.mark.parametrize(
    ("n", "kept", "is_low"),
    [
        (1000, 400, False),  # of all 50 %: ten points less is not more than ten
        (1000, 399, True),
        (100, 39, False),  # chance
        (100, 30, True),
        (19, 0, False),  # too few to say
        (20, 0, True),
    ],
)
def test_a_stratum_that_keeps_ten_points_less_is_marked(n, kept, is_low):
    rest = 10_000 - n
    assert marked((n, rest), (kept, 5000 - kept)) == {"site0": is_low, "site1": False}


def test_where_little_is_kept_less_than_half_is_marked():
    assert marked((400, 1600), (4, 196)) == {"site0": True, "site1": False}
    assert marked((400, 1600), (20, 180)) == {"site0": False, "site1": False}
    assert marked((40, 1960), (0, 200)) == {"site0": False, "site1": False}  # chance


def test_a_random_selection_is_hardly_ever_marked():
    rng = np.random.default_rng(0)
    n_marked = 0
    for _ in range(200):
        sites = rng.integers(0, 20, 800)  # about forty images of each
        kept = np.isin(np.arange(800), rng.choice(800, 240, replace=False))
        found = strata([{"site": f"{site}"} for site in sites], kept)
        n_marked += sum(row.is_low for row in found)
    assert n_marked <= 10  # of 4,000; one in a thousand would be 4


@pytest.mark.parametrize("kept", range(21))
def test_the_bound_of_chance_is_that_of_counted_selections(kept):
    """Half of 60 images are kept, so many of the 20 of a site: count the selections like that."""
    as_few = sum(math.comb(20, k) * math.comb(40, 30 - k) for k in range(kept + 1))
    is_rare = as_few / math.comb(60, 30) < 0.001
    assert marked((20, 40), (kept, 30 - kept))["site0"] == (is_rare and kept < 8)


def test_labels_come_first_then_the_larger_and_unknown_ones_last():
    rows = [{"site": "big"}] * 3 + [{"site": None}] * 5 + [{"site": "small"}]
    found = strata(rows, [True] * 9, labelled=labels({0: "1"}))
    assert [(row.column, row.value) for row in found] == [
        ("label", "1"), ("label", None), ("site", "big"), ("site", "small"), ("site", None),
    ]  # fmt: skip


def test_ages_stand_in_their_order():
    ages = ["90+", "6-12", "other", "18-29", "0-1", None, "13-17", "1-5"]
    found = of(strata([{"age_band": age} for age in ages], [True] * 8), "age_band")
    assert [row.value for row in found] == [
        "0-1", "1-5", "6-12", "13-17", "18-29", "90+", "other", None,
    ]  # fmt: skip


def test_many_rare_values_are_put_together():
    rows = [{"site": f"{n:03d}", "patient_key": f"p{n}"} for n in range(90) for _ in range(90 - n)]
    found = of(strata(rows, [True] * len(rows)), "site")
    assert len(found) == retention.MOST_VALUES + 1
    rare = found[-1]
    assert (rare.value, rare.n_values, rare.patients) == (None, 40, 40)
    assert rare.images == sum(range(1, 41))
    assert sum(row.images for row in found) == len(rows)
    assert {row.n_values for row in found[:-1]} == {1}


def test_an_unlabelled_archive_has_no_strata_of_labels():
    unknown = labels({0: None, 1: None})
    assert not of(strata([{"site": "a"}] * 2, [True] * 2, labelled=unknown), "label")


def test_groups_count_each_patient_and_series_in_archive_order():
    rows = [{"patient_key": p, "series_key": f"{p}{s}"} for p, s in ("b1", "b1", "b2", "a1", "c1")]
    kept, pool = np.array([[1, 0, 0, 1, 0], [1, 1, 1, 1, 0]], dtype=bool)
    told = retention.groups(images(rows), "series_key", kept, pool).to_pylist()
    assert told == [
        {"patient_key": k[0], "series_key": k, "images": n, "images_kept": m, "images_left_out": x}
        for k, n, m, x in (("b1", 2, 1, 0), ("b2", 1, 0, 0), ("a1", 1, 1, 0), ("c1", 0, 0, 1))
    ]
    told = retention.groups(images(rows), "patient_key", kept, pool)
    assert told.column_names[0] == "patient_key"
    assert told["images"].to_pylist() == [3, 1, 0]
    spread = retention.shares(told)
    assert (spread.n, spread.n_without) == (2, 0)
    assert spread.quantiles == {"min": 1 / 3, "p5": 1 / 3, "median": 1 / 3, "p95": 1.0, "max": 1.0}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.data())
def test_shares_fall_into_the_bin_whose_bounds_hold_them(sizes, data):
    kept = [data.draw(st.integers(0, n)) for n in sizes]
    rows = [{"patient_key": f"p{k}"} for k, n in enumerate(sizes) for _ in range(n)]
    mask = np.array([j < kept[k] for k, n in enumerate(sizes) for j in range(n)])
    every = np.ones(len(mask), dtype=bool)
    spread = retention.shares(retention.groups(images(rows), "patient_key", mask, every))
    for k in range(10):  # as fractions: 0.3 is no float
        low = [10 * m >= k * n for m, n in zip(kept, sizes, strict=True)]
        high = [10 * m < (k + 1) * n or k == 9 for m, n in zip(kept, sizes, strict=True)]
        assert spread.counts[k] == sum(a and b for a, b in zip(low, high, strict=True))
    assert spread.n_without == kept.count(0)
