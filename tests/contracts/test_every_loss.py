"""What every loss must do, whatever it is: a new file in `losses/` is tested by being there."""

from dataclasses import dataclass

import pytest
import torch

from medssl import losses
from medssl.config.task import Task
from medssl.foundation import plugins
from medssl.models.encoders import resnet18
from medssl.models.site_model import SiteModel

TASKS = {
    "binary": Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1"),
    "multi_class": Task(kind="multi_class", targets=("a",), classes=("x", "y", "z")),
    "multi_label": Task(kind="multi_label", targets=("a", "b", "c")),
    "ordinal": Task(kind="ordinal", targets=("a",), classes=("1", "2", "3", "4")),
    "regression": Task(kind="regression", targets=("a", "b")),
}
NAMES = plugins.names(losses)
PAIRS = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in NAMES
    for kind in plugins.load(losses, name).TASKS
]
every = pytest.mark.parametrize(("name", "kind"), PAIRS)


@dataclass
class Batch:
    """Logits, labels and features of eight images."""

    logits: torch.Tensor
    target: torch.Tensor
    features: torch.Tensor


def batch(kind, dtype=torch.float64, n=8):
    task, draw = TASKS[kind], torch.Generator().manual_seed(3)
    target = {
        "binary": lambda: (torch.arange(n) % 2)[:, None].double(),
        "multi_class": lambda: (torch.arange(n) % 3)[:, None].double(),
        "multi_label": lambda: (torch.arange(3 * n).reshape(n, 3) % 2).double(),
        "ordinal": lambda: (torch.arange(n) % 4)[:, None].double(),
        "regression": lambda: torch.randn(n, 2, generator=draw, dtype=torch.float64),
    }[kind]()
    if kind in ("multi_label", "regression"):
        target[1, 1] = torch.nan
    return Batch(
        torch.randn(n, task.n_outputs, generator=draw, dtype=torch.float64).to(dtype),
        target,
        torch.randn(n, 5, generator=draw, dtype=torch.float64).to(dtype),
    )


def weights(name, kind):
    """Every other class counts three times as much, where classes can count differently."""
    if not plugins.load(losses, name).WEIGHTS:
        return None
    n = {"binary": 2, "multi_label": 6}.get(kind) or len(TASKS[kind].classes)
    found = torch.tensor([0.5, 1.5] * 3, dtype=torch.float64)[:n]
    return found.reshape(-1, 2) if kind == "multi_label" else found


def value(name, kind, given, weight=None, **options):
    plugin = plugins.load(losses, name)
    return plugin.loss(
        given.logits,
        given.target,
        given.features,
        task=TASKS[kind],
        weight=weight,
        config=plugin.Config(**options),
    )


def test_every_kind_of_task_has_one_that_takes_mixed_images_and_is_lowest_at_the_truth():
    for kind in TASKS:
        found = [plugins.load(losses, n) for n in NAMES if kind in plugins.load(losses, n).TASKS]
        assert any(one.MIXES and one.CALIBRATED for one in found), kind


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_that_of_the_value(name, kind, weighted):
    given = batch(kind)
    weight = weights(name, kind) if weighted else None
    given.logits.requires_grad_()
    given.features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda logits, rows: value(name, kind, Batch(logits, given.target, rows), weight),
        (given.logits, given.features),
    )


@every
def test_a_step_lowers_it(name, kind):
    given = batch(kind)
    given.logits.requires_grad_()
    before = value(name, kind, given)
    before.backward()
    assert before > 0
    given.logits = given.logits - 0.1 * given.logits.grad
    assert value(name, kind, given) < before


@every
def test_the_order_of_images_does_not_matter(name, kind):
    given = batch(kind)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    moved = Batch(given.logits[order], given.target[order], given.features[order])
    weight = weights(name, kind)
    torch.testing.assert_close(value(name, kind, moved, weight), value(name, kind, given, weight))


@every
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [6e4, 1e-7])
def test_it_is_finite_at_the_ends_of_half_precision(name, kind, half, size):
    given = batch(kind, half)
    logits = (given.logits.sign() * size).requires_grad_()
    features = (given.features.sign() * size).requires_grad_()
    found = value(name, kind, Batch(logits, given.target, features))
    assert found.dtype == torch.float32
    assert found.isfinite()
    found.backward()
    assert logits.grad.isfinite().all()
    assert features.grad is None or features.grad.isfinite().all()


@every
def test_equal_logits_and_a_batch_of_one_class_are_finite(name, kind):
    given = batch(kind)
    given.logits = torch.zeros_like(given.logits).requires_grad_()
    given.features = torch.zeros_like(given.features).requires_grad_()
    given.target = given.target[:1].expand_as(given.target)
    found = value(name, kind, given)
    found.backward()
    assert found.isfinite()
    assert given.logits.grad.isfinite().all()
    assert given.features.grad is None or given.features.grad.isfinite().all()


@every
def test_one_image_alone_is_finite(name, kind):
    given = batch(kind, n=2)
    one = Batch(given.logits[:1].requires_grad_(), given.target[:1], given.features[:1])
    found = value(name, kind, one)
    found.backward()
    assert found.isfinite()
    assert one.logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "name", [n for n in NAMES if {"multi_label", "regression"} & {*plugins.load(losses, n).TASKS}]
)
def test_what_has_no_label_has_no_part_in_it(name):
    (kind,) = {"multi_label", "regression"} & {*plugins.load(losses, name).TASKS}
    given = batch(kind)
    given.logits.requires_grad_()
    found = value(name, kind, given, weights(name, kind))
    found.backward()
    missing = given.target.isnan()
    assert missing.any()
    assert not given.logits.grad[missing].any()
    given.target = torch.full_like(given.target, torch.nan)
    assert value(name, kind, given, weights(name, kind)) == 0


@every
def test_where_classes_can_weigh_all_alike_is_no_weight(name, kind):
    weight = weights(name, kind)
    if weight is None:
        pytest.skip("no weights")
    given = batch(kind)
    alike = value(name, kind, given, torch.ones_like(weight))
    torch.testing.assert_close(alike, value(name, kind, given))
    assert not torch.isclose(value(name, kind, given, weight), alike)


@every
def test_a_training_step_runs_on_the_meta_device(name, kind):
    """There is nothing to wait for: any host value of a tensor raises."""
    plugin, task = plugins.load(losses, name), TASKS[kind]
    weight = weights(name, kind)
    with torch.device("meta"):
        model = SiteModel(
            resnet18.build(1, 2, resnet18.Config()),
            task,
            0.1,
            loss=lambda logits, target, features: plugin.loss(
                logits,
                target,
                features,
                task=task,
                weight=None if weight is None else weight.to("meta"),
                config=plugin.Config(),
            ),
        )
        images = torch.empty(8, 1, 32, 32)
    target = batch(kind).target.to("meta")
    mixed = {"partner": target, "kept": 0.3} if plugin.MIXES else {}
    model(images, target, **mixed)["total"].backward()
    assert all(p.grad is not None for p in model.head.parameters())
