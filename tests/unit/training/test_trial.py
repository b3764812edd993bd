"""The trial behind `--dry-run`: it times what it says it times."""

import time

import torch
from torch import nn

from medssl.training import runtime, trial

PAUSE = 0.01


class Slow(nn.Module):
    """Takes at least `PAUSE` per step, and much longer in its first two."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        time.sleep(PAUSE if self.calls > trial.WARM_UP else 20 * PAUSE)
        return {"total": self.layer(x).sum()}


def test_a_step_is_timed_after_the_slow_first_ones():
    started = runtime.start("cpu", "32")
    slow = Slow()
    module, stepped = started.setup(slow, torch.optim.AdamW(slow.parameters()))
    steps = (((torch.ones(1, 2),), {}) for _ in range(50))
    pace = trial.seconds_per_step(started, module, stepped, steps)
    assert slow.calls == trial.WARM_UP + trial.TIMED
    assert PAUSE <= pace < 20 * PAUSE
    assert len(list(steps)) == 50 - slow.calls


def test_tensors_are_counted_with_their_buffers():
    assert trial.tensor_bytes(nn.BatchNorm1d(3)) == 4 * 3 * 4 + 8  # and one int64 counter


def test_memory_is_what_the_process_held():
    before = trial.memory()
    block = torch.ones(30_000_000)  # 120 MB
    assert trial.memory() >= before
    assert trial.memory() > block.numel() * 4
