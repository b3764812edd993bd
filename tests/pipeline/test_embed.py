"""`medssl embed`: the features of an archive, as any other program reads them."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from medssl.artifacts import archive, embeddings, run_folder, weights
from medssl.config.training import Intensity
from medssl.data.opening import open_store
from medssl.training import embed, encoders


@pytest.fixture(scope="module")
def encoder(handmade_export, tmp_path_factory):
    return handmade_export(tmp_path_factory.mktemp("encoder") / "export")


@pytest.fixture(scope="module")
def embedded(tiny_archive, encoder, run_main, tmp_path_factory):
    out = tmp_path_factory.mktemp("embed") / "last"
    words = ("embed", tiny_archive, "--encoder", encoder, "--device", "cpu", "--json")
    code, said, err = run_main(*words, "-o", out)
    assert code == 0, err
    return out, json.loads(said)


def expected(tiny_archive, folder, layer):
    """Computed from the modules of the network itself, one after the other."""
    source = encoders.open_source(folder)
    encoder = encoders.factory("resnet18", {}, in_channels=1, spatial_dims=2, source=source)()
    store = open_store(tiny_archive, archive.read_images(tiny_archive), 2)
    maps = torch.nn.Sequential()  # a module of its own: the stem, then the layers
    for name in ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        maps.append(getattr(encoder.net, name))
        if name == layer:
            break
    pooled = torch.nn.Sequential(maps, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    shape = (source.info.image_size,) * 2
    device = torch.device("cpu")
    return embed.features(pooled, store, device=device, intensity=Intensity(), shape=shape)


def test_a_row_per_image_with_its_features(tiny_archive, encoder, embedded):
    out, said = embedded
    keys, features = embeddings.read(out)
    images = archive.read_images(tiny_archive)
    assert keys["image_id"].to_pylist() == images["image_id"].to_pylist()
    assert keys["patient_key"].to_pylist() == images["patient_key"].to_pylist()
    np.testing.assert_allclose(
        features, expected(tiny_archive, encoder, "layer4"), rtol=1e-4, atol=1e-5
    )
    assert (said["n_rows"], said["feature_size"], said["layer"]) == (len(images), 512, "layer4")
    assert said["next"].startswith("medssl finetune")
    assert run_folder.read_status(out)["status"] == "finished"


def test_any_parquet_reader_sees_lists_of_one_length(embedded):
    out, _ = embedded
    column = pq.read_schema(out / "embeddings.parquet").field("feature")
    assert str(column.type) == "fixed_size_list<element: float>[512]"
    frame = pq.read_table(out / "embeddings.parquet").to_pandas()
    assert np.stack(frame["feature"]).shape == (len(frame), 512)


def test_an_earlier_layer(tiny_archive, encoder, run_main, tmp_path):
    words = ("embed", tiny_archive, "--encoder", encoder)
    code, _, err = run_main(*words, "--layer", "layer2", "--device", "cpu", "-o", tmp_path / "out")
    assert code == 0, err
    _, features = embeddings.read(tmp_path / "out")
    np.testing.assert_allclose(
        features, expected(tiny_archive, encoder, "layer2"), rtol=1e-4, atol=1e-5
    )
    info = embeddings.read_info(tmp_path / "out")
    assert (info.layer, info.feature_size) == ("layer2", 128)
    assert info.trained["method"] == "vicreg"


def test_parts_of_an_archive_are_written_one_after_the_other(
    tiny_archive, encoder, embedded, run_main, tmp_path, monkeypatch
):
    from medssl.stages import embed as stage

    monkeypatch.setattr(stage, "_PART", 5)
    words = ("embed", tiny_archive, "--encoder", encoder, "--device", "cpu")
    assert run_main(*words, "-o", tmp_path / "out")[0] == 0
    keys, features = embeddings.read(tmp_path / "out")
    whole_keys, whole = embeddings.read(embedded[0])
    assert keys.equals(whole_keys)
    np.testing.assert_allclose(features, whole, rtol=1e-4, atol=1e-5)


def test_a_dry_run_writes_nothing(tiny_archive, encoder, run_main, tmp_path):
    words = ("embed", tiny_archive, "--encoder", encoder, "--dry-run")
    code, out, err = run_main(*words, "-o", tmp_path / "out")
    assert code == 0, err
    assert "512" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--layer", "layer5"), 2, "did you mean 'layer"),
        (("--encoder", "bare.safetensors"), 4, "do not say which encoder"),
        (("--encoder", "nothing"), 4, "no encoder"),
    ],
)
def test_what_cannot_be_embedded_is_refused(  # noqa: PLR0913 - a case and its fixtures
    tiny_archive, encoder, run_main, tmp_path, monkeypatch, words, code, said
):
    monkeypatch.chdir(tmp_path)
    bare = (encoder / "encoder.safetensors").read_bytes()
    (tmp_path / "bare.safetensors").write_bytes(bare)
    first = () if "--encoder" in words else ("--encoder", encoder)
    found, _, err = run_main("embed", tiny_archive, *first, *words, "-o", tmp_path / "out")
    assert found == code
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_run_of_the_pipeline(pipeline, run_main, tmp_path):
    words = ("embed", pipeline.archive, "--encoder", pipeline.pretrain, "--device", "cpu")
    code, _, err = run_main(*words, "-o", tmp_path / "out")
    assert code == 0, err
    keys, features = embeddings.read(tmp_path / "out")
    assert len(keys) == archive.read_info(pipeline.archive).images
    assert features.std(axis=0).mean() > 0
    info = embeddings.read_info(tmp_path / "out")
    trained = weights.read_info(pipeline.pretrain / "export")
    assert info.trained["method"] == trained.method
    assert (info.layer, info.feature_size) == ("layer4", trained.feature_size)


def test_volumes_have_a_row_per_series(pipeline, handmade_export, run_main, tmp_path):
    encoder = handmade_export(tmp_path / "export", spatial_dims=3)
    words = ("embed", pipeline.archive, "--encoder", encoder, "--device", "cpu")
    code, _, err = run_main(*words, "-o", tmp_path / "out")
    assert code == 0, err
    keys, features = embeddings.read(tmp_path / "out")
    images = archive.read_images(pipeline.archive).to_pandas().sort_values(["shard", "row"])
    slices = images.groupby("series_key", sort=False)["image_id"]
    expected = {key: ids.iloc[0] for key, ids in slices if len(ids) > 1}
    found = zip(keys["series_key"].to_pylist(), keys["image_id"].to_pylist(), strict=True)
    assert dict(found) == expected
    assert features.shape == (len(expected), 512)
