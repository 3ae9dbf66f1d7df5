"""Draw the figures of simulator.md and write its tables of the population.

`python docs/simulator.py` rewrites the images and the text between the markers of the page.
`benchmarks/speed/simulate.py` writes the table of speeds.
"""

import numpy as np
from generate import DOCS, write_block
from matplotlib.figure import Figure
from record import shrink, table

from astrodl.config import SURVEY_DEFAULTS, SimulateSettings
from astrodl.plots.population import SizePanel, color_redshift, number_counts, size_magnitude
from astrodl.plots.style import save
from astrodl.simulator.instruments import SURVEYS, survey_bands
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import CLASS_PROPERTIES, CLASSES, SIZE_SCATTER, Population
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
    drawn = {
        name: np.array([getattr(g, name) for g in galaxies]) for name in ("morphology", "z", "magnitude", "radius")
    }
    save_figure("counts", draw_counts(simulator, drawn))
    save_figure("sizes", draw_sizes(simulator, drawn))
    save_figure("colors", draw_colors(simulator, rng))
    page = DOCS / "simulator.md"
    text = page.read_text("utf-8")
    text = write_block(text, "bands", band_table())
    text = write_block(text, "classes", class_table())
    page.write_text(text, "utf-8")


def save_figure(name: str, figure: Figure) -> None:
    """Save a figure in a small file."""
    target = DOCS / "images" / f"simulator-{name}.png"
    save(figure, target)
    shrink(target, target)


def draw_counts(simulator: Simulator, drawn: dict[str, np.ndarray]) -> Figure:
    """Draw the number counts of a survey with the class fractions of the luminosity functions."""
    population = simulator.population
    expected = {name: population.counts(name) for name in CLASSES}
    per_degree = np.trapezoid(population.counts(), population.magnitude)
    return number_counts(
        drawn["magnitude"],
        drawn["morphology"],
        fits_cutout=drawn["radius"] < population.radius_range[1],
        area_deg2=len(drawn["morphology"]) / per_degree,
        grid=population.magnitude,
        expected=expected,
        band=simulator.bands[simulator.truth_band].name,
    )


def draw_sizes(simulator: Simulator, drawn: dict[str, np.ndarray]) -> Figure:
    """Draw sizes over magnitudes, with the relations at three redshifts."""
    population = simulator.population
    panels = []
    for title, early, name in (("early types", True, "lenticular"), ("late types", False, "spiral")):
        members = np.array([CLASS_PROPERTIES[name].early == early for name in drawn["morphology"]])
        grid = population.magnitude[::4]
        curves = {
            f"z = {z:g}": (grid, np.array([population.median_radius(name, float(m), z) for m in grid]))
            for z in (0.3, 0.6, 1.0)
        }
        magnitude, radius = drawn["magnitude"][members][:3000], drawn["radius"][members][:3000]
        panels.append(SizePanel(f"{title} (lines: {name})", magnitude, radius, curves, SIZE_SCATTER[early]))
    band = simulator.bands[simulator.truth_band].name
    return size_magnitude(panels, band=band, limits_arcsec=population.radius_range)


def draw_colors(simulator: Simulator, rng: np.random.Generator) -> Figure:
    """Draw colours over redshift, with the tracks of the templates."""
    rows = []
    for _ in range(N_PAINTED):
        scene, _ = simulator.draw_scene(rng)
        rows.append(simulator.truth(scene))
    measured = {
        f"{a} − {b}": np.array([row[f"magnitude_{a}"] - row[f"magnitude_{b}"] for row in rows]) for a, b in COLORS
    }
    grid = simulator.population.z
    names = list(simulator.settings.bands)
    tracks = {}
    for number, template in enumerate(TEMPLATES):
        spectrum = Spectrum(float(number))
        magnitudes = np.array([-2.5 * np.log10(simulator.flux_table.flux(spectrum, float(z))) for z in grid])
        pairs = {f"{a} − {b}": magnitudes[:, names.index(a)] - magnitudes[:, names.index(b)] for a, b in COLORS}
        tracks[f"CWW {template}"] = (grid, pairs)
    z, classes = np.array([row["z"] for row in rows]), np.array([row["class"] for row in rows])
    return color_redshift(z, classes, measured, tracks)


def band_table() -> str:
    """Return the table of the bands of the surveys."""
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


def class_table() -> str:
    """Return the table of class fractions for three magnitude limits and the default survey."""
    columns = {f"m < {limit:g}": class_fractions(limit, 0.0) for limit in (22.0, 24.0, 26.0)}
    default = SimulateSettings()
    columns[f"default (balance {default.balance:g})"] = class_fractions(default.magnitude_limit, default.balance)
    rows = [[name, *(f"{100 * values[i]:.1f} %" for values in columns.values())] for i, name in enumerate(CLASSES)]
    return table(["class", *columns], rows)


def class_fractions(limit: float, balance: float) -> np.ndarray:
    """Return the class fractions of a survey with a magnitude limit."""
    return Simulator(SimulateSettings(magnitude_limit=limit, balance=balance)).population.fractions


if __name__ == "__main__":
    main()
