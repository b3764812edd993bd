"""Copies are images of one digest."""

import hashlib

import numpy as np

from medssl.reduction import exact

CONFIG = exact.Config()


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_equal_digests_and_no_others():
    names = ["a", "b", "a", "c", "b", "a"]
    found = exact.describe([digest(n) for n in names], CONFIG)
    expected = np.array([[x == y for y in names] for x in names], dtype=float)
    assert np.array_equal(exact.similarity(found, found, CONFIG), expected)
    assert np.array_equal(exact.exact(found, found[::-1], CONFIG), expected[:, ::-1].diagonal())


def test_every_part_of_a_digest_counts():
    whole = digest("a")
    others = [whole[:k] + ("0" if whole[k] != "0" else "1") + whole[k + 1 :] for k in range(64)]
    found = exact.describe([whole, *others], CONFIG)
    assert exact.similarity(found[:1], found, CONFIG).tolist() == [[1.0] + [0.0] * 64]
    assert not exact.exact(np.repeat(found[:1], 64, axis=0), found[1:], CONFIG).any()


def test_digests_can_be_told_from_descriptors():
    found = exact.describe([digest("x")], CONFIG)
    assert found[0].astype(">u8").tobytes().hex() == digest("x")
    assert exact.describe([], CONFIG).shape == (0, 4)
