"""Where encoder weights may come from, and every way a source can be wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.artifacts import weights
from medssl.artifacts.weights import EncoderInfo
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError, UsageError
from medssl.models import layouts
from medssl.models.weights import to_arrays
from medssl.training import encoders, seeing
from medssl.training.encoders import Source

pytestmark = pytest.mark.usefixtures("narrow_networks")


def make(**options):
    return encoders.factory("resnet18", {}, in_channels=1, spatial_dims=2, **options)


def info_of(**known):
    words = ("encoder", "library", "feature_layer", "method", "paper", "medssl", "archive_hash")
    counts = ("in_channels", "spatial_dims", "feature_size", "image_size", "epochs", "seed")
    facts = {**dict.fromkeys((*words, "key_id"), ""), **dict.fromkeys((*counts, "n_images"), 0)}
    return EncoderInfo(options={}, intensity={}, **{**facts, **known})


def export(folder, seed=0):
    folder.mkdir()
    torch.manual_seed(seed)
    arrays = to_arrays(make()())
    weights.write(folder, info_of(), arrays)
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


def of_a_3d_export(path):
    return Source(path, info_of(spatial_dims=3), {}, "")


def of_a_bare_3d_file(path):
    return Source(path, None, {}, "", layouts.unwrap({"conv1.weight": np.zeros((4, 1, 3, 3, 3))}))


@pytest.mark.parametrize("source_of", [of_a_3d_export, of_a_bare_3d_file])
@pytest.mark.parametrize("allow_partial", [False, True])
def test_weights_of_a_3d_encoder_do_not_see_single_images(source_of, allow_partial):
    source = source_of(Path("weights"))
    with pytest.raises(ArtifactError, match=r"whole series \(3D\)") as caught:
        make(source=source, allow_partial=allow_partial)
    assert caught.value.where == "weights"
    assert "--spatial-dims 2" in caught.value.fix


def test_nor_are_single_images_embedded_with_it(monkeypatch):
    source = of_a_3d_export(Path("weights"))
    monkeypatch.setattr(seeing, "open_encoder", lambda *_: (source, None))
    with pytest.raises(ArtifactError, match=r"whole series \(3D\)"):
        seeing.features(source.path, 1, "cpu")
