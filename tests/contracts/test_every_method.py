"""What every file of methods/ must do, tested from the moment it exists."""

import copy
import dataclasses
import functools

import narrow
import pytest
import torch

from medssl import methods
from medssl.config import loading
from medssl.config.training import Intensity, Views
from medssl.data import views as recipes
from medssl.foundation import plugins
from medssl.models.encoders import resnet18, vit_s
from medssl.training import optim
from medssl.training.step import Step

NAMES = plugins.names(methods)
SMALL = {  # options that make a method small, where it has them
    "projector_hidden": 32, "projector_dim": 16, "queue": 24, "prototypes": 8,
    "decoder_width": 32, "decoder_dim": 48, "decoder_depth": 1,
}  # fmt: skip

INDEPENDENT = {"projector_norm": "layer", "decoder_norm": "group"}


def encoder_for(plugin, spatial_dims=2, norm="batch"):
    """The kind of network the method trains, an eighth as wide or a twelfth as deep as usual."""
    if plugin.ENCODER == "transformer":
        return vit_s.build(1, spatial_dims, vit_s.Config(patch_size=8, depth=1))
    return narrow.residual(spatial_dims=spatial_dims, norm=norm)


def build(name, *, seed=0, spatial_dims=2, independent=False):
    """A step of the method; independent: no norm takes statistics of a batch."""
    plugin = plugins.load(methods, name)
    known = {field.name for field in dataclasses.fields(plugin.Config)}
    chosen = SMALL | (INDEPENDENT if independent else {})
    options = {key: value for key, value in chosen.items() if key in known}
    torch.manual_seed(seed)
    encoder = encoder_for(plugin, spatial_dims, "group" if independent else "batch")
    config = loading.decode(plugin.Config, options, where="options")
    return Step(plugin.Method(encoder, config))


def shown(step, *, n=8, spatial_dims=2, seed=0):
    """Views of n images of n patients, and the patients; other ones for another seed."""
    generator = torch.Generator().manual_seed(seed)
    method = step.method
    side = 64 if plugins.load(methods, name_of(step)).ENCODER == "convolutional" else 32
    sides = [side] * method.n_views + [16] * method.n_local_views
    shapes = [(s, s) if spatial_dims == 2 else (s // 2, s // 2, s) for s in sides]
    views = [torch.randn((n, 1, *shape), generator=generator) for shape in shapes]
    kind = next(step.parameters()).dtype
    return [view.to(kind) for view in views], torch.arange(n) + 1000 * seed


def name_of(step):
    return type(step.method).__module__.rpartition(".")[2]


def settle(step, spatial_dims=2):
    """Show the method other images first, so that what it remembers is not empty."""
    step.train()
    with torch.no_grad():
        step.method.before_step(0.5)
        for seed in (7, 8):
            step(*shown(step, spatial_dims=spatial_dims, seed=seed))
    return step


def total(step, images, seed=5):
    """The loss of images; masks and the like are drawn from ``seed``."""
    torch.manual_seed(seed)
    return step(*images)["total"]


def draws(step, images):
    """Whether embedding takes random numbers: then it depends on the place in the batch."""
    before = torch.get_rng_state()
    with torch.no_grad():
        step.embed(images[0])
    return not torch.equal(before, torch.get_rng_state())


def gradients_of(step):
    return {name: p.grad.clone() for name, p in step.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_names_the_paper(name):
    assert "arXiv:" in plugins.summary(methods, name)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_which_encoders_it_trains(name):
    assert plugins.load(methods, name).ENCODER in {"any", "convolutional", "transformer"}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_loss_is_finite_and_reaches_every_parameter(name, spatial_dims):
    step = settle(build(name, spatial_dims=spatial_dims), spatial_dims)
    losses = step(*shown(step, n=4, spatial_dims=spatial_dims))
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    losses["total"].backward()
    for which, parameter in step.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, which
            assert torch.isfinite(parameter.grad).all(), which
            assert parameter.grad.any(), which
        else:
            assert parameter.grad is None, which


@pytest.mark.parametrize("name", NAMES)
def test_some_steps_lower_the_loss_on_fixed_images(name):
    step = settle(build(name))
    images = shown(step)
    optimizer = torch.optim.AdamW(step.parameters(), lr=1e-3)
    history = []
    for number in range(10):
        step.method.before_step(0.5 + number / 20)
        loss = total(step, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.98 * history[0]


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_loss_and_gradient_bit_for_bit(name):
    first, second = (settle(build(name, seed=3)) for _ in range(2))
    images = shown(first)
    found = [total(step, images) for step in (first, second)]
    assert torch.equal(*found)
    for loss in found:
        loss.backward()
    for name_of_parameter, gradient in gradients_of(first).items():
        assert torch.equal(gradient, gradients_of(second)[name_of_parameter])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_batch_does_not_matter(name):
    step = settle(build(name).double())
    start = copy.deepcopy(step.state_dict())
    views, patients = shown(step)
    if draws(step, (views, patients)):  # a mask for every place: then at least the rows may move
        rows = step.embed(views)
        turned = {key: value.flip(0) for key, value in rows.items()}
        found = [step.compare(some, patients)["total"] for some in (rows, turned)]
    else:
        found = [total(step, (views, patients))]
        step.load_state_dict(start)
        found.append(total(step, ([view.flip(0) for view in views], patients.flip(0))))
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_through_the_state_dict_goes_on_alike(name):
    first, second = settle(build(name, seed=1)), build(name, seed=2)
    second.load_state_dict(first.state_dict())
    for images in (shown(first), shown(first, seed=1)):
        first.method.before_step(0.6)
        second.method.before_step(0.6)
        assert torch.equal(total(first, images), total(second, images))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_pieces_has_the_gradient_of_the_whole(name):
    """And a piece's share comes back to it: the loss sees the rows alone."""
    step = settle(build(name, independent=True))
    images = shown(step)
    start = copy.deepcopy(step.state_dict())
    parts = list(zip(*(view.split(4) for view in images[0]), strict=True))

    def embedded(number):
        torch.manual_seed(number)
        return step.embed(list(parts[number]))

    with torch.no_grad():
        pieces = [embedded(number) for number in range(2)]
    rows = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    moved = [key for key, value in rows.items() if value.is_floating_point()]
    leaves = [rows[key].requires_grad_() for key in moved]
    loss = step.compare(rows, images[1])["total"]
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    given = {k: g.split(4) for k, g in zip(moved, found, strict=True) if g is not None}
    for number in range(2):
        torch.manual_seed(number)
        own = {key: parts_of[number] for key, parts_of in given.items()}
        step(list(parts[number]), images[1][4 * number :][:4], own)["total"].backward()
    in_pieces = gradients_of(step)

    step.zero_grad()
    step.load_state_dict(start)
    if draws(step, images):  # each piece its own masks: the whole is what the pieces make together
        both = [embedded(number) for number in range(2)]
        joined = {key: torch.cat([piece[key] for piece in both]) for key in both[0]}
        whole = step.compare(joined, images[1])["total"]
    else:
        whole = total(step, images)
    whole.backward()
    torch.testing.assert_close(loss, whole, rtol=1e-5, atol=0)
    scale = max(gradient.norm() for gradient in in_pieces.values())
    for key, gradient in gradients_of(step).items():
        assert (gradient - in_pieces[key]).norm() <= 1e-5 * max(gradient.norm(), 0.01 * scale), key


@pytest.mark.parametrize("name", NAMES)
def test_a_row_comes_from_its_own_image_alone(name):
    step = build(name, independent=True)
    images = shown(step)
    if draws(step, images):
        pytest.skip("draws a mask for every place in the batch")
    with torch.no_grad():
        everything = step.embed(images[0])
        some = step.embed([view[2:5] for view in images[0]])
    for key, rows in everything.items():
        assert len(rows) == len(images[1])
        torch.testing.assert_close(rows[2:5], some[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_measuring_the_loss_changes_nothing(name):
    step = settle(build(name)).eval()
    before = {key: value.clone() for key, value in step.state_dict().items()}
    with torch.no_grad():
        first, second = (total(step, shown(step)) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(before[key], value) for key, value in step.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_before_step_works_in_place_and_leaves_a_fresh_method_as_it_is(name):
    step = build(name).eval()
    tensors = dict(step.state_dict(keep_vars=True))
    where = {key: (value.data_ptr(), value.requires_grad) for key, value in tensors.items()}
    values = {key: value.detach().clone() for key, value in step.named_parameters()}
    for progress in (0.0, 0.999, 1.0):
        step.method.before_step(progress)
        for key, value in step.state_dict(keep_vars=True).items():
            assert value is tensors[key]
            assert (value.data_ptr(), value.requires_grad) == where[key]
        for key, value in step.named_parameters():
            torch.testing.assert_close(value.detach(), values[key], rtol=1e-6, atol=1e-7)
    assert torch.isfinite(total(step, shown(step)))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_rows_give_a_finite_loss_in_single_precision(name):
    """Large features, as fp16 still holds them, must not overflow in the loss."""
    step = settle(build(name))
    views, patients = shown(step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = step.embed([3 * view for view in views])
        for row in rows.values():
            if row.requires_grad:
                row.retain_grad()
        losses = step.compare(rows, patients)
    assert losses["total"].dtype == torch.float32
    losses["total"].backward()  # that of torch's own convolutions in bfloat16 is not always finite
    assert all(torch.isfinite(loss) for loss in losses.values())
    reached = [row.grad for row in rows.values() if row.requires_grad and row.grad is not None]
    assert reached
    assert all(torch.isfinite(gradient).all() for gradient in reached)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_one_step_with_its_views_runs_on_the_meta_device(name, spatial_dims):
    """There a mix of host and device tensors, or any wait for the device, raises."""
    with torch.device("meta"):
        step = full_size(name) if spatial_dims == 2 else build(name, spatial_dims=3)
    optimizer = optim.adamw({"all": optim.LayerGroup(modules=[step], lr=1e-3, weight_decay=1e-4)})
    scheduler = optim.warmup_cosine(optimizer, steps=10, warmup=0.1)
    step.method.before_step(0.5)
    full, local = views_on_meta(spatial_dims)
    views = [full] * step.method.n_views + [local] * step.method.n_local_views
    step(views, torch.empty(16, dtype=torch.int64, device="meta"))["total"].backward()
    optimizer.step()
    scheduler.step()
    trained = [p for p in step.parameters() if p.requires_grad]
    assert all(p.grad.device.type == "meta" for p in trained)


def full_size(name):
    """A step of the method as it is by default."""
    plugin = plugins.load(methods, name)
    encoders = vit_s if plugin.ENCODER == "transformer" else resnet18
    encoder = encoders.build(1, 2, encoders.Config())
    return Step(plugin.Method(encoder, loading.decode(plugin.Config, {}, where="options")))


@functools.cache
def views_on_meta(spatial_dims):
    """A full view and a local one, as every method gets them."""
    batch = {
        "image": torch.empty(16, 1, *(80,) * spatial_dims),
        "extent": torch.empty(16, spatial_dims),
        "slope": torch.empty(16),
        "intercept": torch.empty(16),
        "spacing": torch.empty(16, spatial_dims),
        "hu": torch.empty(16, dtype=torch.bool),
    }
    on_meta = {key: value.to("meta") for key, value in batch.items()}
    prepared = recipes.ToIntensity(Intensity())(on_meta)
    full = recipes.random_view(Views(), (64,) * spatial_dims)
    local = recipes.random_view(Views(), (32,) * spatial_dims, local=True)
    views = []
    for seed, view in enumerate((full, local)):
        view.set_random_state(seed)
        views.append(view(dict(prepared))["image"])
    return views


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_waits_for_the_gpu(name):
    torch.use_deterministic_algorithms(False)
    step = build(name).cuda()
    optimizer = torch.optim.AdamW(step.parameters(), lr=1e-3)
    views, patients = shown(step, n=16)
    images = ([view.cuda() for view in views], patients.cuda())

    def one_step():
        step.method.before_step(0.5)
        losses = step(*images)
        losses["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
        return losses

    one_step()  # libraries set themselves up, and wait, at the first call
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = one_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(loss) for loss in losses.values())
