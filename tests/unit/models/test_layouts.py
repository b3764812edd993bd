"""Encoders are found in the layouts of published files, whatever is wrapped around them."""

import narrow
import numpy as np
import pytest
import torch

from medssl.foundation.errors import ArtifactError
from medssl.models import layouts, weights
from medssl.models.encoders import vit_s

HEAD = {"fc.weight": np.zeros((10, 512), np.float32), "fc.bias": np.zeros(10, np.float32)}


def published(seed=0, in_channels=3, spatial_dims=2):
    """Tensors as torchvision names them: MONAI's, less the biases of its shortcuts."""
    torch.manual_seed(seed)
    encoder = narrow.residual("resnet18", in_channels, spatial_dims)
    encoder(torch.randn(2, in_channels, *(16,) * spatial_dims))
    for module in encoder.modules():
        if getattr(module, "bias", None) is not None and hasattr(module, "kernel_size"):
            torch.nn.init.zeros_(module.bias)
    arrays = {name: array.copy() for name, array in weights.to_arrays(encoder).items()}
    arrays = {name: a for name, a in arrays.items() if not name.endswith("downsample.0.bias")}
    return arrays, encoder.eval()


def under(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


NET, _ = published()
COPY, _ = published(seed=1)
MONO, _ = published(in_channels=1)
DEEP, _ = published(in_channels=1, spatial_dims=3)
QUEUE = {"state_dict/queue": np.zeros((128, 64), np.float32)}
LAYOUTS = {
    "torchvision": ({**NET, **HEAD}, "torchvision", "", {"fc": 2}),
    "lvm_med": (NET, "torchvision", "", {}),
    "xrv": (
        {**under("model.", MONO), **under("model.", HEAD)},
        "TorchXRayVision",
        "model.",
        {"fc": 2},
    ),
    "medicalnet": (
        {**under("state_dict/module.", DEEP), "state_dict/module.conv_seg.0.weight": np.zeros(3)},
        "MedicalNet",
        "state_dict/module.",
        {"state_dict/conv_seg": 1},
    ),
    "moco": (
        {
            **under("state_dict/module.encoder_k.", COPY),
            **under("state_dict/module.encoder_q.", {**NET, **HEAD}),
            **under("state_dict/module.", {"queue": np.zeros((128, 64), np.float32)}),
        },
        "MoCo",
        "state_dict/module.encoder_q.",
        {"state_dict/encoder_k": len(COPY), "state_dict/fc": 2, "state_dict/queue": 1},
    ),
    "moco_ct": (
        {**under("state_dict/encoder_q.", NET), **under("state_dict/encoder_k.", COPY), **QUEUE},
        "MoCo",
        "state_dict/encoder_q.",
        {"state_dict/encoder_k": len(COPY), "state_dict/queue": 1},
    ),
    "byol_ct": (
        {
            **under("state_dict/target_network.encoder.", COPY),
            **under("state_dict/online_network.encoder.", NET),
            "state_dict/online_network.projector.model.0.weight": np.zeros((4, 4)),
        },
        "BYOL",
        "state_dict/online_network.encoder.",
        {"state_dict/target_network": len(COPY), "state_dict/online_network": 1},
    ),
    "swav": (
        {
            **under("module.", NET),
            "module.projection_head.0.weight": np.zeros((8, 8)),
            "module.prototypes.weight": np.zeros((8, 8)),
        },
        "SwAV",
        "module.",
        {"projection_head": 1, "prototypes": 1},
    ),
    "swav_ct": (
        {**under("state_dict/model.", NET), "state_dict/model.prototypes.weight": np.zeros((8, 8))},
        "SwAV",
        "state_dict/model.",
        {"state_dict/prototypes": 1},
    ),
    "spark_ct": (
        {
            **under("module/sparse_encoder.sp_cnn.", NET),
            "module/dense_decoder.dec.0.weight": np.zeros((8, 8)),
            "module/mask_tokens.0": np.zeros(8),
        },
        "SparK",
        "module/sparse_encoder.sp_cnn.",
        {"module/dense_decoder": 1, "module/mask_tokens": 1},
    ),
    "dino": (
        {
            **under("student/module.backbone.", COPY),
            **under("student/module.", {"head.mlp.0.weight": np.zeros((8, 8))}),
            **under("teacher/backbone.", NET),
            "teacher/head.mlp.0.weight": np.zeros((8, 8)),
        },
        "DINO",
        "teacher/backbone.",
        {"student/backbone": len(COPY), "student/head": 1, "teacher/head": 1},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_encoder_is_found_and_everything_else_is_named(name):
    arrays, layout, place, left_out = LAYOUTS[name]
    found = layouts.unwrap(arrays)
    assert (found.layout, found.place, dict(found.left_out)) == (layout, place, left_out)
    expected = {"xrv": MONO, "medicalnet": DEEP}.get(name, NET)
    assert set(found.arrays) == set(expected)
    assert all(found.arrays[key] is expected[key] for key in expected)


def test_our_own_names_stay():
    arrays = weights.to_arrays(narrow.residual())
    found = layouts.unwrap(arrays)
    assert (found.layout, found.arrays) == ("MONAI", arrays)


def test_an_unknown_file_is_left_to_the_match_table():
    arrays = {"features.0.weight": np.zeros(3)}
    assert layouts.unwrap(arrays) == layouts.Unwrapped(arrays, "unknown", "", {})


def test_a_head_that_is_not_known_is_not_dropped():
    arrays = {**NET, "surprise.weight": np.zeros(3)}
    assert "surprise.weight" in layouts.unwrap(arrays).arrays


def test_grey_images_give_what_they_gave_in_all_three_channels():
    arrays, colour = published()
    grey = narrow.residual().eval()
    match = weights.load(grey, arrays, where="file")
    assert match.complete
    assert sum(match.changes.values()) == 1 + 3  # one stem, three shortcuts without a bias
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)))


def test_and_the_other_way_round():
    arrays, grey = published(in_channels=1)
    colour = narrow.residual(in_channels=3).eval()
    weights.load(colour, arrays, where="file")
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(colour(images.expand(-1, 3, -1, -1)), grey(images))


def test_a_file_older_than_the_counters_of_batch_norm_is_complete():
    arrays, source = published()
    arrays = {name: a for name, a in arrays.items() if "num_batches_tracked" not in name}
    encoder = narrow.residual(in_channels=3).eval()
    assert weights.load(encoder, arrays, where="file").complete
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder(images), source(images))


def test_the_names_of_a_transformer_are_translated():
    block = "blocks.3."
    names = {
        "patch_embed.proj.weight": "patch_embedding.patch_embeddings.weight",
        "blocks.0.attn.qkv.weight": "blocks.0.attn.qkv.weight",
        f"{block}attn.proj.bias": f"{block}attn.out_proj.bias",
        f"{block}mlp.fc1.weight": f"{block}mlp.linear1.weight",
        f"{block}mlp.fc2.bias": f"{block}mlp.linear2.bias",
        f"{block}norm1.weight": f"{block}norm1.weight",
        "norm.bias": "norm.bias",
        "pos_embed": "pos_embed",  # learnt; ours are not, so this is left over, and said
        "cls_token": "cls_token",
    }
    found = layouts.unwrap({f"teacher/backbone.{name}": np.zeros(1) for name in names})
    assert list(found.arrays) == list(names.values())
    assert found.layout == "DINO or timm"


def test_a_transformer_with_learnt_positions_is_not_complete():
    torch.manual_seed(0)
    encoder = vit_s.build(3, 2, vit_s.Config(depth=1, image_size=32))
    ours = {name: array.copy() for name, array in weights.to_arrays(encoder).items()}
    theirs = {
        name.replace("patch_embedding.patch_embeddings.", "patch_embed.proj.")
        .replace("mlp.linear", "mlp.fc")
        .replace("attn.out_proj.", "attn.proj."): array + 1
        for name, array in ours.items()
        if not name.endswith("position_embeddings")
    }
    theirs |= {"cls_token": np.zeros((1, 1, 384)), "pos_embed": np.zeros((1, 5, 384))}
    arrays = layouts.unwrap(theirs).arrays
    with pytest.raises(ArtifactError, match=r"1 missing: .*position.*2 unexpected: cls_token, pos"):
        weights.load(encoder, arrays, where="file")
    match = weights.load(encoder, arrays, where="file", allow_partial=True)
    assert len(match.loaded) == len(ours) - 1
    for name, array in weights.to_arrays(encoder).items():
        assert np.array_equal(array, ours[name] + ("position_emb" not in name)), name
