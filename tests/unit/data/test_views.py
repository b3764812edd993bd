"""Views: what goes in comes out where it should, nothing from outside the image, replayable."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.config.loading import read_preset
from medssl.config.training import Intensity, Views
from medssl.data import boxes, views

STILL = Views(
    scale=(1, 1), ratio=(1, 1), rotation_deg=0, contrast=0, gamma=0, noise=0, blur=0
)  # fmt: skip


def batch_of(image, *extent, spacing=None):
    """A batch of images as the random part of a view gets them."""
    n = len(image)
    sides = [float(side) for side in extent or image.shape[2:]]
    found = {
        "image": image,
        "extent": torch.tensor([sides] * n),
        "hu": torch.zeros(n, dtype=torch.bool),
        "body_above": torch.full((n,), -1e9),
        "air": torch.full((n,), -1.0),
    }
    return found if spacing is None else {**found, "spacing": torch.tensor([spacing] * n)}


def ramp(n=1, side=32):
    return torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side).repeat(n, 1, 1, 1)


def places(spatial, spacing, n=1):
    """A volume whose channels say where each voxel is, in mm along each axis."""
    lines = [(torch.arange(side) + 0.5) * mm for side, mm in zip(spatial, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))[None].repeat(n, 1, 1, 1, 1)


def seen(transform, batch, seed=0):
    transform.set_random_state(seed)
    return transform(batch)["image"]


def test_a_view_without_randomness_is_the_image():
    image = ramp(side=32)
    shown = seen(views.random_view(STILL, (32, 32)), batch_of(image))
    assert torch.allclose(shown, image, atol=0.02)
    assert torch.allclose(views.WholeImage((32, 32))(batch_of(image))["image"], image, atol=0.02)


def test_a_view_without_randomness_is_the_volume():
    volume = torch.rand(2, 2, 6, 8, 10)
    batch = batch_of(volume, spacing=(2.0, 1.5, 1.2))  # 12 mm each way
    for shape in ((6, 8, 10), (12, 16, 20)):
        assert views.WholeImage(shape)(batch)["image"].shape == (2, 2, *shape)
    cube = batch_of(volume[:, :, :, :6, :6].contiguous(), spacing=(2.0, 2.0, 2.0))
    assert torch.allclose(seen(views.random_view(STILL, (6, 6, 6)), cube), cube["image"], atol=1e-4)


def test_halving_the_size_averages_pairs_of_pixels():
    image = ramp(side=32)
    small = views.WholeImage((16, 16))(batch_of(image))["image"]
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(image, 2), atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_crops_of_the_preset_are_as_large_and_as_square_as_those_published(seed):
    """A crop that does not fit is given up there: 0.95 of the area is left at least."""
    recipe = {**read_preset("finetune", "bpd2025")["views"], "rotation_deg": 0}
    crop = views.RandCrop(Views(**recipe), (32, 32))
    crop.set_random_state(seed)
    rows, columns = crop.box(batch_of(ramp(n=200, side=40))).edges.abs().unbind(dim=1)
    area, ratio = rows * columns / 40**2, columns / rows
    assert 0.949 < area.min() < area.max() < 1.001
    assert 0.949 < ratio.min() < ratio.max() < 1.054


def test_nothing_is_stretched_beyond_the_ratio_whatever_the_image_looks_like():
    image = torch.zeros(100, 1, 40, 100)
    for shape, aspect in (((32, 32), 1.0), ((16, 48), 3.0)):
        crop = views.RandCrop(Views(scale=(0.5, 1.0), ratio=(0.8, 1.25), rotation_deg=0), shape)
        crop.set_random_state(0)
        rows, columns = crop.box(batch_of(image)).edges.abs().unbind(dim=1)
        stretched = columns / rows / aspect
        assert 0.799 < stretched.min() < 0.85
        assert 1.18 < stretched.max() < 1.251
        fits = (rows < 39.9) & (columns < 99.9)
        share = rows * columns / image[0].numel()
        assert (share[~fits] < 1.0).all()
        assert not fits.any() or share[fits].min() > 0.499


def test_a_flip_mirrors_left_and_right():
    image = ramp(side=32)
    mirror = STILL.model_copy(update={"flip": 1.0})
    flipped = seen(views.random_view(mirror, (32, 32)), batch_of(image))
    assert torch.allclose(flipped, image.flip(3), atol=0.02)
    volume = torch.rand(1, 1, 8, 8, 8)
    flipped = seen(views.random_view(mirror, (8, 8, 8)), batch_of(volume))
    assert torch.allclose(flipped, volume.flip(4), atol=1e-4)


def test_a_quarter_turn_is_a_quarter_turn():
    image = ramp(side=32)
    whole = boxes.valid_box(batch_of(image))
    turn = boxes.turns(torch.tensor([[torch.pi / 2]]), torch.ones(1, 2))
    turned = boxes.sample(batch_of(image), dataclasses.replace(whole, turn=turn), (32, 32))
    assert torch.allclose(turned, image.rot90(1, (2, 3)), atol=1e-2)


@pytest.mark.parametrize(("number", "plane"), [(0, (3, 4)), (1, (2, 4)), (2, (2, 3))])
def test_a_quarter_turn_of_a_volume_is_about_one_of_its_axes(number, plane):
    volume = torch.rand(1, 1, 9, 9, 9)
    angle = torch.eye(3)[number : number + 1] * torch.pi / 2
    box = boxes.valid_box(batch_of(volume))
    box = dataclasses.replace(box, turn=boxes.turns(angle, torch.ones(1, 3)))
    turned = boxes.sample(batch_of(volume), box, (9, 9, 9))
    assert torch.allclose(turned, volume.rot90(1, plane), atol=1e-4)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(3, 40),
    columns=st.integers(3, 40),
    rotation=st.floats(0, 180),
    shape=st.sampled_from([(8, 8), (24, 12), (64, 64)]),
)
def test_crops_never_show_the_padding(seed, rows, columns, rotation, shape):
    image = torch.full((4, 1, 40, 40), -1000.0)
    image[:, :, :rows, :columns] = 1.0
    batch = batch_of(image, rows, columns)
    crop = views.RandCrop(Views(scale=(0.2, 1.0), rotation_deg=rotation), shape)
    assert seen(crop, batch, seed).min() > 0.999
    assert views.WholeImage(shape)(batch)["image"].min() > 0.999


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**31 - 1),
    extent=st.tuples(*[st.integers(2, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 8.0)] * 3),
    rotation=st.floats(0, 180),
)
def test_crops_of_volumes_never_show_the_padding(seed, extent, spacing, rotation):
    volume = torch.full((3, 1, 12, 12, 12), -1000.0)
    volume[(..., *map(slice, extent))] = 1.0
    batch = batch_of(volume, *extent, spacing=spacing)
    crop = views.RandCrop(Views(scale=(0.1, 1.0), rotation_deg=rotation), (4, 8, 6))
    assert seen(crop, batch, seed).min() > 0.999
    assert views.WholeImage((4, 8, 6))(batch)["image"].min() > 0.999


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), rotation=st.floats(0, 180))
def test_crops_stay_inside_the_valid_area(seed, rotation):
    """Seen on a ramp that goes on beyond it: without a border to repeat, no value is repeated."""
    image = torch.arange(80.0).repeat(80, 1)[None, None].repeat(4, 1, 1, 1)
    crop = views.RandCrop(Views(scale=(0.2, 0.9), rotation_deg=rotation), (16, 16))
    batch = batch_of(image, 60, 50)
    inside = seen(crop, batch, seed)
    assert inside.min() >= 0.49
    assert inside.max() <= 49.01
    again = seen(crop, {**batch, "image": image[:, :, :60, :50].contiguous()}, seed)
    assert torch.allclose(again, inside, atol=0.02)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31 - 1),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (5.0, 1.0, 1.0), (1.0, 1.0, 4.0)]),
    extent=st.tuples(*[st.integers(12, 24)] * 3),
    flip=st.sampled_from([0.0, 1.0]),
)
def test_voxels_of_a_view_are_cubes_that_lie_where_they_may(seed, spacing, extent, flip):
    """Told by a volume that holds its own coordinates, so by nothing of how crops are computed."""
    shape, chosen = (6, 8, 8), Views(scale=(0.02, 0.2), ratio=(1, 1), rotation_deg=20, flip=flip)
    volume = places((24, 24, 24), spacing, n=3)
    shown = seen(
        views.RandCrop(chosen, shape), batch_of(volume, *extent, spacing=spacing), seed
    ).double()
    size = np.array(extent) * spacing
    for view in shown:
        origin = view[:, 0, 0, 0]
        inner = (view[:, 2, 3, 3], view[:, 3, 3, 3], view[:, 2, 4, 3], view[:, 2, 3, 4])
        steps = torch.stack([end - inner[0] for end in inner[1:]], dim=1).numpy()
        pitch = np.linalg.norm(steps, axis=0)
        assert pitch == pytest.approx([pitch[0]] * 3, rel=1e-3)
        directions = steps / pitch
        assert directions.T @ directions == pytest.approx(np.eye(3), abs=2e-3)
        assert np.linalg.det(directions) == pytest.approx(-1 if flip else 1, abs=0.01)
        assert np.all(np.abs(np.diag(directions)) > 0.84)  # three turns of 20 degrees
        assert pitch[0] ** 3 * np.prod(shape) / size.prod() < 0.2001
        for axis, mm in enumerate(spacing):
            if max(mm, 1) >= 3 * min(mm, 1):  # a slice is turned in its plane alone
                assert abs(directions[axis, axis]) == pytest.approx(1, abs=1e-5)
        assert torch.all(origin > 0)
        assert torch.all(view.amax(dim=(1, 2, 3)) < torch.tensor(size))


def test_whole_volumes_are_shown_with_the_proportions_of_the_patient():
    spacing, extent = (5.0, 1.0, 2.0), (10, 30, 20)  # 50 x 30 x 40 mm, in a cube of 50 mm
    batch = {**batch_of(places(extent, spacing), spacing=spacing), "hu": torch.tensor([True])}
    shown = views.WholeImage((10, 10, 10))(batch)["image"][0]  # voxels of 5 mm
    for axis, (side, mm) in enumerate(zip(extent, spacing, strict=True)):
        line = shown[axis].movedim(axis, 0)[:, 5, 5]
        outside = (50 - side * mm) / 2
        expected = (torch.arange(10) + 0.5) * 5 - outside
        beyond = (expected < 0) | (expected > side * mm)
        expected = expected.clamp(mm / 2, (side - 0.5) * mm).masked_fill(beyond, -1.0)
        assert torch.allclose(line, expected, atol=1e-3)


@pytest.mark.parametrize("hu", [True, False])
def test_around_a_whole_image_lies_background(hu):
    """Air in CT, also where none is in the image; elsewhere the dark end of the image."""
    stored = torch.full((2, 1, 40, 40), -5000.0)  # beyond the valid area: never seen
    stored[:, :, :24, :10] = torch.linspace(20, 220, 240).view(24, 10)
    stored[1, 0, 12, 5] = -30_000.0  # one broken pixel
    batch = {**full_batch(stored, hu=hu), "extent": torch.tensor([[24.0, 10.0]] * 2)}
    window = Intensity(window_hu=(-900, 300))
    prepared = views.ToIntensity(window)(batch)
    shown = views.WholeImage((24, 24))(prepared)["image"]
    torch.testing.assert_close(
        shown[:, :, :, 7:17], prepared["image"][:, :, :24, :10], rtol=1e-4, atol=1e-4
    )
    outside = torch.cat([shown[..., :7], shown[..., 17:]], dim=3)
    for around, inside in zip(outside, shown[:, :, :, 7:17], strict=True):
        assert around.max() == around.min()  # one value, and no streaks
        darker = (inside < around.min()).float().mean()
        assert around.min() == -1 if hu else 0.01 < darker < 0.12


def test_where_the_body_is_does_not_depend_on_the_other_images_of_a_batch():
    """A thin volume is padded to the others; points between its slices and that are not read."""
    thin = torch.full((1, 1, 2, 6, 6), 0.5)
    padded = torch.full((1, 1, 9, 6, 6), -1000.0)
    padded[:, :, :2] = thin
    centres = torch.tensor([[[0.5, 3, 3], [1.5, 3, 3]]])
    for image in (thin, padded):
        batch = batch_of(image, 2, 6, 6)
        found = boxes.points(batch, boxes.valid_box(batch), centres, 5)
        torch.testing.assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=1e-3)


def test_a_voxel_half_outside_is_half_background():
    image = torch.full((1, 1, 8, 4), 3.0)
    batch = {**batch_of(image), "hu": torch.tensor([True])}
    row = views.WholeImage((6, 6))(batch)["image"][0, 0, 3]  # 4 px of 8 are 3 voxels of 6
    assert row.tolist() == [-1.0, 1.0, 3.0, 3.0, 1.0, -1.0]


@pytest.mark.parametrize(("low", "high", "expected"), [(-1000, 1000, -1), (-1200, 800, -0.8)])
def test_air_follows_the_window(low, high, expected):
    prepare = views.ToIntensity(Intensity(window_hu=(low, high)))
    assert prepare(full_batch(torch.zeros(1, 1, 4, 4), hu=True))["air"].item() == pytest.approx(
        expected
    )


def test_images_of_the_proportions_of_a_view_are_not_touched_by_the_background():
    for spatial, shape in (((37, 37), (21, 21)), ((7, 14, 14), (5, 10, 10)), ((20, 30), (34, 51))):
        batch = {**batch_of(torch.rand(2, 1, *spatial)), "air": torch.full((2,), -9.0)}
        plain = boxes.sample(batch, boxes.valid_box(batch, shape), shape)
        for hu in (True, False):
            batch["hu"] = torch.full((2,), hu)
            assert torch.equal(views.WholeImage(shape)(batch)["image"], plain)


def test_local_views_are_small_crops():
    chosen = Views(scale=(0.9, 1.0), local_scale=(0.1, 0.2), rotation_deg=0)
    for local, low, high in ((False, 0.7, 1.0), (True, 0.1, 0.2)):
        crop = views.random_view(chosen, (16, 16), local=local).transforms[0]
        crop.set_random_state(0)
        share = crop.box(batch_of(ramp(n=50))).edges.abs().prod(dim=1) / 32**2
        assert low - 1e-3 < share.min() < share.max() < high + 1e-3


def phantom(dims, n=60):
    """CT in the window -1..1: air with a body off the centre, an eighth (2D) of all."""
    image = torch.full((n, 1, *(40,) * dims), -1.0)
    image[(slice(None), slice(None), *(slice(4, 16),) * (dims - 1), slice(22, 38))] = 0.05
    batch = batch_of(image)
    return {**batch, "hu": ~batch["hu"], "body_above": torch.full((n,), -0.5)}


@pytest.mark.parametrize(("dims", "is_ct"), [(2, True), (2, False), (3, True), (3, False)])
def test_crops_show_enough_of_the_body(dims, is_ct):
    batch = phantom(dims)
    batch["hu"] &= is_ct
    shape = (10,) * dims
    whole = (batch["image"] > -0.5).float().mean().item()

    def shares(body):
        crop = views.RandCrop(Views(scale=(0.1, 0.2), body=body, rotation_deg=0), shape)
        shown = [seen(crop, batch, seed) for seed in range(3)]
        return (torch.cat(shown) > -0.5).float().flatten(1).mean(dim=1)

    anywhere, chosen = shares(0.0), shares(0.5)
    missed, few = ((each < 0.45 * whole).float().mean() for each in (anywhere, chosen))
    assert missed > 0.35
    assert few < missed**3 + 0.05  # four places each, and points that only estimate a share


def test_the_first_place_is_kept_where_it_shows_enough():
    """With nothing but body, or with nothing, asking for body changes no bit."""
    batch = {**batch_of(torch.rand(8, 1, 40, 40)), "hu": torch.ones(8, dtype=torch.bool)}
    for above in (-1e9, 1e9):
        batch["body_above"] = torch.full((8,), above)
        for seed in range(3):
            free, bound = (
                seen(views.random_view(Views(body=body), (16, 16)), batch, seed)
                for body in (0.0, 1.0)
            )
            assert torch.equal(free, bound)


def test_the_body_is_told_from_the_background_of_images_without_a_unit():
    rng = torch.Generator().manual_seed(0)
    head = torch.rand(3, 1, 40, 40, generator=rng) * 30  # noise around a head
    head[:, :, 10:32, 8:36] = torch.rand(3, 1, 22, 28, generator=rng) * 600 + 400
    head[1, 0, 0, 0] = -5000.0  # a broken pixel
    chest = torch.rand(1, 1, 40, 40, generator=rng) * 200 + 50  # body all over: 84 % is above
    for image, expected in ((head, 22 * 28 / 1600), (chest, 1 - (0.05 + 0.25 * 0.45))):
        found = views.ToIntensity(Intensity())(full_batch(image, hu=False))
        level = views._above_background(found["image"].flatten(1))
        share = (found["image"] > level[:, None, None, None]).float().mean(dim=(1, 2, 3))
        assert share.tolist() == pytest.approx([expected] * len(image), abs=0.02)


@pytest.mark.parametrize(
    ("window", "expected"), [((-1000, 1000), -0.5), ((-400, 400), -1.25), ((0, 100), -1.5)]
)
def test_the_body_of_a_ct_is_above_minus_500_as_far_as_the_window_tells(window, expected):
    stored = torch.zeros(1, 1, 2, 2)
    prepare = views.ToIntensity(Intensity(window_hu=window), headroom=0.2)  # -1.5 to 1.5
    assert prepare(full_batch(stored, hu=True))["body_above"].item() == pytest.approx(expected)


def test_the_same_state_gives_the_same_view_and_another_one_does_not():
    batch = batch_of(torch.rand(6, 1, 40, 40))
    view = views.random_view(Views(mask=0.5), (24, 24))
    assert torch.equal(seen(view, batch, 5), seen(view, batch, 5))
    assert not torch.equal(seen(view, batch, 5), seen(view, batch, 6))


def test_images_of_a_batch_get_views_of_their_own():
    one, other, *_ = seen(views.random_view(Views(), (24, 24)), batch_of(ramp(n=4, side=40)), 1)
    assert not torch.allclose(one, other, atol=1)


@pytest.mark.parametrize("shape", [(16, 24), (6, 16, 16)])
def test_every_view_runs_on_the_meta_device(shape):
    """There a mix of host and device tensors, or any wait for the device, raises."""
    n, dims = 4, len(shape)
    batch = {
        "image": torch.empty(n, 1, *(32,) * dims, device="meta"),
        "extent": torch.empty(n, dims, device="meta"),
        "slope": torch.empty(n, device="meta"),
        "intercept": torch.empty(n, device="meta"),
        "hu": torch.empty(n, dtype=torch.bool, device="meta"),
    }
    if dims == 3:
        batch["spacing"] = torch.empty(n, dims, device="meta")
    prepared = views.ToIntensity(Intensity(), headroom=0.2)(batch)
    for local in (False, True):
        view = views.random_view(Views(mask=1.0, flip=0.5), shape, local=local)
        assert seen(view, dict(prepared)).shape == (n, 1, *shape)
    assert views.WholeImage(shape)(prepared)["image"].is_meta


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(16, 24), (6, 16, 16)])
def test_views_on_a_gpu_wait_for_nothing_and_replay(shape):
    n, dims = 4, len(shape)
    batch = full_batch(torch.rand(n, 1, *(32,) * dims), hu=True)
    if dims == 3:
        batch["spacing"] = torch.tensor([[2.0, 1.0, 1.0]] * n)
    batch = {name: values.cuda() for name, values in batch.items()}
    view = views.random_view(Views(mask=1.0, flip=0.5), shape)
    torch.cuda.set_sync_debug_mode("error")
    try:
        prepared = views.ToIntensity(Intensity(), headroom=0.2)(batch)
        shown = [seen(view, dict(prepared), seed) for seed in (0, 0, 1)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    assert shown[0].isfinite().all()


def full_batch(image, *extent, hu, slope=1.0, intercept=0.0):
    n = len(image)
    return {
        **batch_of(image, *extent),
        "slope": torch.full((n,), slope),
        "intercept": torch.full((n,), intercept),
        "hu": torch.tensor([hu] * n),
    }


def test_ct_is_windowed_to_minus_one_to_one():
    stored = torch.tensor([-2000.0, -1000.0, 0.0, 1000.0, 3000.0]).view(1, 1, 1, 5)
    found = views.ToIntensity(Intensity())(full_batch(stored, hu=True))["image"]
    assert found.flatten().tolist() == [-1, -1, 0, 1, 1]


def test_slope_and_intercept_are_applied_before_the_window():
    stored = torch.tensor([0.0, 1024.0]).view(1, 1, 1, 2)
    batch = full_batch(stored, hu=True, slope=2.0, intercept=-1024.0)
    found = views.ToIntensity(Intensity(window_hu=(-1024, 1024)))(batch)["image"]
    assert found.flatten().tolist() == [-1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_jitter_of_a_ct_is_another_window(seed):
    """Which one is read off two values in the middle of the window, then tried on all."""
    strength, hu = 0.4, torch.linspace(-3000, 3000, 601).view(1, 1, 1, -1)
    jitter = views.RandContrast(strength)

    def jittered(stored):
        prepare = views.ToIntensity(Intensity(window_hu=(-600, 400)), headroom=strength)
        return seen(jitter, prepare(full_batch(stored, hu=True)), seed)

    probes = jittered(torch.tensor([-150.0, -50.0]).view(1, 1, 1, 2)).flatten().double()
    per_hu = (probes[1] - probes[0]).item() / 100
    centre = -100 - probes.mean().item() / per_hu
    window = (centre - 1 / per_hu, centre + 1 / per_hu)
    expected = views.ToIntensity(Intensity(window_hu=window))(full_batch(hu, hu=True))["image"]
    found = jittered(hu)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found.min().item(), found.max().item()) == (-1, 1)
    assert abs(per_hu * 500 - 1) > 1e-3  # it is another one


def test_jitter_cuts_off_ct_alone():
    image = torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2).repeat(2, 1, 1, 1)
    batch = {"image": image, "hu": torch.tensor([True, False])}
    assert seen(views.RandContrast(0.0), batch).flatten().tolist() == [-1, 1, -3, 3]


@pytest.mark.parametrize("extent", [(12, 17), (7, 12, 17)])
def test_everything_else_is_standardised_over_its_valid_area(extent):
    image = torch.zeros(2, 2, *(20,) * len(extent))
    image[(..., *map(slice, extent))] = torch.rand(2, 2, *extent) * 50 + 30_000
    found = views.ToIntensity(Intensity())(full_batch(image, *extent, hu=False))
    area = found["image"][(..., *map(slice, extent))].flatten(1)
    assert torch.allclose(area.mean(dim=1), torch.zeros(2), atol=1e-3)
    assert torch.allclose(area.std(dim=1, correction=0), torch.ones(2), atol=1e-3)


def test_a_flat_image_does_not_become_nan():
    found = views.ToIntensity(Intensity())(full_batch(torch.full((1, 1, 8, 8), 7.0), hu=False))
    assert torch.isfinite(found["image"]).all()
