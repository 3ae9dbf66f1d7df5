"""The latent plane: properties of galaxies in it, galaxies along it, and reconstructions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from astrodl.plots.images import GAP, draw_cutout
from astrodl.plots.style import (
    DIVERGING,
    INK,
    MUTED,
    NO_DATA,
    SEQUENTIAL,
    WIDTH_INCHES,
    Array,
    add_count,
    apply_style,
    assign_colors,
    mark_empty,
    new_canvas,
    new_figure,
)

__all__ = ["latent_mosaic", "latent_nodes", "latent_plane", "nearest_objects", "reconstructions"]

_AXIS_LABELS = ("map x", "map y")
_UNKNOWN = "#c9cdd3"
_MAX_EXAMPLES = 20


@apply_style
def latent_plane(
    latent: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    bt: ArrayLike | None = None,
    sersic_index: ArrayLike | None = None,
    axis_labels: tuple[str, str] = _AXIS_LABELS,
    heading: str = "Latent map",
) -> Figure:
    """Draw the first two latent numbers, in a panel each coloured by class, B/T and Sérsic index.

    Parameters
    ----------
    latent : array of shape (n, d)
        Latent vectors; rows with a NaN are left out, and with d = 1 the ordinate is zero.
    classes : sequence of n str, optional
        Class of each object, "" where unknown.
    bt, sersic_index : arrays of shape (n,), optional
        Bulge-to-total flux ratio and Sérsic index; objects with NaN are drawn in grey.
    """
    points = _first_two(latent)
    good = np.isfinite(points).all(axis=1)
    n_panels = sum(values is not None for values in (classes, bt, sersic_index))
    heading = add_count(heading, int(good.sum()))
    if not n_panels:
        figure = new_figure(6.4, width=6.2, heading=heading)
        panels, keys = [figure.add_subplot()], []
    else:
        figure = new_figure({1: 6.9, 2: 5.1, 3: 3.75}[n_panels], heading=heading)
        grid = figure.add_gridspec(2, n_panels, height_ratios=(1, 0.14))
        panels, keys = ([figure.add_subplot(grid[row, i]) for i in range(n_panels)] for row in (0, 1))
    limits = _limits(points[good])
    for axes in panels:
        axes.set(xlim=limits[0], ylim=limits[1], xlabel=axis_labels[0], box_aspect=1)
    for key in keys:
        key.set_axis_off()
    panels[0].set_ylabel(axis_labels[1])
    if not good.any():
        mark_empty(panels[0])
        return figure
    pairs = iter(zip(panels, keys, strict=False))
    if classes is not None:
        _draw_classes(*next(pairs), points[good], np.asarray(classes, dtype=str)[good])
    if bt is not None:
        _draw_values(*next(pairs), points[good], np.asarray(bt, dtype=float)[good], "B/T", (0.0, 1.0))
    if sersic_index is not None:
        values = np.asarray(sersic_index, dtype=float)[good]
        _draw_values(*next(pairs), points[good], values, "Sérsic index n", None)
    if not n_panels:
        panels[0].scatter(points[good, 0], points[good, 1], s=_marker_size(points), color=INK, linewidths=0, alpha=0.6)
    return figure


def _first_two(latent: ArrayLike) -> Array:
    """Return the first two latent numbers, (n, 2)."""
    points = np.asarray(latent, dtype=np.float64)
    points = points.reshape(len(points), -1 if points.size else 2)[:, :2]
    return points if points.shape[1] == 2 else np.column_stack([points, np.zeros(len(points))])


def _limits(points: Array) -> list[tuple[float, float]]:
    """Return axis limits that contain all but the farthest 0.3 % at each end."""
    if not len(points):
        return [(-1.0, 1.0), (-1.0, 1.0)]
    low, high = np.quantile(points, 0.003, axis=0), np.quantile(points, 0.997, axis=0)
    margin = 0.06 * (high - low) + 1e-3
    return [(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]


def _marker_size(points: Array) -> float:
    return float(np.clip(4000 / max(len(points), 1), 6, 24))


def _draw_classes(axes: Axes, key: Axes, points: Array, classes: NDArray[np.str_]) -> None:
    # Alphabetical order, so that colours depend less on the sample.
    names = sorted({str(name) for name in classes} - {""})
    unknown = classes == ""
    axes.scatter(points[unknown, 0], points[unknown, 1], s=_marker_size(points), color=_UNKNOWN, linewidths=0)
    for name, color in assign_colors(names).items():
        chosen = points[classes == name]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=_marker_size(points), color=color, linewidths=0, alpha=0.75, label=name
        )
    axes.set_title("class")
    if names:
        legend = key.legend(
            *axes.get_legend_handles_labels(),
            loc="upper center",
            ncols=3,
            fontsize=7.8,
            markerscale=2,
            handletextpad=0.1,
            columnspacing=0.8,
            handlelength=1.2,
            borderaxespad=0.0,
        )
        # A long legend must not shrink the panel.
        legend.set_in_layout(False)


def _draw_values(
    axes: Axes, key: Axes, points: Array, values: Array, label: str, limits: tuple[float, float] | None
) -> None:
    known = np.isfinite(values)
    axes.scatter(points[~known, 0], points[~known, 1], s=_marker_size(points), color=_UNKNOWN, linewidths=0)
    axes.set_title(label)
    if not known.any():
        mark_empty(axes, f"no {label}")
        return
    low, high = limits or (float(np.quantile(values[known], 0.01)), float(np.quantile(values[known], 0.99)))
    high = max(high, low + 1e-9)
    drawn = axes.scatter(
        points[known, 0],
        points[known, 1],
        c=values[known],
        cmap=SEQUENTIAL,
        vmin=low,
        vmax=high,
        s=_marker_size(points),
        linewidths=0,
    )
    bar = key.inset_axes((0.05, 0.62, 0.9, 0.3))
    key.figure.colorbar(drawn, cax=bar, orientation="horizontal", extend="neither")
    bar.grid(False)


def latent_nodes(latent: ArrayLike, n_side: int = 12) -> tuple[Array, Array]:
    """Return the coordinates of a grid over the first two latent numbers, from the 2nd to the 98th percentile.

    Parameters
    ----------
    latent : array of shape (n, d)
        Latent vectors; rows with a NaN are left out.
    n_side : int
        Nodes along each axis.

    Returns
    -------
    x, y : arrays of shape (n_side,)
        Coordinates of the nodes, for a decoder or for `nearest_objects`.
    """
    points = _first_two(latent)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return np.linspace(-2, 2, n_side), np.linspace(-2, 2, n_side)
    low, high = np.quantile(points, 0.02, axis=0), np.quantile(points, 0.98, axis=0)
    return np.linspace(low[0], high[0], n_side), np.linspace(low[1], high[1], n_side)


def nearest_objects(latent: ArrayLike, x: ArrayLike, y: ArrayLike) -> NDArray[np.intp]:
    """Find a different object for each node of a grid, the nearest one within 0.75 cells.

    Parameters
    ----------
    latent : array of shape (n, d)
        Latent vectors, of which the first two numbers count; rows with a NaN are left out.
    x, y : arrays
        Coordinates of the nodes.

    Returns
    -------
    int array of shape (len(y), len(x))
        Index of the object, -1 where there is none.
    """
    points, x, y = _first_two(latent), np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    cell = np.array([np.ptp(x) / max(len(x) - 1, 1), np.ptp(y) / max(len(y) - 1, 1)])
    cell = np.where(cell > 0, cell, 1.0)
    nodes = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm((nodes[:, None] - points[None]) / cell, axis=-1)
    distance[~np.isfinite(distance)] = np.inf
    found = np.full(len(nodes), -1)
    # The closest pairs are matched first, so that a node does not take the only object of its neighbour.
    near_node, near_object = np.nonzero(distance < 0.75)
    order = np.argsort(distance[near_node, near_object], kind="stable")
    for node, index in zip(near_node[order], near_object[order], strict=True):
        if found[node] < 0 and index not in found:
            found[node] = index
    return found.reshape(len(y), len(x))


@apply_style
def latent_mosaic(
    tiles: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    axis_labels: tuple[str, str] = _AXIS_LABELS,
    heading: str = "Hubble sequence in the latent plane",
) -> Figure:
    """Draw galaxies at the nodes of a grid in the latent plane, decoded ones or the nearest real ones.

    Parameters
    ----------
    tiles : array of shape (len(y), len(x), height, width, 3)
        Colour images; tiles with a NaN are left empty.
    x, y : arrays
        Coordinates of the nodes; y increases upwards.
    """
    tiles, x, y = np.asarray(tiles, dtype=float), np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    left, margin, top = 0.62, 0.1, 0.38
    side = (WIDTH_INCHES - left - margin) / len(x)
    bottom = top + side * len(y)
    figure, axes = new_canvas(bottom + 0.55, heading)
    for row, column in np.ndindex(tiles.shape[:2]):
        if np.isfinite(tiles[row, column]).all():
            draw_cutout(axes, tiles[row, column], left + column * side, bottom - (row + 1) * side, side * 0.985)
    for i in np.unique(np.linspace(0, len(x) - 1, 5).round().astype(int)):
        axes.text(left + (i + 0.5) * side, bottom + 0.05, _ticks(x)[i], ha="center", va="top", fontsize=8)
    for i in np.unique(np.linspace(0, len(y) - 1, 5).round().astype(int)):
        axes.text(left - 0.06, bottom - (i + 0.5) * side, _ticks(y)[i], ha="right", va="center", fontsize=8)
    axes.text(left + side * len(x) / 2, bottom + 0.27, axis_labels[0], ha="center", va="top", fontsize=9.5)
    axes.text(0.16, (top + bottom) / 2, axis_labels[1], rotation=90, ha="center", va="center", fontsize=9.5)
    return figure


def _ticks(nodes: Array) -> list[str]:
    """Format coordinates with enough digits to distinguish neighbours."""
    step = float(np.ptp(nodes)) / max(len(nodes) - 1, 1)
    digits = int(np.clip(-np.floor(np.log10(step)), 0, 6)) if step > 0 else 1
    return [f"{value:.{digits}f}".replace("-", "−") for value in nodes]


@apply_style
def reconstructions(
    rgb: ArrayLike,
    rgb_decoded: ArrayLike,
    residual: ArrayLike,
    *,
    titles: Sequence[str] | None = None,
    limit: float = 5.0,
    n_total: int | None = None,
    heading: str = "Reconstructions",
) -> Figure:
    """Draw images, their reconstructions, and residuals in units of the sky noise, a galaxy per column.

    Parameters
    ----------
    rgb, rgb_decoded : arrays of shape (n, y, x, 3)
        Input and decoded images in the same stretch (from one call of `lupton_rgb`); up to twenty are drawn.
    residual : array of shape (n, y, x)
        (input - decoded) / sigma, of one band or the mean over bands; NaN is drawn in a muted colour.
    titles : sequence of n str, optional
        Text above each column.
    limit : float
        Residual at the ends of the colour scale, in sigma.
    n_total : int, optional
        Size of the sample that the examples are from, for the heading.
    """
    rgb, rgb_decoded, residual = np.asarray(rgb), np.asarray(rgb_decoded), np.asarray(residual, dtype=float)
    n = min(len(rgb), _MAX_EXAMPLES)
    per_block = min(10, max(n, 4))
    blocks = max(1, -(-n // per_block))
    left, margin, top = 0.72, 0.08, 0.38
    side = (WIDTH_INCHES - left - margin - GAP * (per_block - 1)) / per_block
    block_height = 3 * (side + GAP) + (0.2 if titles is not None else 0.1)
    figure, axes = new_canvas(top + blocks * block_height + 0.42, add_count(heading, n, n_total=n_total))
    color = DIVERGING(np.clip(np.nan_to_num(residual) / limit / 2 + 0.5, 0, 1))[..., :3]
    color[~np.isfinite(residual)] = to_rgb(NO_DATA)
    for block in range(blocks):
        y = top + (block + 1) * block_height - 3 * (side + GAP)
        for line, (label, images) in enumerate((("input", rgb), ("decoded", rgb_decoded), ("residual", color))):
            height = y + line * (side + GAP)
            axes.text(left - 0.08, height + side / 2, label, ha="right", va="center", fontsize=8.5)
            for column, i in enumerate(range(block * per_block, min((block + 1) * per_block, n))):
                title = titles[i] if titles is not None and line == 0 else ""
                draw_cutout(axes, images[i], left + column * (side + GAP), height, side, title=title)
    _draw_residual_scale(axes, left, top + blocks * block_height + 0.06, limit)
    return figure


def _draw_residual_scale(axes: Axes, left: float, top: float, limit: float) -> None:
    ramp = DIVERGING(np.linspace(0, 1, 128))[None, :, :3]
    axes.imshow(ramp, extent=(left, left + 1.8, top + 0.11, top), aspect="auto")
    for value in (-limit, 0, limit):
        where = left + 0.9 * (1 + value / limit)
        axes.text(where, top + 0.13, f"{value:g}".replace("-", "−"), ha="center", va="top", fontsize=7.5)
    axes.text(left + 1.95, top + 0.055, "residual in units of the sky noise σ", va="center", fontsize=8, color=MUTED)
