"""2D weights in the middle slice: a 3D network sees slice by slice what the 2D one sees."""

import narrow
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from medssl.models import inflation, weights


def test_one_convolution_is_the_2d_one_slice_by_slice_at_the_border_too():
    filters = np.random.default_rng(0).normal(size=(4, 2, 3, 3))
    volume = torch.randn(1, 2, 5, 9, 9, dtype=torch.float64)
    inflated = torch.from_numpy(inflation.centre(filters, 3))
    found = F.conv3d(volume, inflated, padding=1, stride=(1, 2, 2))
    for n in range(5):
        expected = F.conv2d(volume[:, :, n], torch.from_numpy(filters), padding=1, stride=2)
        torch.testing.assert_close(found[:, :, n], expected)


def test_filters_without_a_middle_are_refused():
    with pytest.raises(ValueError, match="no middle"):
        inflation.centre(np.zeros((1, 1, 4, 4)), 4)


@pytest.mark.parametrize(
    ("name", "norm"), [("resnet18", "batch"), ("resnet50", "batch"), ("resnet18", "group")]
)
def test_a_network_that_keeps_all_slices_gives_the_mean_over_slices(name, norm):
    torch.manual_seed(0)
    flat = narrow.residual(name, norm=norm)
    flat(torch.randn(4, 1, 32, 32))  # running statistics of its own
    flat.eval()
    deep = narrow.residual(name, spatial_dims=3, norm=norm, depth="keep").eval()
    match = weights.load(deep, weights.to_arrays(flat), where="2D")
    assert match.complete
    [(what, n)] = match.changes.items()
    assert "middle slice" in what
    assert n == sum(isinstance(part, torch.nn.Conv3d) for part in deep.modules())

    flat.double()
    deep.double()
    volumes = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
    slices = [flat(volumes[:, :, n]) for n in range(3)]
    if norm == "batch":  # groups are normalised over the volume, not over a slice
        torch.testing.assert_close(
            deep(volumes), torch.stack(slices).mean(dim=0), atol=1e-5, rtol=1e-5
        )
    alone = volumes[:, :, :1]
    torch.testing.assert_close(deep(alone), slices[0], atol=1e-5, rtol=1e-5)


def test_a_network_that_halves_the_slices_sees_another_thing():
    """Why the equality above is promised for `depth: keep` only."""
    torch.manual_seed(0)
    flat = narrow.residual().eval()
    deep = narrow.residual(spatial_dims=3).eval()
    weights.load(deep, weights.to_arrays(flat), where="2D")
    volumes = torch.randn(1, 1, 4, 32, 32)
    mean = torch.stack([flat(volumes[:, :, n]) for n in range(4)]).mean(dim=0)
    assert (deep(volumes) - mean).abs().max() > 0.01
