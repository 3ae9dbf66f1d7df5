"""The verb map: the latent map of a survey as a page."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath, write_text
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.pages.document import MAX_BYTES
from astrodl.pages.map import map_page
from astrodl.pages.sprites import Sprites
from astrodl.pipeline.page_columns import BRIEF, Source, add_sprites, open_sources, read_columns
from astrodl.pipeline.suitability import list_files, require_other_output
from astrodl.store import open_store

__all__ = ["map"]

N_OBJECTS = 5000
"""Objects on a map, by default."""
_MOST = 50_000
_COLOUR = ("morphology_class", "class", "outliers_score", "z", "photoz_z_median")
"""Columns that colour a map at first, the first that exists."""


def map(
    store: FilePath,
    predictions: Sequence[FilePath] | FilePath,
    out: FilePath,
    *,
    n_objects: int = N_OBJECTS,
    seed: int = 0,
) -> Path:
    """Write the map of a survey as one HTML page that needs no network: hover, colour, lasso, nearest neighbours.

    Parameters
    ----------
    store : path
        The store that was predicted.
    predictions : path, or sequence of path
        One predictions file per task, among them that of the task latent. Its array `map` (N, 2) places the objects,
        or else its latent vectors; of vectors that are not of two dimensions, the first two principal components.
    out : path
        Page to write, at most 10 MB.
    n_objects : int
        Most objects on the page; of more, a random sample is shown, and the page says so.
    seed : int
        Seed of the sample.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ConfigError
        `n_objects` is out of range.
    StoreError
        No predictions of the task latent; or predictions of another store.
    DataError
        No object has a place on the map.

    Examples
    --------
    >>> astrodl.map("store.h5", ["latent.h5", "photoz.h5"], "map.html")  # doctest: +SKIP
    """
    if not 1 <= n_objects <= _MOST:
        raise ConfigError(f"objects = {n_objects}: must be from 1 to {_MOST}; correct it")
    predictions, out = list_files(predictions), Path(out)
    require_other_output(out, store, *predictions)
    with open_store(store) as reader:
        sources = open_sources(reader, predictions)
        position, vectors = _places(sources)
        placed = np.flatnonzero(np.isfinite(position).all(1) & np.isfinite(vectors).all(1))
        if not len(placed):
            raise DataError(f"{store}: no object has a place on the map; predict latent for objects with data")
        shown = placed
        if len(placed) > n_objects:
            shown = np.sort(np.random.default_rng(seed).choice(placed, n_objects, replace=False))
        columns = read_columns(reader, sources, shown)
        about = f"{_count(len(shown), len(placed))} of the survey, placed by the map of the latent vectors."
        if len(reader) > len(placed):
            about += f" {len(reader) - len(placed):,} without data are left out."
        object_id, title = reader.object_id[shown], f"{reader.survey}: map of the galaxies"

        def build(sprites: Sprites | None) -> str:
            return map_page(
                object_id, position[shown], vectors[shown], columns, sprites,
                title=title, about=about, colour=_COLOUR, brief=BRIEF,
            )  # fmt: skip

        page = add_sprites(build, reader, shown)
    if len(page.encode()) > MAX_BYTES:
        print(f"{out}: {len(page) / 1e6:.1f} MB, above {MAX_BYTES / 1e6:.0f} MB; show fewer objects", file=sys.stderr)
    write_text(out, page)
    return out


def _count(n_shown: int, n_placed: int) -> str:
    if n_shown == n_placed:
        return f"All {n_shown:,} objects"
    return f"A random sample of {n_shown:,} of the {n_placed:,} objects"


def _places(sources: Sequence[Source]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the place of each object, (N, 2), and the vectors, (N, d)."""
    of_latent = [predicted for predicted, task in sources if task.name == "latent"]
    if not of_latent:
        raise StoreError("the map needs predictions of the task latent; give those of latent")
    arrays = of_latent[0].read(maps=False)
    if "map" not in arrays:
        raise StoreError("the predictions of latent have no map: they are of an older version; train and predict again")
    return np.asarray(arrays["map"], np.float64), np.asarray(arrays["latent"], np.float32)
