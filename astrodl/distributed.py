"""The processes (ranks) that train one network together; without them, every function here is the plain one.

A batch belongs to all ranks: rank r of N has its rows r, r + N, r + 2 N, ... Random numbers are drawn for the whole
batch, from a generator in the same state everywhere, and each rank keeps its rows; what is summed over a batch is
summed over the ranks. N ranks therefore compute what one would, within rounding, and their number may change between a
kill and a resume.
"""

import logging
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from astrodl.errors import AstrodlError

PORT = 20000
"""Of the rendezvous under Slurm: this and up to as many more, by the number of the job."""

_solitary = False


def size() -> int:
    """Give the number of processes that train together."""
    return dist.get_world_size() if not _solitary and dist.is_available() and dist.is_initialized() else 1


def number() -> int:
    """Give this process's place among them, from 0."""
    return dist.get_rank() if size() > 1 else 0


def first() -> bool:
    """Tell whether this process writes files and messages: the only one, or the first of several."""
    return number() == 0


def mine(rows: Tensor) -> Tensor:
    """Take this rank's rows of what is known of a whole batch."""
    return rows[number() :: size()]


def randn_like(rows: Tensor) -> Tensor:
    """Draw float32 normal numbers in the shape of this rank's `rows`, (B / N, ...)."""
    # not torch.randn_like: into a channels-last tensor it draws one number at a time, ten times slower
    return mine(torch.randn(len(rows) * size(), *rows.shape[1:], device=rows.device))


def rand_like(rows: Tensor) -> Tensor:
    """Draw float32 numbers uniform in 0 to 1 in the shape of this rank's `rows`, (B / N, ...)."""
    return mine(torch.rand(len(rows) * size(), *rows.shape[1:], device=rows.device))


def total(part: Tensor) -> Tensor:
    """Sum over the ranks; gradients flow back to all of them."""
    return _Total.apply(part) if size() > 1 else part


class _Total(torch.autograd.Function):
    """The sum over ranks; each rank's part moves the losses of all, so that the gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return added(part.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return added(gradients[0].clone())


def added(part: Tensor) -> Tensor:
    """Sum over the ranks in place, without gradients."""
    if size() > 1:
        dist.all_reduce(part)
    return part


def agreed(value: bool) -> bool:
    """Give the first rank's answer to all; the others wait for it."""
    if size() == 1:
        return value
    answer = [value]
    dist.broadcast_object_list(answer, src=0)
    return answer[0]


@contextmanager
def alone() -> Iterator[None]:
    """Let this process work as if it were the only one."""
    global _solitary
    before, _solitary = _solitary, True
    try:
        yield
    finally:
        _solitary = before


def launched(environment: "os._Environ[str] | dict[str, str]" = os.environ) -> dict[str, Any] | None:
    """Say which of how many processes a launcher made this one: torchrun, or srun with several tasks; None alone.

    Returns
    -------
    dict
        `rank`, `world_size`, `local_rank`, and `init_method`, the address where they meet.
    """
    if int(environment.get("WORLD_SIZE", 1)) > 1:
        names = {"rank": "RANK", "world_size": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
        return {key: int(environment[name]) for key, name in names.items()} | {"init_method": "env://"}
    # of the step, not of the job: a job of many tasks may run a single process
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        names = {"rank": "SLURM_PROCID", "world_size": "SLURM_STEP_NUM_TASKS", "local_rank": "SLURM_LOCALID"}
        port = PORT + int(environment["SLURM_JOB_ID"]) % PORT
        address = f"tcp://{environment.get('SLURM_LAUNCH_NODE_IPADDR', '127.0.0.1')}:{port}"
        return {key: int(environment[name]) for key, name in names.items()} | {"init_method": address}
    return None


def launch(n_processes: int, command: Sequence[str]) -> int:
    """Run an `astrodl` command in several processes of this machine, by torch's elastic launcher (as `torchrun` does).

    Returns
    -------
    int
        0, or the status of the first process that failed; all others are ended then.

    Raises
    ------
    AstrodlError
        There are fewer CUDA devices, where there are any.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    n_devices = torch.cuda.device_count()
    if 0 < n_devices < n_processes:
        raise AstrodlError(f"--processes {n_processes}: this machine has {n_devices} CUDA devices; ask for as many")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "astrodl", *command)
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    except SignalException as stop:
        return 128 + stop.sigval
    return 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that a launcher started to train together; does nothing for a process on its own.

    Each rank uses the CUDA device of its place on the node (NCCL), or the CPU (Gloo).
    """
    place = launched()
    if place is None:
        yield
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(place["local_rank"] % torch.cuda.device_count())
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=place["init_method"],
        rank=place["rank"],
        world_size=place["world_size"],
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def divisible(n_objects: int) -> int:
    """Leave out as many objects as the ranks could not share evenly."""
    return n_objects - n_objects % size()


def divided(batch_size: int) -> int:
    """Give the number of rows of a batch that each rank has.

    Raises
    ------
    AstrodlError
        The batch cannot be divided evenly.
    """
    if batch_size % size():
        raise AstrodlError(
            f"train.batch_size {batch_size} cannot be divided among {size()} processes; "
            f"give a multiple of {size()}, or another number of processes"
        )
    return batch_size // size()
