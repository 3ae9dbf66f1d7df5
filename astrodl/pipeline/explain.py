"""The verb explain: which pixels of which band a prediction comes from."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.atomic import FilePath
from astrodl.data.batches import Cutouts
from astrodl.errors import ConfigError, DataError
from astrodl.explanation.methods import METHODS, Options, allowed
from astrodl.explanation.target import Explained, Inputs
from astrodl.hdf5 import replacing_hdf5
from astrodl.pipeline.explanation import (
    Explanation,
    attribute_objects,
    compare_with_shuffled,
    half_light_radius,
    share_columns,
    warn_of_empty,
)
from astrodl.pipeline.objects import labelled
from astrodl.pipeline.suitability import check_models
from astrodl.plots.explanation import attribution_sheet
from astrodl.plots.images import lupton_rgb
from astrodl.plots.style import save
from astrodl.products import write_catalog
from astrodl.store import Reader, open_store
from astrodl.tasks.colour import colour
from astrodl.tasks.explained import find_quantity, prepare_inputs
from astrodl.tasks.image_arrays import prepare_cutouts
from astrodl.tasks.model import Model, load_model

__all__ = ["Explanation", "choose_method", "explain", "find_objects"]

N_DRAWN = 6
"""Test objects that are explained by default, and most objects of a sheet."""


def explain(
    model: Model | FilePath,
    data: FilePath | np.ndarray,
    out: FilePath | None = None,
    *,
    method: str | None = None,
    target: str | None = None,
    ids: Sequence[str] | None = None,
    draws: int = 4,
    steps: int = 64,
    batch_size: int = 128,
    seed: int = 0,
    device: str = "auto",
    sky_sigma: Any = None,
    unit: Any = None,
) -> Explanation:
    """Attribute a predicted number to the pixels of each band, and test whether the maps depend on the network.

    Images are compared with noise of the sky of their own depth, and the maps of several noise draws, each with another
    orientation of the image, are averaged. A method whose maps are those of networks with shuffled weights shows the
    image and not the network: a warning says so.

    Parameters
    ----------
    model : Model or path
        Trained model.
    data : path, or (N, bands, y, x) array
        A store, or images as `Model.predict` takes them.
    out : path, optional
        Folder to write: `attributions.h5`, `shares.fits` and `sheet.png`.
    method : str, optional
        One of `astrodl.explanation.methods.METHODS`; by default the best of the task.
    target : str, optional
        Predicted number; by default the first that the task declares.
    ids : sequence of str, optional
        Identifiers of objects of the store; by default some test objects.
    draws : int
        Sky images as baselines.
    steps : int
        Segments of the path of integrated gradients.
    batch_size, seed : int
        Images that pass the network at a time; seed of the noise.
    device : str
        auto, cpu or cuda, where `model` is a path.
    sky_sigma, unit
        Of images in memory, as for `Model.predict`.

    Returns
    -------
    Explanation

    Raises
    ------
    ConfigError
        Method or target are not known, or the network does not allow the method.
    DataError
        An identifier is not in the store; the network takes no images.
    AstrodlError
        Captum is not installed.

    Examples
    --------
    >>> astrodl.explain("photoz/model.safetensors", "store.h5", "explanation")  # doctest: +SKIP
    """
    path = "model" if isinstance(model, Model) else model
    model = model if isinstance(model, Model) else load_model(model, device=device)
    options = Options(draws=draws, steps=steps, batch_size=batch_size, seed=seed)
    explained = find_quantity(model, target)
    method = choose_method(model, explained) if method is None else method
    if isinstance(data, np.ndarray):
        cutouts = prepare_cutouts(model.task.context, data, unit=unit, sky_sigma=sky_sigma)
        names, radius = np.arange(len(cutouts)), half_light_radius(cutouts, None)
        rgb = lupton_rgb(cutouts.images[:N_DRAWN], cutouts.sky_sigma[:N_DRAWN])
    else:
        cutouts, names, radius, rgb = _read(model, path, data, ids)
    if not len(cutouts):
        raise ConfigError("ids: names no object; give at least one")
    inputs = prepare_inputs(model, cutouts)
    if inputs.image.shape[-2:] != cutouts.images.shape[-2:]:  # maps are those of canonical views
        flux = inputs.sky.to_frame(inputs.image[:N_DRAWN], "flux").cpu().numpy()
        rgb = lupton_rgb(flux, np.ones(flux.shape[:2]))
    made = _explain(model, explained, inputs, names, radius, method, options)
    if out is not None:
        _write(made, out, rgb)
    return made


def _read(
    model: Model, path: FilePath, data: FilePath, ids: Sequence[str] | None
) -> tuple[Cutouts, np.ndarray, np.ndarray, np.ndarray]:
    """Read objects of a store with identifiers, half-light radii in pixels, and colour images of the first of them."""
    with open_store(data) as store:
        check_models(store, model.task.name, [model], [path], force=True)
        rows = find_objects(model, store, ids)
        cutouts = model.task.read(store, rows)
        return cutouts, store.object_id[rows], half_light_radius(cutouts, store), colour(store, rows[:N_DRAWN])


def choose_method(model: Model, explained: Explained) -> str:
    """Return the best method of number or task that network and number allow."""
    wanted = explained.quantity.explained_by or model.task.explained_by
    return next(name for name in wanted if name in allowed(explained))


def find_objects(
    model: Model, store: Reader, ids: Sequence[str] | None, n_objects: int = N_DRAWN, subset: str = "test"
) -> np.ndarray:
    """Return the rows of objects by identifier, or of objects of a subset spread evenly over the store.

    Raises
    ------
    DataError
        The store does not have an identifier, or no objects of the subset.
    """
    if ids is not None:
        row_of = {str(name): row for row, name in enumerate(store.object_id)}
        if missing := [name for name in ids if name not in row_of]:
            raise DataError(f"{store.path}: no object '{missing[0]}'; identifiers are like '{store.object_id[0]}'")
        return np.array([row_of[name] for name in ids])
    found = labelled(type(model.task), model.task.settings, store, subset)
    if not len(found):
        raise DataError(f"{store.path}: has no {subset} objects of {model.task.name}; name objects with ids")
    return found[np.unique(np.linspace(0, len(found) - 1, min(n_objects, len(found))).round().astype(int))]


def _explain(
    model: Model,
    explained: Explained,
    inputs: Inputs,
    object_id: np.ndarray,
    radius: np.ndarray,
    method: str,
    options: Options,
) -> Explanation:
    """Explain objects, and test the method with shuffled weights."""
    made = attribute_objects(model, explained, inputs, object_id, radius, method, options)
    warn_of_empty(model, np.isnan(made.value))
    made = compare_with_shuffled(model, explained, inputs, made, options)
    if made.warning:
        print(f"astrodl: warning: {method}: {made.warning}; choose another method", file=sys.stderr)
    return made


def _write(made: Explanation, out: FilePath, rgb: np.ndarray) -> None:
    """Write maps, shares and sheet."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing_hdf5(folder / "attributions.h5") as file:
        file.attrs.update(
            format="astrodl-attributions", task=made.task, target=made.target, unit=made.map_unit, method=made.method,
            similarity=made.similarity, bands=list(made.bands),
        )  # fmt: skip
        file["object_id"] = made.object_id.astype("S")
        for name in ("maps", "value", "change", "residual", "band_share", "radius_share"):
            file[name] = getattr(made, name).astype(np.float32)
    header = {"TASK": made.task, "TARGET": made.target, "METHOD": made.method}
    write_catalog(folder / "shares.fits", share_columns(made), header)
    drawn = slice(0, N_DRAWN)
    title = METHODS[made.method].title
    sheet = attribution_sheet(
        rgb[drawn],
        made.maps[drawn],
        made.bands,
        [
            f"{name}  {chosen or made.target} {value:.3g}"
            for name, chosen, value in zip(made.object_id[drawn], made.chosen[drawn], made.value[drawn], strict=True)
        ],
        unit=made.map_unit,
        heading=f"{made.task}: {made.target.replace('_', ' ')} by {title}",
        warning=made.warning,
    )
    save(sheet, folder / "sheet.png")
