"""Read a catalogue and guess the roles of its columns from their names and values."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrodl.discover.names import is_image_file
from astrodl.errors import DataError
from astrodl.ingestion.columns import plan_column, read_column
from astrodl.ingestion.meanings import MEANINGS
from astrodl.ingestion.placeholders import is_missing_text
from astrodl.ingestion.tables import column_texts, is_integral, read_table

__all__ = ["Catalogue", "read_catalogue"]


@dataclass
class Catalogue:
    """A catalogue and the roles of its columns."""

    path: Path
    table: Table
    roles: dict[str, str] = field(default_factory=dict)
    """Role (``id``, ``ra``, ``z`` ...) -> column."""
    _texts: dict[str, list[str]] = field(default_factory=dict)
    _numbers: dict[tuple[str, str | None], NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def names(self) -> list[str]:
        """Columns with one number or text per row."""
        return [name for name in self.table.colnames if self.table[name].ndim == 1]

    @cached_property
    def file_columns(self) -> list[str]:
        """Text columns that hold names of image files."""
        texts = [name for name in self.names if self.is_text(name)]
        return [name for name in texts if sum(map(is_image_file, self.text(name))) > 0.8 * len(self)]

    def is_text(self, name: str) -> bool:
        """Return whether a column holds text."""
        return self.table[name].dtype.kind in "SUO"

    def is_whole(self, name: str) -> bool:
        """Return whether a column holds integers."""
        return self.table[name].dtype.kind in "iu"

    def text(self, name: str) -> list[str]:
        """Return a column as text, as path templates use it."""
        if name not in self._texts:
            self._texts[name] = [text.strip() for text in column_texts(self.table[name])]
        return self._texts[name]

    def numbers(self, name: str, role: str | None = None) -> NDArray[np.float64]:
        """Return a column as ingestion reads it, in the unit of its role; NaN where it is missing or no number."""
        role = role or next((role for role, column in self.roles.items() if column == name), None)
        if (name, role) not in self._numbers:
            meaning = MEANINGS.get("z" if role == "z_phot" else role or "")
            try:
                plan = plan_column(self.table[name], self.path, meaning, quiet=True)
                values = np.ma.filled(plan.description.mask(read_column(self.table[name], plan, self.path)), 0)
            except DataError:
                values = np.array([None] * len(self))
            if values.dtype == object:  # text, or numbers that are impossible in this role
                values = np.full(len(self), np.nan)
            self._numbers[name, role] = values.astype(np.float64)
        return self._numbers[name, role]

    def is_unique(self, name: str) -> bool:
        """Return whether a column of text or whole numbers has a different value in each row."""
        values, column = self.text(name), self.table[name]
        fractional = column.dtype.kind == "f" and not is_integral(column)
        return not fractional and "" not in values and len(set(values)) == len(values)

    def classes(self) -> dict[str, int]:
        """Count the classes, the most frequent first."""
        counts = Counter("" if is_missing_text(text) else text for text in self.text(self.roles["class"]))
        return {name: counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))}

    def describe(self, role: str) -> str:
        """Describe the values of a role: their range or number, and in how many rows they are known."""
        if role == "id":
            return f"{len(self):,} different values"
        if role == "class":
            return ", ".join(f"{name or '(none)'} {count}" for name, count in self.classes().items())
        values = self.numbers(self.roles[role])
        values = values[np.isfinite(values) & ((values >= 0) if role.startswith("z") else True)]
        share = "" if len(values) == len(self) else f" in {len(values):,} of {len(self):,} rows"
        return f"{values.min():.4g} to {values.max():.4g}{share}"


def read_catalogue(path: Path) -> Catalogue:
    """Read a catalogue and guess the roles of its columns.

    Raises
    ------
    DataError
        The file cannot be read, or has no rows.
    """
    catalogue = Catalogue(path, read_table(path, ""))
    if not len(catalogue):
        raise DataError(f"{path}: the catalogue is empty; give one with at least one object")
    roles = catalogue.roles
    for role, (patterns, check) in _ROLES.items():
        free = [name for name in catalogue.names if name not in roles.values()]
        named = (name for pattern in patterns.split() for name in free if re.fullmatch(pattern, name.casefold()))
        name = next((name for name in named if check(catalogue, name)), None)
        if name is not None:
            roles[role] = name
    for pair in (("ra", "dec"), ("x", "y")):
        for role in pair if not set(pair) <= roles.keys() else ():
            roles.pop(role, None)
    if "id" not in roles:
        unique = sorted(filter(catalogue.is_unique, catalogue.names), key=lambda name: name in catalogue.file_columns)
        if unique:
            roles["id"] = unique[0]
    if "id" in roles:  # read again with this column as text: 007 keeps its zeros
        catalogue.table, catalogue._texts = read_table(path, roles["id"]), {}
        catalogue._numbers.clear()
    return catalogue


def _is_within(low: float, high: float, role: str | None = None) -> Callable[[Catalogue, str], bool]:
    def check(catalogue: Catalogue, name: str) -> bool:
        values = catalogue.numbers(name, role)
        known = values[np.isfinite(values)]
        return bool(len(known) and known.min() >= low and known.max() <= high)

    return check


def _is_redshift(catalogue: Catalogue, name: str) -> bool:
    values = catalogue.numbers(name, "z")
    known = values[np.isfinite(values) & (values > 0)]  # 0 may stand for unknown
    # A column named z may be the magnitude in that band.
    return bool(len(known) and np.median(known) < 8 and known.max() < 20 and len(np.unique(known)) > 1)


def _is_class(catalogue: Catalogue, name: str) -> bool:
    possible = catalogue.is_whole(name) or (catalogue.is_text(name) and name not in catalogue.file_columns)
    n_classes = len(set(catalogue.text(name)) - {""})
    return possible and 2 <= n_classes <= 30 and 2 * n_classes <= len(catalogue)


_ROLES: dict[str, tuple[str, Callable[[Catalogue, str], bool]]] = {
    "id": (
        "object_?id obj_?id id ident identifier source_?id gal(axy)?_?id name source object number .*obj_?(id|no) "
        ".*_id .*id",
        Catalogue.is_unique,
    ),
    "ra": (
        "ra ra_?j2000 ra_?deg ra_?icrs alpha(win)?_?j2000 right_?ascension ra_.* .*[_.]ra",
        _is_within(-180, 360, "ra"),
    ),
    "dec": (
        "dec decl declination dec?_?j2000 dec?_?deg dec?_?icrs delta(win)?_?j2000 dec_.* .*[_.]dec",
        _is_within(-90, 90, "dec"),
    ),
    "x": ("x x(win)?_?image x_?(pix|pixel|cen|center|centre|c) x_.*pix.*", _is_within(-np.inf, np.inf)),
    "y": ("y y(win)?_?image y_?(pix|pixel|cen|center|centre|c) y_.*pix.*", _is_within(-np.inf, np.inf)),
    "z": ("z_?spec.* spec_?z.* z_?sp zs redshift z_?true z_?best z", _is_redshift),
    "z_phot": ("z_?phot.* photo?_?z.* z_?b z_?peak z_?m[cl]", _is_redshift),
    "class": (
        "class_?name class morphology morph_?(class|type)? galaxy_?(class|type) hubble_?type type kind label group "
        ".*_class .*class.*",
        _is_class,
    ),
    "ebv": (r"e_?\(?b_?-?_?v\)? e?_?bm?v.* mw_?ebv sfd.*ebv ebv.*", _is_within(-0.1, 50, "ebv")),
    "extension": (
        "hdu ext extension (?!psf).*_(hdu|ext|extension) (hdu|ext)_?(no|num|number|index)",
        Catalogue.is_unique,
    ),
    "index": ("index idx array_?index", lambda catalogue, name: catalogue.is_whole(name) and catalogue.is_unique(name)),
    "pixel_scale": ("pix(el)?_?scale.* pix_?arcsec", _is_within(1e-4, 100)),
}
"""Role -> patterns of column names, the best first, and a check of the values."""
