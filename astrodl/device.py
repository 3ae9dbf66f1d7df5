"""Choice of the device, its precision, memory layout and amount of memory."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from astrodl.errors import AstrodlError

__all__ = ["autocast", "choose_device", "choose_memory_format", "memory_bytes", "to_memory_format"]


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
    """Return the memory available to the process: the free memory of a CUDA device, or that of its control group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_control_group_limits()])


def _control_group_limits(root: Path = Path("/")) -> Iterator[int]:
    """Yield the memory limits of the process's Linux control groups (version 1 or 2) and of all groups above them.

    Batch systems such as Slurm limit the memory of a job with them.
    """
    listing = root / "proc/self/cgroup"
    for line in listing.read_text().splitlines() if listing.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        name, top = ("memory.limit_in_bytes", "memory") if controllers else ("memory.max", "")
        folder = root / "sys/fs/cgroup" / top
        for parent in (folder / group.lstrip("/"), *(folder / group.lstrip("/")).parents):
            path = parent / name
            text = path.read_text().strip() if path.is_file() else "max"
            if text.isdigit():
                yield int(text)
            if parent == folder:
                break
