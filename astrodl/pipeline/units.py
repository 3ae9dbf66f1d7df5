"""Figures of what the units of a network look for, drawn by the verb explain."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from astrodl.atomic import FilePath
from astrodl.data.views import canonicalize
from astrodl.errors import DataError
from astrodl.explanation.features import (
    Number,
    exemplars,
    feature_maps,
    first_kernels,
    list_layers,
    maximize,
    nearest_neighbours,
    pool_maps,
)
from astrodl.explanation.methods import METHODS, Options
from astrodl.explanation.rules import last_maps, without_inplace
from astrodl.explanation.target import Explained, Inputs
from astrodl.pipeline.explain import choose_method, find_objects
from astrodl.pipeline.explanation import Explanation, attribute_objects, compare_with_shuffled
from astrodl.plots.explanation import filter_sheet, mean_map_sheet, panel_sheet
from astrodl.plots.images import lupton_rgb, sheet_of_rows
from astrodl.plots.style import save
from astrodl.store import Reader, open_store
from astrodl.tasks.colour import colour, survey_factors
from astrodl.tasks.explained import find_quantity, prepare_inputs, single_view
from astrodl.tasks.inputs import fit_units
from astrodl.tasks.model import Model, load_model

__all__ = ["draw_units"]

N_OBJECTS = 256
"""Objects among which exemplars and neighbours are searched."""
N_SHOWN = 8
N_AVERAGED = 128
"""Objects of the mean maps."""
_EXTENT = 3.0
"""Half of the side of canonical views in rms radii."""
LEAST_OBJECTS = 5
"""Objects that a mean map needs."""
N_STARTS = 4


def draw_units(model: Model | FilePath, store: FilePath, out: FilePath, *, device: str = "auto") -> list[Path]:
    """Draw filters, feature maps, exemplars, neighbours and maximised galaxies of a network.

    Parameters
    ----------
    model : Model or path
    store : path
        Survey whose objects are shown.
    out : path
        Folder of `filters.png`, `feature_maps.png`, `exemplars.png`, `neighbours.png`, `mean_maps.png` and
        `maximised.png`. A network whose images are canonical views has neither of the last two.
    device : str
        auto, cpu or cuda, where `model` is a path.

    Returns
    -------
    list of Path
        Figures that were drawn.
    """
    model = model if isinstance(model, Model) else load_model(model, device=device)
    explained, folder = find_quantity(model), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with open_store(store) as reader:
        rows = find_objects(model, reader, None, N_OBJECTS)
        inputs = prepare_inputs(model, model.task.read(reader, rows))
        with_data = torch.nonzero(~inputs.is_empty).flatten()
        if not len(with_data):
            raise DataError(f"{reader.path}: the test objects have no pixel with data; give another store")
        rows, inputs = rows[with_data.cpu().numpy()], inputs.rows(with_data)
        rgb = colour(reader, rows)
        figures = {"filters": _filters(model), **_objects(model, explained, inputs, rgb)}
        if inputs.image.shape[-1] == model.task.context.size:
            figures["maximised"] = _maximised(model, inputs, reader, rows)
            some = slice(0, len(rows), max(1, len(rows) // N_AVERAGED))
            figures["mean_maps"] = _mean_maps(model, explained, inputs.rows(some), reader, rows[some])
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _filters(model: Model) -> Figure:
    kernels = first_kernels(model.network)
    names = [*model.bands, *["other"] * (kernels.shape[1] - len(model.bands))]
    heading = f"{model.task.title}: kernels of the first layer, {min(len(kernels), 24)} of {len(kernels)}"
    return filter_sheet(kernels[:24].numpy(), names[: kernels.shape[1]], heading=heading)


def _objects(model: Model, explained: Explained, inputs: Inputs, rgb: np.ndarray) -> dict[str, Figure]:
    """Draw feature maps of one object, exemplars of the last layer with maps, and neighbours in it."""
    names = {module: name for name, module in explained.network.named_modules()}
    module = last_maps(explained.network)
    layers = [name for name, shape in list_layers(explained, inputs).items() if name.count(".") <= 2]
    last = names[module] if module is not None else layers[-1]
    title, drawn = model.task.title, {}
    chosen = layers[:: max(1, len(layers) // 4)][:4]
    maps = {name: feature_maps(explained, inputs.rows(slice(0, 1)), name)[0, :N_SHOWN] for name in chosen}
    shown: dict[str, np.ndarray] = {"galaxy": rgb[:1]}
    drawn["feature_maps"] = panel_sheet(
        shown | {name: each.numpy() for name, each in maps.items()}, heading=f"{title}: feature maps of one galaxy"
    )
    pooled = pool_maps(feature_maps(explained, inputs, last))
    busiest = pooled.std(0).argsort(descending=True)[:N_SHOWN]
    most, least = (each[busiest] for each in exemplars(pooled, 5))
    drawn["exemplars"] = sheet_of_rows(
        rgb,
        torch.cat([most, least], dim=1).tolist(),
        [f"channel {channel}" for channel in busiest.tolist()],
        n_columns=10,
        heading=f"{title}: five galaxies that excite a channel of {last} most, and five least",
    )
    found = nearest_neighbours(pooled[:6], pooled, 9)
    drawn["neighbours"] = sheet_of_rows(
        rgb,
        found.tolist(),
        n_columns=9,
        heading=f"{title}: nearest neighbours of the first galaxy of each row in {last}",
    )
    return drawn


def _mean_maps(model: Model, explained: Explained, inputs: Inputs, store: Reader, rows: np.ndarray) -> Figure:
    """Draw mean canonical attributions of the objects of each class, or in thirds of the number."""
    method = choose_method(model, explained)
    unknown = np.full(len(rows), np.nan)
    options = Options(draws=1)
    made = attribute_objects(model, explained, inputs, store.object_id[rows], unknown, method, options)
    made = compare_with_shuffled(model, explained, inputs, made, options)
    groups = _groups(explained, made)
    modulus = np.abs(made.maps).sum((1, 2, 3), keepdims=True)
    images, sky = store.images(rows), store.sky_sigma[rows]
    units = fit_units(store, rows).get("units")
    views, noise = canonicalize(torch.from_numpy(images), torch.from_numpy(sky), units=units, extent=_EXTENT)
    # with zero noise a band has no weight in centre, axes and size, so that the maps are turned and scaled as the image
    both = np.concatenate([images, made.maps / np.maximum(modulus, 1e-30)], axis=1)
    weights = np.concatenate([sky, np.zeros_like(made.maps[:, :, 0, 0])], axis=1)
    units = None if units is None else [*units, *[1.0] * made.maps.shape[1]]
    turned, _ = canonicalize(torch.from_numpy(both), torch.from_numpy(weights), units=units, extent=_EXTENT)
    turned = turned[:, images.shape[1] :]
    maps = (turned / turned.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-30)).numpy()
    mean = [views[chosen].mean(0) for chosen in groups.values()]
    depth = torch.stack([noise[chosen].mean(0) / len(chosen) ** 0.5 for chosen in groups.values()])
    return mean_map_sheet(
        lupton_rgb(torch.stack(mean).numpy(), depth.numpy()),
        np.stack([maps[chosen].mean(0) for chosen in groups.values()]),
        model.bands,
        [f"{name} ({len(chosen)})" for name, chosen in groups.items()],
        heading=f"{model.task.title}: mean attribution to {explained.quantity.about} by {METHODS[method].title}",
        edge=_EXTENT,
        warning=made.warning,
    )


def _groups(explained: Explained, made: Explanation) -> dict[str, np.ndarray]:
    """Return the objects of each class that the number is of, or the thirds of the number."""
    if explained.quantity.names:
        found = {name: np.flatnonzero(made.chosen == name) for name in explained.quantity.names}
        return {name: rows for name, rows in found.items() if len(rows) >= LEAST_OBJECTS}
    parts = np.array_split(np.argsort(made.value), 3)
    return {f"{made.value[rows].min():.3g} to {made.value[rows].max():.3g}": rows for rows in parts}


def _maximised(model: Model, inputs: Inputs, store: Reader, rows: np.ndarray) -> Figure:
    """Draw galaxies that maximise each number of the task, with the sky noise of the survey."""
    sky = np.median(store.sky_sigma[rows], axis=0)
    images, generator = {}, np.random.default_rng(0)
    quantities = single_view(model.task).quantities()
    logits = [quantity for quantity in quantities if quantity.name.startswith("logit_")]
    for quantity in logits or quantities[:4]:
        explained = find_quantity(model, quantity.name)
        found = maximize(_number(explained, inputs), inputs, n_images=N_STARTS).numpy()
        noisy = (found + generator.standard_normal(found.shape)) * sky[:, None, None]
        images[quantity.name.removeprefix("logit_")] = lupton_rgb(
            noisy, np.tile(sky, (N_STARTS, 1)), band_factors=survey_factors(store)
        )
    return panel_sheet(images, heading=f"{model.task.title}: galaxies that maximise a number, from {N_STARTS} starts")


def _number(explained: Explained, inputs: Inputs) -> Number:
    """Return the number of an image, with the other inputs of the first object."""
    network, one = without_inplace(explained.network), inputs.rows(slice(0, 1))

    def number(images: Tensor) -> Tensor:
        others = {name: tensor.expand(len(images), *tensor.shape[1:]) for name, tensor in one.others.items()}
        predicted = explained.predict(network, {**others, "image": images})
        fix = explained.quantity.fix
        fixed = images.new_zeros(len(images), 1) if fix is None else fix(predicted).detach()
        return explained.quantity.of(predicted, fixed)

    return number
