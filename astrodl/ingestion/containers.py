"""Open image files by content, FITS or arrays alike, and keep those open that many objects share."""

import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.fits.file import FitsFile, Hdu, open_fits, read_bytes, zero_point
from astrodl.ingestion.arrays import ArrayFile

_ARRAY_SUFFIXES = (".h5", ".hdf5", ".hdf", ".npz")


@dataclass
class Container:
    """An opened FITS or array file.

    Attributes
    ----------
    file
        What was opened.
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
        """Names of what holds an image."""
        return self.file.images

    def hdu(self, extension: str | int | None, n_axes: int) -> Hdu | None:
        """Find an extension, or the first image with `n_axes` axes; None in a file of arrays."""
        if isinstance(self.file, ArrayFile):
            return None
        return self.file.first_image(n_axes) if extension is None else self.file.find(extension)

    def pixels(self, extension: str | int | None, n_axes: int, index: int | None = None) -> NDArray[np.float32]:
        """Read an image, in a file of arrays that of object `index`.

        Raises
        ------
        UnreadableError
            It is not there, or damaged.
        """
        if isinstance(self.file, ArrayFile):
            if extension is None:
                extension = self.file.images[0] if self.file.images else ""
            return self.file.read(self.file.find(extension), () if index is None else (index,))
        hdu = self.hdu(extension, n_axes)
        assert hdu is not None
        return self.file.pixels(hdu)

    def integers(self, extension: str | int | None, n_axes: int, index: int | None = None) -> NDArray[Any]:
        """Read a mask with all of its bits: large integers do not fit into float32."""
        if isinstance(self.file, ArrayFile):
            return self.pixels(extension, n_axes, index)
        hdu = self.hdu(extension, n_axes)
        assert hdu is not None
        return self.file.values(hdu)

    def zero_point(self, extension: str | int | None, n_axes: int) -> float | None:
        """Give the zero point of an image's header."""
        hdu = self.hdu(extension, n_axes)
        if hdu is None or isinstance(self.file, ArrayFile):
            return None
        return zero_point(hdu, self.file.primary)


def open_container(path: Path) -> Container:
    """Open a file by its content.

    Raises
    ------
    UnreadableError
        It is missing, damaged, or neither FITS, HDF5 nor NPZ.
    """
    if path.suffix.lower() in _ARRAY_SUFFIXES and path.is_file():
        return Container(ArrayFile(path), 0, b"")
    data = read_bytes(path)
    return Container(open_fits(data), len(data), hashlib.sha256(data).digest())


@dataclass
class Shelf:
    """Containers that many objects share, the least recently used put back when they take too much memory.

    Parameters
    ----------
    capacity
        Bytes that may stay in memory.
    """

    capacity: int = 256 << 20
    _open: "OrderedDict[str, Container]" = field(default_factory=OrderedDict)

    def get(self, path: str) -> Container:
        """Open a file, or give it if it is open."""
        if path not in self._open:
            self._open[path] = open_container(Path(path))
            while len(self._open) > 1 and sum(one.n_bytes for one in self._open.values()) > self.capacity:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def exists(root: str, name: str) -> bool:
    """Tell whether a file (or a dangling link, which is a mistake to be told) is there."""
    return os.path.lexists(os.path.join(root, name))
