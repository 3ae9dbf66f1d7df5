"""Truth of simulated galaxies: rows of the catalogue and the table of clumps, segmentation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import SimulateSettings
from astrodl.simulator.fourier import Floats
from astrodl.simulator.population import CLASSES
from astrodl.simulator.scene import Scene

__all__ = [
    "AB_ZERO_FLUX_UJY",
    "Column",
    "catalog_columns",
    "clump_columns",
    "clump_rows",
    "galaxy_row",
    "segment",
]

Column = tuple[str | None, str]
"""Unit and description."""

AB_ZERO_FLUX_UJY = 3630.78e6
"""Flux of AB magnitude zero: 10^(-0.4 48.6) erg / s / cm^2 / Hz (Oke & Gunn 1983)."""

_COLUMNS: dict[str, Column] = {
    "object_id": (None, "Identifier; file names carry it"),
    "ra": ("deg", "Right ascension (ICRS)"),
    "dec": ("deg", "Declination (ICRS)"),
    "z": (None, "Redshift"),
    "class": (None, "Morphological class"),
    "bt": (None, "Bulge-to-total flux ratio in the truth band"),
    "sersic_index": (None, "Index of the Sersic profile with the concentration of bulge plus disk"),
    "radius_arcsec": ("arcsec", "Half-light radius of bulge plus disk along the major axis"),
    "magnitude": ("mag", "AB magnitude in the truth band, oddity excluded"),
    "inclination": ("deg", "Inclination of the disk, 0 face-on; NaN where there is no single disk"),
    "winding": (None, "Sense in which spiral arms turn outwards, x to the right and y up; empty: no arms"),
    "n_clumps": (None, "Number of star-forming clumps"),
    "oddity": (None, "Injected oddity; empty: none"),
    "absolute_magnitude": ("mag", "AB magnitude in Bessell's B band at rest at 10 pc, dust not corrected for"),
    "axis_ratio": (None, "Apparent axis ratio of the disk or else the bulge; NaN where there is no single galaxy"),
    "position_angle": ("deg", "Angle of the major axis from north through east"),
    "n_others": (None, "Number of other sources in the stamp, whether above the isophote or not"),
}


def catalog_columns(settings: SimulateSettings) -> dict[str, Column]:
    """Return the columns of the catalogue with units and descriptions."""
    columns = dict(_COLUMNS)
    for band in settings.bands:
        columns[f"magnitude_{band}"] = ("mag", f"AB magnitude in {band}, oddity excluded")
        columns[f"bt_{band}"] = (None, f"Bulge-to-total flux ratio in {band}")
    if settings.votes:
        columns |= {f"votes_{name}": (None, f"Votes for '{name}' out of {settings.votes}") for name in CLASSES}
    return columns


def clump_columns(settings: SimulateSettings) -> dict[str, Column]:
    """Return the columns of the table of clumps with units and descriptions."""
    fluxes: dict[str, Column] = {f"flux_{band}": ("uJy", f"Flux in {band}") for band in settings.bands}
    return {
        "object_id": (None, "Galaxy of the clump"),
        "x": ("pix", "Column of the centre in the cutout, from 0"),
        "y": ("pix", "Row of the centre in the cutout, from 0"),
        **fluxes,
    }


def galaxy_row(scene: Scene, settings: SimulateSettings, truth_band: int, modulus: float) -> dict[str, Any]:
    """Return the row of a galaxy in the catalogue, without identifier, position and oddity.

    Parameters
    ----------
    scene
        The galaxy, with flux vectors that end with the rest-frame B band.
    settings
        The survey.
    truth_band
        Index of the truth band.
    modulus
        Distance modulus.
    """
    total = np.array([scene.flux(band) for band in range(len(settings.bands) + 1)])
    bulge = np.array([scene.flux(band, "bulge") for band in range(len(settings.bands))])
    magnitude = -2.5 * np.log10(total)
    # Rounding errors of a dust screen may make a faint bulge negative.
    bt = np.clip(bulge / total[:-1], 0.0, 1.0)
    row = {
        "z": scene.galaxy.z,
        "class": scene.galaxy.morphology,
        "bt": float(bt[truth_band]),
        "sersic_index": scene.sersic_index,
        "radius_arcsec": scene.galaxy.radius,
        "magnitude": float(magnitude[truth_band]),
        "inclination": scene.inclination,
        "winding": scene.winding,
        "n_clumps": scene.n_clumps,
        "absolute_magnitude": float(magnitude[-1] - modulus),
        "axis_ratio": scene.axis_ratio,
        "position_angle": scene.position_angle,
        "n_others": len({layer.owner for layer in scene.layers} - {0}),
    }
    for name, value, fraction in zip(settings.bands, magnitude[:-1], bt, strict=True):
        row |= {f"magnitude_{name}": float(value), f"bt_{name}": float(fraction)}
    return row


def clump_rows(scene: Scene, settings: SimulateSettings) -> dict[str, list[float]]:
    """Return the positions in pixels and fluxes in microjansky of the clumps, by column."""
    clumps = scene.clumps
    if not scene.n_clumps:
        return {name: [] for name in clump_columns(settings) if name != "object_id"}
    position = clumps[:, :2] / settings.pixel_scale_arcsec + (settings.size - 1) / 2
    fluxes = clumps[:, 2 : 2 + len(settings.bands)] * AB_ZERO_FLUX_UJY
    table = {"x": position[:, 0], "y": position[:, 1]}
    table |= {f"flux_{band}": fluxes[:, index] for index, band in enumerate(settings.bands)}
    return {name: values.tolist() for name, values in table.items()}


def segment(images: Floats, numbers: list[int], threshold: float) -> NDArray[np.int16]:
    """Segment an image by the brightest source in each pixel.

    Parameters
    ----------
    images
        Noise-free images of the sources, (sources, y, x).
    numbers
        Numbers of the sources in the result.
    threshold
        Flux per pixel that the brightest source must exceed.

    Returns
    -------
    ndarray
        Number of the brightest source, 0 where none exceeds the threshold, (y, x).
    """
    brightest = np.asarray(numbers, dtype=np.int16)[np.argmax(images, axis=0)]
    return np.where(images.max(axis=0) > threshold, brightest, np.int16(0))
