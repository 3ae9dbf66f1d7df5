"""Columns and images of chosen objects for the HTML pages: the catalogue, and what was measured on the images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath
from astrodl.pages.document import MAX_BYTES
from astrodl.pages.sprites import Sprites, make_sprites
from astrodl.photometry.features import structural_features
from astrodl.pipeline.catalog import BLOCK, check_sources, join_columns
from astrodl.pipeline.input_columns import text_widths
from astrodl.pipeline.predictions import Predictions
from astrodl.products import Column, name_safely
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask
from astrodl.tasks.colour import colour

__all__ = ["BRIEF", "Source", "add_sprites", "open_sources", "read_columns"]

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
_MARGIN = 1000
"""Bytes of a page around its sprite sheet."""
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


def add_sprites(
    build: Callable[[Sprites | None], str], reader: Reader, indices: NDArray[np.int64], *, side: int = 64
) -> str:
    """Return a page with the colour images of its objects, in the space that its text leaves of 10 MB.

    Parameters
    ----------
    build
        Function that returns the page with a sprite sheet, or without images.
    reader, indices
        The objects of the page. In a survey without images the page has none.
    side
        Largest side of an image in pixels.
    """
    page = build(None)
    if not reader.has_images:
        return page

    def blocks() -> Iterator[NDArray[np.floating]]:
        for start in range(0, len(indices), _IMAGES):
            yield colour(reader, indices[start : start + _IMAGES])

    room = MAX_BYTES - len(page.encode()) - _MARGIN
    return build(make_sprites(blocks(), len(indices), side=min(side, reader.size), max_bytes=room))
