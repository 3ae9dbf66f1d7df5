"""Choice of the device, its precision, memory layout and amount of memory."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from astrodl.errors import AstrodlError

__all__ = ["autocast", "choose_device", "choose_memory_format", "memory_bytes", "to_memory_format"]

_CONTROL_GROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory"),
    2: ("memory.max", "memory.current", "inactive_file", ""),
}
"""Version of the control groups -> files of limit and use, entry of `memory.stat`, folder."""


def choose_device(name: str, threads: int | None = None) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`, and set the number of CPU threads if one is given.

    Raises
    ------
    AstrodlError
        The name is `cuda` and there is no CUDA device.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise AstrodlError("device 'cuda' is not available on this machine; accepted: auto, cpu; use --device auto")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the autocast context; for `auto` it is bfloat16 if the device computes in it natively, else float32.

    Parameters
    ----------
    device : torch.device
        Device of the computation.
    precision : str
        `auto`, `float32` or `bfloat16`.
    """
    # a private function of torch, which may be renamed; without it float32 is the safe choice
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    native = device.type == "cuda" or probe()
    enabled = precision == "bfloat16" or (precision == "auto" and native)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def choose_memory_format(network: nn.Module) -> torch.memory_format:
    """Return the memory format in which a network runs fastest.

    Convolutions are fastest with channels last. Group norm on a CPU is the exception: in bfloat16 its kernel takes
    seven times longer than with channels first, which is more than the convolutions gain.
    """
    on_cpu = next(network.parameters()).device.type == "cpu"
    slow = on_cpu and any(isinstance(module, nn.GroupNorm) for module in network.modules())
    return torch.contiguous_format if slow else torch.channels_last


def to_memory_format(batch: Mapping[str, Tensor], memory_format: torch.memory_format) -> dict[str, Tensor]:
    """Convert the images of a batch, (B, C, H, W), to a memory format."""
    return {
        name: tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor
        for name, tensor in batch.items()
    }


def memory_bytes(device: torch.device) -> int:
    """Return the free memory: of a CUDA device, or of the machine and of the control groups of the process.

    What other jobs hold on the same machine is not free, nor is what this process holds already.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return max(0, min([_free_memory(), *_control_group_limits()]))


def _free_memory(root: Path = Path("/")) -> int:
    """Return the memory that the machine can give without swapping; all of it where the system does not say."""
    available = _read_number(root / "proc/meminfo", "MemAvailable:")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if available is None else 1024 * available


def _control_group_limits(root: Path = Path("/")) -> Iterator[int]:
    """Yield what the memory limits of the process's Linux control groups, and of all groups above them, leave.

    Batch systems such as Slurm limit the memory of a job with them. Files in the cache, which the kernel drops when
    memory is needed, do not count.
    """
    listing = root / "proc/self/cgroup"
    for line in listing.read_text().splitlines() if listing.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        limit, usage, cached, top = _CONTROL_GROUP_FILES[1 if controllers else 2]
        folder = root / "sys/fs/cgroup" / top
        for parent in (folder / group.lstrip("/"), *(folder / group.lstrip("/")).parents):
            if (total := _read_number(parent / limit)) is not None:
                used = (_read_number(parent / usage) or 0) - (_read_number(parent / "memory.stat", cached) or 0)
                yield max(0, total - max(0, used))
            if parent == folder:
                break


def _read_number(path: Path, key: str = "") -> int | None:
    """Return the number in a file of the kernel, or the one after `key`; None where there is none."""
    lines = path.read_text().splitlines() if path.is_file() else []
    words = next((line.removeprefix(key).split() for line in lines if line.startswith(key)), [])
    return int(words[0]) if words and words[0].isdigit() else None
