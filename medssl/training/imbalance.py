"""What can be done about classes of unequal frequency, for which task and which loss."""

from dataclasses import replace
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.evaluation import priors
from medssl.evaluation.priors import Shares
from medssl.foundation.errors import UsageError

_OF_CLASSES = ("binary", "multi_class", "ordinal")  # kinds of which a row has one class


def refuse(settings: FinetuneSettings, task: Task, loss: ModuleType) -> None:
    """Refuse sampling, weights or SMOTE where they mean nothing.

    Args:
        settings: With the loss by name.
        task: What is predicted.
        loss: A file of `losses/`.

    Raises:
        UsageError: They do not fit the task, the loss, or each other.
    """
    if settings.sampling != "natural" and task.kind not in _OF_CLASSES:
        other = " (and --loss-weights balanced)" if task.kind == "multi_label" else ""
        raise UsageError(
            f"images of a {task.kind} task have no one class to be drawn by",
            where="sampling",
            fix=f"--sampling natural{other}",
        )
    if settings.loss_weights != "none" and not loss.WEIGHTS:
        raise UsageError(
            f"the loss {settings.loss} has no classes that could weigh differently",
            where="loss_weights",
            fix="--loss-weights none",
        )
    if settings.loss_weights != "none" and settings.sampling != "natural":
        raise UsageError(
            "classes that are drawn more often and weigh more in the loss are given more than "
            "their share",
            where="loss_weights",
            fix="--loss-weights none, or --sampling natural",
        )
    if settings.smote:
        _refuse_smote(settings, task)


def _refuse_smote(settings: FinetuneSettings, task: Task) -> None:
    if task.kind not in _OF_CLASSES:
        raise UsageError(
            f"images of a {task.kind} task have no one class of which there could be more",
            where="smote",
            fix="--set smote=false",
        )
    mixed = settings.mixup.probability or settings.cutmix.probability
    frozen = settings.schedule == "linear_probe" and settings.pooling != "attention"
    if not frozen or settings.random_views or mixed:
        raise UsageError(
            "SMOTE makes rows of features, which takes an encoder that never trains and images "
            "that always look the same",
            where="smote",
            fix="--schedule linear_probe --set random_views=false, neither mixup nor cutmix nor "
            "attention",
        )
    if settings.sampling != "natural" or settings.loss_weights != "none":
        raise UsageError(
            "SMOTE makes all classes equally frequent; nothing is left to balance",
            where="smote",
            fix="--sampling natural --loss-weights none",
        )


def shares(settings: FinetuneSettings, task: Task, label: NDArray[np.float64]) -> Shares:
    """Return the shares of the classes among training rows, and as a model learns them.

    Args:
        settings: How rows are drawn, weighted or made.
        task: What is predicted.
        label: Of the training rows, (N, T).
    """
    if settings.smote:
        return replace(priors.shares(label, task, "balanced", "none"), image_weight=None)
    return priors.shares(label, task, settings.sampling, settings.loss_weights)


def notes(settings: FinetuneSettings, loss: ModuleType) -> tuple[str, ...]:
    """Return what a reader of the probabilities must know about them."""
    found = []
    uneven = [
        f"{name} {value}"
        for name, value in (
            ("sampling", settings.sampling),
            ("loss weights", settings.loss_weights),
        )
        if value not in ("natural", "none")
    ]
    if settings.smote:
        uneven.append("SMOTE")
    if uneven and not settings.prior_correction:
        found.append(
            f"{', '.join(uneven)}, without prior correction: probabilities are those of classes "
            "as frequent as they were learned"
        )
    if not loss.CALIBRATED:
        found.append(
            f"the loss {settings.loss} ranks: its scores need calibration before they are read "
            "as probabilities"
        )
    return tuple(found)
