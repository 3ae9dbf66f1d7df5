"""Columns and images of chosen objects for the HTML pages: the catalogue, and what was measured on the images."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath
from astrodl.pages.sprites import Sprites, make_sprites
from astrodl.photometry.features import structural_features
from astrodl.pipeline.catalog import BLOCK, check_sources, join_columns
from astrodl.pipeline.input_columns import text_widths
from astrodl.pipeline.predictions import Predictions
from astrodl.products import Column, name_safely
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask
from astrodl.tasks.colour import colour

__all__ = ["BRIEF", "Source", "open_sources", "read_columns", "read_sprites"]

Source = tuple[Predictions, AnyTask]

BRIEF = (
    "outliers_score",
    "outliers_reason",
    "morphology_class",
    "morphology_confidence",
    "class",
    "photoz_z_median",
    "z",
    "segmentation_bt",
    "bt",
    "latent_hubble",
    "oddity",
)
"""Columns that pages show first, where they exist."""
_HIDDEN = ("object_id", "_unseen", "_input_flags")
"""Ends of the names of columns that pages do not show."""
_IMAGES = 500
"""Images in memory at a time."""


def open_sources(reader: Reader, predictions: Sequence[FilePath]) -> list[Source]:
    """Open predictions of the tasks, and check that they were made from the store.

    Raises
    ------
    StoreError
        They were made from another store, or two are of one task.
    """
    sources = [(predicted, predicted.task()) for predicted in map(Predictions, map(Path, predictions))]
    check_sources(reader, sources)
    return sources


def read_columns(reader: Reader, sources: Sequence[Source], indices: NDArray[np.int64]) -> list[Column]:
    """Read the columns of the catalogue with one value per object, and the measured structure, of chosen objects.

    Parameters
    ----------
    reader
        The store.
    sources
        Predictions that `open_sources` returned.
    indices
        Objects, (n,), in any order; at least one.

    Returns
    -------
    list of Column
        Values in the order of the indices.
    """
    order = np.argsort(indices, kind="stable")
    wanted, widths = indices[order], text_widths(reader, BLOCK)
    parts: list[list[Column]] = []
    for start in range(0, len(reader), BLOCK):
        inside = wanted[(wanted >= start) & (wanted < start + BLOCK)] - start
        if len(inside):
            columns = join_columns(reader, sources, widths, start, min(start + BLOCK, len(reader)))
            parts.append([replace(column, values=np.ma.asanyarray(column.values)[inside]) for column in columns])
    back = np.argsort(order, kind="stable")
    joined = [
        replace(same[0], values=np.ma.concatenate([np.ma.asarray(column.values) for column in same])[back])
        for same in zip(*parts, strict=True)
    ]
    structure = structural_features(reader.feature_names)
    measured = reader.features(structure, indices)
    shown = [column for column in joined if not column.name.endswith(_HIDDEN)]
    shown += [
        Column(name, measured[:, k], None, f"measured on the images: {name.replace('_', ' ')}")
        for k, name in enumerate(structure)
    ]
    return name_safely(shown)


def read_sprites(reader: Reader, indices: NDArray[np.int64], *, max_bytes: int, side: int = 64) -> Sprites | None:
    """Return the colour images of chosen objects as a sprite sheet; None in a survey without images."""
    if not reader.has_images:
        return None

    def blocks() -> Iterator[NDArray[np.floating]]:
        for start in range(0, len(indices), _IMAGES):
            yield colour(reader, indices[start : start + _IMAGES])

    return make_sprites(blocks(), len(indices), side=min(side, reader.size), max_bytes=max_bytes)
