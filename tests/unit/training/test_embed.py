"""Features do not depend on the batches, and looking at a network changes nothing in it."""

import numpy as np
import pytest
import torch

from medssl.artifacts import archive
from medssl.config.training import Intensity
from medssl.data.store import ImageStore
from medssl.models.encoders import resnet18
from medssl.training import embed


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return resnet18.build(1, 2, resnet18.Config())


def features(encoder, folder, rows=slice(None)):
    table = archive.read_images(folder)
    store = ImageStore(folder, table.take(np.arange(table.num_rows)[rows]))
    where = {"device": torch.device("cpu"), "intensity": Intensity(), "shape": (32, 32)}
    return embed.features(encoder, store, **where)


def test_one_row_per_image_in_the_order_of_the_store(encoder, tiny_archive, monkeypatch):
    monkeypatch.setattr(embed, "BATCH", 7)
    found = features(encoder, tiny_archive)
    assert found.shape == (24, 512)
    alone = features(encoder, tiny_archive, slice(9, 10))
    np.testing.assert_allclose(found[9:10], alone, rtol=1e-4, atol=1e-5)


def test_nothing_of_the_encoder_changes(encoder, tiny_archive):
    encoder.train()
    encoder.net.bn1.eval()  # a mixed state, as a frozen layer has it
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = features(encoder, tiny_archive)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(before[name], v) for name, v in encoder.state_dict().items())
    np.testing.assert_array_equal(first, features(encoder, tiny_archive))


def test_buffers_come_back_even_after_an_error(encoder):
    before = encoder.net.bn1.running_mean.clone()

    def stop(_, __, output):
        raise ValueError(f"stop after {tuple(output.shape)}")

    encoder.net.layer1.register_forward_hook(stop)
    with pytest.raises(ValueError, match="stop"), embed.unchanged(encoder):
        encoder.train()(torch.randn(4, 1, 32, 32))
    assert torch.equal(encoder.net.bn1.running_mean, before)
