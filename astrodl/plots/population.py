"""The population of a survey beside the relations that it was drawn from: counts, sizes, colours over redshift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.style import (
    INK,
    MUTED,
    Array,
    colors_of,
    counted,
    legend_above,
    new_figure,
    plain_logarithm,
    styled,
)


@styled
def number_counts(
    magnitude: ArrayLike,
    kind: ArrayLike,
    *,
    fits: ArrayLike,
    area_deg2: float,
    grid: ArrayLike,
    expected: Mapping[str, ArrayLike],
    band: str,
    heading: str = "Number counts",
) -> Figure:
    """Draw the counts of galaxies by class with Poisson errors, over the luminosity functions' prediction.

    Parameters
    ----------
    magnitude, kind : arrays of shape (n,)
        Magnitude and class of each galaxy.
    fits : array of shape (n,)
        Whether a galaxy fits into the survey's cutouts; those that do are also counted alone (hollow).
    area_deg2
        Area that holds as many galaxies, in square degrees.
    grid : array of shape (m,)
        Magnitudes of the prediction.
    expected : mapping class -> array of shape (m,)
        Predicted number per square degree and magnitude.
    band
        Name of the band of the magnitudes.
    """
    magnitude, kind, fits, grid = np.asarray(magnitude), np.asarray(kind), np.asarray(fits), np.asarray(grid)
    figure = new_figure(4.8, width=7.0, heading=counted(heading, len(magnitude)))
    axes = figure.subplots()
    edges = np.arange(np.ceil(2 * grid.min() - 0.1) / 2, grid.max() + 0.1, 0.5)
    middle = (edges[1:] + edges[:-1]) / 2

    def points(members: Array, **style: Any) -> None:
        counts, _ = np.histogram(magnitude[members], edges)
        scale = 1 / (area_deg2 * np.diff(edges))
        shown = counts > 0
        error = np.sqrt(counts)[shown] * scale[shown]
        axes.errorbar(middle[shown], (counts * scale)[shown], error, fmt="o", ms=4, lw=1, **style)

    total = np.sum([np.asarray(curve) for curve in expected.values()], axis=0)
    axes.plot(grid, total, color=INK, lw=1.2)
    points(np.ones(len(magnitude), bool), color=INK, label="all")
    points(fits.astype(bool), color=INK, mfc="white", label="that fit the stamp")
    palette = colors_of(list(expected))
    for name, curve in expected.items():
        axes.plot(grid, np.asarray(curve), color=palette[name], lw=1.2)
        points(kind == name, color=palette[name], label=name)
    axes.set(yscale="log", xlabel=f"{band} (AB)", ylabel="galaxies per deg² and mag")
    axes.legend(ncols=2, loc="upper left")
    return figure


@dataclass(frozen=True)
class SizePanel:
    """One panel of `size_magnitude`.

    Attributes
    ----------
    title
        Whose sizes.
    magnitude, radius
        (n,) magnitudes and half-light radii in arcsec.
    curves
        label -> (magnitudes, median radii in arcsec) of the relation.
    scatter
        Scatter of the relation in dex.
    """

    title: str
    magnitude: Array
    radius: Array
    curves: Mapping[str, tuple[Array, Array]]
    scatter: float


@styled
def size_magnitude(
    panels: Sequence[SizePanel],
    *,
    band: str,
    limits_arcsec: tuple[float, float],
    heading: str = "Sizes and magnitudes",
) -> Figure:
    """Draw half-light radii over magnitudes with the median relation and its scatter at a few redshifts.

    Parameters
    ----------
    panels
        Kinds of galaxies.
    band
        Name of the band of the magnitudes.
    limits_arcsec
        Smallest and largest radius that the survey draws.
    """
    n = sum(len(panel.magnitude) for panel in panels)
    figure = new_figure(4.4, width=4.4 * len(panels), heading=counted(heading, n))
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.scatter(panel.magnitude, panel.radius, s=3, color=MUTED, linewidths=0, alpha=0.5, zorder=2)
        palette = colors_of(list(panel.curves))
        for label, (magnitude, radius) in panel.curves.items():
            axes.plot(magnitude, radius, color=palette[label], label=label, zorder=4)
            factor = 10**panel.scatter
            axes.fill_between(magnitude, radius / factor, radius * factor, color=palette[label], alpha=0.18, lw=0)
        for limit in limits_arcsec:
            axes.axhline(limit, color=INK, ls=":", lw=0.9)
        axes.set(yscale="log", xlabel=f"{band} (AB)", title=panel.title)
        axes.set_ylim(0.7 * limits_arcsec[0], 2.4 * limits_arcsec[1])
        plain_logarithm(axes.yaxis)
    all_axes[0].set_ylabel("half-light radius (arcsec)")
    all_axes[-1].legend(loc="lower left", frameon=True, facecolor="white", edgecolor="none", framealpha=1.0)
    return figure


@styled
def color_redshift(
    z: ArrayLike,
    kind: ArrayLike,
    colors: Mapping[str, ArrayLike],
    tracks: Mapping[str, tuple[Array, Mapping[str, Array]]],
    *,
    heading: str = "Colours over redshift",
) -> Figure:
    """Draw colours of the galaxies over redshift with the tracks of the templates, one panel per colour.

    Parameters
    ----------
    z, kind : arrays of shape (n,)
        Redshift and class.
    colors : mapping name of a colour -> array of shape (n,)
        Colours in magnitudes.
    tracks : mapping name of a template -> (redshifts, mapping name of a colour -> colours)
        What pure, dust-free templates would show.
    """
    z, kind = np.asarray(z), np.asarray(kind)
    figure = new_figure(4.4, width=5.4 * len(colors), heading=counted(heading, len(z)))
    names = list(dict.fromkeys(kind.tolist()))
    palette = colors_of(sorted(names))
    styles = ("-", "--", "-.", ":")
    all_axes = figure.subplots(1, len(colors), squeeze=False, sharex=True)[0]
    for axes, (color, values) in zip(all_axes, colors.items(), strict=True):
        for name in sorted(names):
            members = kind == name
            label = name if axes is all_axes[0] else None
            axes.scatter(z[members], np.asarray(values)[members], s=5, color=palette[name], linewidths=0, label=label)
        for style, (template, (grid, curves)) in zip(styles, tracks.items(), strict=False):
            label = template if axes is all_axes[-1] else None
            axes.plot(grid, curves[color], color=INK, ls=style, lw=1.2, label=label, zorder=4)
        axes.set(xlabel="redshift", ylabel=f"{color} (mag)")
        low, high = np.quantile(np.asarray(values), [0.002, 0.998])
        axes.set_ylim(low - 0.3, high + 0.3)
        legend_above(axes, 5)
    for handle in all_axes[0].get_legend().legend_handles:
        handle.set_sizes([25])
    return figure
