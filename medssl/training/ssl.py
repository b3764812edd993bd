"""Self-supervised training: epochs over an archive, watched, with checkpoints to resume from."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medssl.artifacts.run_folder import RunLog
from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import Shown, TrainingBatches
from medssl.foundation import seeding
from medssl.foundation.reporting import Reporter
from medssl.training import checkpoint, knn, loop, monitors, optim, stopping
from medssl.training.monitors import Monitors
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState
from medssl.training.step import Step
from medssl.training.stopping import Request
from medssl.training.update import StepUpdate

_AGREE_EVERY = 10  # steps between which several processes ask each other whether to stop


@dataclass(frozen=True, kw_only=True)
class Images:
    """What a method is trained on, and what measures it."""

    batches: TrainingBatches
    monitors: Monitors
    steps_per_epoch: int  # what counts as an epoch; it may be several passes over the images


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a training ended."""

    state: TrainState
    losses: dict[str, float]  # the last ones logged
    measured: dict[str, float]  # by the monitors, the last time
    measured_before: dict[str, float]  # before the first step
    pace: dict[str, float]  # images_per_s and data_wait of the last epoch, if there was one
    cautions: tuple[str, ...]  # what speaks against the encoder


def run(  # noqa: PLR0913 - one value per thing it needs
    runtime: Runtime,
    settings: PretrainSettings,
    method: nn.Module,
    images: Images,
    folder: Path,
    reporter: Reporter,
    *,
    max_seconds: float | None = None,
) -> Trained:
    """Train ``method`` to its last epoch, from the newest checkpoint in ``folder`` if there is one.

    Args:
        runtime: Where it runs.
        settings: Resolved settings.
        method: A method around an encoder.
        images: What it sees, and what it is measured on.
        folder: Run folder.
        reporter: Told about progress and losses.
        max_seconds: Stop after this time, to be resumed.

    Raises:
        TrainingError: The loss or a feature is not finite, or the features have collapsed. The
            checkpoint of the last epoch before that stays.
        ArtifactError: A checkpoint does not fit.
        Interrupted: Stopped by a signal or out of time; a checkpoint of the last step is there.
    """
    course = _Course(runtime, settings, method, images, folder, reporter)
    try:
        course.begin()
        with stopping.requests(max_seconds) as request:
            while course.state.epoch < int(settings.epochs):
                course.epoch(request)
    except KeyboardInterrupt:  # before the first step, or the second one while a step is done
        there = checkpoint.exists(folder / "checkpoints")
        raise stopping.at_once(folder, has_checkpoint=there) from None
    return course.ended()


class _Course:
    """One training from its checkpoint on, epoch by epoch."""

    def __init__(
        self,
        runtime: Runtime,
        settings: PretrainSettings,
        method: nn.Module,
        images: Images,
        folder: Path,
        reporter: Reporter,
    ) -> None:
        self._runtime, self._settings, self._images = runtime, settings, images
        self._folder, self._reporter = folder, reporter
        self._step = Step(method)
        self._n_steps = int(settings.epochs) * images.steps_per_epoch
        module, optimizer = runtime.setup(self._step, optim.pretraining(method, settings.optim))
        self.state = TrainState(
            module,
            optimizer,
            optim.moving(optimizer, self._n_steps, settings.optim),
            seeding.derive(settings.seed, "steps"),
            pieces=settings.pieces,
            precision=runtime.precision,
        )
        self._measured: list[dict[str, float]] = []
        self._losses: dict[str, float] = {}

    def begin(self) -> None:
        """Read the newest checkpoint, and measure where nothing was measured yet."""
        state, log = self.state, RunLog(self._folder)
        if checkpoint.load(self._folder / "checkpoints", state):
            self._reporter.note(f"continuing after step {state.step} of {self._n_steps}")
        self._runtime.barrier()  # before what was logged is cut
        if self._runtime.is_main:
            log.forget_after(state.step)
        self._measured = self._runtime.broadcast(_logged(log, "feature_std"))
        self._losses = next(reversed(_logged(log, "total")), {})
        if not self._measured:
            self._measure()
        self._shown = _Watched(
            self._reporter.track(
                self._images.batches.steps(range(state.step, self._n_steps)),
                task="pretraining",
                total=self._n_steps - state.step,
                unit="images",
                each=self._images.batches.batch_size,
            )
        )
        self._update = StepUpdate(self._runtime, state, self._step, self._n_steps, self._reporter)

    def epoch(self, request: Request) -> None:
        """Train to the end of an epoch, measure and save.

        Raises:
            TrainingError: The loss is not finite, or the features have collapsed.
            Interrupted: There was a request to stop.
        """
        state, settings = self.state, self._settings
        end = self._images.steps_per_epoch * (state.epoch + 1)
        steps = islice(self._shown, end - state.step)
        stop = partial(_asked, self._runtime, request)
        losses = loop.train(
            self._runtime,
            state,
            steps,
            self._reporter,
            update=self._update,
            clip=settings.optim.clip,
            stop=stop,
        )
        self._losses = losses or self._losses
        if state.step == end:
            self._losses = loop.log(state, self._reporter) or self._losses
            state.epoch += 1
            self._reporter.pace(state.step, self._shown.pace(self._images.batches.batch_size))
            self._watch()
        stopping_now = state.step < self._n_steps and stop(state, always=True)
        due = state.step == end and state.epoch % settings.checkpoint_every == 0
        if stopping_now or due or state.epoch == int(settings.epochs):
            self._save()
        if stopping_now:
            done = f"step {state.step} of {self._n_steps}"
            raise stopping.saved(request.reason, done, self._folder)

    def ended(self) -> Trained:
        """Return how it ended."""
        return Trained(
            state=self.state,
            losses=self._losses,
            measured=self._measured[-1],
            measured_before=self._measured[0],
            pace=self._shown.latest,
            cautions=knn.cautions(self._measured),
        )

    def _watch(self) -> None:
        """Measure the features where it is time to, and refuse a collapse."""
        if not self._images.monitors.due(self.state.epoch):
            return
        self._measure()
        if self._images.monitors.stops:
            at_the_end = self.state.epoch == int(self._settings.epochs)
            monitors.refuse_collapse(self._measured, self._folder, at_the_end=at_the_end)

    def _measure(self) -> None:
        values = self._images.monitors.measure(self._step)
        self._reporter.metrics(self.state.step, {"epoch": self.state.epoch, **values})
        self._measured.append(values)

    def _save(self) -> None:
        if self._runtime.is_main:
            checkpoint.save(self._folder / "checkpoints", self.state)
        self._runtime.barrier()


class _Watched:
    """Steps, with the time it took to get them."""

    def __init__(self, steps: Iterable[Shown]) -> None:
        self._steps = iter(steps)
        self._waited, self._count, self._since = 0.0, 0, time.perf_counter()
        self.latest: dict[str, float] = {}

    def __iter__(self) -> Iterator[Shown]:
        return self

    def __next__(self) -> Shown:
        asked = time.perf_counter()
        shown = next(self._steps)
        self._waited += time.perf_counter() - asked
        self._count += 1
        return shown

    def pace(self, images_per_step: int) -> dict[str, float]:
        """Return images per second and the share of the time waited since the last call."""
        now = time.perf_counter()
        spent = max(now - self._since, 1e-9)
        self.latest = {
            "images_per_s": round(self._count * images_per_step / spent, 2),
            "data_wait": round(self._waited / spent, 4),
        }
        self._waited, self._count, self._since = 0.0, 0, now
        return self.latest


def build_method(module: Any, encoder: nn.Module, config: Any, seed: int) -> nn.Module:  # noqa: ANN401
    """Return a plugin's method around ``encoder``, its projector drawn from ``seed``."""
    torch.manual_seed(seeding.derive(seed, "method"))
    method: nn.Module = module.Method(encoder, config)
    return method


def _asked(runtime: Runtime, request: Request, state: TrainState, *, always: bool = False) -> bool:
    """Return whether any process was asked to stop; several ask each other now and then."""
    if runtime.world_size == 1:
        return bool(request.reason)
    if not always and state.step % _AGREE_EVERY:
        return False
    return runtime.agree(bool(request.reason))


def _logged(log: RunLog, telling: str) -> list[dict[str, float]]:
    """Return what was logged before the run was interrupted, of the lines with one value."""
    return [
        {name: value for name, value in point.items() if name not in {"step", "epoch", "lr"}}
        for point in log.history()
        if telling in point
    ]
