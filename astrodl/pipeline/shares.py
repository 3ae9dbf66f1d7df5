"""Shares of bands and annuli in the attributions of all objects of a store, as columns of the catalogue."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from astrodl.atomic import FilePath
from astrodl.errors import StoreError
from astrodl.explanation.methods import Options
from astrodl.pipeline.explanation import attribute_objects, half_light_radius, share_columns, warn_of_empty
from astrodl.pipeline.suitability import check_models, require_other_output
from astrodl.products import FITS_SUFFIXES, Column, read_catalog, require_suffix, stream_catalog
from astrodl.progress import progress_bar
from astrodl.store import Reader, open_store
from astrodl.tasks.explained import find_quantity, prepare_inputs
from astrodl.tasks.model import Model, load_model

__all__ = ["Shares", "open_shares", "write_shares"]

_BLOCK = 512
"""Objects in memory at a time."""
_JOINED = ("band_share", "radius_share")
"""Columns of each task that the catalogue takes."""


def write_shares(
    model: Model | FilePath,
    store: FilePath,
    out: FilePath,
    *,
    method: str = "input_x_gradient",
    target: str | None = None,
    draws: int = 1,
    steps: int = 64,
    seed: int = 0,
    device: str = "auto",
    progress: bool | None = None,
) -> Path:
    """Attribute a predicted number of every object, and write the shares of bands and annuli to a FITS table.

    Parameters
    ----------
    model : Model or path
        Trained model.
    store : path
        Objects, which are in memory in blocks.
    out : path
        Table to write; `astrodl catalog --shares` joins its columns `TASK_band_share` and `TASK_radius_share`.
    method, target, draws, steps, seed, device
        As for `astrodl.explain`. Input times gradient costs about as much as the prediction of two orientations.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    ConfigError
        Method or target are not known, or the network does not allow the method; the output is an input.
    StoreError
        The model does not fit the store.
    """
    path = "model" if isinstance(model, Model) else model
    require_other_output(out, store, path)
    require_suffix(out, FITS_SUFFIXES)
    model = model if isinstance(model, Model) else load_model(model, device=device)
    explained, options = find_quantity(model, target), Options(draws=draws, steps=steps, seed=seed)
    with open_store(store) as reader:
        check_models(reader, model.task.name, [model], [path], force=True)
        header = {
            "SURVEY": reader.survey, "STORE": reader.fingerprint[:32], "TASK": model.task.name,
            "TARGET": explained.quantity.name, "METHOD": method,
        }  # fmt: skip
        widths, empty = {"object_id": reader.identifier_width}, np.zeros(len(reader), bool)
        with (
            stream_catalog(Path(out), len(reader), header, widths=widths) as table,
            progress_bar(f"explain {model.task.name}", len(reader), progress) as show,
        ):
            for start in range(0, len(reader), _BLOCK):
                stop = min(start + _BLOCK, len(reader))
                cutouts = model.task.read(reader, np.arange(start, stop))
                inputs, radius = prepare_inputs(model, cutouts), half_light_radius(cutouts, reader)
                names = reader.block("object_id", start, stop)
                made = attribute_objects(model, explained, inputs, names, radius, method, options)
                table.write(share_columns(made))
                empty[start:stop] = np.isnan(made.value)
                show(stop, "")
    warn_of_empty(model, empty)
    return Path(out)


class Shares:
    """Shares of a task, read from a table of `write_shares`.

    Raises
    ------
    StoreError
        The file is no such table.
    """

    def __init__(self, path: Path):
        self.path, self.table = path, read_catalog(path)
        self.task = str(self.table.meta.get("TASK", ""))
        if missing := [name for name in self._names if name not in self.table.colnames]:
            raise StoreError(f"{path}: has no column '{missing[0]}'; give a table of `astrodl explain --shares`")

    @property
    def _names(self) -> list[str]:
        return ["object_id", *(f"{self.task}_{name}" for name in _JOINED)]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.table["object_id"])}

    def require_store(self, reader: Reader) -> None:
        """Refuse shares of another store.

        Raises
        ------
        StoreError
            They were made from another store.
        """
        if str(self.table.meta.get("STORE", "")) != reader.fingerprint[:32]:
            raise StoreError(f"{self.path}: was made from another store than {reader.path}; explain this one again")

    def columns(self, object_id: np.ndarray) -> list[Column]:
        """Return the shares of objects, NaN for those that were not explained."""
        rows = np.array([self._rows.get(str(name), -1) for name in object_id])
        found = []
        for name in self._names[1:]:
            column = self.table[name]
            values = np.where((rows >= 0)[:, None], np.asarray(column)[rows], np.float32(np.nan))
            found.append(Column(name, values, None, column.description, "stat.value"))
        return found


def open_shares(reader: Reader, paths: Sequence[FilePath]) -> list[Shares]:
    """Open tables of shares of a store, at most one of each task.

    Raises
    ------
    StoreError
        A file is no table of shares, or of another store; two are of one task.
    """
    seen: dict[str, Shares] = {}
    for path in paths:
        shares = Shares(Path(path))
        if shares.task in seen:
            raise StoreError(f"{path}: shares of {shares.task}, as in {seen[shares.task].path}; give one file per task")
        shares.require_store(reader)
        seen[shares.task] = shares
    return list(seen.values())
