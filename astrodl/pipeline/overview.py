"""The verb overview: figures of a whole survey."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.pipeline.summary import read_metrics
from astrodl.plots.images import contact_sheet
from astrodl.plots.overview import metrics_overview
from astrodl.plots.splits import splits_overview
from astrodl.plots.style import save
from astrodl.store import Reader, open_store
from astrodl.tasks.colour import colour

__all__ = ["overview"]


def overview(
    store: str | os.PathLike[str],
    metrics: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    n_objects: int = 60,
    n_columns: int = 10,
) -> None:
    """Draw the figures of a survey: sample objects, splits, all metrics beside the baselines.

    Parameters
    ----------
    store
        Store of the survey.
    metrics
        `metrics.json` of each task.
    out
        Folder of the figures: `objects.png` where there are images, `splits.png`, and where there are metrics
        `metrics.png`.
    n_objects, n_columns
        Size of the sheet of objects, with equal numbers of each class where there is a column `class`.

    Examples
    --------
    >>> astrodl.overview("store.h5", ["photoz/metrics.json"], "figures")  # doctest: +SKIP
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with open_store(store) as reader:
        if reader.has_images:
            indices, titles = _choose(reader, n_objects, n_columns)
            heading = f"{reader.survey}: {len(indices)} of {reader.n_objects} objects, {', '.join(reader.bands)}"
            save(contact_sheet(colour(reader, indices), titles, n_columns, heading), out / "objects.png")
        known: dict[str, Any] = {
            name: reader.column(column)
            for name, column in {"ra": "ra", "dec": "dec", "classes": "class", "z": "z"}.items()
            if reader.has_column(column)
        }
        save(splits_overview(reader.split, **known), out / "splits.png")
    measured = [document for document in map(read_metrics, metrics) if document["network"]]
    if measured:
        save(metrics_overview(measured), out / "metrics.png")


def _choose(reader: Reader, n_objects: int, n_columns: int) -> tuple[NDArray[np.int64], list[str]]:
    """Choose objects and titles: rows of each class with its name, or the first objects with their identifiers."""
    if not reader.has_column("class"):
        indices = np.arange(min(n_objects, reader.n_objects))
        return indices, reader.object_id[indices].tolist()
    classes = reader.column("class").astype(str)
    names, counts = np.unique(classes, return_counts=True)
    n_each = max(n_objects // len(names) // n_columns, 1) * n_columns
    chosen = [np.flatnonzero(classes == name)[:n_each] for name in names[np.argsort(-counts)]]
    indices = np.concatenate(chosen)
    return indices, classes[indices].tolist()
