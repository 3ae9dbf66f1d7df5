"""Draw the figures of simulator.md and write its tables of the population.

`python docs/simulator.py` rewrites the images and what stands between the page's markers;
`benchmarks/speed/simulate.py` writes the table of speeds.
"""

from pathlib import Path
from typing import Any

import numpy as np
from generate import DOCS, write_block
from matplotlib.figure import Figure
from record import shrink, table

from astrodl.config import SURVEY_DEFAULTS, SimulateSettings
from astrodl.plots.population import SizePanel, color_redshift, number_counts, size_magnitude
from astrodl.plots.style import save
from astrodl.simulator.instruments import SURVEYS, survey_bands
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import CLASSES, KINDS, SIZE_SCATTER, Population
from astrodl.simulator.templates import TEMPLATES, Spectrum

N_DRAWN = 20_000
N_PAINTED = 1_500
COLORS = (("F435W", "F606W"), ("F606W", "F850LP"))


def main() -> None:
    """Rewrite figures and tables."""
    simulator = Simulator(SimulateSettings(balance=0.0, oddity_fraction=0.0))
    rng = np.random.default_rng(1)
    limit = simulator.settings.magnitude_limit
    unlimited = Population(simulator.flux_table, simulator.truth_band, limit, (0.0, np.inf))
    galaxies = [unlimited.draw(rng) for _ in range(N_DRAWN)]
    drawn = {name: np.array([getattr(g, name) for g in galaxies]) for name in ("kind", "z", "magnitude", "radius")}
    keep("counts", counts(simulator, drawn))
    keep("sizes", sizes(simulator, drawn))
    keep("colors", colors(simulator, rng))
    page = DOCS / "simulator.md"
    text = page.read_text("utf-8")
    text = write_block(text, "bands", bands())
    text = write_block(text, "classes", classes(simulator))
    page.write_text(text, "utf-8")


def keep(name: str, figure: Figure) -> None:
    """Save a figure, small enough for a repository."""
    target = DOCS / "images" / f"simulator-{name}.png"
    save(figure, target)
    shrink(target, target)


def counts(simulator: Simulator, drawn: dict[str, Any]) -> Figure:
    """Draw the number counts of a survey in natural proportions."""
    population = simulator.population
    expected = {name: population.counts(name) for name in CLASSES}
    per_degree = np.trapezoid(population.counts(), population.magnitude)
    return number_counts(
        drawn["magnitude"],
        drawn["kind"],
        fits_cutout=drawn["radius"] < population.radius_range[1],
        area_deg2=len(drawn["kind"]) / per_degree,
        grid=population.magnitude,
        expected=expected,
        band=simulator.bands[simulator.truth_band].name,
    )


def sizes(simulator: Simulator, drawn: dict[str, Any]) -> Figure:
    """Draw sizes over magnitudes beside the relations at three redshifts."""
    population = simulator.population
    panels = []
    for title, early, name in (("early types", True, "lenticular"), ("late types", False, "spiral")):
        members = np.array([KINDS[kind].early == early for kind in drawn["kind"]])
        grid = population.magnitude[::4]
        curves = {
            f"z = {z:g}": (grid, np.array([population.median_radius(name, float(m), z) for m in grid]))
            for z in (0.3, 0.6, 1.0)
        }
        magnitude, radius = drawn["magnitude"][members][:3000], drawn["radius"][members][:3000]
        panels.append(SizePanel(f"{title} (lines: {name})", magnitude, radius, curves, SIZE_SCATTER[early]))
    band = simulator.bands[simulator.truth_band].name
    return size_magnitude(panels, band=band, limits_arcsec=population.radius_range)


def colors(simulator: Simulator, rng: np.random.Generator) -> Figure:
    """Draw colours over redshift beside the tracks of the templates."""
    rows = []
    for _ in range(N_PAINTED):
        scene, _ = simulator.draw_scene(rng)
        rows.append(simulator.truth(scene))
    shown = {f"{a} − {b}": np.array([row[f"magnitude_{a}"] - row[f"magnitude_{b}"] for row in rows]) for a, b in COLORS}
    grid = simulator.population.z
    names = list(simulator.settings.bands)
    tracks = {}
    for number, template in enumerate(TEMPLATES):
        magnitudes = np.array([-2.5 * np.log10(simulator.flux_table.flux(Spectrum(float(number)), float(z))) for z in grid])
        pairs = {f"{a} − {b}": magnitudes[:, names.index(a)] - magnitudes[:, names.index(b)] for a, b in COLORS}
        tracks[f"CWW {template}"] = (grid, pairs)
    z, kind = np.array([row["z"] for row in rows]), np.array([row["class"] for row in rows])
    return color_redshift(z, kind, shown, tracks)


def bands() -> str:
    """Give the table of the surveys' bands."""
    rows = []
    for survey, defaults in SURVEY_DEFAULTS.items():
        settings = SimulateSettings(survey=survey)
        for band in survey_bands(settings) if survey != "hst" else SURVEYS["hst"].values():
            scale = defaults["pixel_scale_arcsec"]
            sigma = band.sky_sigma(scale)
            level = band.zero_point - 2.5 * np.log10(sigma / scale**2)
            depth = "from sky and camera" if band.depth is None else f"{band.depth:g}"
            row = [survey, band.name, f"{band.zero_point:.3f}", f"{band.psf_fwhm_arcsec:g}", depth]
            rows.append([*row, f"{band.exposure_s:,.0f}", f"{level:.2f}"])
    head = [
        "survey",
        "band",
        "zero point",
        "FWHM (arcsec)",
        "5σ depth",
        "exposure (s)",
        "1σ of a pixel (mag / arcsec²)",
    ]
    return table(head, rows)


def classes(simulator: Simulator) -> str:
    """Give the table of the shares of the classes to three limits, and in the default survey."""
    columns = {f"m < {limit:g}": shares(limit, 0.0) for limit in (22.0, 24.0, 26.0)}
    default = SimulateSettings()
    columns[f"default (balance {default.balance:g})"] = shares(default.magnitude_limit, default.balance)
    rows = [[name, *(f"{100 * values[i]:.1f} %" for values in columns.values())] for i, name in enumerate(CLASSES)]
    return table(["class", *columns], rows)


def shares(limit: float, balance: float) -> Any:
    """Give the shares of the classes of a survey to a limit."""
    return Simulator(SimulateSettings(magnitude_limit=limit, balance=balance)).population.shares


if __name__ == "__main__":
    assert Path(DOCS / "simulator.md").exists()
    main()
