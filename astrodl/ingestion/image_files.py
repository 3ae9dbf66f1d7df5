"""Open image files, FITS or arrays, and cache the files that many objects share."""

import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.fits import FitsFile, Hdu, open_fits, read_bytes, zero_point
from astrodl.ingestion.arrays import ArrayEntry, ArrayFile

__all__ = ["ImageFile", "ImageFileCache", "open_image_file", "path_exists"]

_ARRAY_SUFFIXES = (".h5", ".hdf5", ".hdf", ".npz")


@dataclass
class ImageFile:
    """An open FITS file or file of arrays.

    Attributes
    ----------
    file
        The open file.
    n_bytes
        Its size in memory.
    checksum
        SHA-256 of its bytes; empty for arrays, which are not read whole.
    """

    file: FitsFile | ArrayFile
    n_bytes: int
    checksum: bytes

    @property
    def images(self) -> list[str]:
        """Names of the images."""
        return self.file.images

    def hdu(self, extension: str | int | None, n_axes: int) -> Hdu | None:
        """Return an extension, by default the first image with `n_axes` axes; None in a file of arrays."""
        if isinstance(self.file, ArrayFile):
            return None
        return self._find_hdu(self.file, extension, n_axes)

    def find(self, extension: str | int | None, n_axes: int) -> Hdu | ArrayEntry:
        """Find an image; see `FitsFile.find` and `ArrayFile.find`."""
        if isinstance(self.file, ArrayFile):
            return self.file.find(extension)
        return self._find_hdu(self.file, extension, n_axes)

    def pixels(
        self,
        extension: str | int | None,
        n_axes: int,
        index: int | None = None,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Read an image; in a file of arrays the image of object `index`.

        Raises
        ------
        UnreadableError
            If the image is missing or damaged.
        """
        if isinstance(self.file, ArrayFile):
            return self.file.read(self.file.find(extension), () if index is None else (index,), dtype)
        return self.file.pixels(self._find_hdu(self.file, extension, n_axes), dtype=dtype)

    def values(self, extension: str | int | None, n_axes: int, index: int | None = None) -> NDArray[Any]:
        """Read a mask with all of its bits, because large integers do not fit in float32; otherwise as `pixels`."""
        if isinstance(self.file, ArrayFile):
            return self.file.values(self.file.find(extension), () if index is None else (index,))
        return self.file.values(self._find_hdu(self.file, extension, n_axes))

    def zero_point(self, extension: str | int | None, n_axes: int) -> float | None:
        """Return the AB zero point in the header of an image, or None."""
        if isinstance(self.file, ArrayFile):
            return None
        return zero_point(self._find_hdu(self.file, extension, n_axes), self.file.primary)

    @staticmethod
    def _find_hdu(file: FitsFile, extension: str | int | None, n_axes: int) -> Hdu:
        return file.first_image(n_axes) if extension is None else file.find(extension)


def open_image_file(path: Path) -> ImageFile:
    """Open an image file.

    Raises
    ------
    UnreadableError
        If the file is missing, damaged, or not FITS, HDF5 or NPZ.
    """
    if path.suffix.lower() in _ARRAY_SUFFIXES and path.is_file():
        return ImageFile(ArrayFile(path), 0, b"")
    data = read_bytes(path)
    return ImageFile(open_fits(data), len(data), hashlib.sha256(data).digest())


@dataclass
class ImageFileCache:
    """Open files that many objects share; the least recently used are closed when they take too much memory.

    Parameters
    ----------
    capacity
        Memory for the open files, in bytes.
    """

    capacity: int = 256 << 20
    _open: "OrderedDict[str, ImageFile]" = field(default_factory=OrderedDict)

    def get(self, path: str) -> ImageFile:
        """Return an open file; open it first if it is not in the cache."""
        if path not in self._open:
            self._open[path] = open_image_file(Path(path))
            while len(self._open) > 1 and sum(file.n_bytes for file in self._open.values()) > self.capacity:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def path_exists(root: str, name: str) -> bool:
    """Return whether a path exists; also true for a dangling link, which is an error and not a missing file."""
    return os.path.lexists(os.path.join(root, name))
