"""Every protocol tests whole patients, by models that have every class and never saw them."""

from collections import Counter

import numpy as np
import pytest

from medssl.evaluation import protocols, set_apart
from medssl.foundation.errors import DataError

PROTOCOLS = ("folds", "class_and_site", "balanced", "site", "hold_out", "time", "file")


def _random(kind, seed):
    """Return rows of patients with one to four images: key, classes, site and time."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(rng.integers(6, 60)):
        home = "abc"[rng.integers(3)]
        for _ in range(rng.integers(1, 5)):
            site = "abc"[rng.integers(3)] if rng.random() < 0.1 else home
            names = _names(kind, rng)
            if names:  # an image without any label is not in the cohort
                rows.append((f"k{patient:02d}", names, site, float(rng.integers(2000, 2020))))
    return rows


def _names(kind, rng):
    if kind == "multi_label":
        return tuple(n if rng.random() < 0.4 else f"no {n}" for n in "xyz" if rng.random() < 0.9)
    return (str(int(rng.random() < 0.2)) if kind == "binary" else f"part {rng.integers(3)}",)


def _people(kind, rows):
    keys, names, sites, _ = zip(*rows, strict=True)
    return protocols.people(keys, names, sites, amounts=kind == "regression")


def _plan(protocol, kind, rows, seed):
    among = _people(kind, rows)
    if protocol in ("folds", "class_and_site"):
        by_site = protocol == "class_and_site"
        plan = protocols.k_fold(among, n_folds=3, repeats=2, seed=seed, by_site=by_site)
    elif protocol == "balanced":
        positive = sorted(among.names)[-1]
        plan = protocols.balanced(among, positive, n_folds=3, repeats=2, seed=seed)
    elif protocol == "site":
        plan = protocols.leave_one_site_out(among)
    elif protocol == "hold_out":
        plan = protocols.hold_out(among, ["b"])
    elif protocol == "time":
        seen = {key: [time for k, _, _, time in rows if k == key] for key in among.classes}
        seen = {key: (min(times), max(times)) for key, times in seen.items()}
        plan = protocols.by_time(among, seen, share=0.3)
    else:
        made = protocols.k_fold(among, n_folds=2, repeats=2, seed=seed)
        strange = [{**plan, "nobody": 1} for plan in made.test_fold]
        plan = protocols.imported(among, strange, n_folds=2, where="file")
    return among, plan


def _expect_explained(error):
    assert error.exit_code == 3
    assert error.problem
    assert error.where
    assert error.fix


def _planned(protocol, kind):
    """Yield what a protocol makes of random cohorts, where it makes anything."""
    n_planned = 0
    for seed in range(25):
        rows = _random(kind, seed)
        try:
            yield seed, rows, *_plan(protocol, kind, rows, seed)
            n_planned += 1
        except DataError as error:
            _expect_explained(error)
    assert n_planned >= 8, "hardly ever tried"


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        (protocol, kind)
        for protocol in PROTOCOLS
        for kind in ("binary", "multi_label", "regression")
        if protocol != "balanced" or kind == "binary"
    ],
)
def test_nobody_is_on_two_sides(protocol, kind):
    for seed, rows, among, plan in _planned(protocol, kind):
        order = np.random.default_rng(seed).permutation(len(rows))
        assert _plan(protocol, kind, [rows[i] for i in order], seed) == (among, plan)
        apart = set_apart.inner(plan, among, share=0.2, seed=seed)
        left_out = set_apart.unused(plan, among, apart, fraction=0.5, seed=seed)
        for repeat, tested_in in enumerate(plan.test_fold):
            assert set(tested_in) <= set(among.classes)
            for fold in range(plan.n_folds):
                tested = {key for key, number in tested_in.items() if number == fold}
                training = set(plan.training(among, repeat, fold))
                away = set(apart[repeat][fold]) | set(left_out[repeat][fold])
                assert away <= training
                assert not training & tested
                assert tested
                assert training - away
                if kind != "regression":
                    for part in (training, training - away, tested):
                        assert set().union(*(among.classes[key] for key in part)) == among.names


@pytest.mark.parametrize("protocol", ["site", "hold_out"])
def test_no_image_of_a_tested_site_is_learned_from(protocol):
    for _, rows, among, plan in _planned(protocol, "binary"):
        for fold, name in enumerate(plan.names):
            training = set(plan.training(among, 0, fold))
            assert not [site for key, _, site, _ in rows if key in training and site == name]


def _cohort(counts, site="", images=1):
    """Return keys, classes and sites of patients; ``counts`` says how many have each class."""
    classes = [name for name, n in counts.items() for _ in range(n)]
    keys = [f"{site}{k:03d}" for k in range(len(classes))]
    return [(key, (name,), site or None) for key, name in zip(keys, classes, strict=True)] * images


def _of(*parts):
    return protocols.people(*zip(*[row for part in parts for row in part], strict=True))


def test_balanced_folds_are_those_of_the_paper():
    """Five chunks of the positives, each with as many others; the rest is always trained on."""
    among = _of(_cohort({"1": 23, "0": 80}))
    plan = protocols.balanced(among, "1", n_folds=5, repeats=6, seed=0)
    drawn = []
    for tested in plan.test_fold:
        sides = Counter((fold, *among.classes[key]) for key, fold in tested.items())
        assert all(sides[fold, "0"] == sides[fold, "1"] in (4, 5) for fold in range(5))
        assert set(among.of_class("1")) <= set(tested)
        drawn.append({key for key in tested if among.classes[key] == {"0"}})
    assert len(drawn[0]) == 23
    assert len(set(map(frozenset, drawn))) == 6  # others in every repeat
    assert len(plan.training(among, 0, 0)) == 103 - sum(f == 0 for f in plan.test_fold[0].values())
    assert plan.notes[0].startswith("test folds hold as many patients without '1' as with it")
    assert "22% with" in plan.notes[0]


def test_a_patient_with_any_positive_image_is_positive():
    rows = [*_cohort({"1": 4, "0": 9}), ("000", ("0",), None)]
    among = protocols.people(*zip(*rows, strict=True))
    (tested,) = protocols.balanced(among, "1", n_folds=4, repeats=1, seed=0).test_fold
    assert sorted(tested[f"{k:03d}"] for k in range(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("counts", "problem", "fix"),
    [
        ({"1": 3, "0": 9}, "which has 3 patients", "use at most 3 folds"),
        ({"1": 1, "0": 9}, "which has 1 patient", "add patients of that class"),
        ({"1": 9, "0": 7}, "another patient for each of 9 of class '1', and there are 7",
         "name the rarer class with --positive"),
    ],
)  # fmt: skip
def test_balanced_folds_that_cannot_be_are_refused(counts, problem, fix):
    with pytest.raises(DataError, match=problem) as caught:
        protocols.balanced(_of(_cohort(counts)), "1", n_folds=5, repeats=1, seed=0)
    assert fix in caught.value.fix
    assert caught.value.where == "split.balanced_test"


def test_every_site_is_tested_once():
    among = _of(*(_cohort({"1": 5, "0": 9}, site) for site in ("south", "north")))
    plan = protocols.leave_one_site_out(among)
    assert plan.names == ("north", "south")
    assert plan.test_fold == ({key: int(key[0] == "s") for key in among.classes},)
    assert plan.training(among, 0, 0) == [key for key in among.classes if key[0] == "s"]
    assert not plan.notes


def test_a_patient_of_two_sites_is_tested_once_and_left_out_at_the_other():
    rows = [*_cohort({"1": 5, "0": 5}, "n"), *_cohort({"1": 5, "0": 5}, "s")]
    rows += [("twice", ("1",), "s"), ("twice", ("1",), "n"), ("twice", ("0",), "s")]
    among = protocols.people(*zip(*rows, strict=True))
    assert among.sites["twice"] == ("s", "n")
    plan = protocols.leave_one_site_out(among)
    assert plan.test_fold[0]["twice"] == 1
    assert "twice" not in plan.training(among, 0, 0)
    assert "twice" not in plan.training(among, 0, 1)
    assert plan.notes[0].startswith("1 patient of several sites: tested with the one of most")
    held = protocols.hold_out(among, ["n"])
    assert held.test_fold[0]["twice"] == 0
    assert held.notes == ("1 patient of a held-out site and others: tested, with all images",)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([_cohort({"1": 5, "0": 5}, "n")], "to leave one site out needs two, there is 'n'"),
        ([_cohort({"1": 5, "0": 5}, "n"), _cohort({"0": 9}, "s")],
         "site s: no patient of class '1' to test"),
        ([_cohort({"1": 5, "0": 5}, "n"), [("x", ("1",), None)]],
         "1 of 11 patients have images of no known site"),
    ],
)  # fmt: skip
def test_sites_that_cannot_be_left_out_are_refused(parts, problem):
    with pytest.raises(DataError, match=problem) as caught:
        protocols.leave_one_site_out(_of(*parts))
    assert caught.value.where == "split.by"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("held", "problem"),
    [
        (["nrth"], "no site called 'nrth': north, south"),
        (["north", "south"], "site north, south: no patient of class '0' to train on"),
    ],
)
def test_sites_that_cannot_be_held_out_are_refused(held, problem):
    among = _of(*(_cohort({"1": 5, "0": 5}, site) for site in ("south", "north")))
    with pytest.raises(DataError, match=problem):
        protocols.hold_out(among, held)


def test_amounts_need_two_patients_and_not_every_part():
    rows = [(f"{s}{k}", (f"part {k % 2}",), s) for s, n in (("a", 4), ("b", 2)) for k in range(n)]
    rows += [("c0", ("part 1",), "c"), ("c1", ("part 1",), "c")]
    keys, names, sites = zip(*rows, strict=True)
    plan = protocols.leave_one_site_out(protocols.people(keys, names, sites, amounts=True))
    assert plan.n_folds == 3
    with pytest.raises(DataError, match="site c: no patient of class 'part 0' to test"):
        protocols.leave_one_site_out(protocols.people(keys, names, sites))
    alone = protocols.people(keys[:-1], names[:-1], sites[:-1], amounts=True)
    with pytest.raises(DataError, match="site c: fewer than 2 patients to test"):
        protocols.leave_one_site_out(alone)


def test_folds_of_amounts_need_not_every_part():
    """Two patients of a part cannot be in each of five folds, and need not."""
    keys = [f"k{k:02d}" for k in range(20)]
    names = [(f"part {int(k < 2)}",) for k in range(20)]
    with pytest.raises(DataError, match="5 folds need every class"):
        protocols.k_fold(protocols.people(keys, names), n_folds=5, repeats=1, seed=0)
    among = protocols.people(keys, names, amounts=True)
    plan = protocols.k_fold(among, n_folds=5, repeats=3, seed=0)
    for tested in plan.test_fold:
        assert Counter(tested.values()) == dict.fromkeys(range(5), 4)
        assert tested["k00"] != tested["k01"]


def test_those_seen_last_are_tested_and_ties_stay_together():
    among = _of(_cohort({"1": 10, "0": 10}))
    first = {key: 2000.0 + int(key) % 10 // 2 for key in among.classes}  # 5 years of 4 patients
    seen = {key: (year, year) for key, year in first.items()}
    for share, years in (
        (0.3, {2004}),
        (0.31, {2003, 2004}),
        (0.01, {2004}),
        (0.99, set(range(2001, 2005))),
    ):
        plan = protocols.by_time(among, seen, share=share)
        tested = {first[key] for key in plan.test_fold[0]}
        assert tested == years, share
        assert len(plan.test_fold[0]) == 4 * len(years)
    assert plan.notes == ("16 of 20 patients, those first seen last, are tested",)
    again = protocols.by_time(among, seen | {"000": (2000.0, 2004.0)}, share=0.2)
    assert again.notes[1].startswith("1 patient trained on with all images")


def test_a_split_by_time_needs_times_and_classes():
    among = _of(_cohort({"1": 4, "0": 4}))
    with pytest.raises(DataError, match="all patients were first seen at the same time"):
        protocols.by_time(among, dict.fromkeys(among.classes, (1.0, 1.0)), share=0.5)
    seen = {key: (float(key), float(key)) for key in among.classes}  # all of class 0 come last
    with pytest.raises(DataError, match="repeat 1, fold 1: no patient of class '1' to test"):
        protocols.by_time(among, seen, share=0.5)


def test_imported_folds_say_whom_they_miss():
    among = _of(_cohort({"1": 4, "0": 4}))
    plan = protocols.imported(
        among,
        [{"000": 0, "004": 0, "001": 1, "005": 1, "stranger": 1}],
        n_folds=2,
        where="f",
        listed={"002"},
    )
    assert plan.test_fold == ({"000": 0, "001": 1, "004": 0, "005": 1},)
    assert plan.training(among, 0, 0) == ["001", "002", "003", "005", "006", "007"]
    assert plan.notes == (
        "imported splits: 4 of 8 patients are tested",
        "1 of 6 patients listed are not in the cohort",
        "4 never tested and always trained on, 3 of them not listed",
    )


@pytest.mark.parametrize(
    ("plans", "problem"),
    [
        ([{"a": 0, "b": 1}], "none of the 2 patients in it is tested in the cohort"),
        ([{"000": 0, "004": 0, "001": 1}], "repeat 1, fold 2: no patient of class '0' to test"),
        ([{"000": 0, "004": 0}], "repeat 1, fold 2: no patient of class '0' to test"),
    ],
)
def test_imported_folds_that_cannot_be_are_refused(plans, problem):
    with pytest.raises(DataError, match=problem) as caught:
        protocols.imported(_of(_cohort({"1": 4, "0": 4})), plans, n_folds=2, where="splits.csv")
    assert caught.value.where == "splits.csv"
    assert caught.value.fix
