"""The processes this one was started with, by torchrun or by SLURM's srun."""

import os
from dataclasses import dataclass
from typing import Literal

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from medssl.foundation.errors import UsageError

_BY_HAND = ("bash", "interactive")  # names of SLURM jobs in which commands are typed


@dataclass(frozen=True)
class Job:
    """Several processes on one or more machines."""

    environment: ClusterEnvironment
    size: int  # processes in all
    here: int  # of them on this machine

    @property
    def machines(self) -> int:
        """How many machines; all have as many processes."""
        return self.size // self.here


def find(processes: int | Literal["auto"]) -> Job | None:
    """Return the job this process belongs to; None if it is alone.

    Args:
        processes: How many it is to have; auto: any number.

    Raises:
        UsageError: It has another number, or not the same on every machine, or SLURM has not
            started its tasks.
    """
    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    name = "WORLD_SIZE" if elastic else "SLURM_STEP_NUM_TASKS"
    size = _number(name, default=1)
    if processes == "auto":
        if size == 1 and not elastic:
            _refuse_idle_tasks()
    elif processes != size:
        raise UsageError(_unlike(processes, size), fix=_fix(processes))
    if size == 1:
        return None
    here = _number("LOCAL_WORLD_SIZE" if elastic else "SLURM_NTASKS_PER_NODE", default=0)
    if not here or size % here:
        raise UsageError(
            "the tasks of the job must be as many on every machine",
            fix="ask SLURM for them with --ntasks-per-node, not with --ntasks",
        )
    found = TorchElasticEnvironment() if elastic else SLURMEnvironment(auto_requeue=False)
    return Job(found, size, here)


def _refuse_idle_tasks() -> None:
    """Stop where SLURM has reserved several tasks and this command would leave all but one idle.

    Raises:
        UsageError: It is so.
    """
    reserved = _number("SLURM_NTASKS", default=1)
    started = "SLURM_STEP_NUM_TASKS" in os.environ
    if reserved > 1 and not started and os.environ.get("SLURM_JOB_NAME") not in _BY_HAND:
        raise UsageError(
            f"SLURM has reserved {reserved} tasks, and this is one process",
            fix="start the command with srun, or ask for one task",
        )


def _unlike(processes: int, size: int) -> str:
    if processes == 1:
        return f"this command runs in one process, and {size} were started"
    return f"{processes} processes were asked for, and {size} started"


def _fix(processes: int) -> str:
    if processes == 1:
        return "start it without torchrun or srun"
    return (
        f"start it as `torchrun --standalone --nproc-per-node {processes} -m medssl …`, "
        "or with srun in a SLURM job"
    )


def _number(name: str, *, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default
