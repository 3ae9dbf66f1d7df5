"""A contact sheet of a store: what an astronomer looks at before anything else."""

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.plots.images import balance_bands, contact_sheet, lupton_rgb, plain_rgb
from astrodl.plots.style import save
from astrodl.store import Reader, open_store


def overview(
    store: str | os.PathLike[str], out: str | os.PathLike[str], *, n_objects: int = 60, n_columns: int = 10
) -> None:
    """Draw objects of a store in colour, class by class where it has a `class` column.

    Parameters
    ----------
    store, out
        Store to read and PNG to write.
    n_objects, n_columns
        Size of the sheet.
    """
    with open_store(store) as reader:
        indices, titles = _choose(reader, n_objects)
        heading = f"{reader.survey}: {len(indices)} of {reader.n_objects} objects, {', '.join(reader.bands)}"
        save(contact_sheet(_in_color(reader, indices), titles, n_columns, heading), Path(out))


def _in_color(reader: Reader, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    images = reader.images(indices)
    # JPEG and PNG were stretched for the eye before they were ingested.
    if json.loads(reader.settings).get("data", {}).get("layout") == "rgb":
        return plain_rgb(images)
    return lupton_rgb(images, reader.sky_sigma[indices], band_factors=balance_bands(images)).astype(np.float32)


def _choose(reader: Reader, n_objects: int) -> tuple[NDArray[np.int64], list[str]]:
    """Choose the first objects, as many of each class, titled by class; without classes, by identifier."""
    if not reader.has_column("class"):
        indices = np.arange(min(n_objects, reader.n_objects))
        return indices, reader.object_id[indices].tolist()
    classes = reader.column("class").astype(str)
    names, counts = np.unique(classes, return_counts=True)
    room = -(-n_objects // len(names))
    indices = np.concatenate([np.flatnonzero(classes == name)[:room] for name in names[np.argsort(-counts)]])[
        :n_objects
    ]
    return indices, classes[indices].tolist()
