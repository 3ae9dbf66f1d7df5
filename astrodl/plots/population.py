"""Number counts, sizes and colours of simulated galaxies, with the relations they were drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from astrodl.plots.style import (
    INK,
    MUTED,
    Array,
    add_count,
    add_legend_above,
    apply_style,
    assign_colors,
    label_log_axis,
    new_figure,
)

__all__ = ["SizePanel", "color_redshift", "number_counts", "size_magnitude"]


@apply_style
def number_counts(
    magnitude: ArrayLike,
    classes: ArrayLike,
    *,
    fits_cutout: ArrayLike,
    area_deg2: float,
    grid: ArrayLike,
    expected: Mapping[str, ArrayLike],
    band: str,
    heading: str = "Number counts",
) -> Figure:
    """Draw number counts by class with Poisson errors, and the prediction of the luminosity functions.

    Parameters
    ----------
    magnitude : array of shape (n,)
        AB magnitude of each galaxy.
    classes : array of n str
        Class of each galaxy.
    fits_cutout : bool array of shape (n,)
        Whether a galaxy fits into a cutout of the survey; the counts of these are drawn as open symbols.
    area_deg2 : float
        Area that contains the n galaxies, in square degrees.
    grid : array of shape (m,)
        Magnitudes of the prediction.
    expected : mapping class -> array of shape (m,)
        Predicted number per square degree and magnitude.
    band : str
        Name of the band of the magnitudes.
    """
    magnitude, classes, grid = np.asarray(magnitude), np.asarray(classes), np.asarray(grid)
    figure = new_figure(4.8, width=7.0, heading=add_count(heading, len(magnitude)))
    axes = figure.subplots()
    edges = np.arange(np.ceil(2 * grid.min() - 0.1) / 2, grid.max() + 0.1, 0.5)
    middle = (edges[1:] + edges[:-1]) / 2

    def draw_counts(members: NDArray[np.bool_], **style: Any) -> None:
        counts, _ = np.histogram(magnitude[members], edges)
        scale = 1 / (area_deg2 * np.diff(edges))
        shown = counts > 0
        error = np.sqrt(counts)[shown] * scale[shown]
        axes.errorbar(middle[shown], (counts * scale)[shown], error, fmt="o", ms=4, lw=1, **style)

    total = np.sum([np.asarray(curve) for curve in expected.values()], axis=0)
    axes.plot(grid, total, color=INK, lw=1.2)
    draw_counts(np.ones(len(magnitude), bool), color=INK, label="all")
    draw_counts(np.asarray(fits_cutout, bool), color=INK, mfc="white", label="fit into a cutout")
    palette = assign_colors(list(expected))
    for name, curve in expected.items():
        axes.plot(grid, np.asarray(curve), color=palette[name], lw=1.2)
        draw_counts(classes == name, color=palette[name], label=name)
    axes.set(yscale="log", xlabel=f"{band} (AB)", ylabel="galaxies (deg⁻² mag⁻¹)")
    axes.legend(ncols=2, loc="upper left")
    return figure


@dataclass(frozen=True)
class SizePanel:
    """Data of one panel of `size_magnitude`.

    Attributes
    ----------
    title : str
        Title of the panel.
    magnitude, radius : arrays of shape (n,)
        AB magnitudes, and half-light radii in arcsec.
    curves : mapping label -> (magnitudes, median radii in arcsec)
        The median relation.
    scatter : float
        Scatter of the relation in dex.
    """

    title: str
    magnitude: Array
    radius: Array
    curves: Mapping[str, tuple[Array, Array]]
    scatter: float


@apply_style
def size_magnitude(
    panels: Sequence[SizePanel],
    *,
    band: str,
    limits_arcsec: tuple[float, float],
    heading: str = "Sizes and magnitudes",
) -> Figure:
    """Draw half-light radii against magnitudes, with the median relation and its scatter at a few redshifts.

    Parameters
    ----------
    panels : sequence of SizePanel
        Data of each panel.
    band : str
        Name of the band of the magnitudes.
    limits_arcsec : (float, float)
        Smallest and largest radius in the simulation.
    """
    n = sum(len(panel.magnitude) for panel in panels)
    figure = new_figure(4.4, width=4.4 * len(panels), heading=add_count(heading, n))
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.scatter(panel.magnitude, panel.radius, s=3, color=MUTED, linewidths=0, alpha=0.5, zorder=2)
        palette = assign_colors(list(panel.curves))
        for label, (magnitude, radius) in panel.curves.items():
            axes.plot(magnitude, radius, color=palette[label], label=label, zorder=4)
            factor = 10**panel.scatter
            axes.fill_between(magnitude, radius / factor, radius * factor, color=palette[label], alpha=0.18, lw=0)
        for limit in limits_arcsec:
            axes.axhline(limit, color=INK, ls=":", lw=0.9)
        axes.set(yscale="log", xlabel=f"{band} (AB)", title=panel.title)
        axes.set_ylim(0.7 * limits_arcsec[0], 2.4 * limits_arcsec[1])
        label_log_axis(axes.yaxis)
    all_axes[0].set_ylabel("half-light radius (arcsec)")
    all_axes[-1].legend(loc="lower left", frameon=True, facecolor="white", edgecolor="none", framealpha=1.0)
    return figure


@apply_style
def color_redshift(
    z: ArrayLike,
    classes: ArrayLike,
    colors: Mapping[str, ArrayLike],
    tracks: Mapping[str, tuple[Array, Mapping[str, Array]]],
    *,
    heading: str = "Colours against redshift",
) -> Figure:
    """Draw colours of galaxies against redshift with the tracks of templates, one panel per colour.

    Parameters
    ----------
    z : array of shape (n,)
        Redshifts.
    classes : array of n str
        Class of each galaxy.
    colors : mapping name of a colour -> array of shape (n,)
        Colours in magnitudes.
    tracks : mapping name of a template -> (redshifts, mapping name of a colour -> colours)
        Colours of single templates without dust; up to four templates are drawn.
    """
    z, classes = np.asarray(z), np.asarray(classes)
    figure = new_figure(4.4, width=5.4 * len(colors), heading=add_count(heading, len(z)))
    palette = assign_colors(sorted(set(classes.tolist())))
    styles = ("-", "--", "-.", ":")
    all_axes = figure.subplots(1, len(colors), squeeze=False, sharex=True)[0]
    for axes, (color, values) in zip(all_axes, colors.items(), strict=True):
        for name, point_color in palette.items():
            members = classes == name
            label = name if axes is all_axes[0] else None
            axes.scatter(z[members], np.asarray(values)[members], s=5, color=point_color, linewidths=0, label=label)
        for style, (template, (grid, curves)) in zip(styles, tracks.items(), strict=False):
            label = template if axes is all_axes[-1] else None
            axes.plot(grid, curves[color], color=INK, ls=style, lw=1.2, label=label, zorder=4)
        axes.set(xlabel="redshift", ylabel=f"{color} (mag)")
        low, high = np.quantile(np.asarray(values), [0.002, 0.998])
        axes.set_ylim(low - 0.3, high + 0.3)
        add_legend_above(axes, 5)
    for handle in all_axes[0].get_legend().legend_handles:
        handle.set_sizes([25])
    return figure
