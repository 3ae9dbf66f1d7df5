"""The verb product: a file that a task writes beside the catalogue, such as p(z)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from astrodl.atomic import FilePath
from astrodl.errors import ConfigError, StoreError
from astrodl.pipeline.predictions import Predictions
from astrodl.pipeline.suitability import require_other_output
from astrodl.store import Reader, open_store
from astrodl.tasks.base import Arrays

__all__ = ["product"]

BLOCK = 4096
"""Objects in memory at a time."""


def product(task: str, store: FilePath, predictions: FilePath, out: FilePath) -> Path:
    """Write a product of a task, block by block; the name of the file says which product.

    Parameters
    ----------
    task : str
        Name of the task.
    store : path
        The store that was predicted.
    predictions : path
        Predictions of the task.
    out : path
        File to write. Its name is that of a product of the task, such as `photoz_pdf.hdf5`.

    Returns
    -------
    Path
        The product.

    Raises
    ------
    ConfigError
        The task has no product of that name.
    StoreError
        The predictions are of another task, or were made from another store.

    Examples
    --------
    >>> astrodl.product("photoz", "store.h5", "photoz.h5", "photoz_pdf.hdf5")  # doctest: +SKIP
    """
    require_other_output(out, store, predictions)
    out, predicted = Path(out), Predictions(Path(predictions))
    writer = predicted.task()
    if writer.name != task:
        raise StoreError(f"{predicted.path}: predictions of task {writer.name}, not of {task}; give those of {task}")
    if out.name not in writer.products:
        known = ", ".join(writer.products) or "none"
        raise ConfigError(f"{out}: task {task} has no product of that name (has {known}); name the file like a product")
    with open_store(store) as reader:
        predicted.require_store(reader)
        writer.write_product(out.name, out, reader, _blocks(predicted, reader))
    return out


def _blocks(predicted: Predictions, reader: Reader) -> Iterator[tuple[np.ndarray, Arrays]]:
    """Yield identifiers and predictions of consecutive objects; an empty store has one empty block."""
    for start in range(0, max(len(reader), 1), BLOCK):
        yield predicted.checked_block(reader, start, min(start + BLOCK, len(reader)))
