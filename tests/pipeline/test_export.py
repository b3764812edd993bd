"""`medssl export`: others load the encoder, and it computes the same."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet
from safetensors.numpy import load_file

from medssl.artifacts import exported, weights
from medssl.training import encoders


@pytest.fixture(scope="module")
def export(handmade_export, tmp_path_factory):
    return handmade_export(tmp_path_factory.mktemp("encoder") / "export")


@pytest.fixture(scope="module")
def trained(export):
    """Images, and the features an encoder gives them."""
    source = encoders.open_source(export)
    encoder = encoders.factory("resnet18", {}, in_channels=1, spatial_dims=2, source=source)()
    images = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        return images, encoder.eval()(images)


def write(run_main, export, out, kind):
    code, said, err = run_main("export", export, "--format", kind, "-o", out, "--json")
    assert code == 0, err
    record = exported.read(out)
    assert tuple(json.loads(said)["files"]) == record.files
    assert all((out / name).is_file() for name in record.files)
    assert record.input["shape"] == [1, 32, 32]
    assert record.input["intensity"]["window_hu"] == [-1000.0, 1000.0]
    return record


def test_torchvision_names(export, run_main, trained, tmp_path):
    """MONAI's network without biases in its shortcuts has the tensors of torchvision's."""
    record = write(run_main, export, tmp_path / "out", "torchvision")
    arrays = load_file(tmp_path / "out" / "resnet18.safetensors")
    blocks = [f"layer{k}.{n}" for k in (1, 2, 3, 4) for n in (0, 1)]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", *(f"bn1.{part}" for part in norm)}
    for block in blocks:
        names |= {f"{block}.conv{n}.weight" for n in (1, 2)}
        names |= {f"{block}.bn{n}.{part}" for n in (1, 2) for part in norm}
    for k in (2, 3, 4):
        shortcut = f"layer{k}.0.downsample"
        names |= {f"{shortcut}.0.weight", *(f"{shortcut}.1.{part}" for part in norm)}
    assert set(arrays) == names
    network = resnet.resnet18(
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    network.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    images, features = trained
    torch.testing.assert_close(network(images), features, rtol=1e-4, atol=1e-5)
    assert any("resnet18()" in line for line in record.how)


@pytest.mark.parametrize("norm", ["batch", "group", "bcn"])
def test_the_lines_of_the_readme_load_them(handmade_export, run_main, tmp_path, monkeypatch, norm):
    """torchvision is no dependency: MONAI's network of the same tensors stands where it would."""
    changed = handmade_export(tmp_path / "export", norm=norm)
    record = write(run_main, changed, tmp_path / "out", "torchvision")

    def resnet18():
        return resnet.resnet18(
            spatial_dims=2, n_input_channels=3, conv1_t_stride=2, bias_downsample=False
        )

    library = SimpleNamespace(models=SimpleNamespace(resnet18=resnet18))
    if importlib.util.find_spec("torchvision") is None:
        monkeypatch.setitem(sys.modules, "torchvision", library)
    monkeypatch.chdir(tmp_path / "out")
    source = encoders.open_source(changed)
    options = {"in_channels": 1, "spatial_dims": 2, "source": source}
    encoder = encoders.factory("resnet18", {"norm": norm}, **options)().eval()
    names = {"images": torch.randn(3, 1, 64, 64)}
    exec("\n".join(record.how), names)
    torch.testing.assert_close(names["features"], encoder(names["images"]), rtol=1e-3, atol=1e-4)


def test_what_was_exported_can_be_started_from(export, run_main, trained, tmp_path):
    write(run_main, export, tmp_path / "out", "torchvision")
    source = encoders.open_source(tmp_path / "out" / "resnet18.safetensors")
    assert source.facts()["layout"] == "torchvision"
    encoder = encoders.factory("resnet18", {}, in_channels=1, spatial_dims=2, source=source)()
    images, features = trained
    torch.testing.assert_close(encoder.eval()(images), features, rtol=1e-4, atol=1e-5)


def test_a_monai_bundle_loads_as_its_readme_says(export, run_main, trained, tmp_path, monkeypatch):
    record = write(run_main, export, tmp_path / "out", "monai-bundle")
    monkeypatch.chdir(tmp_path / "out")
    image = torch.rand(1, 40, 40) * 50
    names = {"image": image}
    with torch.no_grad():
        exec("\n".join(record.how), names)
    assert names["features"].shape == (1, 512)
    images, features = trained
    torch.testing.assert_close(names["network"](images), features, rtol=1e-4, atol=1e-5)
    ct = names["parser"].get_parsed_content("preprocessing_ct")
    np.testing.assert_allclose(ct(torch.full((1, 8, 8), 500.0)), np.full((1, 32, 32), 0.5))


def test_monai_checks_the_bundle_itself(export, run_main, tmp_path):
    from monai.bundle import verify_net_in_out

    write(run_main, export, tmp_path / "out", "monai-bundle")
    configs = tmp_path / "out" / "bundle" / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
    )


def test_onnx_computes_the_same_for_any_number_of_images(export, run_main, trained, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    write(run_main, export, tmp_path / "out", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    images, features = trained
    for n in (1, 3):
        [found] = session.run(None, {"images": images[:n].numpy()})
        np.testing.assert_allclose(found, features[:n], rtol=1e-4, atol=1e-5)


def test_without_the_extra_the_install_line_is_shown(export, run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    words = ("export", export, "--format", "onnx", "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 5
    assert "pip install 'medssl[onnx]'" in err
    assert not (tmp_path / "out").exists()


TRANSFORMER = {"name": "vit_s", "depth": 1, "image_size": 32}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("torchvision", TRANSFORMER),
        ("torchvision", {"spatial_dims": 3}),
        ("monai-bundle", TRANSFORMER),
        ("monai-bundle", {"norm": "group"}),
    ],
)
def test_what_a_format_cannot_express_is_refused(
    handmade_export, run_main, tmp_path, kind, options
):
    changed = handmade_export(tmp_path / "export", **options)
    words = ("export", changed, "--format", kind, "-o", tmp_path / "out")
    code, _, err = run_main(*words)
    assert code == 2
    assert "choose onnx" in err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing_and_names_no_patient(export, run_main, tmp_path):
    words = ("export", export, "--dry-run", "--json", "-o", tmp_path / "out")
    code, said, _ = run_main(*words)
    assert code == 0
    digests = weights.read_info(export).patient_digests
    assert digests
    assert not any(digest in said for digest in digests)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["torchvision", "monai-bundle"])
def test_an_export_names_no_patient(export, run_main, tmp_path, kind):
    write(run_main, export, tmp_path / "out", kind)
    digests = [d.encode() for d in weights.read_info(export).patient_digests]
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(digest in content for digest in digests), path


def test_a_run_of_the_pipeline(pipeline, run_main, tmp_path):
    code, _, err = run_main("export", pipeline.pretrain, "-o", tmp_path / "out")
    assert code == 0, err
    made = exported.read(tmp_path / "out").made
    info = weights.read_info(pipeline.pretrain / "export")
    assert (made["method"], made["n_images"]) == (info.method, info.n_images)
