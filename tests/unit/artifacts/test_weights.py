"""Encoder weights read back bit for bit, carry their digest, and are never unpickled."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from medssl.artifacts import weights
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

INFO = weights.EncoderInfo(
    encoder="resnet18",
    options={"layers": [2, 2, 2, 2]},
    library="monai.networks.nets.resnet18(spatial_dims=2, n_input_channels=1)",
    in_channels=1,
    spatial_dims=2,
    feature_layer="avgpool",
    feature_size=512,
    image_size=64,
    intensity={"window_hu": [-1000.0, 1000.0]},
    method="vicreg",
    paper="arXiv:2105.04906",
    medssl="0.1.0",
    epochs=20,
    seed=0,
    archive_hash="ab",
    n_images=8,
    key_id="k1",
    patient_digests=("d1", "d2"),
)
TENSORS = {
    "conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bn.steps": np.array(7, dtype=np.int64),
}


@given(
    tensors=st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        arrays.arrays(np.float32, arrays.array_shapes(max_side=3)),
        max_size=3,
    )
)
def test_what_is_written_is_read(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    weights.write_tensors(path, tensors)
    found = weights.read_tensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].tobytes() == tensor.tobytes()
        assert found[name].shape == tensor.shape


def test_record_and_weights_are_read_together(tmp_path):
    weights.write(tmp_path, INFO, TENSORS)
    info, tensors = weights.read_verified(tmp_path)
    digest = files.sha256(tmp_path / "encoder.safetensors")
    assert info == replace(INFO, weights_sha256=digest)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "conv.weight": np.float32,
        "bn.steps": np.int64,
    }


def test_neither_the_order_nor_the_layout_of_tensors_changes_the_bytes(tmp_path):
    turned = {
        "bn.steps": TENSORS["bn.steps"],
        "conv.weight": np.asfortranarray(TENSORS["conv.weight"]),
    }
    for name, tensors in (("a", TENSORS), ("b", turned)):
        weights.write_tensors(tmp_path / name, tensors)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_that_are_not_those_of_the_record_are_refused(tmp_path):
    weights.write(tmp_path, INFO, TENSORS)
    other = TENSORS | {"conv.weight": TENSORS["conv.weight"] + 1}
    save_file(other, tmp_path / "encoder.safetensors")
    with pytest.raises(ArtifactError, match="the weights are not those"):
        weights.read_verified(tmp_path)


def test_absent_weights_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such weight file"):
        weights.read_tensors(tmp_path / "encoder.safetensors")
    with pytest.raises(ArtifactError, match="no such file"):
        weights.read_verified(tmp_path)


class Trap:
    """Opening its pickle would create a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_refused_and_not_opened(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Trap(str(tmp_path / "owned"))))
    with pytest.raises(ArtifactError, match="not a safetensors file") as caught:
        weights.read_tensors(tmp_path / "model.pt")
    assert "a file of weights that is whole" in caught.value.fix
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 4, 20])
def test_damaged_weights_are_refused(tmp_path, keep):
    path = tmp_path / "encoder.safetensors"
    weights.write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        weights.read_tensors(path)
