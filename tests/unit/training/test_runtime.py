"""The seam to Fabric: devices by name, precision, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from medssl.foundation.errors import ResourceError, UsageError
from medssl.training import jobs, runtime

JOB_VARIABLES = (
    "TORCHELASTIC_RUN_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_JOB_NAME",
    "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS_PER_NODE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Say what a launcher would have said; nothing else is known of one."""
    for name in JOB_VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def say(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return say


SLURM = {"SLURM_JOB_NAME": "pretrain", "SLURM_STEP_NUM_TASKS": 8, "SLURM_NTASKS": 8}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}


def test_cpu_can_always_be_had():
    started = runtime.start("cpu", "32")
    assert started.device == torch.device("cpu")
    assert started.facts()["device"] == "cpu"
    assert not runtime.gpu_wanted("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_a_resource_error():
    assert not runtime.gpu_wanted("auto")
    with pytest.raises(ResourceError, match="no CUDA device found"):
        runtime.start("cuda", "32")


@pytest.mark.parametrize("device", ["tpu", "cpu:banana", "cuda:x", "cpu:0", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(UsageError, match=f"no device called '{device}'"):
        runtime.gpu_wanted(device)


def test_half_precision_without_a_gpu_is_refused():
    with pytest.raises(UsageError, match="precision 16 needs a GPU"):
        runtime.start("cpu", "16")


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32():
    started = runtime.start("cpu", "bf16")
    layer = torch.nn.Linear(4, 4)
    wrapped, _ = started.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    seen = []
    layer.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    started.backward(wrapped(torch.ones(2, 4)).float().sum())
    assert seen == [torch.bfloat16]
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


def test_clipping_leaves_gradients_that_are_not_finite_to_the_loss():
    """In half precision the first steps overflow as a rule, and are skipped."""
    started = runtime.start("cpu", "32")
    layer = torch.nn.Linear(2, 1, bias=False)
    wrapped, optimizer = started.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    started.backward(wrapped(torch.full((1, 2), 1e30)).square().sum())
    started.clip(wrapped, optimizer, 1.0)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    started.clip(wrapped, optimizer, 1.0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("processes", [1, "auto"])
def test_without_a_job_a_process_is_alone(processes):
    assert jobs.find(processes) is None
    started = runtime.start("cpu", "32", processes=processes)
    assert (started.rank, started.world_size, started.is_main) == (0, 1, True)
    assert (started.agree(True), started.agree(False)) == (True, False)
    value = {"a": 1}
    assert started.broadcast(value) is value
    started.barrier()
    assert started.led(lambda: 7) == 7
    assert started.facts()["processes"] == 1


def test_gradients_add_up_alone_too():
    started = runtime.start("cpu", "32")
    layer = nn.Linear(2, 1, bias=False)
    module, _ = started.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    with started.no_sync(module):
        started.backward(module(torch.ones(1, 2)).sum())
    started.backward(module(torch.ones(1, 2)).sum())
    assert layer.weight.grad.tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(
    ("variables", "size", "here"),
    [(TORCHRUN, 4, 2), ({**SLURM, "SLURM_NTASKS_PER_NODE": 4}, 8, 4)],
)
def test_a_job_is_found_by_what_its_launcher_said(told, variables, size, here):
    told(**variables)
    for processes in ("auto", size):
        job = jobs.find(processes)
        assert (job.size, job.here, job.machines) == (size, here, size // here)


@pytest.mark.parametrize(
    ("variables", "processes", "message"),
    [
        (TORCHRUN, 1, "runs in one process, and 4 were started"),
        (TORCHRUN, 2, "2 processes were asked for, and 4 started"),
        ({}, 2, "2 processes were asked for, and 1 started"),
        (SLURM, 1, "runs in one process, and 8 were started"),
        (SLURM, "auto", "as many on every machine"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": 3}, "auto", "as many on every machine"),
        ({"SLURM_NTASKS": 4, "SLURM_JOB_NAME": "x"}, "auto", "reserved 4 tasks, and this is one"),
    ],
)
def test_other_numbers_of_processes_are_refused(told, variables, processes, message):
    told(**variables)
    with pytest.raises(UsageError, match=message) as caught:
        runtime.start("cpu", "32", processes=processes)
    assert caught.value.fix


def test_the_fix_is_the_line_to_start_it_with():
    with pytest.raises(UsageError, match="torchrun --standalone --nproc-per-node 4 -m medssl"):
        jobs.find(4)


def test_one_started_task_and_commands_typed_into_a_job_are_alone(told):
    told(**{**SLURM, "SLURM_STEP_NUM_TASKS": 1})
    assert jobs.find("auto") is None
    told(SLURM_JOB_NAME="interactive", SLURM_NTASKS=4)
    assert jobs.find("auto") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("not enough memory: you tried to allocate"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, expected):
    assert runtime.is_out_of_memory(error) is expected


def test_torch_says_so_where_the_machine_has_too_little():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58)
    assert runtime.is_out_of_memory(caught.value)


class HalfNorm(nn.BatchNorm2d):
    """A norm of somebody's own."""


def test_batch_norms_are_shared_and_others_left_alone():
    module = nn.ModuleDict(
        {"a": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), "b": HalfNorm(4)}
    )
    before, weights = list(module.state_dict()), [*module.parameters()]
    shared = runtime.share_batch_norms(module)
    assert type(shared["a"][1]) is nn.SyncBatchNorm
    assert type(shared["b"]) is HalfNorm
    assert list(shared.state_dict()) == before
    assert all(a is b for a, b in zip(shared.parameters(), weights, strict=True))
    assert type(runtime.share_batch_norms(nn.BatchNorm1d(2))) is nn.SyncBatchNorm


def test_the_layout_changes_no_value_and_fits_the_gradients():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, stride=2), nn.Flatten(), nn.LazyLinear(2)
    )
    shown = torch.randn(2, 3, 9, 9)
    expected = module(shown)
    before = copy.deepcopy(module.state_dict())
    assert runtime.fast_layout(module) is module
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    found = module(shown)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert all(p.grad.stride() == p.stride() for p in module.parameters())
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_volumes_keep_their_layout():
    convolution = nn.Conv3d(2, 4, 3)
    started = runtime.start("cpu", "32")
    wrapped = started.setup_module(convolution)
    assert convolution.weight.is_contiguous()
    assert wrapped(torch.zeros(1, 2, 5, 5, 5)).shape == (1, 4, 3, 3, 3)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(runtime.shutil, "which", lambda _: None)
    with pytest.raises(ResourceError, match="needs a C"):
        runtime.compile_module(nn.Linear(2, 2), gpu=False)


class Encoder(nn.Module):
    """As small as one can be."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)

    def forward(self, images):
        return self.convolution(images).relu().mean((2, 3))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_a_compiled_encoder_computes_the_same_under_the_same_names():
    torch.use_deterministic_algorithms(False)
    encoder, shown = Encoder(), torch.randn(2, 1, 8, 8)
    names, expected = list(encoder.state_dict()), encoder(shown)
    runtime.compile_module(encoder, gpu=False)
    assert list(encoder.state_dict()) == names
    compiled = torch._dynamo.utils.counters["frames"]
    before = compiled["ok"]
    torch.testing.assert_close(encoder(shown), expected)
    assert compiled["ok"] == before + 1
