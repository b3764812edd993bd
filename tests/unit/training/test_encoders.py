"""Where encoder weights may come from, and every way a source can be wrong."""

import argparse
import os

import numpy as np
import pytest
import torch

from medssl.artifacts import weights
from medssl.artifacts.weights import EncoderInfo
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError, UsageError
from medssl.models import pickled
from medssl.models.weights import to_arrays
from medssl.training import encoders


def make(**options):
    return encoders.factory("resnet18", {}, in_channels=1, spatial_dims=2, **options)


def export(folder, seed=0):
    folder.mkdir()
    torch.manual_seed(seed)
    arrays = to_arrays(make()())
    words = ("encoder", "library", "feature_layer", "method", "paper", "medssl", "archive_hash")
    counts = ("in_channels", "spatial_dims", "feature_size", "image_size", "epochs", "seed")
    facts = {**dict.fromkeys((*words, "key_id"), ""), **dict.fromkeys((*counts, "n_images"), 0)}
    info = EncoderInfo(options={}, intensity={}, **facts)
    weights.write(folder, info, arrays)
    return arrays


def test_random_encoders_come_from_the_seed_and_building_the_factory_draws_nothing():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build = make()
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(1)
    first = build()
    torch.manual_seed(1)
    assert torch.equal(first.net.conv1.weight, build().net.conv1.weight)
    assert not torch.equal(first.net.conv1.weight, build().net.conv1.weight)


def test_a_pretrained_encoder_is_filled_from_its_export(tmp_path):
    arrays = export(tmp_path / "export")
    source = encoders.open_source(tmp_path / "export")
    filled = to_arrays(make(source=source)())
    assert all(np.array_equal(arrays[name], filled[name]) for name in arrays)


def test_a_bare_weight_file_works_too(tmp_path):
    arrays = export(tmp_path / "export")
    weights.write_tensors(tmp_path / "mine.safetensors", arrays)
    source = encoders.open_source(tmp_path / "mine.safetensors")
    assert source.facts() == {
        "layout": "MONAI",
        "left_out": {},
        "in_channels": 1,
        "spatial_dims": 2,
        "weights_sha256": files.sha256(tmp_path / "mine.safetensors"),
    }
    assert source.patients_under("any key") is None
    assert np.array_equal(to_arrays(make(source=source)())["conv1.weight"], arrays["conv1.weight"])


def test_tampered_weights_are_refused(tmp_path):
    arrays = export(tmp_path / "export")
    arrays["conv1.weight"] = arrays["conv1.weight"] + 1
    weights.write_tensors(tmp_path / "export" / "encoder.safetensors", arrays)
    with pytest.raises(ArtifactError, match="not those encoder"):
        encoders.open_source(tmp_path / "export")
    with pytest.raises(ArtifactError, match="not those encoder"):
        encoders.open_source(tmp_path / "export" / "encoder.safetensors")


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no encoder"):
        encoders.open_source(tmp_path)


def published(seed=0):
    """A MoCo checkpoint as its authors save it, with all that lies beside the encoder."""
    torch.manual_seed(seed)
    encoder = encoders.factory("resnet18", {}, in_channels=3, spatial_dims=2).make().eval()
    encoder.net.layer2[0].downsample[0].bias.data.zero_()
    encoder.net.layer3[0].downsample[0].bias.data.zero_()
    encoder.net.layer4[0].downsample[0].bias.data.zero_()
    state = {
        f"module.encoder_q.{name.removeprefix('net.')}": tensor
        for name, tensor in encoder.state_dict().items()
        if not name.endswith("downsample.0.bias")
    }
    state["module.encoder_q.fc.0.weight"] = torch.zeros(128, 512).to(torch.bfloat16)
    state["module.queue"] = torch.zeros(128, 64)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.03, momentum=0.9)
    content = {
        "epoch": 200,
        "arch": "resnet18",
        "args": argparse.Namespace(lr=0.03, data="/somewhere"),
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
    }
    return content, encoder


def test_a_published_pickle_is_read_apart_and_gives_what_it_gave(tmp_path):
    content, expected = published()
    torch.save(content, tmp_path / "moco.pth.tar")
    source = encoders.open_source(tmp_path / "moco.pth.tar")
    assert source.facts() == {
        "layout": "MoCo",
        "left_out": {"state_dict/fc": 1, "state_dict/queue": 1},
        "in_channels": 3,
        "spatial_dims": 2,
        "weights_sha256": files.sha256(tmp_path / "moco.pth.tar"),
    }
    made = make(source=source)
    first, scaling, *changed = made.notes
    assert "layout MoCo under state_dict/module.encoder_q." in first
    assert "left out: state_dict/fc (1), state_dict/queue (1)" in first
    assert "scaled" in scaling
    assert any("added up" in note for note in changed)
    images = torch.randn(2, 1, 32, 32)
    found = made().eval()(images)
    torch.testing.assert_close(found, expected(images.expand(-1, 3, -1, -1)))


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_wants_to_run_something_is_refused_and_does_not(tmp_path):
    proof = tmp_path / "it-ran"
    torch.save({"state_dict": Malicious(proof)}, tmp_path / "evil.pt")
    with pytest.raises(ArtifactError, match=r"not opened: it wants to run \w+\.system"):
        encoders.open_source(tmp_path / "evil.pt")
    assert not proof.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # and this file is what it says
    assert proof.exists()


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "noise.ckpt").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(ArtifactError, match="cannot be read as weights"):
        encoders.open_source(tmp_path / "noise.ckpt")


def test_a_pickle_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "_LEAST_SECONDS", 0)
    torch.save({}, tmp_path / "slow.pt")
    with pytest.raises(ArtifactError, match="was not read within 0 s"):
        encoders.open_source(tmp_path / "slow.pt")


@pytest.mark.slow
def test_a_pickle_that_unfolds_to_more_than_its_size_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**10)}, tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(ArtifactError, match="cannot be read as weights"):
        encoders.open_source(tmp_path / "bomb.pt")


def test_safetensors_are_known_by_their_content(tmp_path):
    arrays = export(tmp_path / "export")
    weights.write_tensors(tmp_path / "model.bin", arrays)
    assert encoders.open_source(tmp_path / "model.bin").arrays.keys() == arrays.keys()


def test_a_2d_file_fills_a_3d_encoder_and_says_so(tmp_path):
    arrays = export(tmp_path / "export")
    source = encoders.open_source(tmp_path / "export")
    made = encoders.factory("resnet18", {}, in_channels=1, spatial_dims=3, source=source)
    assert made.notes == ("starting weights: 20 2D filters put into the middle slice of 3D ones",)
    filters = made().net.conv1.weight.detach().numpy()
    assert np.array_equal(filters[:, :, 3], arrays["conv1.weight"])
    assert not filters[:, :, [0, 1, 2, 4, 5, 6]].any()


def test_weights_are_checked_before_anything_trains(tmp_path):
    weights.write_tensors(tmp_path / "other.safetensors", {"a": np.zeros(2, np.float32)})
    source = encoders.open_source(tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="the weights do not fit the encoder"):
        make(source=source)


def test_unknown_encoders_and_options_are_refused():
    with pytest.raises(UsageError, match="no encoder called 'resnet81'"):
        encoders.factory("resnet81", {}, in_channels=1, spatial_dims=2)
    with pytest.raises(UsageError, match="unknown option 'deep'"):
        encoders.factory("resnet18", {"deep": 3}, in_channels=1, spatial_dims=2)
