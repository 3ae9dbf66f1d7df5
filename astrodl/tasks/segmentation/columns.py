"""Columns of the catalogue: bulge-to-total ratio, clumps, and the shape of the whole."""

from collections.abc import Sequence
from typing import Any

from astrodl.products import Column
from astrodl.tasks.base import Arrays
from astrodl.tasks.segmentation import shape

__all__ = ["describe_columns"]

_PART = "phot.flux;arith.ratio"
_DESCRIBED = {
    "bt": ("bulge-to-total flux ratio", _PART),
    "bt_error": ("its 68 % error", "stat.error;arith.ratio"),
    "bt_low68": ("lower end of its 68 % interval", "phot.flux;arith.ratio;stat.min"),
    "bt_high68": ("upper end of its 68 % interval", "phot.flux;arith.ratio;stat.max"),
    "bt_zero": ("probability that there is no bulge", "stat.probability"),
    "bt_one": ("probability that there is nothing but a bulge", "stat.probability"),
    "n_clumps": ("number of clumps", "meta.number"),
    "clump_light": ("share of the clumps in the light of the galaxy", _PART),
}


def describe_columns(predictions: Arrays, bands: Sequence[str], shapes: dict[str, Any]) -> list[Column]:
    """Describe ratio and clumps, radius, index and axis ratio, and where there are several, the ratios in each band."""
    columns = [
        Column(f"segmentation_{name}", predictions[name], None, about, ucd) for name, (about, ucd) in _DESCRIBED.items()
    ]
    columns += shape.columns(predictions, shapes)
    if "band_fraction" not in predictions:
        return columns
    for number, band in enumerate(bands):
        bulge, clump = predictions["band_fraction"][:, 2 * number : 2 * number + 2].T
        columns.append(Column(f"segmentation_bt_{band}", bulge, None, f"bulge-to-total ratio in {band}", _PART))
        about = f"share of the clumps in the light in {band}"
        columns.append(Column(f"segmentation_clump_light_{band}", clump, None, about, _PART))
    return columns
