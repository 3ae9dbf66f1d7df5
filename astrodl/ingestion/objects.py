"""Read the objects of a catalogue: identifiers, positions and columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table
from numpy.typing import NDArray

from astrodl.config import DataSettings
from astrodl.errors import DataError
from astrodl.ingestion.columns import ColumnPlan, plan_column, read_column, warn
from astrodl.ingestion.labels import MAX_CLASSES, report_classes, require_ascii, require_known_names
from astrodl.ingestion.meanings import MEANINGS, find_meaning, guess_angle_unit
from astrodl.ingestion.photometry_columns import plan_photometry
from astrodl.ingestion.placeholders import is_missing_text
from astrodl.ingestion.tables import TextColumn, distinct_texts, is_integral, read_table
from astrodl.store.columns import ColumnDescription

__all__ = [
    "CatalogPlan",
    "ObjectEntry",
    "Objects",
    "list_columns",
    "objects_from_table",
    "plan_catalog",
    "read_objects",
]

_NUMBERS = ("ra", "dec", "x", "y", "index", "ebv", "fold")
"""Roles of columns of numbers; the setting is `{role}_column`."""


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
        Columns for the store: float64, int64, uint64 or text; missing values are NaN, the `null` of the description,
        or "".
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
    descriptions
        What `object_id` and each of `columns` were in the catalogue.
    photometry, photometry_units
        Columns of `DataSettings.photometry_columns` and their units, for a survey without images.
    """

    object_id: Sequence[str]
    ra: NDArray[np.float64] | None
    dec: NDArray[np.float64] | None
    columns: dict[str, NDArray[Any]]
    fields: dict[str, Sequence[str]]
    pixel: NDArray[np.float64] | None
    index: NDArray[np.int64]
    ebv: NDArray[np.float64] | None
    split: Sequence[str] | None = None
    fold: NDArray[np.float64] | None = None
    descriptions: dict[str, ColumnDescription] = field(default_factory=dict)
    photometry: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    photometry_units: dict[str, str] = field(default_factory=dict)

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


@dataclass(frozen=True)
class CatalogPlan:
    """How the columns of a catalogue are read: decided from the whole catalogue, and kept in the files of shards.

    Attributes
    ----------
    columns
        Kept columns, by their name in the store.
    roles
        Columns of numbers, by role: ra, dec, x, y, index, ebv, fold, and those of photometry.
    integral
        Columns of floats in templates whose entries are all integers, which are written without decimal point.
    identifier
        What the identifiers were in the catalogue.
    """

    columns: dict[str, ColumnPlan]
    roles: dict[str, ColumnPlan]
    integral: tuple[str, ...]
    identifier: ColumnDescription

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "columns": {name: plan.to_dict() for name, plan in self.columns.items()},
            "roles": {role: plan.to_dict() for role, plan in self.roles.items()},
            "integral": list(self.integral),
            "identifier": self.identifier.attributes,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CatalogPlan":
        """Restore the output of `to_dict`."""
        return cls(
            {name: ColumnPlan.from_dict(plan) for name, plan in values["columns"].items()},
            {role: ColumnPlan.from_dict(plan) for role, plan in values["roles"].items()},
            tuple(values["integral"]),
            ColumnDescription(**values["identifier"]),
        )


def read_objects(path: Path, data: DataSettings, plan: CatalogPlan | None = None) -> Objects:
    """Read the objects of a catalogue.

    Parameters
    ----------
    path
        The catalogue.
    data
        Names of its columns.
    plan
        How the columns are read; by default as `plan_catalog` decides.

    Raises
    ------
    DataError
        If the file is missing, unreadable or empty; if a column is missing or has an unusable type, unit or value; if
        an identifier is missing, not unique or not ASCII.
    """
    table = read_table(path, data.id_column, list_columns(data))
    return objects_from_table(table, data, path, plan or plan_catalog(table, data, path))


def plan_catalog(table: Table, data: DataSettings, path: Path) -> CatalogPlan:
    """Decide how the columns of a whole catalogue are read; print missing values, conversions and classes.

    Raises
    ------
    DataError
        If a column cannot be used, or holds text that a FITS table cannot.
    """
    if not len(table):
        raise DataError(f"{path}: the catalogue is empty; give one with at least one object")
    identifier = _find_identifier(table, data, path)
    roles = {
        role: plan_column(_find_column(table, name, path, f"data.{role}_column"), path, MEANINGS[role], missing=missing)
        for role, name in _number_columns(data).items()
        for missing in [data.missing.get(role)]
    }
    roles |= plan_photometry(_photometry(table, data, path), data, path)
    _check_positions(table, data, roles, path)
    columns: dict[str, ColumnPlan] = {}
    for name, source in data.columns.items():
        column, renames = _find_column(table, source, path, f"data.columns.{name}"), data.replace.get(name)
        columns[name] = plan_column(
            column, path, find_meaning(name, source), missing=data.missing.get(name), renames=renames
        )
        if columns[name].stored == "text":
            _check_texts(name, column, columns[name], renames or {}, path)
        elif name == "class":
            report_classes(name, Counter(f"{value:.15g}" for value in read_column(column, columns[name], path)), path)
    templates = [_find_column(table, name, path, "data.path") for name in sorted(data.template_columns)]
    floats = [column for column in templates if column.dtype.kind == "f" and column.name != data.id_column]
    _require_exact(floats, path)
    integral = tuple(str(column.name) for column in floats if is_integral(column))
    return CatalogPlan(columns, roles, integral, _describe_identifier(identifier))


def _check_positions(table: Table, data: DataSettings, roles: Mapping[str, ColumnPlan], path: Path) -> None:
    """Warn of positions without a unit that seem to be in radians or hours."""
    if data.ra_column is None or data.dec_column is None or table[data.ra_column].unit is not None:
        return
    ra, dec = (
        read_column(table[name], roles[role], path) for role, name in (("ra", data.ra_column), ("dec", data.dec_column))
    )
    if unit := guess_angle_unit(ra, dec):
        warn(path, f"column '{data.ra_column}' is read in degrees, but seems to be in {unit}; if so, give it this unit")


def _check_texts(name: str, column: Column, plan: ColumnPlan, renames: Mapping[str, str], path: Path) -> None:
    """Check the texts of a kept column, and list its classes.

    Raises
    ------
    DataError
        If a FITS table cannot hold a text.
    """
    counts: Counter[str] = Counter()
    known: set[str] = set()
    remedy = f"rename it with data.replace.{name}, or leave the column out"
    for text, count in distinct_texts(column):
        stored = renames.get(text, "" if text in plan.missing else text)
        require_ascii([stored], str(column.name), path, remedy)
        known |= {text} & renames.keys()
        if stored in counts or len(counts) <= MAX_CLASSES + 1:  # with more, the column is not one of classes
            counts[stored] += count
    require_known_names(name, renames, known, path)
    report_classes(name, counts, path)


def _require_exact(columns: Sequence[Column], path: Path) -> None:
    """Check that columns of floats in templates hold no integers of which digits are lost.

    Raises
    ------
    DataError
        The first column that does.
    """
    for column in columns:
        largest = np.abs(np.ma.compressed(np.ma.masked_invalid(column))).max(initial=0)
        if largest > 2 / np.finfo(column.dtype).eps:
            raise DataError(
                f"{path}: column '{column.name}' in a template holds {largest:.6g}, of which {column.dtype.name} loses "
                "digits; store it as integers or text"
            )


def objects_from_table(
    table: Table, data: DataSettings, path: Path, plan: CatalogPlan, *, photometry: bool = True
) -> Objects:
    """Return the objects of a table that was read from `path`, with or without photometry; see `read_objects`."""
    if not len(table):
        raise DataError(f"{path}: the catalogue is empty; give one with at least one object")
    object_id = _identifiers(_find_identifier(table, data, path), path)
    numbers: dict[str, NDArray[Any]] = {}
    for role, name in _number_columns(data).items():
        column = _find_column(table, name, path, f"data.{role}_column")
        own = plan.roles.get(role) or plan_column(column, path, MEANINGS[role], quiet=True)  # fold and index of a shard
        numbers[role] = read_column(column, own, path)
    descriptions = {"object_id": plan.identifier}
    columns: dict[str, NDArray[Any]] = {}
    for name, source in data.columns.items():
        column = _find_column(table, source, path, f"data.columns.{name}")
        columns[name] = _to_stored(column, plan.columns[name], data.replace.get(name), path)
        descriptions[name] = plan.columns[name].description
    for role in ("ra", "dec", "ebv"):
        if role in numbers and role not in columns:
            columns[role] = numbers[role].astype(np.float64, copy=False)
            descriptions[role] = plan.roles[role].description
    fields: dict[str, Sequence[str]] = {
        name: TextColumn(_find_column(table, name, path, "data.path"), whole=name in plan.integral)
        for name in sorted(data.template_columns - {data.id_column})
    }
    split = None
    if data.split_column is not None:
        split = TextColumn(_find_column(table, data.split_column, path, "data.split_column"))
    floats = {role: values.astype(np.float64, copy=False) for role, values in numbers.items()}
    return Objects(
        object_id,
        floats.get("ra"),
        floats.get("dec"),
        columns,
        fields | ({} if data.id_column is None else {data.id_column: object_id}),
        np.stack([floats["x"], floats["y"]], axis=1) if "x" in floats else None,
        _array_index(floats.get("index"), len(object_id), path),
        floats.get("ebv"),
        split,
        floats.get("fold"),
        descriptions,
        {
            role: read_column(column, plan.roles[role], path)
            for role, column in (_photometry(table, data, path).items() if photometry else ())
        },
        {role: plan.roles[role].description.unit for role in data.photometry_columns},
    )


def _number_columns(data: DataSettings) -> dict[str, str]:
    """Return the roles of columns of numbers, with the names of the columns."""
    return {role: name for role in _NUMBERS if (name := getattr(data, f"{role}_column")) is not None}


def list_columns(data: DataSettings) -> list[str]:
    """Return the names of the catalogue columns that the ingestion reads, each once."""
    own = [data.id_column, data.split_column]
    names = [*_number_columns(data).values(), *data.photometry_columns.values(), *data.columns.values()]
    return list(dict.fromkeys([*filter(None, own), *names, *sorted(data.template_columns)]))


def _array_index(values: NDArray[np.float64] | None, n_objects: int, path: Path) -> NDArray[np.int64]:
    if values is None:
        return np.arange(n_objects)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.trunc(values)).all()):
        raise DataError(
            f"{path}: data.index_column holds values that are not indices, accepted are integers >= 0; correct the "
            "column or data.index_column"
        )
    return values.astype(np.int64)


def _find_column(table: Table, name: str, path: Path, key: str) -> Column:
    if name not in table.colnames:
        available = ", ".join(table.colnames[:40])
        raise DataError(f"{path}: column '{name}' ({key}) is not in the catalogue (has {available}); correct {key}")
    column = table[name]
    if not isinstance(column, Column) or column.ndim != 1 or column.dtype.kind not in "biufSUO":
        raise DataError(
            f"{path}: column '{name}' holds arrays or objects, one number or text per row is accepted; correct {key}"
        )
    return column


def _photometry(table: Table, data: DataSettings, path: Path) -> dict[str, Column]:
    """Return the columns of photometry by role."""
    return {
        role: _find_column(table, name, path, f"data.bands, {role}") for role, name in data.photometry_columns.items()
    }


def _find_identifier(table: Table, data: DataSettings, path: Path) -> Column:
    """Return the column of identifiers, or the numbers of the rows."""
    if data.id_column is None:
        return Column(np.arange(1, len(table) + 1), name="row", description="row of the catalogue, from 1")
    return _find_column(table, data.id_column, path, "data.id_column")


def _identifiers(column: Column, path: Path) -> Sequence[str]:
    """Return identifiers as text, without blanks around them; they are not kept as text, which would take much more."""
    if column.dtype.kind == "f" and not is_integral(column):
        raise DataError(
            f"{path}: identifiers in '{column.name}' are fractional or too large numbers; store them as text"
        )
    names, has_blanks = TextColumn(column), False
    for row, name in enumerate(names, start=1):
        if is_missing_text(name):
            raise DataError(f"{path}: row {row} has no '{column.name}'; give every object an identifier")
        has_blanks = has_blanks or name[0] == " " or not name.isprintable()
    if has_blanks or column.dtype.kind == "O":
        column = Column(np.array([name.strip() for name in names]), name=column.name)
        names = TextColumn(column)
    values = np.sort(np.asarray(column) if column.dtype.kind in "biuf" else np.char.rstrip(np.asarray(column)))
    repeated = [str(name) for name in TextColumn(Column(np.unique(values[1:][values[1:] == values[:-1]])))]
    if repeated:
        listed = ", ".join(sorted(repeated)[:10]) + (f" and {len(repeated) - 10} more" if len(repeated) > 10 else "")
        raise DataError(f"{path}: '{column.name}' is not unique: {listed}; remove the repeated rows")
    require_ascii(names, str(column.name), path, "rename the objects")
    return names


def _describe_identifier(column: Column) -> ColumnDescription:
    """Return what the identifiers were; whole numbers of float64 are integers."""
    description = plan_column(column, Path(), renames={}, missing=()).description
    kind = np.dtype(column.dtype)
    if kind.kind == "f":
        return replace(description, type="int64")
    if kind.kind == "u" and kind.itemsize == 8 and int(column.max()) <= np.iinfo(np.int64).max:
        return replace(description, type="int64")
    return description


def _to_stored(column: Column, plan: ColumnPlan, renames: dict[str, str] | None, path: Path) -> NDArray[Any]:
    """Convert a column to the type of the store, and rename values of text."""
    values = read_column(column, plan, path)
    if renames is not None:
        values = np.array([renames.get(text, text) for text in values], dtype=object)
    return values
