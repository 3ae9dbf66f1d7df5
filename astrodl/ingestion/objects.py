"""Read the objects of a catalogue: identifiers, positions and columns."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table
from numpy.typing import NDArray

from astrodl.config import DataSettings
from astrodl.errors import DataError
from astrodl.ingestion.tables import TextColumn, column_texts, is_integral, missing_entries, read_table

__all__ = ["ObjectEntry", "Objects", "list_columns", "objects_from_table", "read_objects", "require_columns"]


@dataclass(frozen=True)
class ObjectEntry:
    """One object of the catalogue.

    Attributes
    ----------
    row, object_id
        Row in the catalogue, and identifier.
    fields
        Values for the path templates.
    position
        Right ascension and declination in degrees, or None.
    pixel
        Column and row in a mosaic, or None.
    index
        Index in an array of all objects.
    ebv
        Galactic reddening E(B-V), or NaN.
    """

    row: int
    object_id: str
    fields: dict[str, str]
    position: tuple[float, float] | None = None
    pixel: tuple[float, float] | None = None
    index: int = 0
    ebv: float = np.nan


@dataclass(frozen=True)
class Objects:
    """The objects of the catalogue; all columns have length N.

    Attributes
    ----------
    object_id
        Unique identifiers.
    ra, dec
        Position in degrees, or None.
    columns
        Columns for the store: float64, int64 or text; missing values are NaN or "".
    fields
        Columns for path and extension templates, as text; missing values are "".
    pixel
        Column and row in a mosaic, (N, 2), or None.
    index
        Index in an array of all objects.
    ebv
        Galactic reddening E(B-V), or None.
    split
        Split as text, or None if the catalogue has no splits.
    fold
        Cross-validation fold, NaN if missing; or None.
    """

    object_id: list[str]
    ra: NDArray[np.float64] | None
    dec: NDArray[np.float64] | None
    columns: dict[str, NDArray[Any]]
    fields: dict[str, Sequence[str]]
    pixel: NDArray[np.float64] | None
    index: NDArray[np.int64]
    ebv: NDArray[np.float64] | None
    split: Sequence[str] | None = None
    fold: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.object_id)

    def entries(self, rows: Sequence[int]) -> list[ObjectEntry]:
        """Return the objects in `rows`."""
        return [
            ObjectEntry(
                row,
                self.object_id[row],
                {name: values[row] for name, values in self.fields.items()},
                None if self.ra is None or self.dec is None else (float(self.ra[row]), float(self.dec[row])),
                None if self.pixel is None else (float(self.pixel[row, 0]), float(self.pixel[row, 1])),
                int(self.index[row]),
                np.nan if self.ebv is None else float(self.ebv[row]),
            )
            for row in rows
        ]


def read_objects(path: Path, data: DataSettings) -> Objects:
    """Read the objects of a catalogue.

    Parameters
    ----------
    path
        The catalogue.
    data
        Names of its columns.

    Raises
    ------
    DataError
        If the file is missing, unreadable or empty; if a column is missing or has an unusable type; if an identifier
        is missing or not unique.
    """
    return objects_from_table(read_table(path, data.id_column, list_columns(data)), data, path)


def objects_from_table(table: Table, data: DataSettings, path: Path) -> Objects:
    """Return the objects of a table that was read from `path`; see `read_objects`."""
    if not len(table):
        raise DataError(f"{path}: the catalogue is empty; give one with at least one object")
    object_id = _identifiers(_find_column(table, data.id_column, path, "data.id_column"), path)
    number_columns = _number_columns(data)
    numbers = {
        key: _to_float(_find_column(table, name, path, f"data.{key}"), path) for key, name in number_columns.items()
    }
    columns = {
        name: _to_stored(_find_column(table, source, path, f"data.columns.{name}"), data.replace.get(name), path)
        for name, source in data.columns.items()
    }
    for name in ("ra", "dec", "ebv"):
        if f"{name}_column" in numbers:
            columns.setdefault(name, numbers[f"{name}_column"])
    fields: dict[str, Sequence[str]] = {
        name: TextColumn(_find_column(table, name, path, "data.path"))
        for name in sorted(_template_fields(data) - {data.id_column})
    }
    split = None
    if data.split_column is not None:
        split = TextColumn(_find_column(table, data.split_column, path, "data.split_column"))
    return Objects(
        object_id,
        numbers.get("ra_column"),
        numbers.get("dec_column"),
        columns,
        fields | {data.id_column: object_id},
        np.stack([numbers["x_column"], numbers["y_column"]], axis=1) if "x_column" in numbers else None,
        _array_index(numbers.get("index_column"), len(object_id), path),
        numbers.get("ebv_column"),
        split,
        numbers.get("fold_column"),
    )


def require_columns(table: Table, data: DataSettings, path: Path) -> None:
    """Check that a table has the columns for the store.

    Raises
    ------
    DataError
        If a column is missing or has an unusable type.
    """
    for name, source in data.columns.items():
        _find_column(table, source, path, f"data.columns.{name}")


def _number_columns(data: DataSettings) -> dict[str, str]:
    """Return the configuration keys of columns of numbers, with the names of the columns."""
    keys = ("ra_column", "dec_column", "x_column", "y_column", "index_column", "ebv_column", "fold_column")
    return {key: getattr(data, key) for key in keys if getattr(data, key) is not None}


def list_columns(data: DataSettings) -> list[str]:
    """Return the names of the catalogue columns that the ingestion reads, each once."""
    names = [data.id_column, *_number_columns(data).values(), *data.columns.values(), *sorted(_template_fields(data))]
    return list(dict.fromkeys([*names, *([data.split_column] if data.split_column else [])]))


def _array_index(values: NDArray[np.float64] | None, n_objects: int, path: Path) -> NDArray[np.int64]:
    if values is None:
        return np.arange(n_objects)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.trunc(values)).all()):
        raise DataError(
            f"{path}: data.index_column holds values that are not indices, accepted are integers >= 0; correct the "
            "column or data.index_column"
        )
    return values.astype(np.int64)


def _template_fields(data: DataSettings) -> set[str]:
    """Return the catalogue columns in path and extension templates."""
    companions = [plane for plane in (data.noise, data.psf, *data.masks) if plane is not None]
    templates = [data.path, *(band.path for band in data.bands), data.labels.path if data.labels else None]
    templates += [plane.path for plane in companions]
    extensions = [data.extension, *(section.extension for section in (*data.bands, *companions))]
    templates += [extension for extension in extensions if isinstance(extension, str)]
    names: set[str] = set()
    for template in filter(None, templates):
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise DataError(f"path template '{template}': {error}; write {{column}} or {{band}}") from None
        names |= {name for _, name, _, _ in parts if name is not None}
    return names - {"band"}


def _find_column(table: Table, name: str, path: Path, key: str) -> Column:
    if name not in table.colnames:
        available = ", ".join(table.colnames[:40])
        raise DataError(f"{path}: column '{name}' ({key}) is not in the catalogue (has {available}); correct {key}")
    column = table[name]
    if column.ndim != 1 or column.dtype.kind not in "biufSUO":
        raise DataError(
            f"{path}: column '{name}' holds arrays or objects, one number or text per row is accepted; correct {key}"
        )
    return column


def _identifiers(column: Column, path: Path) -> list[str]:
    if column.dtype.kind == "f" and not is_integral(column):
        raise DataError(
            f"{path}: identifiers in '{column.name}' are fractional or too large numbers; store them as text"
        )
    names = [name.strip() for name in column_texts(column)]
    if "" in names:
        raise DataError(f"{path}: row {names.index('') + 1} has no '{column.name}'; give every object an identifier")
    if len(set(names)) < len(names):
        unique, counts = np.unique(np.array(names), return_counts=True)
        repeated = unique[counts > 1]
        listed = ", ".join(repeated[:10]) + (f" and {len(repeated) - 10} more" if len(repeated) > 10 else "")
        raise DataError(f"{path}: '{column.name}' is not unique: {listed}; remove the repeated rows")
    return names


def _to_stored(column: Column, renames: dict[str, str] | None, path: Path) -> NDArray[Any]:
    """Convert a column to the type of the store: text, int64, or float64 with NaN for missing values."""
    if renames is not None or column.dtype.kind in "SUO":
        known = dict(renames or {})  # equal texts share one object, because most text columns have few classes
        return np.array([known.setdefault(text, text) for text in TextColumn(column)], dtype=object)
    if column.dtype.kind in "bi" and not missing_entries(column).any():
        return np.asarray(column, np.int64)
    return _to_float(column, path)


def _to_float(column: Column, path: Path) -> NDArray[np.float64]:
    try:
        values = np.asarray(np.ma.getdata(column), np.float64).copy()
    except (ValueError, TypeError):
        raise DataError(
            f"{path}: column '{column.name}' holds text, numbers are accepted; correct the column"
        ) from None
    values[missing_entries(column)] = np.nan
    return values
