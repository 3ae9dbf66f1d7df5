"""Diagnosis of an autoencoder: units, reconstruction by band and radius, paths through codes, generated galaxies."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.metrics.autoencoder import KsTest, LatentUnits
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.style import (
    INK,
    MUTED,
    NETWORK,
    ODD,
    add_count,
    add_legend_above,
    apply_style,
    assign_colors,
    label_log_axis,
    mark_empty,
    new_figure,
    select_finite,
    write_note,
)

__all__ = ["chi2_profile", "code_paths", "compared_distributions", "generated_sheet", "unit_activity"]

_MAX_UNITS = 64


@apply_style
def unit_activity(units: LatentUnits, *, n_objects: int = 0, heading: str = "Latent units") -> Figure:
    """Draw information and variance of each latent unit, the most informative first; collapsed ones are grey.

    Parameters
    ----------
    units : LatentUnits
        Of `metrics.autoencoder.measure_units`; the most informative 64 are drawn.
    n_objects : int
        Number of objects, for the heading.
    """
    order = np.argsort(-units.kl, kind="stable")[:_MAX_UNITS]
    text = f"{heading} · {int(units.active.sum())} of {len(units.active)} active"
    figure = new_figure(4.6, heading=add_count(text, n_objects) if n_objects else text)
    information, variance = figure.subplots(2, 1, sharex=True)
    place, colors = np.arange(len(order)), np.where(units.active[order], NETWORK, MUTED)
    information.bar(place, units.kl[order], color=colors, width=0.75)
    information.set_ylabel("KL (nats)")
    between = units.mean_variance[order]
    variance.bar(place, between, color=colors, width=0.75, label="of the posterior means")
    within = (units.total_variance - units.mean_variance)[order]
    variance.bar(place, within, bottom=between, color=colors, alpha=0.3, width=0.75, label="within the posterior")
    variance.axhline(1, color=INK, linewidth=1.0, linestyle="--", label="prior")
    variance.set(ylabel="variance", xlabel="latent unit, by information")
    variance.set_xticks(place, [str(unit + 1) for unit in order], fontsize=8.5 if len(order) <= 32 else 5)
    for axes in (information, variance):
        axes.grid(False, axis="x")
    add_legend_above(variance)
    return figure


@apply_style
def chi2_profile(
    edges: ArrayLike,
    quantiles: ArrayLike,
    bands: Sequence[str],
    *,
    n_objects: int = 0,
    heading: str = "Reconstruction χ² by radius",
) -> Figure:
    """Draw the reconstruction chi^2 per pixel in rings, the median and the central 68 % of objects, a panel per band.

    Parameters
    ----------
    edges : array of shape (R + 1,)
        Radii of the rings in pixels of the view.
    quantiles : array of shape (3, bands, R)
        The 16th, 50th and 84th percentile, from `metrics.autoencoder.chi2_by_radius`.
    bands : sequence of str
        Names of the bands.
    n_objects : int
        Number of objects, for the heading.
    """
    edges, quantiles = np.asarray(edges, dtype=float), np.asarray(quantiles, dtype=float)
    n_columns = min(3, len(bands))
    n_rows = -(-len(bands) // n_columns)
    figure = new_figure(0.7 + 2.2 * n_rows, heading=add_count(heading, n_objects) if n_objects else heading)
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    middle, colors = (edges[1:] + edges[:-1]) / 2, assign_colors(list(bands))
    positive = quantiles[np.isfinite(quantiles) & (quantiles > 0)]
    for axes in panels.ravel()[len(bands) :]:
        axes.set_axis_off()
    for axes, band, values in zip(panels.ravel(), bands, np.moveaxis(quantiles, 1, 0), strict=False):
        axes.set_title(band)
        axes.axhline(1, color=INK, linewidth=1.0, linestyle="--")
        if not np.isfinite(values).any():
            mark_empty(axes)
            continue
        axes.fill_between(middle, values[0], values[2], color=colors[band], alpha=0.2, linewidth=0)
        axes.plot(middle, values[1], color=colors[band], marker="o", markersize=4)
    for axes in panels[:, 0]:
        axes.set_ylabel("χ² per pixel")
    for number, axes in enumerate(panels.ravel()[: len(bands)]):
        if number >= len(bands) - n_columns:
            axes.set_xlabel("radius (pixels of the view)")
            axes.tick_params(labelbottom=True)
    if len(positive):
        panels[0, 0].set(yscale="log", ylim=(min(0.5, positive.min() / 1.2), max(2.0, positive.max() * 1.2)))
        label_log_axis(panels[0, 0].yaxis)
    return figure


def code_paths(
    rgb: ArrayLike, labels: Sequence[str], *, steps: Sequence[str] | None = None, heading: str = "Latent traversals"
) -> Figure:
    """Draw decoded galaxies along paths through the codes, a path per row.

    Parameters
    ----------
    rgb : array of shape (n_paths, n_steps, y, x, 3)
        Colour images in one stretch: of `models.autoencoders.traverse`, or of `interpolate`.
    labels : sequence of n_paths str
        Text to the left of each row.
    steps : sequence of n_steps str, optional
        Text above the first row.
    """
    images = np.asarray(rgb)
    n_paths, n_steps = images.shape[:2]
    rows = np.arange(n_paths * n_steps).reshape(n_paths, n_steps).tolist()
    title = None if steps is None else (lambda i: steps[i] if i < n_steps else "")
    flat = images.reshape(-1, *images.shape[2:])
    return sheet_of_rows(flat, rows, labels, title=title, n_columns=max(n_steps, 4), heading=heading)


def generated_sheet(
    real: ArrayLike, generated: ArrayLike, *, n_columns: int = 10, heading: str = "Real and generated galaxies"
) -> Figure:
    """Draw real galaxies above ones that a decoder draws from the prior, in one stretch.

    Parameters
    ----------
    real, generated : arrays of shape (n, y, x, 3) and (m, y, x, 3)
        Colour images from one call of `lupton_rgb`, both with noise.
    n_columns : int
        Galaxies in a row.
    """
    first, second = np.asarray(real), np.asarray(generated)
    rows, labels = [], []
    for name, start, count in (("real", 0, len(first)), ("generated", len(first), len(second))):
        numbers = list(range(start, start + count))
        for place in range(0, count, n_columns):
            rows.append(numbers[place : place + n_columns])
            labels.append(name if place == 0 else "")
    both = np.concatenate([first, second])
    return sheet_of_rows(both, rows, labels, n_columns=n_columns, heading=add_count(heading, len(both)))


@apply_style
def compared_distributions(
    real: Mapping[str, ArrayLike],
    generated: Mapping[str, ArrayLike],
    tests: Mapping[str, KsTest],
    *,
    n_bins: int = 30,
    heading: str = "Generated and real galaxies",
) -> Figure:
    """Draw the distributions of measured quantities of real and of generated galaxies, with the result of the test.

    Parameters
    ----------
    real, generated : mapping of str to arrays
        Name -> values, NaN where not measured, from `photometry.form.measure_form`.
    tests : mapping of str to KsTest
        Result of `metrics.autoencoder.compare_samples`; names without one are left empty.
    n_bins : int
        Bins between the 0.5th and 99.5th percentile of both samples; what lies beyond is in the last bin on each side.
    """
    names = list(real)
    if tests:
        n_real, n_generated = (
            max(getattr(test, name) for test in tests.values()) for name in ("n_real", "n_generated")
        )
        heading = f"{heading} · {n_real:,} real and {n_generated:,} generated"
    n_columns = min(3, max(len(names), 1))
    n_rows = max(1, -(-len(names) // n_columns))
    figure = new_figure(0.8 + 2.5 * n_rows, heading=heading)
    panels = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in panels.ravel()[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels.ravel(), names, strict=False):
        samples = [select_finite(values[name]) for values in (real, generated)]
        axes.set_xlabel(_label_quantity(name))
        if name not in tests or not all(len(sample) for sample in samples):
            mark_empty(axes)
            continue
        low, high = np.quantile(np.concatenate(samples), [0.005, 0.995])
        edges = np.linspace(low, max(high, low + 1e-9), n_bins + 1)
        for sample, color, label in zip(samples, (MUTED, ODD), ("real", "generated"), strict=True):
            shares = np.histogram(np.clip(sample, edges[0], edges[-1]), edges)[0] / len(sample)
            axes.stairs(
                shares, edges, color=color, fill=color == MUTED, alpha=0.5 if color == MUTED else 1, label=label
            )
        test = tests[name]
        write_note(axes, f"D {test.statistic:.3f} ± {test.error:.3f}\nshift {test.shift:+.2f} σ".replace("-", "−"))
        axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    for axes in panels[:, 0]:
        axes.set_ylabel("share of galaxies")
    drawn = [axes for axes in panels.ravel() if axes.get_legend_handles_labels()[0]]
    if drawn:
        figure.legend(*drawn[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _label_quantity(name: str) -> str:
    """Label a quantity of `photometry.form.measure_form`: `r50_pixels` and `colour_g_r` as r50 (pixels) and g − r."""
    *words, last = name.split("_")
    if last in ("pixels", "arcsec"):
        return f"{' '.join(words)} ({last})"
    if words[:1] == ["colour"] and len(words) == 2:
        return f"{words[1]} − {last} (mag)"
    return name.replace("_", " ")
