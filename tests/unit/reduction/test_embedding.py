"""Cosines of thumbnails and of features."""

import numpy as np
import pytest
from PIL import Image

from medssl.config import loading
from medssl.data.shown import Shown
from medssl.foundation.errors import UsageError
from medssl.reduction import _cosine, embedding

CONFIG = embedding.Config()
ENCODED = embedding.Config(encoder="runs/a")


def scenes(n, side=96):
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 6)).astype(np.uint8)) for _ in range(n)]
    return [np.asarray(c.resize((side, side), Image.Resampling.BICUBIC)) for c in coarse]


def described(images, config=CONFIG):
    return embedding.describe([Shown(i) for i in images], config)


def test_without_encoder_it_is_the_correlation_of_thumbnails():
    images = scenes(8)
    small = [
        np.asarray(Image.fromarray(i).resize((32, 32), Image.Resampling.BOX)).ravel()
        for i in images
    ]
    expected = np.corrcoef(np.array(small, dtype=float)).clip(0)
    found = described(images)
    assert found.shape == (8, 32 * 32 + 1)
    assert np.abs(embedding.similarity(found, found, CONFIG) - expected).max() < 1e-6
    i, j = np.indices((8, 8)).reshape(2, -1)
    assert np.abs(embedding.exact(found[i], found[j], CONFIG) - expected[i, j]).max() < 1e-6
    assert (expected == 0).any()


def test_brightness_and_gain_are_nothing_and_inversion_is_unlike():
    image = scenes(1)[0]
    found = described([image, image // 2 + 40, 255 - image])
    first = embedding.exact(np.repeat(found[:1], 3, axis=0), found, CONFIG)
    assert first[1] > 0.999
    assert first[2] == 0


def test_blank_images_are_alike_and_like_nothing_else():
    rng = np.random.default_rng(0)
    blank = [rng.normal(40, 3, (64, 64)).astype(np.uint8), np.full((9, 9), 200, np.uint8)]
    found = described([*blank, scenes(1)[0]])
    table = embedding.similarity(found, found, CONFIG)
    assert np.abs(table - [[1, 1, 0], [1, 1, 0], [0, 0, 1]]).max() < 1e-6
    assert (embedding.exact(found[:2], found[1::-1], CONFIG) == 1).all()


def test_features_are_compared_by_their_angle():
    features = np.array([[1, 0, 0], [2, 2, 0], [0, 0, 5], [-3, 0, 0], [0, 0, 0]], np.float32)
    found = embedding.describe(iter(features), ENCODED)
    half = np.sqrt(0.5)
    expected = [
        [1, half, 0, 0, 0],
        [half, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert np.abs(embedding.similarity(found, found, ENCODED) - expected).max() < 1e-6


def test_what_it_needs_follows_from_the_encoder():
    assert embedding.needs(CONFIG) == "pixels"
    assert embedding.needs(ENCODED) == "features"
    with pytest.raises(UsageError, match="side: "):
        loading.decode(embedding.Config, {"side": 1}, where="options")


def test_large_vectors_stay_within_the_stated_error():
    rng = np.random.default_rng(0)
    vectors = rng.normal(1, 1, (40, 4096)).astype(np.float32)
    found = embedding.describe(iter(vectors), ENCODED)
    table = _cosine.similarity(found, found)
    double = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1)[:, None]
    assert np.abs(table - double @ double.T).max() < _cosine.ERROR / 10
    assert np.abs(_cosine.by_torch(found, found, "cpu") - table).max() < 1e-6


def test_products_are_computed_in_full_and_the_setting_is_put_back():
    import torch

    torch.set_float32_matmul_precision("high")
    try:
        with _cosine.full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.gpu
def test_a_gpu_computes_the_same():
    rng = np.random.default_rng(0)
    found = embedding.describe(rng.normal(1, 1, (300, 384)).astype(np.float32), ENCODED)
    on_cpu = embedding.similarity(found, found, ENCODED)
    assert np.abs(embedding.similarity(found, found, ENCODED, "cuda") - on_cpu).max() < 1e-6
