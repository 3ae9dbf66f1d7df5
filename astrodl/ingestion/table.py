"""Read the catalogue of a survey: identifiers, positions and the columns to keep."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from astrodl.config import DataSettings
from astrodl.errors import DataError
from astrodl.ingestion.table_file import read_table

_EXACT_IN_FLOAT = 2**53


@dataclass(frozen=True)
class Objects:
    """The catalogue as ingestion needs it, all of length N.

    Attributes
    ----------
    object_id
        Unique identifiers.
    ra, dec
        Position in degrees, or None.
    columns
        Kept columns: float64, int64 or text; missing values are NaN or "".
    fields
        The columns that path and extension templates name, as text; missing values are "".
    pixel
        Column and row in a mosaic, (N, 2), or None.
    index
        Place in an array of all objects.
    ebv
        Galactic reddening E(B-V), or None.
    split
        Split that the catalogue gives, as text, or None.
    fold
        Cross-validation fold that the catalogue gives, NaN where there is none, or None.
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

    def sources(self, rows: Sequence[int]) -> "list[Source]":
        """Give what is needed to find the files of the objects in `rows`."""
        return [
            Source(
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


@dataclass(frozen=True)
class Source:
    """Where to find an object: its row in the catalogue, its identifier, its values for the templates.

    `position` is in degrees, `pixel` a place in a mosaic, `index` a place in an array, `ebv` the Galactic reddening.
    """

    row: int
    object_id: str
    fields: dict[str, str]
    position: tuple[float, float] | None = None
    pixel: tuple[float, float] | None = None
    index: int = 0
    ebv: float = np.nan


def read_objects(path: Path, data: DataSettings) -> Objects:
    """Read the catalogue at `path` as `data` says.

    Raises
    ------
    DataError
        The file is missing, unreadable or empty; a column is missing or of an unusable kind; an identifier is missing
        or not unique.
    """
    return objects_of(read_table(path, data.id_column, named_columns(data)), data, path)


def objects_of(table: Table, data: DataSettings, path: Path) -> Objects:
    """Take from a table what ingestion needs of it; as `read_objects`, which names it `path` in messages."""
    if not len(table):
        raise DataError(f"{path}: the catalogue is empty; give one with at least one object")
    object_id = _identifiers(_column(table, data.id_column, path, "data.id_column"), path)
    named = _numbers(data)
    numbers = {key: _float(_column(table, name, path, f"data.{key}"), path) for key, name in named.items()}
    columns = {
        name: _kept(_column(table, source, path, f"data.columns.{name}"), data.replace.get(name), path)
        for name, source in data.columns.items()
    }
    for name in ("ra", "dec", "ebv"):
        if f"{name}_column" in numbers:
            columns.setdefault(name, numbers[f"{name}_column"])
    fields: dict[str, Sequence[str]] = {
        name: Texts(_column(table, name, path, "data.path")) for name in sorted(_fields(data) - {data.id_column})
    }
    return Objects(
        object_id,
        numbers.get("ra_column"),
        numbers.get("dec_column"),
        columns,
        fields | {data.id_column: object_id},
        np.stack([numbers["x_column"], numbers["y_column"]], axis=1) if "x_column" in numbers else None,
        _index(numbers.get("index_column"), len(object_id), path),
        numbers.get("ebv_column"),
        None if data.split_column is None else Texts(_column(table, data.split_column, path, "data.split_column")),
        numbers.get("fold_column"),
    )


def _numbers(data: DataSettings) -> dict[str, str]:
    """List the keys that name a column of numbers, with its name."""
    keys = ("ra_column", "dec_column", "x_column", "y_column", "index_column", "ebv_column", "fold_column")
    return {key: getattr(data, key) for key in keys if getattr(data, key) is not None}


def named_columns(data: DataSettings) -> list[str]:
    """List the catalogue columns that the ingestion reads, each once."""
    names = [data.id_column, *_numbers(data).values(), *data.columns.values(), *sorted(_fields(data))]
    return list(dict.fromkeys([*names, *([data.split_column] if data.split_column else [])]))


def _index(values: NDArray[np.float64] | None, n_objects: int, path: Path) -> NDArray[np.int64]:
    if values is None:
        return np.arange(n_objects)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.trunc(values)).all()):
        raise DataError(f"{path}: data.index_column holds values that are no places in an array (whole numbers from 0)")
    return values.astype(np.int64)


def _fields(data: DataSettings) -> set[str]:
    """List the catalogue columns that the path and extension templates name."""
    companions = [plane for plane in (data.noise, data.psf, *data.masks) if plane is not None]
    templates = [data.path, *(band.path for band in data.bands), data.labels.path if data.labels else None]
    templates += [plane.path for plane in companions]
    extensions = [data.extension, *(part.extension for part in (*data.bands, *companions))]
    templates += [extension for extension in extensions if isinstance(extension, str)]
    names: set[str] = set()
    for template in filter(None, templates):
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise DataError(f"path template '{template}': {error}; write {{column}} or {{band}}") from None
        names |= {name for _, name, _, _ in parts if name is not None}
    return names - {"band"}


def _column(table: Table, name: str, path: Path, key: str) -> Column:
    if name not in table.colnames:
        have = ", ".join(table.colnames[:40])
        raise DataError(f"{path}: column '{name}' ({key}) is not in the catalogue (has {have}); correct {key}")
    column = table[name]
    if column.ndim != 1 or column.dtype.kind not in "biufSUO":
        raise DataError(f"{path}: column '{name}' holds arrays or objects, one number or text per row is accepted")
    return column


def _identifiers(column: Column, path: Path) -> list[str]:
    if column.dtype.kind == "f" and not _whole(column):
        raise DataError(
            f"{path}: identifiers in '{column.name}' are fractional or too large numbers; store them as text"
        )
    names = [name.strip() for name in texts_of(column)]
    if "" in names:
        raise DataError(f"{path}: row {names.index('') + 1} has no '{column.name}'; give every object an identifier")
    if len(set(names)) < len(names):
        unique, counts = np.unique(np.array(names), return_counts=True)
        repeated = unique[counts > 1]
        listed = ", ".join(repeated[:10]) + (f" and {len(repeated) - 10} more" if len(repeated) > 10 else "")
        raise DataError(f"{path}: '{column.name}' is not unique: {listed}; remove the repeated rows")
    return names


def _whole(column: Column) -> bool:
    values = np.ma.filled(np.ma.asarray(column), 0.0)
    return bool(((values == np.trunc(values)) & (np.abs(values) < _EXACT_IN_FLOAT)).all())


def _kept(column: Column, renames: dict[str, str] | None, path: Path) -> NDArray[Any]:
    if renames is not None or column.dtype.kind in "SUO":
        known = dict(renames or {})  # equal texts share one object: classes are few
        return np.array([known.setdefault(text, text) for text in Texts(column)], dtype=object)
    if column.dtype.kind in "bi" and not masked(column).any():
        return np.asarray(column, np.int64)
    return _float(column, path)


def _float(column: Column, path: Path) -> NDArray[np.float64]:
    try:
        values = np.asarray(np.ma.getdata(column), np.float64).copy()
    except (ValueError, TypeError):
        raise DataError(
            f"{path}: column '{column.name}' holds text, numbers are accepted; correct the column"
        ) from None
    values[masked(column)] = np.nan
    return values


class Texts(Sequence[str]):
    """A column as text, as path templates see it; "" where it is masked. An entry is made when it is asked for."""

    def __init__(self, column: Column) -> None:
        self._values = np.asarray(np.ma.getdata(column))
        self._gone = masked(column) if isinstance(column, MaskedColumn) else None
        self._whole = column.dtype.kind == "f" and _whole(column)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, row: Any) -> Any:
        if self._gone is not None and self._gone[row]:
            return ""
        value = self._values[row : row + 1].tolist()[0]
        return _text(int(value) if self._whole else value)


def texts_of(column: Column) -> list[str]:
    """Give all texts of a column."""
    texts = Texts(column)
    return [texts[row] for row in range(len(texts))]


def require_columns(table: Table, data: DataSettings, path: Path) -> None:
    """Refuse a table without the columns to keep."""
    for name, source in data.columns.items():
        _column(table, source, path, f"data.columns.{name}")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip()
    return "" if value is None else str(value).rstrip()


def masked(column: Column) -> NDArray[np.bool_]:
    """Tell which entries of a column are missing, (N,)."""
    return np.ma.getmaskarray(np.ma.asarray(column))
