"""Read arrays from untrusted HDF5 and NPZ files.

Sizes are checked before memory is allocated. Pickles are refused, and so are HDF5 arrays whose data lie in other files:
external storage, virtual datasets, links.
"""

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
from astrodl.hdf5 import guarded_hdf5

__all__ = ["ArrayEntry", "ArrayFile"]

_Index = tuple[int | slice | EllipsisType, ...]
_IMAGE_NAMES = ("image", "images", "sci", "science", "data", "flux", "cutout", "cutouts")
_MAX_TEXTS = 100


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
        self._elsewhere: dict[str, str] = {}
        with open(path, "rb") as file:
            self._is_npz = file.read(4) == b"PK\x03\x04"
        self.entries = self._list_npz() if self._is_npz else self._list_hdf5()

    @property
    def images(self) -> list[str]:
        """Names of the arrays with at least two axes."""
        return [entry.name for entry in self.entries if len(entry.shape) >= 2]

    def find(self, name: str | int | None) -> ArrayEntry:
        """Find an array by name, or by its index in `entries`.

        None stands for the only array with most axes, or else the only one of them with a name like `images`.

        Raises
        ------
        MissingExtensionError
            If there is no such array.
        UnreadableError
            If its data lie in other files, or several arrays could be the images.
        """
        if name is None:
            return self._find_main()
        for number, entry in enumerate(self.entries):
            if name in (entry.name, number):
                return entry
        for prefix, kind in self._elsewhere.items():
            if f"{name}/".startswith(f"{prefix}/"):
                raise UnreadableError(f"array '{name}' is {kind}, whose data are elsewhere; copy them into the file")
        raise MissingExtensionError(name, self.images)

    def _find_main(self) -> ArrayEntry:
        n_axes = max((len(entry.shape) for entry in self.entries), default=0)
        entries = [entry for entry in self.entries if len(entry.shape) == max(n_axes, 2)]
        named = [entry for entry in entries if entry.name.rpartition("/")[2].casefold() in _IMAGE_NAMES]
        chosen = entries if len(entries) == 1 else named
        if len(chosen) == 1:
            return chosen[0]
        if not entries:
            return self.find(next(iter(self._elsewhere), ""))
        names = ", ".join(entry.name for entry in entries)
        raise UnreadableError(f"the file has several arrays ({names}); name one as `extension`")

    def read(self, entry: ArrayEntry, index: _Index = (), dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """Read ``array[index]`` as float32 or another type, with NaN for values that are not finite.

        Raises
        ------
        UnreadableError
            If the index lies beyond the array, or the data are too large or damaged.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            pixels = np.array(self.values(entry, index), dtype)
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels

    def texts(self, *names: str) -> tuple[str, ...]:
        """Return the first short list of texts with one of these names, array or attribute; empty if there is none.

        Raises
        ------
        UnreadableError
            If the file is damaged.
        """
        try:
            return self._find_texts(names)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise UnreadableError(f"its texts cannot be read ({_first_line(error)})") from None

    def _find_texts(self, names: tuple[str, ...]) -> tuple[str, ...]:
        with guarded_hdf5(self.path) if not self._is_npz else np.load(self.path) as file:
            for name in names:
                values: Any = ()
                if self._is_npz and name in file.files:
                    values = _load_texts(file, name)
                elif not self._is_npz and name in file.attrs:
                    values = file.attrs[name]
                elif not self._is_npz and isinstance(file.get(name, getlink=True), h5py.HardLink):
                    item = file[name]
                    values = item[()] if _is_short_list(item) else ()
                if np.ndim(values) == 1 and 0 < np.size(values) <= _MAX_TEXTS:
                    return tuple(map(_to_text, values))
        return ()

    def values(self, entry: ArrayEntry, index: _Index = ()) -> NDArray[Any]:
        """Read ``array[index]`` without conversion, so that the integers of a mask keep all bits; see `read`."""
        try:
            return self._read(entry, index)
        except IndexError:
            raise UnreadableError(f"array '{entry.name}' {entry.shape} has no element {_format_index(index)}") from None
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise UnreadableError(f"array '{entry.name}' cannot be read ({_first_line(error)})") from None

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
            if not isinstance(item, h5py.Dataset):
                return
            if item.is_virtual or item.external:
                self._elsewhere[name] = "a virtual dataset" if item.is_virtual else "an array in external storage"
            elif item.dtype.kind in "fiub" and item.shape is not None:
                entries.append(ArrayEntry(name, item.shape))

        def visit_link(name: str, link: Any) -> None:
            if not isinstance(link, h5py.HardLink):
                self._elsewhere[name] = "a link"

        try:
            with h5py.File(self.path, "r", locking=False) as file:
                file.visititems(visit)
                file.visititems_links(visit_link)
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


def _is_short_list(item: Any) -> bool:
    """Return whether an HDF5 object is a list of a few values, kept in the file itself."""
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
        return False
    return item.shape is not None and len(item.shape) == 1 and item.size <= _MAX_TEXTS


def _to_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _load_texts(file: Any, name: str) -> Any:
    try:
        return file[name]
    except ValueError:  # an array of objects, which needs pickle
        return ()


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
