"""The neighbour classifier against the vote written out with loops."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.training import knn


def reference(bank, labels, query, n_classes):
    """Wu et al. 2018, section 3.4: the 20 nearest vote with exp(cosine / 0.07)."""
    shares = []
    for row in query:
        cosines = [row @ b / np.linalg.norm(row) / np.linalg.norm(b) for b in bank]
        nearest = sorted(range(len(bank)), key=lambda k: -cosines[k])[:20]
        votes = [0.0] * n_classes
        for k in nearest:
            votes[labels[k]] += np.exp(cosines[k] / 0.07)
        shares.append(np.array(votes) / sum(votes))
    return np.array(shares)


@pytest.mark.parametrize("n_bank", [5, 20, 60])
def test_equals_the_published_vote(n_bank):
    rng = np.random.default_rng(n_bank)
    bank, query = rng.normal(size=(n_bank, 6)), rng.normal(size=(11, 6))
    labels = rng.integers(0, 3, size=n_bank)
    found = knn.class_shares(bank.astype(np.float32), labels, query.astype(np.float32), 3)
    np.testing.assert_allclose(found, reference(bank, labels, query, 3), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_copy_of_a_labelled_image_gets_its_class():
    bank = np.eye(30)
    shares = knn.class_shares(bank, np.arange(30) % 2, bank[:4] * 7, 2)
    assert shares.argmax(axis=1).tolist() == [0, 1, 0, 1]
    assert (shares.max(axis=1) > 0.99).all()


def probe(bank_class, query_class, scored):
    return knn.Probe(
        name="knn_auroc",
        bank=tuple(f"b{k}" for k in range(len(bank_class))),
        bank_class=tuple(bank_class),
        query=tuple(f"q{k}" for k in range(len(query_class))),
        query_class=tuple(query_class),
        scored=scored,
    )


def two_clouds(seed, distance):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, size=80)
    return rng.normal(size=(80, 4)) + distance * label[:, None] * [1, -1, 0, 0], label


@pytest.mark.parametrize(("distance", "low", "high"), [(0.0, 0.35, 0.65), (4.0, 0.97, 1.0)])
def test_two_classes_are_told_apart_as_far_as_their_features_are(distance, low, high):
    (bank, bank_label), (query, query_label) = two_clouds(1, distance), two_clouds(2, distance)
    made = probe(np.take(["no", "yes"], bank_label), np.take(["no", "yes"], query_label),
                 ("no", "yes"))  # fmt: skip
    found = made.auroc(bank, query)
    assert low <= found <= high
    shares = knn.class_shares(bank, bank_label, query, 2)
    assert found == pytest.approx(roc_auc_score(query_label, shares[:, 1]))


def test_several_classes_are_averaged_over_those_with_enough_patients():
    rng = np.random.default_rng(3)
    bank, query = rng.normal(size=(60, 5)), rng.normal(size=(40, 5))
    bank_label, query_label = rng.integers(0, 4, size=60), rng.integers(0, 3, size=40)
    names = np.array(["a", "b", "c", "d"])
    made = probe(names[bank_label], names[query_label], ("a", "c"))
    shares = knn.class_shares(bank, bank_label, query, 4)
    parts = [roc_auc_score(query_label == k, shares[:, k]) for k in (0, 2)]
    assert made.auroc(bank, query) == pytest.approx(np.mean(parts))


def test_collapsed_features_are_no_better_than_chance():
    made = probe(["a", "b"] * 15, ["a", "b"] * 10, ("a", "b"))
    assert made.auroc(np.ones((30, 4)), np.ones((20, 4))) == 0.5


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ([0.7], None),
        ([0.7, 0.7], None),
        ([0.7, 0.6, 0.71], None),
        ([0.7, 0.65, 0.6], "ended at 0.600, below 0.700 of the first weights; no measurement was"),
        ([0.7, 0.75, 0.6], "ended at 0.600, below 0.700 of the first weights; it was 0.750 in"),
    ],
)
def test_a_probe_that_ended_below_its_start_is_told(course, expected):
    points = [{"knn_auroc.a": value, "knn_auroc.b": 0.9, "val_loss": -value} for value in course]
    found = knn.cautions(points)
    if expected is None:
        assert found == ()
    else:
        (text,) = found
        assert text.startswith(f"knn_auroc.a {expected}")
        assert "no interval" in text
