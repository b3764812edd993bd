"""Checkpoints: whole or passed over, never half-read, never unpickled."""

import errno
import io

import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from medssl.foundation.errors import ArtifactError, ResourceError
from medssl.training import checkpoint, runtime
from medssl.training.state import TrainState


def state(width=3, seed=0):
    torch.manual_seed(seed)
    module = nn.Linear(width, 1)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    return TrainState(module, optimizer, schedule, seed=0)


def advance(made):
    made.module(torch.ones(2, made.module.in_features)).sum().backward()
    made.optimizer.step()
    made.scheduler.step()
    made.optimizer.zero_grad(set_to_none=True)
    made.step += 1
    made.epoch += 1


def test_saved_and_loaded_go_on_alike(tmp_path):
    first, second = state(), state(seed=1)
    advance(first)
    checkpoint.save(tmp_path, first)
    assert checkpoint.load(tmp_path, second)
    advance(first)
    advance(second)
    assert torch.equal(first.module.weight, second.module.weight)
    assert (second.step, second.epoch) == (2, 2)


def test_nothing_saved_is_nothing_loaded(tmp_path):
    assert not checkpoint.load(tmp_path / "none", state())


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_newest_is_passed_over(tmp_path, damage):
    made = state()
    for _ in range(2):
        advance(made)
        checkpoint.save(tmp_path, made)
    if damage is None:
        (tmp_path / "last.sha256").unlink()  # killed between the two files
    else:
        (tmp_path / "last.pt").write_bytes(damage)
    again = state(seed=1)
    assert checkpoint.load(tmp_path, again)
    assert again.step == 1
    checkpoint.save(tmp_path, again)  # must not replace the whole one by the damaged one
    assert checkpoint.load(tmp_path, again)


def test_a_kill_between_renaming_a_checkpoint_and_its_digest_loses_nothing(tmp_path):
    made = state()
    for _ in range(2):
        advance(made)
        checkpoint.save(tmp_path, made)
    (tmp_path / "last.pt").replace(tmp_path / "previous.pt")
    again = state(seed=1)
    assert checkpoint.load(tmp_path, again)
    assert again.step == 2
    checkpoint.save(tmp_path, again)
    assert checkpoint.load(tmp_path, again)


def test_only_damaged_ones_are_an_error(tmp_path):
    made = state()
    checkpoint.save(tmp_path, made)
    (tmp_path / "last.pt").write_bytes(b"?")
    with pytest.raises(ArtifactError, match="every checkpoint is damaged"):
        checkpoint.load(tmp_path, made)


def test_another_model_is_refused(tmp_path):
    checkpoint.save(tmp_path, state())
    with pytest.raises(ArtifactError, match="does not fit this run"):
        checkpoint.load(tmp_path, state(width=4))


class Harmful:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_is_never_opened(tmp_path, capsys):
    from medssl.foundation import files

    content = io.BytesIO()
    torch.save({"module": Harmful()}, content)
    (tmp_path / "last.pt").write_bytes(content.getvalue())
    (tmp_path / "last.sha256").write_text(files.sha256(tmp_path / "last.pt"))
    with pytest.raises(ArtifactError, match="does not fit this run"):
        checkpoint.load(tmp_path, state())
    assert capsys.readouterr().out == ""


def test_a_full_disk_leaves_the_last_one_whole(tmp_path, monkeypatch):
    made = state()
    checkpoint.save(tmp_path, made)
    advance(made)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        checkpoint.save(tmp_path, made)
    monkeypatch.undo()
    again = state(seed=1)
    assert checkpoint.load(tmp_path, again)
    assert again.step == 0


def halved(seed=0):
    """A model whose loss is scaled, as on a GPU at half precision; the scaler works on a CPU."""
    made = state(seed=seed)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    made.precision = MixedPrecision("16-mixed", "cpu", scaler)
    return made


def advance_scaled(made, loss_factor=1.0):
    loss = made.module(torch.ones(2, 3)).sum() * loss_factor
    made.precision.backward(loss, None)
    made.precision.optimizer_step(made.optimizer)
    made.scheduler.step()
    made.optimizer.zero_grad(set_to_none=True)
    made.step += 1


def test_the_scale_of_half_precision_goes_on_where_it_was(tmp_path):
    first, second = halved(), halved(seed=1)
    advance_scaled(first)
    advance_scaled(first, loss_factor=torch.inf)  # skipped, and the scale is halved
    advance_scaled(first)
    assert first.precision.scaler.get_scale() == 512
    checkpoint.save(tmp_path, first)
    assert checkpoint.load(tmp_path, second)
    assert second.precision.scaler.state_dict() == first.precision.scaler.state_dict()
    for made in (first, second):
        advance_scaled(made)
        advance_scaled(made)  # the third in a row that is finite: it grows
        assert made.precision.scaler.get_scale() == 1024
    assert torch.equal(first.module.weight, second.module.weight)


def test_a_checkpoint_from_before_the_scale_was_kept_is_read(tmp_path, monkeypatch):
    made = halved()
    content = made.to_dict()
    del content["precision"]
    monkeypatch.setattr(TrainState, "to_dict", lambda _: content)
    checkpoint.save(tmp_path, made)
    again = halved(seed=1)
    assert checkpoint.load(tmp_path, again)
    assert again.precision.scaler.get_scale() == 1024


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_other_precisions_adapt_nothing(tmp_path, precision):
    made = state()
    made.precision = runtime.start("cpu", precision).precision
    assert made.to_dict()["precision"] == {}
    checkpoint.save(tmp_path, made)
    assert checkpoint.load(tmp_path, made)
