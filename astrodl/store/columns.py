"""What a catalogue column was in the input: name, type, unit and description, kept as attributes of its dataset."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from astrodl.errors import StoreError

__all__ = ["ColumnDescription"]

_TYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool|text|")


@dataclass(frozen=True)
class ColumnDescription:
    """A column of the input catalogue.

    Attributes
    ----------
    source
        Name in the input; "" if unknown (a store of an older version).
    type
        numpy type in the input (``int16``, ``float32``, ``bool`` ...) or ``text``; "" if unknown.
    unit, description
        As in the input, or "". The unit is that of the stored values.
    null
        Integer that stands for a missing value, in a column of integers that float64 cannot hold.
    """

    source: str = ""
    type: str = ""
    unit: str = ""
    description: str = ""
    null: int | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """The known entries, as attributes of an HDF5 dataset."""
        known = {name: value for name, value in asdict(self).items() if value not in ("", None)}
        return known if self.null is None else {**known, "null": np.array(self.null)}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self:
        """Read the attributes of an HDF5 dataset; those of an older version are empty."""
        texts = {name: str(attributes.get(name, "")) for name in ("source", "type", "unit", "description")}
        if not _TYPE.fullmatch(texts["type"]):
            texts["type"] = ""
        return cls(**texts, null=int(attributes["null"]) if "null" in attributes else None)

    def mask(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the values, as a masked array if an integer stands for missing values."""
        if self.null is None or values.dtype.kind not in "iu":
            return values
        limits = np.iinfo(values.dtype)
        return np.ma.masked_equal(values, self.null, copy=False) if limits.min <= self.null <= limits.max else values

    def restore_integers(self, texts: NDArray[np.str_]) -> NDArray[Any]:
        """Return identifiers, which are text in the store, as integers if they were integers in the input.

        Raises
        ------
        StoreError
            If one is no integer.
        """
        if not self.type.startswith(("int", "uint")):
            return texts
        try:
            return texts.astype(np.uint64 if self.type == "uint64" else np.int64)
        except (ValueError, OverflowError):
            raise StoreError("object_id holds text, its attribute 'type' says integers; ingest again") from None
