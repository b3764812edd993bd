"""Several processes train as one does. This file is also the program that each of them runs."""

import copy
import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch
from torch import nn

from medssl import methods
from medssl.config.pretrain import PretrainOptim
from medssl.data.batches import Shown
from medssl.foundation import plugins, seeding
from medssl.foundation.errors import DataError, MedSSLError
from medssl.foundation.reporting import Silent
from medssl.models.encoders import resnet18, vit_s
from medssl.training import gathering, optim, runtime
from medssl.training.state import TrainState
from medssl.training.step import Step
from medssl.training.update import StepUpdate

NAMES = plugins.names(methods)
IMAGES, SIDE, STEPS = 6, 64, 2
WIDTH = 32  # of projectors and decoders, which are wide as a rule
CLOSE = 1e-5


def build(name):
    """A method whose norms look at one image at a time, with the smallest encoder it takes."""
    plugin = plugins.load(methods, name)
    torch.manual_seed(0)
    if plugin.ENCODER == "transformer":
        encoder = vit_s.build(1, 2, vit_s.Config(patch_size=8, depth=2))
    else:
        encoder = resnet18.build(1, 2, own_norms(resnet18.Config))
    return plugin.Method(encoder, own_norms(plugin.Config)).double()


def own_norms(config):
    """Options with every norm that can be chosen not taken over a batch, and narrow layers."""
    chosen = {}
    for name, annotation in typing.get_type_hints(config).items():
        choices = typing.get_args(annotation)
        if name.endswith(("_dim", "_hidden", "_width")):
            chosen[name] = WIDTH
        if name.endswith("norm") and "batch" in choices:
            chosen[name] = "layer" if "layer" in choices else "group"
    return config(**chosen)


def images(method, step):
    """Views of all images of a step, and whose they are: one patient is seen by both processes."""
    generator = torch.Generator().manual_seed(step)
    sides = [SIDE] * method.n_views + [SIDE // 2] * method.n_local_views
    views = [torch.randn(IMAGES, 1, side, side, generator=generator).double() for side in sides]
    return views, torch.tensor([0, 1, 2, 0, 3, 4])


def seed(step, rank):
    torch.manual_seed(seeding.derive(0, "step", step, rank))


def descent(method):
    rates = PretrainOptim(name="sgd", lr=1e-3)
    return optim.pretraining(method, rates)


def together(started, method):
    """Train on this process's half of the images of each step; also the last gradients."""
    step = Step(method)
    module, optimizer = started.setup(step, descent(method))
    losses = []
    for number in range(STEPS):
        views, patients = images(method, number)
        own = slice(started.rank * IMAGES // 2, (started.rank + 1) * IMAGES // 2)
        method.before_step(number / STEPS)
        seed(number, started.rank)
        found = module([view[own] for view in views], patients[own])
        optimizer.zero_grad()
        started.backward(found["total"])
        optimizer.step()
        losses.append({part: value.item() for part, value in found.items()})
    return losses


def alone(method):
    """Train on all images at once, without a runtime.

    Where a method draws (masks), the halves are embedded apart, each with the draws of its process.
    """
    optimizer = descent(method)
    losses = []
    for number in range(STEPS):
        views, patients = images(method, number)
        method.before_step(number / STEPS)
        before = torch.get_rng_state()
        embedded = method.embed(views)
        if not torch.equal(before, torch.get_rng_state()):
            halves = []
            for rank in range(2):
                seed(number, rank)
                halves.append(method.embed([view.chunk(2)[rank] for view in views]))
            embedded = {key: torch.cat([half[key] for half in halves]) for key in embedded}
        found = method.loss(embedded, patients)
        optimizer.zero_grad()
        found["total"].backward()
        optimizer.step()
        losses.append({part: value.item() for part, value in found.items()})
    return losses


def apart(these, those):
    """The largest difference of two modules, as a share of the largest value of each tensor."""
    pairs = [(a.double(), b.double()) for a, b in zip(these, those, strict=True)]
    return max(((a - b).abs().max() / (1e-3 + b.abs().max())).item() for a, b in pairs)


def in_pieces(started, method):
    """Like `together`, but every process embeds its images in two pieces."""
    step = Step(method)
    module, optimizer = started.setup(step, descent(method))
    state = TrainState(module, optimizer, optim.constant(optimizer), seed=0, pieces=2)
    update = StepUpdate(started, state, step, STEPS, Silent())
    losses = []
    for number in range(STEPS):
        views, patients = images(method, number)
        own = slice(started.rank * IMAGES // 2, (started.rank + 1) * IMAGES // 2)
        shown = Shown(views=[view[own] for view in views], patients=patients[own], target=None)
        optimizer.zero_grad()
        found = update(shown)
        optimizer.step()
        state.step += 1
        losses.append({part: value.item() for part, value in found.items()})
    return losses


def compare(started, name, train=together):
    method = build(name)
    single = copy.deepcopy(method)
    losses = train(started, method)
    found = {"together": losses}
    sums = torch.stack([p.double().sum() for p in method.state_dict().values()])
    everyone = gathering.gather(sums[None])
    found["between"] = (everyone[0] - everyone[1]).abs().max().item()
    if started.is_main:
        found["alone"] = alone(single)
        found["tensors"] = apart(method.state_dict().values(), single.state_dict().values())
        found["gradients"] = apart(
            [p.grad for p in method.parameters() if p.grad is not None],
            [p.grad for p in single.parameters() if p.grad is not None],
        )
    started.barrier()
    return found


def refused(started, do):
    """What a process is told where the first one fails."""
    try:
        started.led(do)
    except MedSSLError as error:
        return [type(error).__name__, error.where, error.problem, error.fix]
    return []


def full():
    raise DataError("no room", where="here", fix="make some")


def talk(started):
    """What the processes say to each other."""
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(float(started.rank))
    module, _ = started.setup(layer, torch.optim.SGD(layer.parameters(), lr=1.0))
    of_the_first = layer.weight.detach().tolist()
    with started.no_sync(module):
        started.backward(module(torch.ones(1, 2) * (started.rank + 1)).sum())
    own = layer.weight.grad.tolist()
    started.backward(module(torch.zeros(1, 2)).sum())
    rows = torch.full((2, 1), float(started.rank), requires_grad=True)
    everyone = gathering.gather(rows)
    (everyone.squeeze(1) * torch.arange(1.0, 5.0)).sum().backward()
    half = torch.ones(2, 1, dtype=torch.bfloat16, requires_grad=True)
    gathering.gather(half).sum().backward()
    return {
        "rank": started.rank,
        "size": started.world_size,
        "main": started.is_main,
        "agree": [started.agree(False), started.agree(started.rank == 1), started.agree(True)],
        "said": started.broadcast({"from": started.rank, "values": [0.5]}),
        "led": started.led(lambda: started.rank),
        "refused": refused(started, full),
        "weights of the first": of_the_first,
        "own gradient": own,
        "mean gradient": layer.weight.grad.tolist(),
        "gathered": everyone.detach().tolist(),
        "gradient of rows": rows.grad.tolist(),
        "gradient of half precision": half.grad.tolist(),
        "order": gathering.gather(torch.tensor([started.rank])).tolist(),
        "facts": started.facts(),
    }


def main(out, names):
    torch.set_num_threads(1)
    started = runtime.start("cpu", "32", processes="auto")
    found = {"talk": talk(started)}
    for name in names:
        found[name] = compare(started, name)
    if names:
        found["pieces"] = compare(started, "vicreg", in_pieces)
    Path(out, f"{started.rank}.json").write_text(json.dumps(found))


def by_torchrun(folder, names):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [sys.executable, *launcher, __file__, str(folder), *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What two processes found, the first one's first."""
    return by_torchrun(tmp_path_factory.mktemp("pair"), NAMES)


@pytest.mark.parametrize("name", [*NAMES, "pieces"])
def test_two_processes_train_as_one(pair, name):
    first, second = (found[name] for found in pair)
    assert first["together"] == second["together"]
    for apart, one in zip(first["together"], first["alone"], strict=True):
        assert apart == pytest.approx(one, rel=CLOSE, abs=CLOSE)
    assert first["gradients"] < CLOSE
    assert first["tensors"] < CLOSE
    assert first["between"] == 0


def test_they_know_each_other(pair):
    for rank, found in enumerate(each["talk"] for each in pair):
        assert (found["rank"], found["size"], found["main"]) == (rank, 2, rank == 0)
        assert found["agree"] == [False, True, True]
        assert found["said"] == {"from": 0, "values": [0.5]}
        assert found["led"] == (None if rank else 0)
        assert found["refused"] == ["DataError", "here", "no room", "make some"]
        assert found["facts"]["processes"] == 2


def test_weights_come_from_the_first_and_gradients_are_averaged(pair):
    for rank, found in enumerate(each["talk"] for each in pair):
        assert found["weights of the first"] == [[0.0, 0.0]]
        assert found["own gradient"] == [[rank + 1.0] * 2]
        assert found["mean gradient"] == [[1.5, 1.5]]


def test_rows_lie_in_the_order_of_the_processes_and_get_their_gradients_from_all(pair):
    for rank, found in enumerate(each["talk"] for each in pair):
        assert found["order"] == [0, 1]
        assert found["gathered"] == [[0.0], [0.0], [1.0], [1.0]]
        assert found["gradient of rows"] == [[2 * (1.0 + 2 * rank)], [2 * (2.0 + 2 * rank)]]
        assert found["gradient of half precision"] == [[2.0], [2.0]]


@pytest.mark.slow
def test_tasks_of_a_slurm_step_find_each_other(tmp_path):
    """The variables srun sets, for two tasks on this machine."""
    told = {
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "pretrain", "SLURM_NODELIST": "localhost",
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0", "OMP_NUM_THREADS": "1",
        "MASTER_PORT": "29711",
    }  # fmt: skip
    words = [sys.executable, __file__, str(tmp_path)]
    tasks = []
    for rank in ("0", "1"):
        own = {**os.environ, **told, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
        tasks.append(subprocess.Popen(words, env=own))
    assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    found = [json.loads((tmp_path / f"{rank}.json").read_text())["talk"] for rank in range(2)]
    assert [(each["rank"], each["size"]) for each in found] == [(0, 2), (1, 2)]
    assert all(each["agree"] == [False, True, True] for each in found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
