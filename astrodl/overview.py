"""A contact sheet of a store: what an astronomer looks at before anything else."""

import os
from pathlib import Path

import numpy as np

from astrodl.plots.images import contact_sheet, lupton_rgb
from astrodl.plots.style import save
from astrodl.store import Reader, open_store


def overview(
    store: str | os.PathLike[str], out: str | os.PathLike[str], *, n_objects: int = 48, n_columns: int = 8
) -> None:
    """Draw objects of a store in colour, evenly over the classes where the store has a `class` column.

    Parameters
    ----------
    store, out
        Store to read and PNG to write.
    n_objects, n_columns
        Size of the sheet.
    """
    with open_store(store) as reader:
        indices, titles = _choose(reader, n_objects)
        images = [lupton_rgb(image) for image in reader.images(indices)]
    save(contact_sheet(images, titles, n_columns=n_columns), Path(out))


def _choose(reader: Reader, n_objects: int) -> tuple[np.ndarray, list[str]]:
    if not reader.has_column("class"):
        indices = np.arange(min(n_objects, reader.n_objects))
        return indices, [str(name) for name in np.asarray(reader.object_id)[indices]]
    classes = np.asarray(reader.column("class")).astype(str)
    names = sorted(set(classes))
    rows = [np.flatnonzero(classes == name)[: -(-n_objects // len(names))] for name in names]
    indices = np.concatenate(rows)[:n_objects]
    return indices, [str(classes[index]) for index in indices]
