"""Failures of the system (disk, permissions, memory) in one line, like the errors that a user can fix."""

import errno
import os
import sys
from collections.abc import Iterator

from astrodl.atomic import error_number, error_reason, final_name
from astrodl.errors import AstrodlError

__all__ = ["describe"]

_FULL = "free some space or choose another disk, then give the same command again"
_DENIED = "choose a place that you may use, or change its permissions"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit of the file size (`ulimit -f`), then give the same command again",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.ENOENT: "give an existing path",
    errno.EISDIR: "give the path of a file",
    errno.EOPNOTSUPP: "a device, a pipe or a socket is not replaced by a file; give the path of a file",
    errno.ENOTDIR: "a part of this path is a file; give another path",
    errno.EEXIST: "give another path, or remove what is there",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), or use fewer --workers",
    errno.ENOLCK: "choose a folder on a file system with locks",
}
_OTHER = "check the file and its disk, then give the same command again"
_MEMORY = "use fewer processes, a smaller train.batch_size, or a machine with more memory"
_WRAPPED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of writing that libraries raise again as an error of their own."""


def describe(error: BaseException) -> str | None:
    """Return the line for an error that the user can fix, or None for any other error, which is a bug."""
    if isinstance(error, AstrodlError):
        return str(error)
    if isinstance(error, MemoryError) or _is_out_of_device_memory(error):
        detail = _one_line(str(error).split(". ")[0])
        return f"out of memory{f' ({detail})' if detail else ''}; {_MEMORY}"
    if isinstance(error, RecursionError):
        return f"an input is nested too deeply ({_one_line(str(error))}); simplify the configuration or the file"
    if isinstance(error, OSError):
        return _describe_system(error)
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _WRAPPED:
            return _describe_system(cause)
    return None


def _describe_system(error: OSError) -> str:
    number = error_number(error)
    reason = error_reason(error)
    name = error.filename2 if error.filename2 is not None else error.filename
    place = "" if name is None or isinstance(name, int) else f"{final_name(os.fsdecode(name))}: "
    return f"{place}{reason[:1].lower()}{reason[1:]}; {_ADVICE.get(number or 0, _OTHER)}"


def _is_out_of_device_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors from which an error arose."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _one_line(text: str) -> str:
    return " ".join(text.split())
