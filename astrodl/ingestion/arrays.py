"""Read arrays from untrusted HDF5 and NPZ files: sizes are checked before memory is allocated; pickles are refused."""

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from astrodl.fits import MAX_BYTES, MissingExtensionError, UnreadableError

__all__ = ["ArrayEntry", "ArrayFile"]

_Index = tuple[int | slice | EllipsisType, ...]


@dataclass(frozen=True)
class ArrayEntry:
    """Name and shape of an array in a file, slowest axis first."""

    name: str
    shape: tuple[int, ...]


class ArrayFile:
    """The numeric arrays of an HDF5 or NPZ file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UnreadableError
        If the file is neither HDF5 nor NPZ, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded: dict[str, NDArray[Any]] = {}
        with open(path, "rb") as file:
            self._is_npz = file.read(4) == b"PK\x03\x04"
        self.entries = self._list_npz() if self._is_npz else self._list_hdf5()

    @property
    def images(self) -> list[str]:
        """Names of the arrays with at least two axes."""
        return [entry.name for entry in self.entries if len(entry.shape) >= 2]

    def find(self, name: str | int) -> ArrayEntry:
        """Find an array by name, or by its index in `entries`.

        Raises
        ------
        MissingExtensionError
            If there is no such array.
        """
        for number, entry in enumerate(self.entries):
            if name in (entry.name, number):
                return entry
        raise MissingExtensionError(name, self.images)

    def read(self, entry: ArrayEntry, index: _Index = ()) -> NDArray[np.float32]:
        """Read ``array[index]`` as float32, with NaN for values that are not finite.

        Raises
        ------
        UnreadableError
            If the index lies beyond the array, or the data are too large or damaged.
        """
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                pixels = np.array(self._read(entry, index), np.float32)
        except IndexError:
            raise UnreadableError(f"array '{entry.name}' {entry.shape} has no element {_format_index(index)}") from None
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise UnreadableError(f"array '{entry.name}' cannot be read ({_first_line(error)})") from None
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels

    def _read(self, entry: ArrayEntry, index: _Index) -> NDArray[Any]:
        if not self._is_npz:
            with h5py.File(self.path, "r", locking=False) as file:
                dataset = file[entry.name]
                first = index[0] if index else 0
                if isinstance(first, int) and index and first >= dataset.shape[0]:
                    raise IndexError
                n_elements = math.prod(dataset.shape[sum(isinstance(part, int) for part in index) :])
                if not any(isinstance(part, slice) for part in index):
                    _check_size(entry.name, n_elements * dataset.dtype.itemsize)
                return np.asarray(dataset[index])
        if entry.name not in self._loaded:
            with np.load(self.path, allow_pickle=False) as file:
                self._loaded[entry.name] = file[entry.name]
        return np.asarray(self._loaded[entry.name][index])

    def _list_hdf5(self) -> list[ArrayEntry]:
        entries: list[ArrayEntry] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
                entries.append(ArrayEntry(name, item.shape))

        try:
            with h5py.File(self.path, "r", locking=False) as file:
                file.visititems(visit)
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreadableError(f"not a readable HDF5 file ({_first_line(error)})") from None
        return entries

    def _list_npz(self) -> list[ArrayEntry]:
        entries = []
        try:
            with zipfile.ZipFile(self.path) as archive:
                for member in archive.infolist():
                    if not member.filename.endswith(".npy"):
                        continue
                    name = member.filename.removesuffix(".npy")
                    _check_size(name, member.file_size)
                    with archive.open(member) as file:
                        shape, dtype = _npy_header(io.BytesIO(file.read(4096)))
                    _check_size(name, math.prod(shape) * dtype.itemsize)
                    if dtype.kind in "fiub":
                        entries.append(ArrayEntry(name, shape))
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnreadableError(f"not a readable NPZ file ({_first_line(error)})") from None
        return entries


def _npy_header(file: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _check_size(name: str, n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        raise UnreadableError(f"array '{name}' has {n_bytes / 1e9:.3g} GB at once, more than {MAX_BYTES / 1e9:.2g} GB")


def _format_index(index: _Index) -> str:
    return ", ".join(str(part) for part in index if isinstance(part, int))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
