"""Draw the figures of gallery.md: contact sheets of simulated galaxies, also with real galaxies.

`python docs/gallery.py` rewrites the images and the numbers between the markers of the page. Without the real data
(environment variable ASTRODL_TEST_DATA) only the sheets of simulated galaxies are drawn.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from generate import DOCS, write_block
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import ks_2samp

from astrodl.config import SimulateSettings
from astrodl.photometry.features import measure
from astrodl.plots.images import balance_bands, contact_sheet, lupton_rgb, sheet_of_rows
from astrodl.plots.structure import structure_planes
from astrodl.plots.style import save
from astrodl.simulator.galaxies import paint_galaxy
from astrodl.simulator.galaxies.oddities import ODDITIES
from astrodl.simulator.neighbours import add_chance_neighbours
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import CLASSES, Galaxy
from astrodl.simulator.scene import Scene

SEED = 3
COLUMNS = 10
IMAGES = DOCS / "images"
EGS_BANDS = ("F606W", "F814W")
EGS_PIXEL = 0.06
EGS_CLASSES = "ssisslssilssssissiilsmse"
"""Classes of the real galaxies, classified by eye for this page, in the order of file names: spiral, irregular,
lenticular, merger, elliptical."""
EGS_SIDE = 96
EXPOSURE_S = 2100.0
"""Exposure of the real images in each band, for the photon noise of the simulated counterparts."""
N_COUNTERPARTS = 10
"""Simulated galaxies per real one in the figure of shapes."""
LETTERS = {name[0]: name for name in CLASSES}
Array = np.ndarray


class Studio:
    """Draw simulated galaxies and show them with a common colour scale."""

    def __init__(self, settings: SimulateSettings) -> None:
        self.simulator = Simulator(settings)
        rng = np.random.default_rng(SEED)
        images = [self.draw(rng, name) for name in CLASSES for _ in range(15)]
        self.factors = balance_bands(np.stack(images))

    def draw(self, rng: np.random.Generator, name: str, limit: float = 99.0) -> Array:
        """Simulate images of a galaxy of a class or with an oddity, brighter than a limit."""
        simulator = self.simulator
        if name in ODDITIES:
            scene = simulator.oddities.paint(rng, name)
        else:
            galaxy = simulator.population.draw(rng, name)
            while galaxy.magnitude > limit:
                galaxy = simulator.population.draw(rng, name)
            scene = paint_galaxy(simulator.canvas, rng, galaxy)
            scene.scale_to_magnitude(galaxy.magnitude, simulator.truth_band)
        add_chance_neighbours(rng, scene, simulator.canvas, simulator.population)
        images, _ = simulator.render(scene)
        return simulator.observe(rng, images)

    def show(self, images: Array, *, softening: float = 4.0) -> Array:
        """Return colour images."""
        sigma = np.tile(self.simulator.sky_sigma, (len(images), 1))
        return lupton_rgb(images, sigma, band_factors=self.factors, per_image=True, softening=softening)


def sheet(rgb: Array, rows: list[str], heading: str) -> Figure:
    """Arrange cutouts in rows of `COLUMNS`."""
    return sheet_of_rows(
        rgb,
        [range(COLUMNS * i, min(COLUMNS * (i + 1), len(rgb))) for i in range(len(rows))],
        rows,
        title=lambda _: "",
        frame=lambda _: None,
        n_columns=COLUMNS,
        heading=heading,
    )


def write(figure: Figure, name: str) -> None:
    """Save a figure of noisy images as a JPEG, a third of the size of a PNG."""
    path = IMAGES / f"gallery-{name}.png"
    save(figure, path)
    with Image.open(path) as image:
        image.convert("RGB").save(path.with_suffix(".jpg"), quality=88, optimize=True)
    path.unlink()


def draw_sheets() -> None:
    """Draw a sheet of each class, with bright galaxies at the top, and of each oddity."""
    studio = Studio(SimulateSettings(seed=SEED))
    for number, name in enumerate(CLASSES):
        rng = np.random.default_rng([SEED, number])
        limits = [22.0] * 3 + [24.0] * 2
        images = np.stack([studio.draw(rng, name, limit) for limit in limits for _ in range(COLUMNS)])
        labels = [f"brighter than {limit:.0f}" for limit in limits]
        write(sheet(studio.show(images), labels, name), name)
    for number, oddity in enumerate(ODDITIES):
        rng = np.random.default_rng([SEED, 100 + number])
        images = np.stack([studio.draw(rng, oddity) for _ in range(5 * COLUMNS)])
        write(contact_sheet(studio.show(images), n_columns=COLUMNS, heading=oddity.replace("_", " ")), oddity)


@dataclass
class Sample:
    """Real or simulated galaxies in the bands and pixels of the Extended Groth Strip images."""

    images: Array
    """Counts per second, (n, bands, y, x)."""
    sigma: Array
    """Noise of a pixel, (n, bands)."""

    def features(self) -> dict[str, Array]:
        """Measure shapes on the sum of the bands."""
        values, names = measure(self.images, sky_sigma=self.sigma, pixel_scale_arcsec=EGS_PIXEL, bands=EGS_BANDS)
        return dict(zip(names, values.T, strict=True))


def read_egs(data: Path) -> tuple[Sample, Array]:
    """Read HST galaxies (Davis et al. 2007, Newman et al. 2013), 2 x 2 pixels summed, and their redshifts."""
    folder = data / "hst_egs_specz"
    with (folder / "redshifts.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file_v"])
    frames = [[fits.getdata(folder / row[key]).astype(np.float64) for key in ("file_v", "file_i")] for row in rows]
    first = (201 - 2 * EGS_SIDE) // 2
    images = np.array(frames)[:, :, first : first + 2 * EGS_SIDE, first : first + 2 * EGS_SIDE]
    images[images == 0] = np.nan
    images = images.reshape(len(rows), 2, EGS_SIDE, 2, EGS_SIDE, 2).sum(axis=(3, 5))
    border = images[:, :, [*range(10), *range(-10, 0)]].reshape(len(rows), 2, -1)
    middle = np.nanmedian(border, axis=2, keepdims=True)
    sigma = 1.4826 * np.nanmedian(np.abs(border - middle), axis=2)
    return Sample(images, sigma), np.array([float(row["z_spec"]) for row in rows])


def draw_counterparts(real: Sample, z: Array, n: int, *, alone: bool = False) -> Sample:
    """Simulate `n` galaxies per real one with its class, redshift, magnitude, size, flattening and noise.

    `alone` omits neighbours on the sky.
    """
    settings = SimulateSettings(
        bands=EGS_BANDS, size=EGS_SIDE, pixel_scale_arcsec=EGS_PIXEL, truth_band="F814W", seed=SEED
    )
    simulator = Simulator(settings)
    measured = real.features()
    with np.errstate(invalid="ignore"):
        magnitude = simulator.zero_points[1] - 2.5 * np.log10(measured["flux_F814W_total"])
    images = []
    for number, letter in enumerate(EGS_CLASSES):
        # The measured radius is circular and includes the point-spread function.
        flat = float(np.clip(1 - measured["ellipticity"][number], 0.15, 1.0))
        radius = np.sqrt(max(float(measured["r50_arcsec"][number]) ** 2 - 0.06**2, 0.06**2) / flat)
        galaxy = simulator.population.make_galaxy(
            LETTERS[letter], float(z[number]), float(magnitude[number]), float(radius)
        )
        for copy in range(n):
            rng = np.random.default_rng([SEED, number, copy])
            scene = _paint_with_axis_ratio(simulator, rng, galaxy, flat)
            if not alone:
                add_chance_neighbours(rng, scene, simulator.canvas, simulator.population)
            frames, _ = simulator.render(scene)
            variance = real.sigma[number][:, None, None] ** 2 + np.maximum(frames, 0) / EXPOSURE_S
            images.append(frames + rng.standard_normal(frames.shape) * np.sqrt(variance))
    return Sample(np.stack(images), np.repeat(real.sigma, n, axis=0))


def _paint_with_axis_ratio(simulator: Simulator, rng: np.random.Generator, galaxy: Galaxy, flat: float) -> Scene:
    """Paint a galaxy repeatedly until its axis ratio is close to `flat`."""
    for _ in range(20):
        scene = paint_galaxy(simulator.canvas, rng, galaxy)
        if not abs(scene.axis_ratio - flat) > 0.12:
            break
    scene.scale_to_magnitude(galaxy.magnitude, simulator.truth_band)
    return scene


def compare_with_egs(data: Path) -> str:
    """Draw real and simulated HST galaxies and the planes of their shapes; return the table of medians."""
    real, z = read_egs(data)
    counterparts = draw_counterparts(real, z, N_COUNTERPARTS)
    one = Sample(counterparts.images[::N_COUNTERPARTS], counterparts.sigma[::N_COUNTERPARTS])
    factors = balance_bands(real.images)
    shown, labels = [], []
    for name, softening in (("", 4.0), (", deep", 0.8)):
        pair = [
            lupton_rgb(s.images, s.sigma, band_factors=factors, per_image=True, softening=softening)
            for s in (real, one)
        ]
        for start in range(0, 24, 12):
            shown += [pair[0][start : start + 12], pair[1][start : start + 12]]
            labels += [f"real{name}", f"simulated{name}"]
    rgb = np.concatenate(shown)
    rows = [range(12 * i, 12 * (i + 1)) for i in range(len(labels))]
    heading = "HST galaxies, F606W and F814W, 5.8 arcsec: real, and below each a simulated one"
    figure = sheet_of_rows(rgb, rows, labels, title=lambda _: "", frame=lambda _: None, n_columns=12, heading=heading)
    write(figure, "egs")
    groups = {"real": real.features(), "simulated": counterparts.features()}
    save(structure_planes(groups), IMAGES / "gallery-structure.png")
    return shape_table(
        {**groups, "simulated, no neighbours": draw_counterparts(real, z, N_COUNTERPARTS, alone=True).features()}
    )


def shape_table(groups: dict[str, dict[str, Array]]) -> str:
    """Return medians, half the 16th to 84th percentile range, and Kolmogorov-Smirnov p-values with the first group."""
    lines = ["| | " + " | ".join(groups) + " |", "|---" * (len(groups) + 1) + "|"]
    titles = {name: name for name in ("concentration", "asymmetry", "smoothness", "gini", "m20")}
    for name, title in {**titles, "colour_F606W_F814W_total": "V - I, instrumental"}.items():
        values = [group[name][np.isfinite(group[name])] for group in groups.values()]
        cells = []
        for number, value in enumerate(values):
            low, middle, high = np.percentile(value, [16, 50, 84])
            probability = f", p = {ks_2samp(values[0], value).pvalue:.2g}" if number else ""
            cells.append(f"{middle:.2f} ± {(high - low) / 2:.2f}{probability}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def clump_table() -> str:
    """Return the fractions of F435W light (2200 to 2900 Angstrom at rest) in clumps of galaxies at 0.5 < z < 1."""
    simulator = Simulator(SimulateSettings(seed=SEED))
    band = simulator.truth_band
    lines = ["| class | with a clump above 8 % | clumps' share where so | share of all, F775W |", "|---|---|---|---|"]
    for name in ("spiral", "irregular", "merger"):
        blue, red = [], []
        for number in range(1000):
            rng = np.random.default_rng([SEED, 200, number])
            galaxy = simulator.population.draw(rng, name)
            if 0.5 < galaxy.z < 1.0:
                scene = paint_galaxy(simulator.canvas, rng, galaxy)
                share = scene.clumps[:, 2] / scene.flux(0) if scene.n_clumps else np.zeros(1)
                blue.append(share[share > 0.08].sum())
                red.append(scene.flux(band, "clump") / scene.flux(band))
        clumpy = np.array(blue) > 0
        error = np.sqrt(clumpy.mean() * (1 - clumpy.mean()) / len(clumpy))
        cells = f"{clumpy.mean():.2f} ± {error:.2f} | {np.array(blue)[clumpy].mean():.2f} | {np.mean(red):.3f}"
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Draw all figures for which there are data."""
    draw_sheets()
    page = DOCS / "gallery.md"
    page.write_text(write_block(page.read_text(), "clumps", clump_table()))
    data = Path(os.environ.get("ASTRODL_TEST_DATA", DOCS.parent.parent / "shared" / "data"))
    if not data.is_dir():
        print(f"{data} does not exist: no figures of real galaxies (set ASTRODL_TEST_DATA)")
        return
    page.write_text(write_block(page.read_text(), "shapes", compare_with_egs(data)))


if __name__ == "__main__":
    main()
