"""Simulate a survey: cutouts of galaxies with known truth, as an observatory would deliver them.

Object i is a function of (seed, i) alone: the bytes on disk do not depend on the number of workers or on how often the
run was interrupted. Images are in electrons per second, with the noise of sky, dark current, read-out (Gaussian) and of
the source's own photons; pixels are independent (the correlation that drizzling brings is left out).
"""

import functools
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, DataSettings, LabelSettings, SimulateSettings
from astrodl.errors import ConfigError
from astrodl.survey.bands import get_band
from astrodl.survey.colors import ColorTable
from astrodl.survey.cutouts import Image, Value, tangent_cards, write_cutout
from astrodl.survey.fourier import Camera, Floats, Grid
from astrodl.survey.galaxies import Painter, Scene
from astrodl.survey.oddities import KINDS, Oddities, add_company
from astrodl.survey.population import Population

FORMAT_VERSION = 1
"""Raise it whenever the same settings give other pixels: existing simulations are then made anew."""
FIELD_CENTRE = (150.1163, 2.2010)
"""Right ascension and declination of the field in degrees: that of COSMOS (Scoville et al. 2007)."""
FIELD_SIDE = 2.0
"""Side of the field in degrees."""
BLOCK = 50
"""Objects per unit of work; an interrupted run repeats at most this many per worker."""
LABELS = ("bulge", "disk", "clump")
"""Truth maps."""
UNIT = "electron/s"
_COLUMNS: dict[str, tuple[str | None, str]] = {
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
    "n_clumps": (None, "Number of star-forming clumps"),
    "oddity": (None, "Injected oddity; empty: none"),
}


class Simulator:
    """Makes the objects of a survey one by one.

    Parameters
    ----------
    settings
        The survey.
    """

    def __init__(self, settings: SimulateSettings) -> None:
        self.settings = settings
        self.bands = [get_band(name, "simulate.bands") for name in settings.bands]
        self.truth_band = settings.bands.index(truth_band(settings))
        self.zero_points = np.array([band.zero_point for band in self.bands])
        self.count_per_flux = 10 ** (0.4 * self.zero_points)
        self.sky_sigma = np.array([band.sky_sigma(settings.pixel_scale_arcsec) for band in self.bands])
        self.exposure = np.array([band.exposure_s for band in self.bands])
        grid = Grid(settings.size, settings.pixel_scale_arcsec)
        colors = ColorTable(self.bands)
        self.camera = Camera(grid, self.bands, psf_size=min(25, settings.size - 1))
        self.population = Population(
            colors,
            self.truth_band,
            settings.magnitude_limit,
            (0.04 * grid.half_width, 0.42 * grid.half_width),
        )
        self.painter = Painter(grid, colors, self.truth_band)
        self.oddities = Oddities(self.painter, self.population, self.sky_sigma, self.count_per_flux)

    def scene(self, rng: np.random.Generator) -> tuple[Scene, str]:
        """Draw the light of an object, in counts, and the name of its oddity."""
        oddity = ""
        if rng.random() < self.settings.oddity_fraction:
            oddity = str(rng.choice(list(KINDS)))
            scene = self.oddities.paint(rng, oddity)
        else:
            galaxy = self.population.draw(rng)
            scene = self.painter.paint(rng, galaxy)
            scene.scale_to(10 ** (-0.4 * galaxy.magnitude), self.truth_band)
        add_company(rng, scene, self.painter, self.population)
        return scene, oddity

    def images(self, scene: Scene) -> tuple[Floats, Floats]:
        """Give the noise-free images (bands, y, x) and truth maps (labels, y, x) of a scene in counts."""
        planes: list[tuple[int, str | None]] = [(band, None) for band in range(len(self.bands))]
        planes += [(self.truth_band, part) for part in LABELS]
        frames = self.camera.images(scene.layers, planes)
        n_bands = len(self.bands)
        frames[:n_bands] *= self.count_per_flux[:, None, None].astype(np.float32)
        frames[n_bands:] *= np.float32(self.count_per_flux[self.truth_band])
        return frames[:n_bands], frames[n_bands:]

    def observe(self, rng: np.random.Generator, images: Floats) -> Floats:
        """Add the noise of sky, camera and photons."""
        variance = self.sky_sigma[:, None, None] ** 2 + np.maximum(images, 0) / self.exposure[:, None, None]
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        return images + noise * np.sqrt(variance).astype(np.float32)

    def make(self, number: int) -> tuple[dict[str, Any], Floats, Floats]:
        """Make object `number`: its row of truth, observed images and truth maps."""
        rng = np.random.default_rng([self.settings.seed, number])
        ra, dec = draw_position(rng)
        scene, oddity = self.scene(rng)
        images, maps = self.images(scene)
        observed = self.observe(rng, images)
        row = {"object_id": object_id(number), "ra": ra, "dec": dec, **self.truth(scene), "oddity": oddity}
        return row, observed, maps

    def truth(self, scene: Scene) -> dict[str, Any]:
        """Give what is known of a galaxy."""
        total = scene.flux(self.truth_band)
        return {
            "z": scene.galaxy.z,
            "class": scene.galaxy.kind,
            "bt": float(np.clip(scene.flux(self.truth_band, "bulge") / total, 0.0, 1.0)),
            "sersic_index": scene.sersic_index,
            "radius_arcsec": scene.galaxy.radius,
            "magnitude": float(-2.5 * np.log10(total)),
            "inclination": scene.inclination,
            "n_clumps": scene.n_clumps,
        }

    def write(self, number: int, out: Path) -> dict[str, Any]:
        """Make and write object `number`; give its row of truth."""
        row, observed, maps = self.make(number)
        settings = self.settings
        wcs = tangent_cards(settings.size, settings.pixel_scale_arcsec, row["ra"], row["dec"])
        calibrated = [
            {**wcs, "BUNIT": (UNIT, ""), "MAGZERO": (round(float(zero_point), 6), "AB magnitude of one count")}
            for zero_point in self.zero_points
        ]
        primary: dict[str, tuple[Value, str]] = {"OBJECT": (row["object_id"], "")}
        images = [
            Image(band.name, data, cards) for band, data, cards in zip(self.bands, observed, calibrated, strict=True)
        ]
        psf_cards: dict[str, tuple[Value, str]] = {"PIXSCALE": (settings.pixel_scale_arcsec, "arcsec; pixel included")}
        images += [
            Image(f"PSF_{band.name}", psf, psf_cards) for band, psf in zip(self.bands, self.camera.psf, strict=True)
        ]
        cards = calibrated[self.truth_band]
        truth = [Image(label.upper(), data, cards) for label, data in zip(LABELS, maps, strict=True)]
        write_cutout(out / "images" / f"{row['object_id']}.fits", primary, images)
        band = self.bands[self.truth_band].name
        write_cutout(out / "truth" / f"{row['object_id']}.fits", {**primary, "BAND": (band, "band of the maps")}, truth)
        return row


def simulate(settings: SimulateSettings, out: Path, *, workers: int = 1, progress: bool | None = None) -> Path:
    """Simulate a survey.

    Writes `images/{object_id}.fits` (an extension per band, then `PSF_{band}`), `truth/{object_id}.fits` (BULGE, DISK,
    CLUMP: noise-free, PSF-convolved, in counts of the truth band) and at last `catalog.fits`. What a former run with
    the same settings completed is kept.

    Parameters
    ----------
    settings
        The survey.
    out
        Folder to write to; made where it does not exist.
    workers
        Number of processes; the result does not depend on it.
    progress
        Show a progress bar; by default on a terminal.

    Returns
    -------
    Path
        The catalogue.

    Raises
    ------
    ConfigError
        Unknown band, or a truth band that is not among the bands.
    """
    for name in settings.bands:
        get_band(name, "simulate.bands")
    truth_band(settings)
    catalog = _prepare(settings, out)
    n_blocks = -(-settings.n_objects // BLOCK)
    todo = [block for block in range(n_blocks) if not _is_complete(settings, out, block)]
    if catalog.exists() and not _missing(settings, out):
        return catalog
    with _progress(settings.n_objects, progress) as advance:
        advance(settings.n_objects - sum(len(_block_range(settings, block)) for block in todo))
        for block in _run(settings, out, todo, workers):
            advance(len(_block_range(settings, block)))
    rows = [row for block in range(n_blocks) for row in json.loads(_block_file(out, block).read_text("utf-8"))]
    _write_catalog(settings, rows, catalog)
    for block in range(n_blocks):
        _block_file(out, block).unlink()
    (out / "blocks").rmdir()
    return catalog


def data_settings(settings: SimulateSettings, out: Path) -> DataSettings:
    """Say how to ingest what `simulate` wrote to `out`."""
    kept = [name for name in _COLUMNS if name not in ("object_id", "ra", "dec")]
    return DataSettings(
        root=str(out),
        catalog="catalog.fits",
        layout="extensions",
        path="images/{object_id}.fits",
        bands=tuple(BandSettings(name=name) for name in settings.bands),
        ra_column="ra",
        dec_column="dec",
        columns={name: name for name in kept},
        labels=LabelSettings(path="truth/{object_id}.fits", extensions={label: label.upper() for label in LABELS}),
        size=settings.size,
        pixel_scale_arcsec=settings.pixel_scale_arcsec,
    )


def truth_band(settings: SimulateSettings) -> str:
    """Give the band of the truth: the one set, or the middle one.

    Raises
    ------
    ConfigError
        The band set is not among the survey's bands.
    """
    if settings.truth_band is None:
        return settings.bands[len(settings.bands) // 2]
    if settings.truth_band not in settings.bands:
        raise ConfigError(
            f"simulate.truth_band: band '{settings.truth_band}' is not among the survey's bands "
            f"(accepted: {', '.join(settings.bands)}); correct the name or add the band"
        )
    return settings.truth_band


def object_id(number: int) -> str:
    """Give the identifier of an object."""
    return f"SIM{number:06d}"


def draw_position(rng: np.random.Generator) -> tuple[float, float]:
    """Draw right ascension and declination in the field (degrees)."""
    east, north = rng.uniform(-FIELD_SIDE / 2, FIELD_SIDE / 2, 2)
    dec = FIELD_CENTRE[1] + north
    return float(FIELD_CENTRE[0] + east / np.cos(np.radians(dec))), float(dec)


@functools.lru_cache(maxsize=2)
def _simulator(settings: SimulateSettings) -> Simulator:
    return Simulator(settings)


def _write_block(settings: SimulateSettings, out: Path, block: int) -> int:
    """Make a block of objects; its list of rows comes last and says that the block is complete."""
    simulator = _simulator(settings)
    rows = [simulator.write(number, out) for number in _block_range(settings, block)]
    _write_text(_block_file(out, block), json.dumps(rows))
    return block


def _run(settings: SimulateSettings, out: Path, blocks: list[int], workers: int) -> Iterator[int]:
    work = functools.partial(_write_block, settings, out)
    if workers <= 1 or len(blocks) <= 1:
        yield from map(work, blocks)
        return
    # spawn: a forked child of a process that runs threads (torch, BLAS) may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(blocks)), mp_context=context) as pool:
        yield from pool.map(work, blocks)


def _prepare(settings: SimulateSettings, out: Path) -> Path:
    """Make the folders, and remove what other settings left there."""
    marker = out / "simulate.json"
    identity = {"format_version": FORMAT_VERSION, "settings": settings.model_dump(mode="json")}
    catalog = out / "catalog.fits"
    try:
        same = json.loads(marker.read_text("utf-8")) == identity
    except (OSError, json.JSONDecodeError):
        same = False
    if not same:
        catalog.unlink(missing_ok=True)
        for pattern in ("blocks/*.json", "images/SIM*.fits", "truth/SIM*.fits"):
            for path in out.glob(pattern):
                path.unlink()
    for folder in ("blocks", "images", "truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    if not same:
        _write_text(marker, json.dumps(identity, indent=1, sort_keys=True) + "\n")
    return catalog


def _block_range(settings: SimulateSettings, block: int) -> range:
    return range(block * BLOCK, min((block + 1) * BLOCK, settings.n_objects))


def _block_file(out: Path, block: int) -> Path:
    return out / "blocks" / f"{block:06d}.json"


def _files(out: Path, number: int) -> tuple[Path, Path]:
    name = f"{object_id(number)}.fits"
    return out / "images" / name, out / "truth" / name


def _is_complete(settings: SimulateSettings, out: Path, block: int) -> bool:
    numbers = _block_range(settings, block)
    return _block_file(out, block).exists() and all(path.exists() for n in numbers for path in _files(out, n))


def _missing(settings: SimulateSettings, out: Path) -> bool:
    return not all(path.exists() for number in range(settings.n_objects) for path in _files(out, number))


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def _write_catalog(settings: SimulateSettings, rows: list[dict[str, Any]], path: Path) -> None:
    from astropy.table import Table

    table = Table({name: _column([row[name] for row in rows]) for name in _COLUMNS})
    for name, (unit, description) in _COLUMNS.items():
        table[name].unit = unit
        table[name].description = description
    table.meta = {"EXTNAME": "CATALOG", "TRUBAND": truth_band(settings), "SEED": settings.seed}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    table.write(temporary, format="fits", overwrite=True)
    os.replace(temporary, path)


def _column(values: list[Any]) -> NDArray[Any]:
    column = np.array(values)
    # FITS has no text of zero width, which a survey without oddities would ask for.
    return column.astype("U24") if column.dtype.kind == "U" else column


@contextmanager
def _progress(total: int, show: bool | None) -> Iterator[Any]:
    """Give a function that moves a progress bar with objects per second."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    hidden = not (sys.stderr.isatty() if show is None else show)
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("simulate"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=hidden) as bar:
        task = bar.add_task("simulate", total=total, rate="")

        def advance(n: int) -> None:
            bar.advance(task, n)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f} objects/s" if speed else "")

        yield advance
