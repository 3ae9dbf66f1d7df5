"""Redshift distributions in the HDF5 layout that `qp.read` opens (parameterisation `hist`).

The p(z) are piecewise constant, which is a histogram in qp, so that the file is exact:

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

from astrodl.atomic import error_reason
from astrodl.errors import StoreError
from astrodl.hdf5 import guarded_hdf5, replacing_hdf5
from astrodl.metrics.pdf import check_pdf
from astrodl.products.columns import encode_text, text_width

__all__ = ["PdfWriter", "read_pdfs", "stream_pdfs", "write_pdfs"]


def write_pdfs(path: str | os.PathLike[str], object_id: ArrayLike, edges: ArrayLike, pdf: ArrayLike) -> None:
    """Write redshift distributions, atomically; equal input gives equal bytes.

    Parameters
    ----------
    path
        File to write; qp recognises the format by the suffix `.hdf5`.
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
    names, density = encode_text(target, "object_id", object_id), np.asarray(pdf, dtype="<f4")
    _check(target, names, np.asarray(edges, np.float64), density)
    with stream_pdfs(target, len(names), edges, width=text_width(names)) as file:
        file.write(names, density)


@contextmanager
def stream_pdfs(path: str | os.PathLike[str], n_objects: int, edges: ArrayLike, *, width: int) -> "Iterator[PdfWriter]":
    """Write redshift distributions block by block, with one block in memory; the bytes do not depend on the block size.

    Parameters
    ----------
    path
        File to write; it appears when the context ends without an error.
    n_objects
        Total number of objects.
    edges
        Bin edges in redshift, (B + 1,).
    width
        Number of characters of the longest identifier.

    Yields
    ------
    PdfWriter
        Its `write` takes the blocks in order.

    Raises
    ------
    ValueError, DataError, StoreError
        As in `write_pdfs`.
    """
    target, bounds = Path(path), np.asarray(edges, dtype="<f8")
    _check(target, np.empty(0, "S1"), bounds, np.empty((0, max(bounds.size - 1, 0)), "<f4"))
    try:
        with replacing_hdf5(target) as file:
            meta = {"pdf_name": np.array([b"hist"]), "pdf_version": np.array([0]), "bins": bounds[None, :]}
            for name, values in meta.items():  # `file[...] = values` would store the time
                file.create_dataset(f"meta/{name}", data=values, track_times=False)
            writer = PdfWriter(target, file, n_objects, bounds, width)
            yield writer
            assert writer.n_written == n_objects, f"{writer.n_written} of {n_objects} objects written"
            assert "data" in file, "no block was written"
    except OSError as error:
        raise StoreError(
            f"{target}: cannot be written ({error_reason(error)}); choose a writable path with enough space"
        ) from None


class PdfWriter:
    """Writer of the blocks of a file of redshift distributions; `stream_pdfs` creates it."""

    def __init__(self, path: Path, file: h5py.File, n_objects: int, edges: NDArray[np.float64], width: int) -> None:
        self.path, self.n_objects, self.n_written = path, n_objects, 0
        self._file, self._edges, self._id_type = file, edges, f"S{width}"

    def write(self, object_id: ArrayLike, pdf: ArrayLike) -> None:
        """Write the next objects: identifiers (n,), densities per unit redshift (n, B)."""
        names, density = encode_text(self.path, "object_id", object_id), np.asarray(pdf, dtype="<f4")
        _check(self.path, names, self._edges, density)
        self._append("data/pdfs", density, "<f4")
        self._append("ancil/object_id", names, self._id_type)
        self.n_written += len(names)

    def _append(self, name: str, values: NDArray[Any], dtype: str) -> None:
        if name not in self._file:
            self._file.create_dataset(name, (self.n_objects, *values.shape[1:]), dtype, track_times=False)
        self._file[name][self.n_written : self.n_written + len(values)] = values


def read_pdfs(path: str | os.PathLike[str]) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float32]]:
    """Read the redshift distributions that `write_pdfs` wrote.

    Returns
    -------
    object_id, edges, pdf
        Identifiers (N,), bin edges (B + 1,), densities (N, B).

    Raises
    ------
    StoreError
        The file is missing, damaged or in another format.
    """
    source = Path(path)
    if not source.exists():
        raise StoreError(f"{source}: no such file; make it with `astrodl product photoz`")
    again = "run `astrodl product photoz` again"
    try:
        with guarded_hdf5(source) as file:
            format_name = bytes(file["meta/pdf_name"][0])
            edges, density = np.asarray(file["meta/bins"]).reshape(-1), np.asarray(file["data/pdfs"])
            names = np.asarray(file["ancil/object_id"]).astype(str)
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = str(error).strip("'\"")
        raise StoreError(f"{source}: not a file of p(z), or damaged ({reason}); {again}") from None
    if format_name != b"hist":
        raise StoreError(f"{source}: holds p(z) as '{format_name.decode()}', must be 'hist'; convert it with qp")
    try:
        _check(source, names, edges, density)
    except ValueError as error:
        raise StoreError(f"{error}; {again}") from None
    return names, edges, density


def _check(path: Path, object_id: NDArray, edges: NDArray, pdf: NDArray) -> None:
    """Check shapes, edges and normalisation of a set of distributions."""
    if edges.ndim != 1 or edges.size < 3:
        raise ValueError(f"{path}: edges must be a strictly increasing sequence of at least three redshifts")
    if object_id.ndim != 1 or pdf.shape[:1] != object_id.shape:
        shape = (object_id.size, edges.size - 1)
        raise ValueError(f"{path}: pdf has shape {pdf.shape}, must be {shape} for these object_id and edges")
    try:
        check_pdf(pdf, edges)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
