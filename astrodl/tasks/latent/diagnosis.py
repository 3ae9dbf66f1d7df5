"""Figures of what a latent map has learned: redrawn views, paths through the vectors, generated galaxies."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrodl.metrics.autoencoder import chi2_by_radius, compare_samples, measure_units
from astrodl.models.autoencoders import interpolate, traverse
from astrodl.models.representation import LatentNetwork
from astrodl.photometry.form import measure_form
from astrodl.plots.autoencoder import (
    chi2_profile,
    code_paths,
    compared_distributions,
    generated_sheet,
    unit_activity,
)
from astrodl.plots.images import balance_bands, lupton_rgb, order_screen_channels, sheet_of_rows
from astrodl.tasks.base import Arrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["N_DIAGNOSED", "draw_diagnosis"]

_Array = NDArray[np.floating]

N_DIAGNOSED = 1000
"""Test objects that are enough for the figures."""
_N_COORDINATES, _N_STEPS, _N_PAIRS, _N_SHOWN = 8, 9, 4, 10
_LEAST_COMPARED = 20
"""Galaxies on each side with which distributions are compared."""


def draw_diagnosis(
    network: LatentNetwork, predictions: Arrays, inputs: Arrays, error: _Array, bands: tuple[str, ...], *, prior: bool
) -> "dict[str, Figure]":
    """Draw redrawn views with their chi^2, paths through the vectors and, of a prior, units and generated galaxies.

    Parameters
    ----------
    network : LatentNetwork
        Its decoder draws.
    predictions : dict of arrays
        `latent`, `latent_error` and `hubble` of N objects.
    inputs : dict of arrays
        Their views and noise, `image` (N, bands, S, S) and `noise` (N, bands).
    error : (N, bands, S, S) array
        Noise of the pixels of the views.
    bands : tuple of str
        Names of the bands.
    prior : bool
        Whether vectors have a standard normal prior, from which galaxies can be drawn.
    """
    vectors, views = torch.from_numpy(predictions["latent"]).float(), inputs["image"]
    n_objects = len(views)
    noise = torch.from_numpy(inputs["noise"])
    decoded = _decode(network, vectors, noise)
    paint = _Painter(views, bands)
    order = np.argsort(predictions["hubble"], kind="stable")
    chosen = order[((np.arange(_N_SHOWN) + 0.5) / _N_SHOWN * n_objects).astype(int)]
    drawn = {
        "redrawn": _draw_redrawn(paint(np.concatenate([views[chosen], decoded[chosen]]))),
        "reconstruction": chi2_profile(*chi2_by_radius(views, decoded, error), bands, n_objects=n_objects),
        "traversals": _draw_traversals(network, vectors, paint),
    }
    if n_objects > 1:
        drawn["interpolations"] = _draw_interpolations(network, vectors, views, order, paint)
    if prior:
        units = measure_units(vectors, 2 * np.log(np.maximum(predictions["latent_error"], 1e-12)))
        drawn["units"] = unit_activity(units, n_objects=n_objects)
        drawn |= _draw_generated(network, inputs, bands, vectors.shape[1], paint)
    return drawn


class _Painter:
    """Colour images of views, all with the white balance of the real ones."""

    def __init__(self, views: _Array, bands: tuple[str, ...]):
        self.order = order_screen_channels(bands)
        flux = np.sinh(views[:, self.order])
        self.factors = balance_bands(flux)
        # redrawn views have no noise, and must have the same stretch as the real ones
        edge = np.concatenate([flux[..., 0, :], flux[..., -1, :]], axis=-1)
        self.sigma = np.maximum(np.median(edge.std(axis=-1), axis=0), 1e-3)

    def __call__(self, views: _Array) -> _Array:
        """Return colour images of views (n, bands, S, S) in one stretch, (n, S, S, 3)."""
        sigma = np.broadcast_to(self.sigma, (len(views), len(self.sigma)))
        return lupton_rgb(np.sinh(views[:, self.order]), sigma, band_factors=self.factors)


def _decode(network: LatentNetwork, vectors: Tensor, noise: Tensor | None = None) -> _Array:
    """Redraw views from vectors: (..., D) -> (..., bands, S, S), of the depth of `noise` or of typical depth."""
    flat = vectors.reshape(-1, vectors.shape[-1]).to(network.centre)
    depths = [None] * -(-len(flat) // 256) if noise is None else noise.to(network.centre).split(256)
    with torch.no_grad():
        pairs = zip(flat.split(256), depths, strict=True)
        views = torch.cat([network.decode(*pair).float() for pair in pairs]).cpu().numpy()
    return views.reshape(*vectors.shape[:-1], *views.shape[1:])


def _draw_redrawn(rgb: _Array) -> "Figure":
    """Draw views above redrawn ones."""
    rows = np.arange(len(rgb)).reshape(2, -1).tolist()
    heading = "Views along the Hubble coordinate, spheroids on the left, and redrawn from their vectors"
    return sheet_of_rows(rgb, rows, ["view", "redrawn"], n_columns=len(rows[0]), heading=heading)


def _draw_traversals(network: LatentNetwork, vectors: Tensor, paint: _Painter) -> "Figure":
    """Draw galaxies along the first coordinates of the vectors, the others at their median."""
    dimensions = range(min(_N_COORDINATES, vectors.shape[1]))
    paths = traverse(vectors, dimensions, _N_STEPS)
    views = _decode(network, paths)
    rgb = paint(views.reshape(-1, *views.shape[2:])).reshape(*views.shape[:2], *views.shape[3:], 3)
    steps = [""] * _N_STEPS
    steps[0], steps[_N_STEPS // 2], steps[-1] = "2 %", "middle", "98 %"
    return code_paths(
        rgb, [f"{d + 1}" for d in dimensions], steps=steps, heading="Along the coordinates of the vectors"
    )


def _draw_interpolations(
    network: LatentNetwork, vectors: Tensor, views: _Array, order: NDArray[np.intp], paint: _Painter
) -> "Figure":
    """Draw galaxies between pairs of real ones, from spheroids to disks and irregulars."""
    n_pairs = min(_N_PAIRS, len(order) // 2)
    shares = (np.arange(n_pairs) + 1) / (n_pairs + 1) / 4  # within the first quarter, and as far from the end
    first, last = ([int(order[int(share * (len(order) - 1))]) for share in part] for part in (shares, 1 - shares))
    paths = _decode(network, interpolate(vectors[first], vectors[last], _N_STEPS))
    whole = np.concatenate([views[first][:, None], paths, views[last][:, None]], axis=1)
    rgb = paint(whole.reshape(-1, *whole.shape[2:])).reshape(*whole.shape[:2], *whole.shape[3:], 3)
    steps = ["view", *[""] * _N_STEPS, "view"]
    return code_paths(rgb, [""] * n_pairs, steps=steps, heading="From one galaxy to another, by their vectors")


def _draw_generated(
    network: LatentNetwork, inputs: Arrays, bands: tuple[str, ...], dimensions: int, paint: _Painter
) -> "dict[str, Figure]":
    """Draw galaxies from the prior beside real ones, and compare size, concentration and colours of both."""
    views, noise = inputs["image"], inputs["noise"]
    random = torch.Generator().manual_seed(0)
    flux = np.sinh(_decode(network, torch.randn(len(views), dimensions, generator=random)))
    # the noise of a real galaxy each, or its absence would tell them apart
    flux += noise[..., None, None] * torch.randn(flux.shape, generator=random).numpy()
    n_shown = min(2 * _N_SHOWN, len(views))
    generated = np.arcsinh(flux[:n_shown])
    rgb = paint(np.concatenate([views[:n_shown], generated]))
    drawn = {"generated": generated_sheet(rgb[:n_shown], rgb[n_shown:], n_columns=_N_SHOWN)}
    real, made = (measure_form(images, noise, bands) for images in (np.sinh(views), flux))
    compared = {
        name: compare_samples(real[name], made[name])
        for name in real
        if min(np.isfinite(sample[name]).sum() for sample in (real, made)) >= _LEAST_COMPARED
    }
    drawn["generated_form"] = compared_distributions(
        real, made, compared, heading="Views of galaxies and ones drawn from the prior"
    )
    return drawn
