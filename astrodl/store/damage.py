"""Say in one line why a store, or a part of it, cannot be read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from astrodl import hdf5
from astrodl.errors import StoreError
from astrodl.store.layout import FORMAT, SchemaError

__all__ = ["explain_damage", "first_line", "may_be_replaced", "open_hdf5", "unknown_name"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises for damaged files; RuntimeError includes RecursionError, ValueError includes UnicodeError."""


def open_hdf5(path: Path) -> h5py.File:
    """Open the HDF5 file of a store for reading.

    Raises
    ------
    StoreError
        If there is no such file, or it is not an HDF5 file.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such store; make it with `astrodl ingest`")
    if not path.is_file():
        raise StoreError(f"{path}: cannot be read (not a file); give a file made by `astrodl ingest`")
    try:
        with open(path, "rb"):
            return hdf5.open_hdf5(path)
    except PermissionError:
        raise StoreError(f"{path}: cannot be read (not permitted); correct its permissions") from None
    except _DAMAGED as error:
        # The message of h5py has many lines, of which one word is useful.
        reason = "truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged"
        raise StoreError(f"{path}: cannot be read ({reason}); ingest again") from None


def may_be_replaced(path: Path) -> bool:
    """Return whether a file is a store, damaged or not, and no catalogue or image that a user gave by mistake."""
    if not path.is_file():
        return False
    with open(path, "rb") as start:
        if start.read(len(_SIGNATURE)) != _SIGNATURE:
            return path.stat().st_size == 0
    try:
        with hdf5.guarded_hdf5(path) as file:
            return bool(file.attrs.get("format") == FORMAT)
    except _DAMAGED:
        return True


@contextmanager
def explain_damage(path: Path, what: str) -> Iterator[None]:
    """Turn errors that arise from damaged data into a `StoreError` of one line.

    Parameters
    ----------
    path
        The store.
    what
        What is read, for the message.
    """
    try:
        yield
    except SchemaError as error:
        problem = str(error)
    except _DAMAGED as error:
        problem = f"{what} cannot be read ({first_line(error)})"
    else:
        return
    raise StoreError(f"{path}: {problem}{'' if ';' in problem else '; ingest again'}")


def first_line(error: Exception) -> str:
    """Return the first line of a message, shortened."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def unknown_name(path: Path, noun: str, name: str, known: Iterable[str], key: str) -> str:
    """Return the message for a name that is not in the store."""
    have = ", ".join(known) or "none"
    return f"{path}: {noun} '{name}' is not in the store (has {have}); correct the name, or set {key} and ingest again"
