"""Guess what the columns of a catalogue are, from their names and values."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrodl.errors import DataError
from astrodl.ingestion.table import texts_of
from astrodl.ingestion.table_file import read_table

IMAGE_SUFFIXES = (".fits", ".fit", ".fts", ".fz", ".jpg", ".jpeg", ".png", ".h5", ".hdf5", ".npz")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")

_NAMES = {
    "id": "object_?id|obj_?id|id|ident|identifier|source_?id|gal(axy)?_?id|name|source|object|number|"
    ".*obj_?(id|no)|.*_id|.*id",
    "ra": "ra|ra_?j2000|ra_?deg|ra_?icrs|alpha(win)?_?j2000|right_?ascension|ra_.*|.*_ra",
    "dec": "dec|decl|declination|dec?_?j2000|dec?_?deg|dec?_?icrs|delta(win)?_?j2000|dec_.*|.*_dec",
    "x": "x|x(win)?_?image|x_?(pix|pixel|cen|center|centre|c)|x_.*pix.*",
    "y": "y|y(win)?_?image|y_?(pix|pixel|cen|center|centre|c)|y_.*pix.*",
    "z": "z_?spec.*|spec_?z.*|z_?sp|zs|redshift|z_?true|z_?best|z",
    "z_phot": "z_?phot.*|photo?_?z.*|z_?b|z_?peak|z_?m[cl]",
    "class": "class_?name|class|morphology|morph_?(class|type)?|galaxy_?(class|type)|hubble_?type|type|kind|label|"
    "group|.*_class|.*class.*",
    "ebv": r"e_?\(?b_?-?_?v\)?|e?_?bm?v.*|mw_?ebv|sfd.*ebv|ebv.*",
    "extension": "hdu|ext|extension|.*_(hdu|ext|extension)|(hdu|ext)_?(no|num|number|index)",
    "index": "index|idx|array_?index",
    "pixel_scale": "pix(el)?_?scale.*|pix_?arcsec",
}
_BAND_LETTERS = {"u", "b", "g", "v", "r", "i", "z", "y", "j", "h", "k", "ks"}


@dataclass
class Catalogue:
    """A catalogue and what its columns seem to be.

    Attributes
    ----------
    path, table
        The file and its content.
    roles
        Role (``id``, ``ra``, ``dec``, ``x``, ``y``, ``z``, ``z_phot``, ``class``, ``ebv``, ``extension``, ``index``,
        ``pixel_scale``) -> column.
    """

    path: Path
    table: Table
    roles: dict[str, str] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def names(self) -> list[str]:
        """Columns with one number or text per row."""
        return [name for name in self.table.colnames if self.table[name].ndim == 1]

    def text(self, name: str) -> list[str]:
        """Give a column as text, as path templates see it."""
        if name not in self.texts:
            self.texts[name] = [text.strip() for text in texts_of(self.table[name])]
        return self.texts[name]

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """Give a column as numbers, NaN where it is missing; None for text."""
        column = np.ma.asarray(self.table[name])
        if column.dtype.kind not in "biuf":
            return None
        return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))

    def is_whole(self, name: str) -> bool:
        """Tell whether a column holds integers."""
        return bool(self.table[name].dtype.kind in "iu")

    def is_text(self, name: str) -> bool:
        """Tell whether a column holds text."""
        return bool(self.table[name].dtype.kind in "SUO")

    def is_unique(self, name: str) -> bool:
        """Tell whether each row has a value of its own, text or whole number."""
        values = self.text(name)
        numbers = self.numbers(name)
        fractional = numbers is not None and not self.is_whole(name) and (numbers != np.trunc(numbers)).any()
        return not fractional and "" not in values and len(set(values)) == len(values)

    @cached_property
    def file_columns(self) -> list[str]:
        """Text columns that hold names of image files."""
        return [name for name in self.names if self.is_text(name) and _share(map(is_image, self.text(name))) > 0.8]

    @cached_property
    def magnitudes(self) -> list[str]:
        """Columns that look like magnitudes: their name says so or ends in a filter, their values are 8 to 35."""
        taken = set(self.roles.values())
        return [name for name in self.names if name not in taken and _is_magnitude(name, self.numbers(name))]

    def seen(self) -> list[tuple[str, str]]:
        """Say what the columns look like: pairs of what it is and which column."""
        roles = self.roles
        lines = [("identifier", f"{roles['id']} ({len(self):,} different)" if "id" in roles else "none is unique")]
        if "ra" in roles:
            lines.append(("position", f"{self._range('ra')}, {self._range('dec')} degrees"))
        if "x" in roles:
            lines.append(("pixel position", f"{self._range('x')}, {self._range('y')}"))
        for role, what in (("z", "redshift"), ("z_phot", "photometric redshift"), ("ebv", "reddening E(B-V)")):
            if role in roles:
                lines.append((what, self._range(role)))
        if "class" in roles:
            counts = ", ".join(f"{name} {count}" for name, count in self.classes())
            lines.append(("classes", f"{roles['class']}: {counts}"))
        if "extension" in roles:
            lines.append(("extension", self._range("extension", "{:.0f}")))
        if self.magnitudes:
            lines.append(("magnitudes", _listed(self.magnitudes)))
        if self.file_columns:
            lines.append(("file names", ", ".join(self.file_columns)))
        return lines

    def classes(self) -> list[tuple[str, int]]:
        """Count the classes, the most frequent first."""
        names, counts = np.unique(np.array(self.text(self.roles["class"])), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(str(names[k]) or "(none)", int(counts[k])) for k in order]

    def finite(self, role: str) -> NDArray[np.float64]:
        """Give the numbers of a role that are known: finite, and for redshifts not negative."""
        values = self.numbers(self.roles[role])
        assert values is not None
        known = np.isfinite(values) & ((values >= 0) if role.startswith("z") else True)
        return values[known]

    def _range(self, role: str, form: str = "{:.4g}") -> str:
        values = self.finite(role)
        share = "" if len(values) == len(self) else f", {len(values)} of {len(self)} rows"
        low, high = form.format(values.min()), form.format(values.max())
        return f"{self.roles[role]} ({low} to {high}{share})"


def look_at_catalogue(path: Path) -> Catalogue:
    """Read a catalogue and guess what its columns are.

    Raises
    ------
    DataError
        The file cannot be read, or has no rows.
    """
    found = Catalogue(path, read_table(path, ""))
    if not len(found):
        raise DataError(f"{path}: the catalogue is empty; give one with at least one object")
    for role, check in _CHECKS.items():
        name = _first(found, role, check)
        if name is not None:
            found.roles[role] = name
    for pair in (("ra", "dec"), ("x", "y")):
        if not set(pair) <= found.roles.keys():
            for role in pair:
                found.roles.pop(role, None)
    if "id" not in found.roles:
        unique = [name for name in found.names if found.is_unique(name)]
        unique.sort(key=lambda name: name in found.file_columns)
        if unique:
            found.roles["id"] = unique[0]
    if "id" in found.roles:  # again, as text: 007 keeps its zeros
        found.table, found.texts = read_table(path, found.roles["id"]), {}
    return found


def is_image(name: str) -> bool:
    """Tell whether a file's name is that of an image."""
    name = name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    return name.endswith(IMAGE_SUFFIXES)


def _first(found: Catalogue, role: str, check: Callable[[Catalogue, str], bool]) -> str | None:
    """Find the first column whose name is that of a role, by the best pattern, and whose values may be."""
    taken = set(found.roles.values())
    for pattern in _alternatives(_NAMES[role]):
        for name in found.names:
            if name not in taken and re.fullmatch(pattern, name.casefold()) and check(found, name):
                return name
    return None


def _alternatives(pattern: str) -> list[str]:
    """Divide a pattern at the bars that stand in no parentheses."""
    parts, depth = [""], 0
    for sign in pattern:
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _within(low: float, high: float) -> Callable[[Catalogue, str], bool]:
    def check(found: Catalogue, name: str) -> bool:
        values = found.numbers(name)
        if values is None or not np.isfinite(values).any():
            return False
        return bool(np.nanmin(values) >= low and np.nanmax(values) <= high)

    return check


def _is_redshift(found: Catalogue, name: str) -> bool:
    values = found.numbers(name)
    if values is None:
        return False
    known = values[np.isfinite(values) & (values > 0)]  # -1, -99 and 0 stand for unknown
    # A column named z may be the magnitude in that band.
    return bool(len(known) and np.median(known) < 8 and known.max() < 20 and len(np.unique(known)) > 1)


def _is_class(found: Catalogue, name: str) -> bool:
    if not (found.is_text(name) or found.is_whole(name)) or name in found.file_columns:
        return False
    n_classes = len(set(found.text(name)) - {""})
    return 2 <= n_classes <= 30 and 2 * n_classes <= len(found)


def _is_number(found: Catalogue, name: str) -> bool:
    values = found.numbers(name)
    return values is not None and bool(np.isfinite(values).any())


def _is_extension(found: Catalogue, name: str) -> bool:
    return (found.is_whole(name) or found.is_text(name)) and len(set(found.text(name))) > 1


def _is_index(found: Catalogue, name: str) -> bool:
    return found.is_whole(name) and found.is_unique(name)


def _is_magnitude(name: str, values: NDArray[np.float64] | None) -> bool:
    if values is None or re.match(r"e_?(?!mag)|.*err|.*sig|.*unc", name.casefold()):
        return False
    words = re.split(r"[^a-z]+", name.casefold())
    known = values[(values > 0) & (values < 90)]
    named = "mag" in name.casefold() or words[-1] in _BAND_LETTERS
    return bool(named and len(known) and 8 < np.median(known) < 35)


_CHECKS: dict[str, Callable[[Catalogue, str], bool]] = {
    "id": Catalogue.is_unique,
    "ra": _within(-180, 360),
    "dec": _within(-90, 90),
    "x": _is_number,
    "y": _is_number,
    "z": _is_redshift,
    "z_phot": _is_redshift,
    "class": _is_class,
    "ebv": _within(-0.1, 50),
    "extension": _is_extension,
    "index": _is_index,
    "pixel_scale": _within(1e-4, 100),
}


def _share(answers: Iterable[bool]) -> float:
    values = list(answers)
    return sum(values) / max(len(values), 1)


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
