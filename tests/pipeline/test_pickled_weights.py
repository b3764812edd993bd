"""Published weights are pickles: another process takes out their tensors, and nothing runs."""

import argparse
import os

import pytest
import torch

from medssl.foundation import files
from medssl.foundation.errors import ArtifactError
from medssl.models import pickled
from medssl.training import encoders


def make(**options):
    return encoders.factory("resnet18", {}, in_channels=1, spatial_dims=2, **options)


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
