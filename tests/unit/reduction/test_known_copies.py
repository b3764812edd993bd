"""Images that are known to be one, among real ones that are not."""

import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from medssl import reduction
from medssl.data.shown import Shown
from medssl.foundation import plugins

FALSE = {"dhash": 17, "phash": 2}  # pairs of other children that look the same, of 853,341


@pytest.fixture(scope="module")
def radiographs(test_data):
    """Grey values, patients and digests; 8 pairs are copies, one of them under two patients."""
    folder = test_data / "cxr-pediatric"
    with (folder / "labels.csv").open(newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["image"])
    images = [np.asarray(Image.open(folder / row["image"]).convert("L")) for row in rows]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    return images, np.array([row["patient_id"] for row in rows]), digests


@pytest.mark.parametrize("name", ["dhash", "embedding", "exact", "phash"])
def test_copies_are_found_and_little_else(radiographs, name):
    images, patients, digests = radiographs
    plugin = plugins.load(reduction, name)
    config = plugin.Config()
    source = digests if plugin.needs(config) == "digests" else [Shown(image) for image in images]
    found = plugin.describe(source, config)
    i, j = np.nonzero(np.triu(plugin.similarity(found, found, config) >= plugin.SAME - 1e-6, 1))
    is_copy = np.array(digests)[i] == np.array(digests)[j]
    across = patients[i] != patients[j]
    assert is_copy.sum() == 8
    assert (is_copy & across).sum() == 1
    assert (~is_copy & across).sum() <= FALSE.get(name, 0)
