"""How large the gradient of each layer group is beside its weights, measured while training."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import torch
from torch import Tensor, nn

from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Reporter
from medssl.models.site_model import SiteModel
from medssl.training.loop import Call
from medssl.training.optim import Cycles
from medssl.training.phases import Factors
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

_LEAST = 1e-12  # norm of the weights of a group that is all zero


def scaled(
    runtime: Runtime,
    model: SiteModel,
    state: TrainState,
    factors: Factors,
    steps: Iterable[Call],
    reporter: Reporter,
) -> Iterator[Call]:
    """Scale the rates of an epoch by gradients on its first batch, and return all of its steps.

    Args:
        runtime: Where it runs.
        model: That of ``state``, as it was before it was set up.
        state: Its scheduler is an `optim.Cycles`.
        factors: Of a schedule; see `freezing._contract.Measuring`.
        steps: Of the epoch; none is lost.
        reporter: Told the factors.

    Raises:
        TrainingError: A gradient is not finite.
    """
    coming = iter(steps)
    first = list(islice(coming, 1))
    for call in first:
        found = measure(runtime, model, call)
        names, values = list(found), torch.stack(list(found.values())).cpu()
        if not values.isfinite().all():
            raise TrainingError(
                f"the gradients are not finite at step {state.step}",
                fix="lower the learning rate, or train with precision 32",
            )
        scale = factors(dict(zip(names, values.double().tolist(), strict=True)))
        assert isinstance(state.scheduler, Cycles)
        state.scheduler.scale(scale)
        told = {f"factor.{name}": value for name, value in scale.items()}
        reporter.metrics(state.step, {"epoch": state.epoch + 1, **told})
    return chain(first, coming)


def measure(runtime: Runtime, model: SiteModel, call: Call) -> dict[str, Tensor]:
    """Return the norm of the gradient of each group that trains over that of its weights.

    In evaluation mode, so that nothing is drawn and no running statistic moves; the gradients the
    optimiser sees are left alone. Nothing waits for the device.

    Args:
        runtime: Decides the precision.
        model: A site model with a loss.
        call: What its `forward` takes in a step.

    Returns:
        Layer group -> scalar on the device, the head first.
    """
    owned = {name: list(_learned(modules)) for name, modules in model.groups().items()}
    owned = {name: own for name, own in owned.items() if own}
    was = model.training
    model.eval()
    arguments, named = call
    with runtime.autocast():
        loss = model(*arguments, **named)["total"]
    flat = [p for own in owned.values() for p in own]
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
    model.train(was)
    return {
        name: _norm(islice(gradients, len(own))) / _norm(p.detach() for p in own).clamp(min=_LEAST)
        for name, own in owned.items()
    }


def _learned(modules: Sequence[nn.Module]) -> Iterator[nn.Parameter]:
    return (p for module in modules for p in module.parameters() if p.requires_grad)


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    norms = torch.stack([torch.linalg.vector_norm(one.float()) for one in tensors])
    found: Tensor = torch.linalg.vector_norm(norms)
    return found
