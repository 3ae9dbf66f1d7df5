"""The verb inject: the completeness of clumps on any survey, measured with injected ones of known flux."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astrodl.atomic import FilePath
from astrodl.data.batches import Cutouts
from astrodl.device import choose_device
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.metrics.clumps import match_positions
from astrodl.photometry.clumps import Clumps
from astrodl.pipeline.suitability import check_models, require_other_output
from astrodl.plots.style import wilson_interval
from astrodl.products import FITS_SUFFIXES, Column, require_suffix, write_catalog
from astrodl.store import Reader, Subset, open_store
from astrodl.tasks.base import Arrays
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.segmentation import Segmentation
from astrodl.tasks.segmentation.clumps import MATCH_PIXELS, half_light_radius, listed

__all__ = ["inject"]

SHARES = (0.005, 0.2)
"""Smallest and largest flux of an injected clump as a share of that of the galaxy."""
Colour = Literal["young", "galaxy"]
_INNER, _OUTER = 0.5, 2.0
"""Distances from the centre in half-light radii between which clumps are injected."""
_CLEAR_PIXELS = 4.0
"""Smallest distance of an injected clump from those that are found without it."""


def inject(
    model: FilePath | Model,
    store: FilePath,
    out: FilePath,
    *,
    split: Subset = "test",
    n: int = 2000,
    colour: Colour = "young",
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
) -> Path:
    """Inject a clump of known flux into each of `n` galaxies, and look for it with the network.

    Real surveys have no list of their true clumps; injected ones measure what share would be found on their images.
    Clumps lie between 0.5 and 2 half-light radii, along the galaxy's own light, at least four pixels from those that
    the network finds there anyway. They have the shape of the point-spread function where the store has it, else that
    of the clumps of the training, and a share of the galaxy's flux in the reference band between 0.5 and 20 %, even in
    its logarithm. Their own photon noise is not added. One is found if the network finds a clump within two pixels of
    it. What a network takes for a clump depends on the galaxy: one in an elliptical is seldom taken for one.

    Parameters
    ----------
    model : path or Model
        Model of the task segmentation.
    store : path
        Store with the bands of the model.
    out : path
        FITS table to write: a row per clump with galaxy, position (pixels), share of the flux, signal-to-noise ratio
        for the noise of the sky, distance in half-light radii, and whether it is found.
    split : str
        `train`, `validation`, `test`, ..., or `all`.
    n : int
        Number of galaxies, drawn at random.
    colour : str
        `young`: the same flux density in all bands, about that of young stars, for stores in microjansky; `galaxy`: the
        colours of the galaxy.
    seed : int
        Seed of galaxies, positions and fluxes.
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    StoreError
        The model is of another task, or does not fit the store.
    DataError
        No galaxy of the split is large enough.
    """
    require_other_output(out, store, model if not isinstance(model, Model) else None)
    require_suffix(out, FITS_SUFFIXES)
    choose_device(device, threads)
    loaded = model if isinstance(model, Model) else load_model(model, device=device)
    task = _check_request(loaded, str(model), n, colour)
    random = np.random.default_rng(seed)
    with open_store(store) as reader:
        check_models(reader, task.name, [loaded], [str(model)])
        rows = _choose(random, reader, split, n, colour)
        cutouts, identifiers = task.read(reader, rows), reader.object_id[rows]
        radius = half_light_radius(reader, rows)
    before = task.finish(loaded.raw(cutouts))
    placed = _draw(random, cutouts, radius, listed(*_named(before)), task.context.constants, colour)
    if not len(placed["image"]):
        raise DataError(f"{store}: no galaxy of split '{split}' is bright and large enough; give another split")
    after = task.finish(loaded.raw(replace(cutouts, images=placed.pop("images"))))
    is_found = _search(placed, listed(*_named(after)))
    if lacking := len(rows) - len(placed["image"]):
        print(
            f"inject: warning: {lacking} of {len(rows)} galaxies have no place for a clump; left out", file=sys.stderr
        )
    print(_report(placed, is_found))
    write_catalog(out, _describe(placed, identifiers, is_found), {"REFBAND": str(task.reference_band)})
    return Path(out)


def _check_request(model: Model, name: str, n: int, colour: str) -> Segmentation:
    """Return the task of a model of segmentation; refuse other models, numbers and colours."""
    if not isinstance(model.task, Segmentation):
        raise StoreError(
            f"{name}: a model of task {model.task.name}, not of segmentation; give a model of segmentation"
        )
    if colour not in get_args(Colour):
        raise ConfigError(f"colour: '{colour}' is not known; give {' or '.join(get_args(Colour))}")
    if n < 1:
        raise ConfigError(f"n: {n} galaxies; give at least 1")
    return model.task


def _choose(random: np.random.Generator, store: Reader, split: Subset, n: int, colour: str) -> NDArray[np.intp]:
    """Draw the galaxies; refuse a unit that the colour does not fit, and an empty split."""
    if colour == "young" and store.unit != "uJy":
        raise ConfigError(
            f"{store.path}: unit {store.unit}: the colour 'young' needs microjansky; give colour 'galaxy'"
        )
    rows = np.sort(random.permutation(store.select(split))[:n])
    if not len(rows):
        raise DataError(f"{store.path}: no galaxy is in split '{split}'; give another split")
    return rows


def _describe(placed: Arrays, identifiers: NDArray[Any], is_found: NDArray[np.bool_]) -> list[Column]:
    """Return the columns of the table."""
    return [
        Column("object_id", identifiers[placed["image"]].astype(str), None, "galaxy of the clump", "meta.id;meta.main"),
        Column("x", placed["x"], "pix", "column of the centre in the cutout, from 0", "pos.cartesian.x;instr.det"),
        Column("y", placed["y"], "pix", "row of the centre in the cutout, from 0", "pos.cartesian.y;instr.det"),
        Column(
            "contrast", placed["share"], None, "share of the galaxy's flux, reference band", "phot.flux;arith.ratio"
        ),
        Column("snr", placed["snr"], None, "signal-to-noise ratio for the sky, reference band", "stat.snr"),
        Column("distance", placed["distance"], None, "distance from the centre in half-light radii", "pos.distance"),
        Column("found", is_found, None, "whether the network finds a clump there", "meta.code"),
    ]


def _search(placed: Arrays, found: Clumps) -> NDArray[np.bool_]:
    """Return which of the injected clumps are among those that the network finds."""
    injected, positions = np.column_stack([placed["y"], placed["x"]]), np.column_stack([found.y, found.x])
    partner, _ = match_positions(placed["image"], injected, found.image, positions, MATCH_PIXELS)
    return partner >= 0


def _named(predictions: Arrays) -> list[np.ndarray]:
    return [predictions[f"clump_{name}"] for name in ("y", "x", "probability")]


def _draw(
    random: np.random.Generator,
    cutouts: Cutouts,
    radius: np.ndarray,
    present: Clumps,
    constants: dict[str, Any],
    colour: Colour,
) -> Arrays:
    """Draw a clump per galaxy; return their properties, and `images` with them.

    Galaxies without a place or flux have none: `image` are the indices of the others.
    """
    images, reference = cutouts.images.copy(), constants["reference"]
    axis = np.arange(images.shape[-1])
    middle = (len(axis) - 1) / 2
    distance = np.hypot(axis[:, None] - middle, axis - middle)
    edge = np.minimum(axis, axis[::-1])
    rows: list[tuple[float, ...]] = []
    for number, image in enumerate(images):
        share = float(np.exp(random.uniform(*np.log(SHARES))))
        draw = random.random()
        weight = ndimage.gaussian_filter(np.nan_to_num(image[reference]), 1.0)
        weight = np.where((distance > _INNER * radius[number]) & (distance < _OUTER * radius[number]), weight, 0)
        weight[np.minimum(edge[:, None], edge) < _CLEAR_PIXELS] = 0
        for k in np.flatnonzero(present.image == number):
            weight[np.hypot(axis[:, None] - present.y[k], axis - present.x[k]) < _CLEAR_PIXELS] = 0
        cumulative = np.cumsum(np.clip(weight, 0, None).ravel(), dtype=np.float64)
        flux = np.nansum(np.where(distance < 3 * radius[number], image, 0), axis=(1, 2))
        if not (cumulative[-1] > 0 and flux[reference] > 0):
            continue
        y, x = divmod(int(np.searchsorted(cumulative, draw * cumulative[-1])), len(axis))
        flux = np.full_like(flux, flux[reference]) if colour == "young" else np.clip(flux, 0, None)
        psf = cutouts.planes["psf"][number] if "psf" in cutouts.planes else None
        added = share * flux[:, None, None] * _shapes(psf, constants["clump_widths"], len(axis), y, x)
        image += added.astype(np.float32)
        snr = float(np.sqrt(np.sum(added[reference] ** 2)) / cutouts.sky_sigma[number, reference])
        rows.append((number, y, x, share, snr, distance[y, x] / radius[number]))
    table = np.array(rows, np.float64).reshape(-1, 6)
    found: Arrays = dict(zip(("y", "x", "share", "snr", "distance"), table[:, 1:].T.astype(np.float32), strict=True))
    return {**found, "image": table[:, 0].astype(int), "images": images}


def _shapes(psf: NDArray[np.floating] | None, widths: list[float], size: int, y: int, x: int) -> NDArray[np.float64]:
    """Return a source of unit flux in each band at a pixel: the point-spread function, or a Gaussian."""
    if psf is None or not np.isfinite(psf).all():
        axis = np.arange(size)
        square = (axis[:, None] - y) ** 2 + (axis - x) ** 2
        return np.stack([np.exp(-0.5 * square / width**2) / (2 * np.pi * width**2) for width in widths])
    half = psf.shape[-1] // 2
    padded = np.zeros((len(psf), size + 2 * half + 1, size + 2 * half + 1))
    padded[:, y : y + psf.shape[-1], x : x + psf.shape[-1]] = psf / psf.sum((-2, -1), keepdims=True)
    return padded[:, half : half + size, half : half + size]


def _report(placed: Arrays, found: NDArray[np.bool_]) -> str:
    """Write the completeness in bins, with binomial intervals of 68 %."""
    lines = []
    for name, label, edges in (
        ("snr", "S/N", (0, 3, 5, 10, 20, np.inf)),
        ("share", "share of the flux", (0.005, 0.01, 0.03, 0.08, 0.2)),
    ):
        for low, high in pairwise(edges):
            hits = found[(placed[name] >= low) & (placed[name] < high)]
            if len(hits):
                ends = (float(end) for end in wilson_interval(hits.sum(), len(hits)))
                interval = " to ".join(f"{end:.2f}" for end in ends)
                place = f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}"
                lines.append(f"{label} {place}: completeness {hits.mean():.2f} ({interval}), {len(hits)} clumps")
    return "\n".join(lines)
