"""What depends on the device: which one, in which precision and memory layout, and how much memory there is."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from astrodl.errors import AstrodlError


def choose_device(name: str, threads: int | None = None) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`, and set the number of CPU threads where one is given.

    Raises
    ------
    AstrodlError
        CUDA is asked for and there is none.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise AstrodlError("device 'cuda' is not available on this machine; accepted: auto, cpu; use --device auto")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Give the autocast context: bfloat16 where asked for, or by default where the device computes in it natively."""
    # a private name of torch, which may come and go: without it float32 is the safe choice
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    native = device.type == "cuda" or probe()
    enabled = precision == "bfloat16" or (precision == "auto" and native)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def layout(network: nn.Module) -> torch.memory_format:
    """Give the order of the pixels in memory in which a network runs fastest.

    Convolutions are fastest with channels last. Not so group norm on a CPU: in bfloat16 its kernel takes seven times
    longer there than with channels first, more than the convolutions gain.
    """
    on_cpu = next(network.parameters()).device.type == "cpu"
    slow = on_cpu and any(isinstance(module, nn.GroupNorm) for module in network.modules())
    return torch.contiguous_format if slow else torch.channels_last


def arranged(batch: Mapping[str, Tensor], order: torch.memory_format) -> dict[str, Tensor]:
    """Lay the images of a batch out in an order of `layout`."""
    return {
        name: tensor.contiguous(memory_format=order) if tensor.ndim == 4 else tensor for name, tensor in batch.items()
    }


def memory_bytes(device: torch.device) -> int:
    """Give the memory that the process may use: free on a CUDA device, else of the machine and its control groups."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_group_limits()])


def _group_limits(root: Path = Path("/")) -> Iterator[int]:
    """Give the memory limits of the process's Linux control groups, version 1 or 2, and of all groups above them.

    A batch system such as Slurm holds its jobs to what they asked for by these.
    """
    listed = root / "proc/self/cgroup"
    for line in listed.read_text().splitlines() if listed.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        name, top = ("memory.limit_in_bytes", "memory") if controllers else ("memory.max", "")
        folder = root / "sys/fs/cgroup" / top
        for above in (folder / group.lstrip("/"), *(folder / group.lstrip("/")).parents):
            limit = above / name
            text = limit.read_text().strip() if limit.is_file() else "max"
            if text.isdigit():
                yield int(text)
            if above == folder:
                break
