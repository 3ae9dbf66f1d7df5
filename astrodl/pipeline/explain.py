"""The verb explain: which pixels of which band a prediction comes from."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.atomic import FilePath, replacing, replacing_hdf5
from astrodl.data.batches import Cutouts
from astrodl.errors import ConfigError, DataError
from astrodl.explanation.methods import METHODS, Attribution, Options, allowed, attribute
from astrodl.explanation.shares import RADIUS_EDGES, band_share, radius_share
from astrodl.explanation.target import Explained, Inputs
from astrodl.explanation.trust import FAILS_ABOVE, map_similarity, maps_of_shuffled
from astrodl.pipeline.objects import labelled
from astrodl.pipeline.suitability import check_models
from astrodl.plots.explanation import attribution_sheet
from astrodl.plots.images import lupton_rgb
from astrodl.plots.style import save
from astrodl.store import Reader, open_store
from astrodl.tasks.colour import colour
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs
from astrodl.tasks.image_arrays import prepare_cutouts
from astrodl.tasks.model import Model, load_model

__all__ = ["Explanation", "explain", "find_objects"]

N_DRAWN = 6
"""Test objects that are explained by default, and most objects of a sheet."""
N_RANDOMIZED = 16
"""Most objects on which the method is compared with that of networks of shuffled weights."""


@dataclass(frozen=True)
class Explanation:
    """Attributions of a predicted number to pixels, with their sums and the test of the method.

    Attributes
    ----------
    task, target, unit, method : str
        What was explained, and how.
    bands : tuple of str
    object_id : (N,) array
        Identifiers; numbers from 0 for images in memory.
    maps : (N, bands, y, x) array
        Attributions in `unit` per pixel; (N, 1, y, x) for a method that does not know bands.
    value, change, residual : (N,) array
        The predicted number; its difference from that of sky noise; sum of the maps minus what it should be (NaN for
        methods whose sum has no meaning).
    band_share : (N, bands) array
        Share of each band in the modulus of the attributions; NaN for a method that does not know bands.
    radius_share : (N, annuli) array
        Share of annuli, between `RADIUS_EDGES` half-light radii.
    similarity : float
        Mean structural similarity of the maps to those of the network with shuffled weights; NaN for a method whose
        maps have no structure.
    """

    task: str
    target: str
    unit: str
    method: str
    bands: tuple[str, ...]
    object_id: np.ndarray
    maps: np.ndarray
    value: np.ndarray
    change: np.ndarray
    residual: np.ndarray
    band_share: np.ndarray
    radius_share: np.ndarray
    similarity: float

    @property
    def warning(self) -> str:
        """What is wrong with the method for this network, or an empty text."""
        if not self.similarity >= FAILS_ABOVE:  # NaN: maps without structure
            return ""
        return (
            f"fails weight randomisation: maps of a network with shuffled weights are as similar as "
            f"{self.similarity:.2f} (limit {FAILS_ABOVE})"
        )


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
    orientation of the image, are averaged. The maps of a network whose weights are shuffled are compared with them: a
    method whose maps stay the same shows the image and not the network, and a warning says so.

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
    batch_size : int
        Images that pass the network at a time.
    seed : int
        Seed of the noise.
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
    path = None if isinstance(model, Model) else model
    model = model if isinstance(model, Model) else load_model(model, device=device)
    options = Options(draws=draws, steps=steps, batch_size=batch_size, seed=seed)
    explained = find_quantity(model, target)
    if method is None:
        method = next(name for name in model.task.explained_by if name in allowed(explained))
    if isinstance(data, np.ndarray):
        cutouts = prepare_cutouts(model.task.context, data, unit=unit, sky_sigma=sky_sigma)
        names = np.arange(len(cutouts)).astype(str)
        made = _explain(model, explained, cutouts, names, _radius(cutouts, None), method, options)
        if out is not None:
            _write(made, out, lupton_rgb(cutouts.images, cutouts.sky_sigma))
        return made
    with open_store(data) as store:
        check_models(store, model.task.name, [model], [path or "model"], force=True)
        rows = find_objects(model, store, ids)
        cutouts = model.task.read(store, rows)
        made = _explain(model, explained, cutouts, store.object_id[rows], _radius(cutouts, store), method, options)
        if out is not None:
            _write(made, out, colour(store, rows[:N_DRAWN]))
    return made


def find_objects(model: Model, store: Reader, ids: Sequence[str] | None, n_objects: int = N_DRAWN) -> np.ndarray:
    """Return the rows of objects by identifier, or of test objects spread evenly over the store.

    Raises
    ------
    DataError
        The store does not have an identifier, or no test objects.
    """
    if ids is not None:
        row_of = {str(name): row for row, name in enumerate(store.object_id)}
        if missing := [name for name in ids if name not in row_of]:
            raise DataError(f"{store.path}: no object '{missing[0]}'; identifiers are like '{store.object_id[0]}'")
        return np.array([row_of[name] for name in ids])
    test = labelled(type(model.task), model.task.settings, store, "test")
    if not len(test):
        raise DataError(f"{store.path}: has no test objects of {model.task.name}; name objects with ids")
    return test[np.unique(np.linspace(0, len(test) - 1, min(n_objects, len(test))).round().astype(int))]


def _radius(cutouts: Cutouts, store: Reader | None) -> np.ndarray:
    """Return the half-light radius in pixels of each object, NaN where it was not measured."""
    if store is None or "r50_arcsec" not in store.feature_names or not store.pixel_scale_arcsec:
        return np.full(len(cutouts), np.nan)
    column = store.feature_names.index("r50_arcsec")
    return cutouts.features[:, column] / store.pixel_scale_arcsec


def _explain(
    model: Model,
    explained: Explained,
    cutouts: Cutouts,
    object_id: np.ndarray,
    radius: np.ndarray,
    method: str,
    options: Options,
) -> Explanation:
    """Explain the objects of cutouts."""
    if not len(cutouts):
        raise ConfigError("ids: names no object; give at least one")
    inputs = prepare_inputs(model, cutouts)
    found = attribute(explained, inputs, method, options=options, orientations=n_orientations(model.task))
    knows_bands = found.maps.shape[1] == len(model.bands)
    made = Explanation(
        model.task.name,
        explained.quantity.name,
        explained.quantity.unit,
        method,
        model.bands,
        np.asarray(object_id).astype(str),
        found.maps,
        found.value,
        found.change,
        found.residual,
        band_share(found.maps) if knows_bands else np.full((len(cutouts), len(model.bands)), np.nan),
        radius_share(found.maps, radius),
        _similarity(model, explained, inputs, found, method, options),
    )
    if made.warning:
        print(f"astrodl: warning: {method}: {made.warning}; choose another method", file=sys.stderr)
    return made


def _similarity(
    model: Model, explained: Explained, inputs: Inputs, found: Attribution, method: str, options: Options
) -> float:
    """Return the mean similarity of maps to those of networks with all weights shuffled."""
    few = slice(0, N_RANDOMIZED)
    fixed = explained.fix(inputs.rows(few))
    others, rows, _ = maps_of_shuffled(
        explained, inputs.rows(few), method, options=options, orientations=n_orientations(model.task), fixed=fixed
    )
    each = map_similarity(found.maps[rows], others)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def _write(made: Explanation, out: FilePath, rgb: np.ndarray) -> None:
    """Write maps, shares and sheet."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing_hdf5(folder / "attributions.h5") as file:
        file.attrs.update(
            format="astrodl-attributions", task=made.task, target=made.target, unit=made.unit, method=made.method,
            similarity=made.similarity, bands=list(made.bands),
        )  # fmt: skip
        file["object_id"] = made.object_id.astype("S")
        for name in ("maps", "value", "change", "residual", "band_share", "radius_share"):
            file[name] = getattr(made, name).astype(np.float32)
    _write_shares(made, folder / "shares.fits")
    drawn = slice(0, N_DRAWN)
    title = METHODS[made.method].title
    sheet = attribution_sheet(
        rgb[drawn],
        made.maps[drawn],
        made.bands,
        [f"{name}  {made.target} {value:.3g}" for name, value in zip(made.object_id[drawn], made.value, strict=False)],
        unit=made.unit,
        heading=f"{made.task}: {made.target.replace('_', ' ')} by {title}",
        warning=made.warning,
    )
    save(sheet, folder / "sheet.png")


def _write_shares(made: Explanation, path: Path) -> None:
    """Write the shares of bands and annuli as vector columns of a FITS table."""
    from astropy.table import Table

    edges = ", ".join(f"{edge:g}" for edge in RADIUS_EDGES)
    columns = {
        f"{made.task}_{made.target}": (made.value, "predicted number"),
        f"{made.task}_change": (made.change, "difference from the number of sky noise"),
        f"{made.task}_residual": (made.residual, "sum of the attributions minus the change"),
        f"{made.task}_band_share": (made.band_share.astype(np.float32), f"share of {', '.join(made.bands)}"),
        f"{made.task}_radius_share": (
            made.radius_share.astype(np.float32),
            f"share of annuli between {edges} half-light radii",
        ),
    }
    table = Table({"object_id": made.object_id, **{name: values for name, (values, _) in columns.items()}})
    for name, (_, about) in columns.items():
        table[name].info.description = about
    table.meta.update(EXTNAME="SHARES", METHOD=made.method, TARGET=made.target)
    with replacing(path) as temporary:
        table.write(temporary, format="fits")
