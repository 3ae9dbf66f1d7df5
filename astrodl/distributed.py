"""Training one network in several processes (ranks) with torch.distributed; every function also works in one process.

Rank r of N holds the rows r, r + N, r + 2 N, ... of every batch. Random numbers are drawn for the whole batch, from a
generator in the same state on all ranks, and each rank keeps its rows. Sums over a batch are summed over the ranks.
N ranks therefore compute what one process would, within rounding, and their number may change when a run is resumed.
"""

import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch import distributed as dist

from astrodl.errors import AstrodlError
from astrodl.workers import stop_with_launcher

__all__ = [
    "all_reduce",
    "all_reduce_",
    "broadcast",
    "drop_remainder",
    "gather_rows",
    "is_main",
    "launch",
    "local_batch_size",
    "local_rows",
    "process_group",
    "rand_like",
    "randn_like",
    "rank",
    "read_launcher",
    "single_process",
    "world_size",
]

_FIRST_PORT = 20000
"""Ranks of a Slurm job meet at one of the ports from this one to twice its number, chosen by the job's id."""

_LAUNCHER = "ASTRODL_LAUNCHER"
"""Environment variable with the number of the process that `launch` runs in."""

_single_process = False


class Launcher(TypedDict):
    """Place of a process among those of a launcher, as `torch.distributed.init_process_group` needs it."""

    rank: int
    world_size: int
    local_rank: int
    init_method: str


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if not _single_process and dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Return whether this process writes files and messages: rank 0, or the only process."""
    return rank() == 0


def local_rows(rows: Tensor) -> Tensor:
    """Return this rank's rows of a tensor that holds the whole batch."""
    return rows[rank() :: world_size()]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the whole batch, of which each rank has its `rows`; gradients flow back to the ranks that have them."""
    if world_size() == 1:
        return rows
    scattered = rows.new_zeros(len(rows) * world_size(), *rows.shape[1:])
    scattered[rank() :: world_size()] = rows
    return all_reduce(scattered)


def randn_like(rows: Tensor) -> Tensor:
    """Draw float32 normal numbers in the shape of this rank's `rows`, (B / N, ...)."""
    # not torch.randn_like, which is ten times slower on a channels-last tensor
    return local_rows(torch.randn(len(rows) * world_size(), *rows.shape[1:], device=rows.device))


def rand_like(rows: Tensor) -> Tensor:
    """Draw float32 numbers uniform between 0 and 1 in the shape of this rank's `rows`, (B / N, ...)."""
    return local_rows(torch.rand(len(rows) * world_size(), *rows.shape[1:], device=rows.device))


def all_reduce(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over the ranks; gradients are summed over the ranks as well."""
    return _AllReduce.apply(tensor) if world_size() > 1 else tensor


class _AllReduce(torch.autograd.Function):
    """Sum over the ranks; every rank's loss depends on every rank's tensor, so the backward pass is a sum too."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_reduce_(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_reduce_(gradients[0].clone())


def all_reduce_(tensor: Tensor) -> Tensor:
    """Sum a tensor over the ranks in place, without gradients."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def broadcast(value: bool) -> bool:
    """Return the value of rank 0 on all ranks, which wait for it."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


@contextmanager
def single_process() -> Iterator[None]:
    """Make the functions of this module act as if this process were the only one."""
    global _single_process
    before, _single_process = _single_process, True
    try:
        yield
    finally:
        _single_process = before


def read_launcher(environment: Mapping[str, str] = os.environ) -> Launcher | None:
    """Read rank and number of processes from the variables that torchrun, or srun with several tasks, sets.

    Returns
    -------
    dict or None
        `rank`, `world_size`, `local_rank`, and `init_method`, the address where the ranks meet; None for a process
        that was not started as one of several.
    """
    if int(environment.get("WORLD_SIZE", 1)) > 1:
        names, address = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), "env://"
    # number of tasks of the step, not of the job: a job of many tasks may run a single process
    elif int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        port = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) % _FIRST_PORT
        address = f"tcp://{environment.get('SLURM_LAUNCH_NODE_IPADDR', '127.0.0.1')}:{port}"
    else:
        return None
    number, count, local = (int(environment[name]) for name in names)
    return {"rank": number, "world_size": count, "local_rank": local, "init_method": address}


def launch(n_processes: int, command: Sequence[str]) -> int:
    """Run an `astrodl` command in several processes on this machine, with torch's elastic launcher (like `torchrun`).

    Returns
    -------
    int
        0, or the exit status of the first process that failed; the launcher then stops the others.

    Raises
    ------
    AstrodlError
        The machine has CUDA devices, but fewer than processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes report their own errors
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
    os.environ[_LAUNCHER] = str(os.getpid())
    try:
        elastic_launch(config, sys.executable)("-m", "astrodl", *command)
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    except SignalException as stop:
        return 128 + stop.sigval
    return 0


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the process group of a launcher; does nothing for a process that was not started as one of several.

    A rank uses the CUDA device of its local rank (NCCL), or the CPU (Gloo).
    """
    launcher = read_launcher()
    if launcher is None:
        yield
        return
    if _LAUNCHER in os.environ:
        stop_with_launcher(int(os.environ[_LAUNCHER]))
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(launcher["local_rank"] % torch.cuda.device_count())
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=launcher["init_method"],
        rank=launcher["rank"],
        world_size=launcher["world_size"],
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def drop_remainder(n_objects: int) -> int:
    """Return the largest number of objects, up to `n_objects`, that the ranks can share evenly."""
    return n_objects - n_objects % world_size()


def local_batch_size(batch_size: int) -> int:
    """Return the number of rows of a batch on each rank.

    Raises
    ------
    AstrodlError
        The ranks cannot share the batch evenly.
    """
    if batch_size % world_size():
        raise AstrodlError(
            f"train.batch_size {batch_size} cannot be divided among {world_size()} processes; "
            f"give a multiple of {world_size()}, or another number of processes"
        )
    return batch_size // world_size()
