import re

import pytest
import torch

from medssl.foundation.errors import UsageError
from medssl.models import vit, weights
from medssl.models.encoders import vit_b, vit_s

SHAPES = {2: (32, 48), 3: (4, 16, 24)}


def encoder(spatial_dims=2, depth=2, seed=0, dim=24):
    torch.manual_seed(seed)
    patch = {2: (16, 16), 3: (2, 8, 8)}[spatial_dims]
    return vit.ViTEncoder(1, patch, dim, depth, 2, SHAPES[spatial_dims])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_features_are_the_mean_of_one_token_per_patch(spatial_dims):
    network = encoder(spatial_dims)
    images = torch.randn(2, 1, *SHAPES[spatial_dims])
    tokens = network.tokens(images)
    n = {2: 2 * 3, 3: 2 * 2 * 3}[spatial_dims]
    assert tokens.shape == (2, n, 24)
    torch.testing.assert_close(network(images), tokens.mean(dim=1))
    # behind the last norm
    torch.testing.assert_close(tokens.mean(dim=2), torch.zeros(2, n), rtol=0, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_keeping_every_patch_is_looking_at_all_and_their_order_does_not_matter(spatial_dims):
    network = encoder(spatial_dims).double()
    images = torch.randn(2, 1, *SHAPES[spatial_dims], dtype=torch.float64)
    everything = network.tokens(images)
    order = torch.rand(everything.shape[:2]).argsort(dim=1)
    found = network.tokens(images, order)
    torch.testing.assert_close(found, vit.pick(everything, order))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_patches_that_are_not_kept_change_nothing_at_all(spatial_dims):
    network = encoder(spatial_dims)
    images = torch.randn(1, 1, *SHAPES[spatial_dims])
    grid = network.grid(images.shape[2:])
    changed = torch.full_like(images, torch.nan)
    box = (..., *(slice(-side, None) for side in network.patch))  # of the last patch
    changed[box] = images[box]
    keep = torch.tensor([[torch.Size(grid).numel() - 1]])
    assert torch.equal(network.tokens(images, keep), network.tokens(changed, keep))


def test_positions_are_sines_and_cosines_of_rows_and_columns():
    codes = vit.position_codes((2, 3), 8, torch.device("cpu"))
    for number in range(6):
        row, column = divmod(number, 3)
        waves = torch.tensor([1.0, 0.01])
        expected = [f(place * waves) for place in (column, row) for f in (torch.sin, torch.cos)]
        torch.testing.assert_close(codes[number], torch.cat(expected))


@pytest.mark.parametrize(("dim", "rest"), [(12, 0), (16, 4)])
def test_codes_of_a_volume_differ_everywhere_and_fit_any_width(dim, rest):
    codes = vit.position_codes((3, 4, 5), dim, torch.device("cpu"))
    assert codes.shape == (60, dim)
    assert len(codes.unique(dim=0)) == 60
    assert (codes[:, dim - rest :] == 0).all()


def test_any_multiple_of_the_patch_works_and_other_sides_are_refused():
    network = encoder()
    assert network(torch.randn(1, 1, 16, 80)).shape == (1, 24)
    with pytest.raises(UsageError, match=r"50 px cannot be cut.*\n.*use 48 or 64"):
        network(torch.randn(1, 1, 48, 50))
    with pytest.raises(UsageError, match=r"use 16$"):
        network(torch.randn(1, 1, 10, 16))


@pytest.mark.parametrize(("depth", "sizes"), [(12, [3] * 4), (6, [1, 2, 1, 2]), (2, [1, 1])])
def test_blocks_are_spread_over_the_layers_and_everything_is_held_once(depth, sizes):
    network = encoder(depth=depth)
    groups = network.groups()
    blocks = [sum(isinstance(m, vit.Block) for m in modules) for modules in groups.values()]
    assert blocks == [0, *sizes]
    held = [t for g in groups.values() for m in g for t in (*m.parameters(), *m.buffers())]
    own = [*network.parameters(), *network.buffers()]
    assert sorted(map(id, held)) == sorted(map(id, own))


@pytest.mark.parametrize(("module", "millions"), [(vit_s, 21.5), (vit_b, 85.5)])
def test_the_sizes_are_those_of_the_paper_without_class_token(module, millions):
    with torch.device("meta"):
        network = module.build(3, 2, module.Config())
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.5)
    assert network.patch == (16, 16)


def test_patches_of_volumes_may_have_few_slices():
    network = vit_s.build(1, 3, vit_s.Config(patch_size=16, patch_depth=4, depth=1))
    assert network.grid(torch.Size([8, 32, 32])) == (2, 2, 2)


def test_every_parameter_gets_a_gradient_and_positions_get_none():
    network = encoder()
    network(torch.randn(2, 1, 32, 48)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # MONAI's
def test_the_weights_load_into_monai_s_network_which_computes_the_same(spatial_dims):
    pytest.importorskip("einops", reason="MONAI's ViT needs einops")
    from monai.networks import nets

    network = encoder(spatial_dims).eval()
    call = network.constructor().replace("monai.networks.nets.", "nets.")
    theirs = eval(call, {"nets": nets}).eval()
    arrays = {k: torch.from_numpy(v) for k, v in weights.to_arrays(network).items()}
    torch.testing.assert_close(
        theirs.patch_embedding.position_embeddings.data,
        arrays["patch_embedding.position_embeddings"],
    )
    theirs.load_state_dict(arrays)
    images = torch.randn(2, 1, *SHAPES[spatial_dims])
    torch.testing.assert_close(theirs(images)[0].mean(dim=1), network(images))


def test_the_call_it_names_has_its_options():
    call = encoder().constructor()
    assert re.match(r"monai\.networks\.nets\.ViT\(in_channels=1, img_size=\(32, 48\)", call)
    assert "num_heads=2" in call
    assert "hidden_size=24" in call


def test_it_runs_where_nothing_can_wait_for_the_device():
    network = encoder().to("meta")
    keep = torch.zeros(2, 3, dtype=torch.int64, device="meta")
    network.tokens(torch.empty(2, 1, 64, 32, device="meta"), keep).sum().backward()
