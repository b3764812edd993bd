"""The likelihood of labels under logits, shared by the losses that contain it."""

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor

from medssl.config.task import Task


def at_least_32_bits(values: Tensor) -> Tensor:
    """Return values in single precision, or in double if they are: halves overflow at 65,504."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(
    logits: Tensor, target: Tensor, *, task: Task, weight: Tensor | None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy over what is labelled, a scalar.

    Args:
        logits: Shape (B, task.n_outputs).
        target: Shape (B, T); see `LossModule`.
        task: Binary, multi_class or multi_label.
        weight: Of the classes; see `LossModule`.
        smoothing: Share of the label that goes to all classes alike (arXiv:1512.00567).
    """
    logits = at_least_32_bits(logits)
    if task.kind == "multi_class":
        named = target[:, 0].long()
        each = F.cross_entropy(logits, named, reduction="none", label_smoothing=smoothing)
        return (each if weight is None else each * weight[named]).mean()
    wanted = target.nan_to_num().to(logits.dtype)
    soft = wanted * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    return mean_of_labelled(each, target, weight)


def mean_of_labelled(each: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of the losses (B, T) of yes-no questions over what is labelled.

    0 where nothing is.
    """
    known = target.isfinite()
    if weight is not None:
        no, yes = weight.reshape(-1, 2).unbind(dim=1)
        each = each * torch.where(target == 1, yes, no)
    return torch.where(known, each, 0).sum() / known.sum().clamp(min=1)
