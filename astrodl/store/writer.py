"""Write a store: rows in any order, from any process, with resume after an interruption.

Datasets of numbers are allocated first and contiguous, so that the location of each row in the file is known: every
process writes its rows directly to the file, and no array travels between processes. Text, attributes and checksums are
added last, then the file gets its name. A kill at any moment leaves the rows intact, and the next writer adds the rest
again. Equal content gives equal bytes, whatever the number of processes and interruptions.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

import astrodl
from astrodl.atomic import error_reason, exclusive_lock, require_regular
from astrodl.errors import StoreError
from astrodl.store.columns import ColumnDescription
from astrodl.store.damage import may_be_replaced
from astrodl.store.journal import Journal
from astrodl.store.layout import FORMAT, FORMAT_VERSION, dataset_digest, list_datasets
from astrodl.store.rows import RowLocation, copy_rows, rows_digest, write_rows
from astrodl.store.structure import RowTypes, Structure

__all__ = ["Writer"]


class Writer:
    """Write a store, which appears under its name only when it is complete.

    Use the writer as a context manager. Either write consecutive blocks of objects (`write_block`), or `allocate` the
    datasets, write rows to their `locations` from any number of processes (`write_rows`), and `keep` some of them. When
    the context ends without an error, the file replaces `path`. Otherwise it is removed, unless `resume` is given.

    Parameters
    ----------
    path
        The store to write; missing folders are created.
    n_objects
        Number of objects, before `keep`.
    bands, size, feature_names
        Names of the bands, side of a cutout in pixels, names of the columns of ``features``.
    pixel_scale_arcsec, zero_points, unit, survey, source_checksum, settings
        Root attributes, see `astrodl.store`. They can also be set as attributes of the writer.
    resume
        Text that identifies the content. After an interruption the unfinished file stays, hidden beside `path`, with
        the entries of `record`; the next writer with the same text continues from there (`recorded`).

    Raises
    ------
    StoreError
        If the store cannot be written: no space, no permission, or `path` is a folder or a file of another kind.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_objects: int,
        bands: Sequence[str],
        size: int,
        feature_names: Sequence[str] = (),
        pixel_scale_arcsec: float | None = None,
        zero_points: Sequence[float] | None = None,
        unit: Literal["uJy", "relative"] = "relative",
        survey: str = "",
        source_checksum: str = "",
        settings: str = "{}",
        resume: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.n_objects = n_objects
        self.bands = tuple(bands)
        self.size = size
        self.feature_names = tuple(feature_names)
        self.pixel_scale_arcsec = pixel_scale_arcsec
        self.zero_points = zero_points
        self.unit = unit
        self.survey = survey
        self.source_checksum = source_checksum
        self.settings = settings
        self.resume = resume
        self.n_written = 0
        self.locations: dict[str, RowLocation] = {}
        self.recorded: list[dict[str, Any]] = []
        self.partial = self._hidden("partial")
        # The same version of HDF5 puts the rows at the same place.
        identity = f"{resume}, astrodl {astrodl.__version__}, HDF5 {h5py.version.hdf5_version}"
        self._journal = Journal(self._hidden("journal"), identity)
        self._rows: RowTypes = {}
        self._text: dict[str, list[NDArray[np.object_]]] = {}
        self._descriptions: dict[str, ColumnDescription] = {}
        self._kept: NDArray[np.int64] | None = None
        self._discard = resume is None

    def _hidden(self, kind: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{kind}")

    # -- rows ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._lock = ExitStack()
        try:
            if self.path.exists() and not may_be_replaced(self.path):
                raise StoreError(f"{self.path}: exists and is not a store; give another path, or remove it")
            require_regular(self.path)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(exclusive_lock(self._hidden("lock"), "writes a store"))
            entries = None if self.resume is None else self._journal.read()
            if entries is None or not self.partial.is_file():
                self._start_afresh()
            else:
                self.recorded = entries
        except OSError as error:
            self._lock.close()
            raise self._unwritable(error) from error
        except BaseException:
            self._lock.close()
            raise
        return self

    def _start_afresh(self) -> None:
        self.recorded = []
        self._journal.remove()
        self.partial.write_bytes(b"")

    def allocate(self, rows: RowTypes) -> None:
        """Allocate datasets of numbers, or find those of an interrupted writer.

        Parameters
        ----------
        rows
            Shape and type of a row, by dataset.
        """
        self._rows = rows
        with Structure(self._hidden("structure"), self.n_objects, rows) as structure:
            self.locations = structure.locations
            length = structure.path.stat().st_size
        if self.partial.stat().st_size < length:  # new, or cut short by something else
            self._start_afresh()
            os.truncate(self.partial, length)
        if self.resume is not None and not self.recorded:
            self._journal.start()

    def record(self, entry: dict[str, Any]) -> None:
        """Record that rows are complete, after all data have reached the disk.

        Parameters
        ----------
        entry
            JSON values for the writer that resumes after an interruption.
        """
        assert self.resume is not None
        _synchronize(self.partial)
        self._journal.append(entry)
        self.recorded.append(entry)

    def retain(self, entries: Sequence[dict[str, Any]]) -> None:
        """Keep only these entries of the interrupted writer; the rows of all others have to be written again."""
        self.recorded = list(entries)
        self._journal.start(self.recorded)

    def write_block(self, start: int, block: Mapping[str, ArrayLike]) -> None:
        """Write the rows from `start` on of every dataset.

        Parameters
        ----------
        start
            Row of the first object; blocks are consecutive.
        block
            Arrays with objects first, by dataset (``image``, ``catalog/z``, ``label/bulge`` ...); every block has the
            same datasets.
        """
        assert start == self.n_written, f"block starts at {start}, expected {self.n_written}"
        arrays = {name: _to_stored_type(name, values) for name, values in block.items()}
        (length,) = {len(array) for array in arrays.values()}
        assert start + length <= self.n_objects
        numbers = {name: array for name, array in arrays.items() if array.dtype != object}
        if not self.locations:
            self.allocate({name: (array.shape[1:], array.dtype.str) for name, array in numbers.items()})
        assert set(numbers) == set(self.locations), (
            f"{sorted(set(numbers) ^ set(self.locations))} are not in all blocks"
        )
        write_rows(self.partial, self.locations, start, numbers)
        for name in arrays.keys() - numbers.keys():
            self._text.setdefault(name, []).append(arrays[name])
        self.n_written += length

    def write_text(self, name: str, values: Sequence[str]) -> None:
        """Write a dataset of text, one entry for each row, whether kept or not.

        Raises
        ------
        StoreError
            If an entry cannot be stored: it has a null character or is not Unicode.
        """
        for row, text in enumerate(values):
            if "\0" in text or not (text.isascii() or _is_unicode(text)):
                raise StoreError(
                    f"{self.path}: column '{name.removeprefix('catalog/')}' holds {text!r:.80} in row {row + 1}, "
                    "accepted is Unicode without null characters; correct the catalogue"
                )
        self._text[name] = [np.array(values, dtype=object)]

    def describe(self, name: str, description: ColumnDescription) -> None:
        """Keep with a dataset what the column was in the catalogue."""
        self._descriptions[name] = description

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows (increasing) in the finished store."""
        self._kept = np.asarray(rows, np.int64)
        self.n_written = self.n_objects

    def discard(self) -> None:
        """Remove the unfinished file when the context ends, even if `resume` is given."""
        self._discard = True

    # -- the end ------------------------------------------------------------------------------------------------------

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = False
        try:
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            if error is None:
                self._finish()
                finished = True
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            if finished or self._discard or not self.recorded:
                self._journal.remove()
                self.partial.unlink(missing_ok=True)
            self._lock.close()

    def _finish(self) -> None:
        """Add text, attributes and checksums to the rows, and give the file its name."""
        assert self.n_written == self.n_objects, f"{self.n_written} of {self.n_objects} objects written"
        text = {name: self._kept_text(parts) for name, parts in sorted(self._text.items())}
        if self._kept is None or len(self._kept) == self.n_objects:
            self._complete(self.partial, self.n_objects, self._rows, text)
            return
        shorter = self._hidden("kept")
        try:
            shorter.write_bytes(b"")
            self._complete(shorter, len(self._kept), dict(sorted(self._rows.items())), text)
        finally:
            shorter.unlink(missing_ok=True)

    def _kept_text(self, parts: list[NDArray[np.object_]]) -> NDArray[np.object_]:
        text = np.concatenate(parts)
        return text if self._kept is None else text[self._kept]

    def _complete(self, target: Path, n_rows: int, rows: RowTypes, text: Mapping[str, NDArray[np.object_]]) -> None:
        """Complete a file of `n_rows` rows; any other file than the unfinished store gets its rows first."""
        text_bytes = sum(sum(map(_longest_stored, values)) for values in text.values())
        with Structure(self._hidden("structure"), n_rows, rows, text_bytes) as structure:
            places = structure.locations
            if target == self.partial:
                assert places == self.locations
            else:
                assert self._kept is not None
                copy_rows(self.partial, target, self._kept, [(self.locations[name], places[name]) for name in rows])
            with structure.open() as file:
                for name, values in text.items():
                    file.create_dataset(name, data=values, dtype=h5py.string_dtype(), track_times=False)
                self._write_attributes(file.attrs)
                if "features" in file:
                    file["features"].attrs["names"] = list(self.feature_names)
                for name, dataset in list_datasets(file):
                    is_text = name in text
                    digest = dataset_digest(dataset) if is_text else rows_digest(target, places[name], n_rows)
                    dataset.attrs["sha256"] = digest
                    dataset.attrs.update(self._descriptions[name].attributes if name in self._descriptions else {})
            structure.copy_to(target)
        _synchronize(target)
        os.replace(target, self.path)

    def _unwritable(self, error: OSError) -> StoreError:
        own = error.filename is None or Path(error.filename).name.startswith(f".{self.path.name}.")
        reason = error_reason(error)
        kept = "; finished blocks are kept" if self.recorded and not self._discard else ""
        return StoreError(
            f"{self.path if own else error.filename}: cannot be written ({reason}); make room, or correct the "
            f"permissions or the path, and give the same command again{kept}"
        )

    def _write_attributes(self, attributes: h5py.AttributeManager) -> None:
        zero_points = np.full(len(self.bands), np.nan) if self.zero_points is None else self.zero_points
        attributes["format"] = FORMAT
        attributes["format_version"] = FORMAT_VERSION
        attributes["bands"] = list(self.bands)
        attributes["pixel_scale_arcsec"] = float(np.nan if self.pixel_scale_arcsec is None else self.pixel_scale_arcsec)
        attributes["zero_points"] = np.asarray(zero_points, np.float64)
        attributes["unit"] = self.unit
        attributes["survey"] = self.survey
        attributes["version"] = astrodl.__version__
        attributes["source_checksum"] = self.source_checksum
        attributes["settings"] = self.settings


def _to_stored_type(name: str, values: ArrayLike) -> NDArray[Any]:
    """Convert values to the little-endian type of a dataset; text to objects."""
    array = np.asarray(values)
    if array.dtype.kind in "UO":
        return array.astype(object)
    types = {"flags": "<i4", "band_flags": "u1", "mask": "u1", "split": "i1", "fold": "<i2"}
    if name in types:
        return array.astype(types[name])
    if name.startswith("catalog/"):
        return array.astype("<f8" if array.dtype.kind == "f" else "<i8")
    return np.ascontiguousarray(array, "<f4")


def _longest_stored(text: str) -> int:
    """Return an upper limit of the bytes that HDF5 needs for a text."""
    return 8 * len(text) + 64


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _synchronize(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
