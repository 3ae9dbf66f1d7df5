"""Read arrays from HDF5 and NPZ files that nobody vouches for: sizes are checked before memory is taken, no pickle."""

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

from astrodl.fits.file import MAX_BYTES, MissingExtensionError, UnreadableError

Index = tuple[int | slice | EllipsisType, ...]


@dataclass(frozen=True)
class ArrayEntry:
    """One array of a file: its name and axes, slowest first."""

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
        Neither HDF5 nor NPZ, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded: dict[str, NDArray[Any]] = {}
        with open(path, "rb") as file:
            self._zipped = file.read(4) == b"PK\x03\x04"
        self.entries = self._list_npz() if self._zipped else self._list_hdf5()

    @property
    def images(self) -> list[str]:
        """Names of the arrays with at least two axes."""
        return [entry.name for entry in self.entries if len(entry.shape) >= 2]

    def find(self, name: str | int) -> ArrayEntry:
        """Find an array by name, or by place in the list.

        Raises
        ------
        MissingExtensionError
            There is no such array.
        """
        for number, entry in enumerate(self.entries):
            if name in (entry.name, number):
                return entry
        raise MissingExtensionError(name, self.images)

    def read(self, entry: ArrayEntry, index: Index = ()) -> NDArray[np.float32]:
        """Read ``array[index]`` as float32 with NaN where it is not finite.

        Raises
        ------
        UnreadableError
            Beyond the array, too large, or damaged.
        """
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                pixels = np.array(self._read(entry, index), np.float32)
        except IndexError:
            raise UnreadableError(f"array '{entry.name}' {_by(entry.shape)} has no element {_text(index)}") from None
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise UnreadableError(f"array '{entry.name}' cannot be read ({_line(error)})") from None
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels

    def _read(self, entry: ArrayEntry, index: Index) -> NDArray[Any]:
        if not self._zipped:
            with h5py.File(self.path, "r", locking=False) as file:
                dataset = file[entry.name]
                first = index[0] if index else 0
                if isinstance(first, int) and index and first >= dataset.shape[0]:
                    raise IndexError
                wanted = math.prod(dataset.shape[sum(isinstance(part, int) for part in index) :])
                if not any(isinstance(part, slice) for part in index):
                    _bounded(entry.name, wanted * dataset.dtype.itemsize)
                return np.asarray(dataset[index])
        if entry.name not in self._loaded:
            with np.load(self.path, allow_pickle=False) as file:
                self._loaded[entry.name] = file[entry.name]
        return np.asarray(self._loaded[entry.name][index])

    def _list_hdf5(self) -> list[ArrayEntry]:
        found: list[ArrayEntry] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
                found.append(ArrayEntry(name, item.shape))

        try:
            with h5py.File(self.path, "r", locking=False) as file:
                file.visititems(visit)
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreadableError(f"not a readable HDF5 file ({_line(error)})") from None
        return found

    def _list_npz(self) -> list[ArrayEntry]:
        found = []
        try:
            with zipfile.ZipFile(self.path) as archive:
                for member in archive.infolist():
                    if not member.filename.endswith(".npy"):
                        continue
                    name = member.filename.removesuffix(".npy")
                    _bounded(name, member.file_size)
                    with archive.open(member) as file:
                        shape, dtype = _npy_header(io.BytesIO(file.read(4096)))
                    _bounded(name, math.prod(shape) * dtype.itemsize)
                    if dtype.kind in "fiub":
                        found.append(ArrayEntry(name, shape))
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnreadableError(f"not a readable NPZ file ({_line(error)})") from None
        return found


def _npy_header(file: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _bounded(name: str, n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        raise UnreadableError(f"array '{name}' has {n_bytes / 1e9:.3g} GB at once, more than {MAX_BYTES / 1e9:.2g} GB")


def _by(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _text(index: Index) -> str:
    return ", ".join(str(part) for part in index if isinstance(part, int))


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
