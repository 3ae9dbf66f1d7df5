"""Speed of the simulator and of plain GalSim in galaxies per CPU-second, and memory with many blocks.

`python benchmarks/speed/simulate.py` prints the tables (about two minutes); `--record` writes them to
docs/simulator.md.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import galsim
import numpy as np

from astrodl.config import SimulateSettings
from astrodl.simulator import survey
from astrodl.simulator.bands import Band
from astrodl.simulator.fourier import Layer
from astrodl.simulator.objects import Simulator
from astrodl.simulator.survey import simulate
from astrodl.simulator.templates import TEMPLATES, Spectrum
from astrodl.simulator.truth import catalog_columns, clump_columns

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROUNDS = 4
JOINED = 100_000
Z = 0.5
MEMORY_SETTINGS: dict[str, Any] = {"size": 16, "oddity_fraction": 0.05}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=100, help="galaxies per method and round (default: 100)")
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[1000, 5000, 20000], help="numbers of objects for the memory table"
    )
    parser.add_argument("--record", action="store_true", help="write the tables to docs/simulator.md")
    options = parser.parse_args()
    sys.path.insert(0, str(DOCS))
    from generate import write_block
    from record import machine

    where = f"`python benchmarks/speed/simulate.py` on {machine()}, one process, GalSim {galsim.__version__}."
    text = "\n".join([where, "", *speed_table(options.objects), *agreement_table(12), *memory_table(options.memory)])
    print(text)
    if options.record:
        page = DOCS / "simulator.md"
        page.write_text(write_block(page.read_text("utf-8"), "speed", text), "utf-8")


def speed_table(n: int) -> list[str]:
    """Measure galaxies per CPU-second of each method, the median over interleaved rounds."""
    simulator = Simulator(SimulateSettings())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("images", "truth"):
            (out / name).mkdir()
        methods: dict[str, Callable[[int], object]] = {
            "ours: images, noise, all truth": simulator.make,
            "the same, written as FITS": lambda number: simulator.write(number, out),
            "GalSim: bulge and disk drawn band by band": lambda number: draw_plainly(simulator, number),
            "GalSim: the same, chromatic": lambda number: draw_chromatically(simulator, number),
        }
        slow = {"GalSim: the same, chromatic"}
        rates: dict[str, list[float]] = {method: [] for method in methods}
        for method in methods.values():
            method(0)
        for round_number in range(ROUNDS):
            for name, method in methods.items():
                count = max(1, n // 10) if name in slow else n
                start = time.process_time()
                for number in range(round_number * n, round_number * n + count):
                    method(number)
                rates[name].append(count / (time.process_time() - start))
    median = {name: float(np.median(values)) for name, values in rates.items()}
    plain = median["GalSim: bulge and disk drawn band by band"]
    shape = f"{simulator.settings.size} x {simulator.settings.size} x {len(simulator.bands)}"
    rows = [f"| {name} | {rate:.0f} | {rate / plain:.2f} |" for name, rate in median.items()]
    return [f"| {shape} pixels | galaxies / CPU-s | ratio |", "|---|---|---|", *rows, ""]


@dataclass(frozen=True)
class Component:
    """A bulge or a disk: Sersic index, half-light radius along the major axis, axis ratio, angle, flux, spectrum."""

    n: float
    radius: float
    q: float
    angle: float
    flux: float
    template: float

    def profile(self) -> Any:
        shape = galsim.Sersic(self.n, half_light_radius=self.radius * np.sqrt(self.q))
        return shape.shear(q=self.q, beta=self.angle * galsim.radians)


def bulge_and_disk(simulator: Simulator, number: int) -> list[Component]:
    """Draw the components of a galaxy similar to those of the survey.

    Sersic indices are multiples of 0.1, so that several galaxies share a GalSim table of the profile.
    """
    rng = np.random.default_rng([7, number])
    radius = simulator.population.draw(rng).radius
    angle, bt, q = rng.uniform(0, np.pi), rng.beta(1.3, 5.0), rng.uniform(0.2, 1.0)
    n = round(float(np.clip(rng.normal(2.5, 1.0), 0.8, 5.0)), 1)
    return [Component(n, 0.3 * radius, 0.5 + 0.5 * q, angle, bt, 0.0), Component(1.0, radius, q, angle, 1 - bt, 2.0)]


def draw_plainly(simulator: Simulator, number: int) -> list[Any]:
    """Draw bulge and disk in every band with GalSim, convolved with the PSF, without truth and noise."""
    components = bulge_and_disk(simulator, number)
    fluxes = [simulator.canvas.band_fluxes(Spectrum(part.template), Z, part.flux) for part in components]
    drawn = []
    for band, psf in enumerate(_psfs(simulator)):
        galaxy = galsim.Add([p.profile().withFlux(flux[band]) for p, flux in zip(components, fluxes, strict=True)])
        drawn.append(_draw(simulator, galsim.Convolve(galaxy, psf)))
    return drawn


def draw_chromatically(simulator: Simulator, number: int) -> list[Any]:
    """Draw bulge and disk with GalSim, with a spectrum each, through the band-passes."""
    truth = _bandpass(simulator.bands[simulator.truth_band])
    parts = [
        part.profile() * _spectrum(part.template).withMagnitude(-2.5 * np.log10(part.flux), truth)
        for part in bulge_and_disk(simulator, number)
    ]
    return [
        _draw(simulator, galsim.Convolve(galsim.Add(parts), psf), _bandpass(band)) * band.area_cm2
        for band, psf in zip(simulator.bands, _psfs(simulator), strict=True)
    ]


def draw_with_simulator(simulator: Simulator, number: int) -> Any:
    """Draw bulge and disk with the simulator in electrons per second, (bands, y, x)."""
    layers = []
    for part in bulge_and_disk(simulator, number):
        image = simulator.canvas.grid.sersic(part.n, part.radius, part.q, part.angle)
        layers.append(Layer("disk", image, simulator.canvas.band_fluxes(Spectrum(part.template), Z, part.flux)))
    planes: list[tuple[int, str | None]] = [(band, None) for band in range(len(simulator.bands))]
    return simulator.camera.render(layers, planes) * simulator.count_per_flux[:, None, None]


def agreement_table(n: int) -> list[str]:
    """Measure the difference of bulge and disk drawn by the simulator from GalSim's chromatic drawing."""
    lines = ["| survey | galaxies | largest difference from GalSim's chromatic drawing, % of the peak, by band |"]
    lines.append("|---|---|---|")
    for name in ("candels", "lsst"):
        _CACHE.clear()
        simulator = Simulator(SimulateSettings(survey=name))
        worst = np.zeros(len(simulator.bands))
        for number in range(n):
            expected, simulated = (
                np.stack(draw_chromatically(simulator, number)),
                draw_with_simulator(simulator, number),
            )
            difference = np.abs(simulated - expected).max(axis=(1, 2)) / expected.max(axis=(1, 2))
            worst = np.maximum(worst, difference)
        words = ", ".join(f"{band.name} {100 * value:.2f}" for band, value in zip(simulator.bands, worst, strict=True))
        lines.append(f"| {name} | {n} | {words} |")
    return [*lines, ""]


def _draw(simulator: Simulator, profile: Any, *bandpass: Any) -> Any:
    size, scale = simulator.settings.size, simulator.settings.pixel_scale_arcsec
    return profile.drawImage(*bandpass, nx=size, ny=size, scale=scale).array


_CACHE: dict[Any, Any] = {}


def _psfs(simulator: Simulator) -> list[Any]:
    if "psf" not in _CACHE:
        _CACHE["psf"] = [band.psf() for band in simulator.bands]
    return _CACHE["psf"]


def _spectrum(template: float) -> Any:
    if template not in _CACHE:
        _CACHE[template] = galsim.SED(f"CWW_{TEMPLATES[int(template)]}_ext.sed", "Ang", "flambda").atRedshift(Z)
    return _CACHE[template]


def _bandpass(band: Band) -> Any:
    if band.name not in _CACHE:
        _CACHE[band.name] = galsim.Bandpass(band.file, wave_type=band.wave_type).withZeropoint("AB")
    return _CACHE[band.name]


def memory_table(sizes: list[int]) -> list[str]:
    """Measure the peak memory of surveys, each in its own process."""
    if not sizes:
        return []
    context = multiprocessing.get_context("spawn")
    rows = []
    for n in sizes:
        with context.Pool(1) as pool:
            peak, seconds = pool.apply(simulate_and_measure, (n,))
        rows.append(f"| {n:,} | {peak:.0f} | {n / seconds:.0f} |")
    with context.Pool(1) as pool:
        rows.append(f"| {JOINED:,}, joining the tables alone | {pool.apply(join_and_measure, (JOINED,)):.0f} | |")
    head = "objects of 16 x 16 x 5 pixels, written with catalogue and clumps"
    return [f"| {head} | peak MB | objects / s |", "|---|---|---|", *rows]


def simulate_and_measure(n: int) -> tuple[float, float]:
    """Simulate a survey; return the peak memory of the process in MB and the time in seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        simulate(SimulateSettings(n_objects=n, **MEMORY_SETTINGS), Path(folder), progress=False)
    return peak_megabytes(), time.perf_counter() - start


def join_and_measure(n: int) -> float:
    """Join the tables of a survey from copies of one block; return the peak memory of the process in MB."""
    one_block, all_blocks = (SimulateSettings(n_objects=count, **MEMORY_SETTINGS) for count in (survey.BLOCK, n))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        survey._prepare_folder(one_block, out, keep=False)
        survey._write_block(one_block, out, 0)
        for block in range(1, n // survey.BLOCK):
            shutil.copy(survey._block_file(out, 0), survey._block_file(out, block))
        survey._write_table(all_blocks, out, "clumps", clump_columns(all_blocks))
        survey._write_table(all_blocks, out, "catalog", catalog_columns(all_blocks))
    return peak_megabytes()


def peak_megabytes() -> float:
    """Return the peak memory of this process (getrusage would include the peak of the parent process)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
