"""Return the catalogue of a store as an astropy Table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from astropy.units import Unit
from numpy.typing import NDArray

from astrodl.store.columns import ColumnDescription
from astrodl.store.layout import FLAGS, SPLITS

if TYPE_CHECKING:
    from astrodl.store.reader import Reader

__all__ = ["build_table"]

_UNITS = {"ra": "deg", "dec": "deg", "ebv": "mag"}
_DESCRIPTIONS = {
    "object_id": "identifier in the survey",
    "split": "networks are trained on train and validation; rest is only predicted",
    "fold": "cross-validation fold; -1 for test and rest",
    "flags": "bits: " + ", ".join(f"{bit} {name.replace('_', ' ')}" for name, bit in FLAGS.items()),
    "ra": "right ascension (ICRS)",
    "dec": "declination (ICRS)",
    "ebv": "Galactic reddening E(B-V)",
}


def build_table(store: "Reader", names: Sequence[str] | None, indices: NDArray[np.int64] | None) -> Table:
    """Return catalogue columns of the objects `indices`; see `Reader.table`."""
    own = {
        "object_id": store.describe_column("object_id").restore_integers(store.object_id),
        "split": np.array(SPLITS)[store.split],
        "fold": store.fold,
        "flags": store.flags,
    }
    if names is None:
        names = [*own, *(name for name in store.column_names if name not in own)]
    rows = slice(None) if indices is None else indices
    columns = []
    for name in names:
        values = own[name] if name in own else store.column(name)
        known = store.describe_column(name) if name == "object_id" or name not in own else ColumnDescription()
        unit = Unit(known.unit, parse_strict="silent") if known.unit else _UNITS.get(name)
        about = known.description or _DESCRIPTIONS.get(name)
        kind = MaskedColumn if isinstance(values, np.ma.MaskedArray) else Column
        columns.append(kind(values[rows], name, unit=unit, description=about))
    return Table(columns, meta={"survey": store.survey})
