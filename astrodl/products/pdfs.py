"""Redshift distributions in the HDF5 layout that `qp.read` opens (parameterisation `hist`).

Our p(z) are piecewise constant, which is what qp calls a histogram, so nothing is lost or interpolated:

    /meta/pdf_name (1,) b"hist"     /meta/pdf_version (1,) 0     /meta/bins (1, B + 1) edges
    /data/pdfs (N, B) densities     /ancil/object_id (N,) fixed-width ASCII
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.atomic import replacing
from astrodl.errors import DataError, StoreError

# Rounding of a float32 softmax over a few hundred bins stays far below this; forgotten bin widths far above.
NORMALISATION_TOLERANCE = 1e-3


def write_pdfs(path: str | os.PathLike[str], object_id: ArrayLike, edges: ArrayLike, pdf: ArrayLike) -> None:
    """Write redshift distributions; the file appears complete or not at all, and equal input gives equal bytes.

    Parameters
    ----------
    path
        File to write; qp knows the format by the ending `.hdf5`.
    object_id
        Identifiers, (N,).
    edges
        Bin edges in redshift, (B + 1,).
    pdf
        Densities per unit redshift, (N, B), every row integrating to one; stored as float32.

    Raises
    ------
    ValueError
        Wrong shapes, edges that do not increase, or a row that is NaN, negative or not normalised.
    DataError
        Identifiers that are not ASCII.
    StoreError
        The file cannot be written.
    """
    target = Path(path)
    names, density = _ascii(target, object_id), np.asarray(pdf, dtype="<f4")
    problem = _problem(names, np.asarray(edges, np.float64), density)
    if problem:
        raise ValueError(f"{target}: {problem}")
    width = max(1, int(np.char.str_len(names).max(initial=1)))
    with writing_pdfs(target, len(names), edges, width=width) as file:
        file.write(names, density)


@contextmanager
def writing_pdfs(path: str | os.PathLike[str], n_objects: int, edges: ArrayLike, *, width: int) -> "Iterator[PdfFile]":
    """Write redshift distributions block by block, in memory for one block; the bytes do not depend on the blocks.

    Parameters
    ----------
    path
        File to write; it appears when the context ends without error.
    n_objects
        Number of objects in all.
    edges
        Bin edges in redshift, (B + 1,).
    width
        Number of characters of the longest identifier.

    Yields
    ------
    PdfFile
        Its `write` takes the blocks, from the first object to the last.

    Raises
    ------
    ValueError, DataError, StoreError
        As in `write_pdfs`.
    """
    target, bounds = Path(path), np.asarray(edges, dtype="<f8")
    problem = _problem(np.empty(0, "S1"), bounds, np.empty((0, max(bounds.size - 1, 0)), "<f4"))
    if problem:
        raise ValueError(f"{target}: {problem}")
    try:
        # The format of HDF5 1.10 is fixed, so that other versions of the library write the same bytes.
        with replacing(target) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            meta = {"pdf_name": np.array([b"hist"]), "pdf_version": np.array([0]), "bins": bounds[None, :]}
            for name, values in meta.items():  # not by `file[...] = values`, which notes the time
                file.create_dataset(f"meta/{name}", data=values, track_times=False)
            pdfs = PdfFile(target, file, n_objects, bounds, width)
            yield pdfs
            pdfs.finish()
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{target}: cannot be written ({reason}); give a writable place with room") from None


class PdfFile:
    """A file of redshift distributions that is being written; made by `writing_pdfs`."""

    def __init__(self, path: Path, file: h5py.File, n_objects: int, edges: NDArray[np.float64], width: int) -> None:
        self.path, self.n_objects, self.n_written = path, n_objects, 0
        self._file, self._edges, self._kind = file, edges, f"S{width}"

    def write(self, object_id: ArrayLike, pdf: ArrayLike) -> None:
        """Write the next objects: identifiers (n,), densities per unit redshift (n, B)."""
        names, density = _ascii(self.path, object_id), np.asarray(pdf, dtype="<f4")
        problem = _problem(names, self._edges, density)
        if problem:
            raise ValueError(f"{self.path}: {problem}")
        self._put("data/pdfs", density, "<f4")
        self._put("ancil/object_id", names, self._kind)
        self.n_written += len(names)

    def _put(self, name: str, values: NDArray[Any], kind: str) -> None:
        if name not in self._file:
            self._file.create_dataset(name, (self.n_objects, *values.shape[1:]), kind, track_times=False)
        self._file[name][self.n_written : self.n_written + len(values)] = values

    def finish(self) -> None:
        """Make sure that all objects were written."""
        assert self.n_written == self.n_objects, f"{self.n_written} of {self.n_objects} objects written"
        assert "data" in self._file, "no block was written"


def read_pdfs(path: str | os.PathLike[str]) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float32]]:
    """Read the redshift distributions that `write_pdfs` wrote.

    Returns
    -------
    object_id, edges, pdf
        Identifiers (N,), bin edges (B + 1,), densities (N, B).

    Raises
    ------
    StoreError
        The file is missing, damaged, or of another kind.
    """
    source = Path(path)
    if not source.exists():
        raise StoreError(f"{source}: no such file; make it with `astrodl catalog`")
    try:
        with h5py.File(source, "r", locking=False) as file:
            name = bytes(file["meta/pdf_name"][0])
            bounds, density = _read(file, "meta/bins").reshape(-1), _read(file, "data/pdfs")
            names = _read(file, "ancil/object_id").astype(str)
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = str(error).strip("'\"")
        raise StoreError(f"{source}: not a file of p(z), or damaged ({reason}); run `astrodl catalog` again") from None
    if name != b"hist":
        raise StoreError(f"{source}: holds p(z) as '{name.decode()}', must be 'hist'; convert it with qp")
    problem = _problem(names, bounds, density)
    if problem:
        raise StoreError(f"{source}: {problem}; run `astrodl catalog` again")
    return names, bounds, density


def _read(file: h5py.File, name: str) -> NDArray[Any]:
    return np.asarray(file[name][()])


def _ascii(path: Path, object_id: ArrayLike) -> NDArray[np.bytes_]:
    names = np.asarray(object_id).astype(str)
    try:
        encoded = np.char.encode(names, "ascii")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: object_id '{error.object}' is not ASCII, as FITS and qp need; rename it in the catalogue"
        ) from None
    # A type without width cannot be stored: no objects, or empty names.
    return encoded.astype(f"S{max(1, encoded.dtype.itemsize)}")


def _problem(names: NDArray, edges: NDArray, pdf: NDArray) -> str | None:
    """Tell what is wrong with a set of distributions."""
    if edges.ndim != 1 or edges.size < 3 or not np.all(np.diff(edges) > 0):
        return "edges must be a strictly increasing sequence of at least three redshifts"
    if names.ndim != 1 or pdf.shape != (names.size, edges.size - 1):
        return f"pdf has shape {pdf.shape}, must be ({names.size}, {edges.size - 1}) for these object_id and edges"
    integral = pdf.astype(np.float64) @ np.diff(edges)
    good = (np.abs(integral - 1) < NORMALISATION_TOLERANCE) & (pdf >= 0).all(axis=1)
    if not good.all():
        first = int(np.argmin(good))
        return (
            f"{np.count_nonzero(~good)} of {good.size} pdfs are NaN, negative or not normalised "
            f"(first: row {first}, integral {integral[first]:g}); leave such objects out"
        )
    return None
