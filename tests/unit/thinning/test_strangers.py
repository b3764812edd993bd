"""Patients who share an image, against a comparison of all pairs, and the two known patients."""

import hashlib
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.artifacts.aliases import Alias
from medssl.reduction import embedding, exact
from medssl.thinning import strangers
from medssl.thinning.metrics import Metric


def metric_of(strategy, descriptors, tau=1.0, memory=2**20):
    return Metric(
        name=strategy.__name__.rpartition(".")[2],
        strategy=strategy,
        config=strategy.Config(),
        descriptors=descriptors,
        tau=tau,
        memory=memory,
    )


def copies(kinds):
    """Descriptors of `exact`: images of one kind have the same digest."""
    digests = [hashlib.sha256(str(kind).encode()).hexdigest() for kind in kinds]
    return exact.describe(digests, exact.Config())


def all_pairs(table, rows, patient, tau, most):
    """The definition, by loops over all pairs: {two patients: (similarity, row, other, n, shared)}.

    Of shared images only what is named is checked here: one pair per image.
    """
    close = [
        (a, b)
        for a in rows
        for b in rows
        if a < b and patient[a] != patient[b] and table[a, b] >= tau
    ]
    strangers = {row: set() for row in rows}
    for a, b in close:
        strangers[a].add(patient[b])
        strangers[b].add(patient[a])
    shared = {row for row in rows if len(strangers[row]) > most}
    own = [pair for pair in close if not shared & set(pair)]
    named = set()
    for row in shared:
        others = [b for b in rows if patient[b] != patient[row] and table[row, b] >= tau]
        best = max(others, key=lambda b: (table[row, b], -b))
        named.add((min(row, best), max(row, best)))
    found = {}
    for chosen, is_shared in ((own, False), (sorted(named), True)):
        groups = {}
        for pair in chosen:
            groups.setdefault(frozenset(patient[list(pair)].tolist()), []).append(pair)
        for two, of in groups.items():
            if two not in found:
                best = max(of, key=lambda pair: (table[pair], -pair[0], -pair[1]))
                found[two] = (table[best], *best, len(of), is_shared)
    return found


def as_found(pairs, patient):
    columns = (pairs.similarity, pairs.row, pairs.other, pairs.n_pairs, pairs.shared)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return {frozenset(patient[[row[1], row[2]]].tolist()): row for row in rows}


@settings(max_examples=60)
@given(
    kinds=st.lists(st.integers(0, 6), min_size=0, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(1, 4),
    memory=st.sampled_from([64, 4096, 2**24]),
)
def test_copies_are_those_of_all_pairs(kinds, seed, most, memory):
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, 8, size=len(kinds))
    rows = np.flatnonzero(rng.random(len(kinds)) < 0.9)
    metric = metric_of(exact, copies(kinds), tau=0.3, memory=memory)
    kinds = np.array(kinds)
    expected = all_pairs(kinds[:, None] == kinds, rows, patient, 1.0, most)
    found = strangers.pairs(metric, rng.permutation(rows), patient, 1.0, most)
    assert as_found(found, patient) == expected
    assert len(found.row) == len(expected)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), tau=st.floats(0.5, 0.999), most=st.integers(1, 3))
def test_similarities_decided_exactly_are_those_of_all_pairs(seed, tau, most):
    """`embedding` has a rounding error: groups of vectors right at the threshold."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, 6))
    vectors = centres[rng.integers(0, 4, 40)] + 0.15 * rng.normal(size=(40, 6))
    descriptors = embedding.describe(list(vectors), embedding.Config(encoder="any"))
    patient = rng.integers(0, 9, size=40)
    metric = metric_of(embedding, descriptors, memory=4096)
    left, right = (axis.ravel() for axis in np.indices((40, 40)))
    table = metric.exact(left, right).reshape(40, 40)
    tau = float(table.ravel()[np.abs(table - tau).argmin()])  # one pair lies on it
    found = strangers.pairs(metric, np.arange(40), patient, tau, most)
    assert as_found(found, patient) == all_pairs(table, np.arange(40), patient, tau, most)


def test_two_ids_are_told_from_a_phantom_that_both_have():
    """Patients 0 and 1 share two images of their own, and a phantom with everybody else."""
    kinds = ["a", "b", "phantom", "a", "b", "phantom", *["phantom"] * 6, "c"]
    patient = np.array([0, 0, 0, 1, 1, 1, *range(2, 8), 8])
    found = strangers.pairs(metric_of(exact, copies(kinds)), np.arange(13), patient, 1.0)
    facts = as_found(found, patient)
    assert facts.pop(frozenset({0, 1})) == (1.0, 0, 3, 2, False)
    assert all(shared for *_, shared in facts.values())
    assert {next(iter(two - {0})) for two in facts} == set(range(2, 8))


@pytest.mark.parametrize(("n_patients", "shared"), [(2, False), (4, False), (5, True)])
def test_an_image_of_more_than_three_others_is_shared(n_patients, shared):
    found = strangers.pairs(
        metric_of(exact, copies("x" * n_patients)), np.arange(n_patients), np.arange(n_patients), 1
    )
    assert set(found.shared.tolist()) == {shared}
    assert len(found.row) == (n_patients - 1 if shared else n_patients * (n_patients - 1) // 2)


def test_nobody_is_a_stranger_to_himself():
    found = strangers.pairs(
        metric_of(exact, copies("xxxx")), np.arange(4), np.zeros(4, dtype=np.int64), 1
    )
    assert len(found.row) == len(found.shared) == 0


def test_thousands_who_share_a_blank_image_take_little_memory_and_few_rows():
    """All pairs would be 4.5 million, 72 MB of row numbers; each patient is named once or twice."""
    n = 3000
    metric = metric_of(exact, copies(["blank"] * n), memory=2**22)
    tracemalloc.start()
    found = strangers.pairs(metric, np.arange(n), np.arange(n), 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shared.all()
    assert len(found.row) == n - 1
    assert set(found.row.tolist()) | set(found.other.tolist()) == set(range(n))
    assert peak < 24e6


def test_the_list_speaks_in_keys(tiny_archive):
    from medssl.artifacts import archive

    images = archive.read_images(tiny_archive).slice(0, 8)  # of patients 00 to 03, two each
    patient = np.arange(8) // 2
    metric = metric_of(exact, copies("abcdxaex"))
    found = strangers.pairs(metric, np.arange(8), patient, 1.0)
    assert strangers.to_aliases(found, images, metric) == [
        Alias(
            patient_key="patient00",
            other_patient_key="patient02",
            n_pairs=1,
            similarity=1.0,
            metric="exact",
            image_id="image00",
            other_image_id="image05",
            kind="alias",
        ),
        Alias(
            patient_key="patient02",
            other_patient_key="patient03",
            n_pairs=1,
            similarity=1.0,
            metric="exact",
            image_id="image04",
            other_image_id="image07",
            kind="alias",
        ),
    ]


def test_blank_images_speak_for_nobody():
    """Three patients with a slice of air each, and two who share a real image."""
    described = np.zeros((5, 4), dtype=np.float32)
    described[:3, -1] = 1  # blank
    described[3:, 0] = 1
    images = pa.table(
        {"patient_key": [f"p{i}" for i in range(5)], "image_id": [f"i{i}" for i in range(5)]}
    )
    found = strangers.find(
        metric_of(embedding, described, 0.985), np.arange(5), np.arange(5), images
    )
    assert [(row.patient_key, row.other_patient_key) for row in found] == [("p3", "p4")]
