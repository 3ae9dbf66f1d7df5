"""Scenes: the layers of light of a galaxy and its surroundings, and the canvas that adds them."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator import structure
from astrodl.simulator.fourier import Floats, Fourier, Grid, Layer
from astrodl.simulator.population import Galaxy
from astrodl.simulator.profiles import EXPONENTIAL_B, equivalent_index, half_light_radius
from astrodl.simulator.structure import Frame
from astrodl.simulator.templates import FluxTable, Spectrum

__all__ = ["CLUMP_SLOPE", "FAINTEST_CLUMP", "Canvas", "Scene"]

FAINTEST_CLUMP = 0.004
"""Smallest fraction of the galaxy's light in the truth band."""
CLUMP_SLOPE = -1.8
"""dN / dL ~ L^slope; -1.7 to -2 from H II regions (Kennicutt, Edgar & Hodge 1989) to clumps at z = 1 to 3
(Dessauges-Zavadsky & Adamo 2018)."""
_CLUMP_SIGMA_KPC = 0.22
"""Gaussian width of a clump with 2 % of the light: a FWHM of 0.5 kpc, unresolved by HST beyond z = 0.5."""


@dataclass
class Scene:
    """A galaxy and its surroundings.

    Attributes
    ----------
    galaxy
        Properties of the galaxy.
    layers
        Light of the scene; fluxes in the truth band are fractions of the galaxy before `scale_to_magnitude`.
    sersic_index
        Index of the single Sersic profile with the concentration r_80 / r_20 of bulge plus disk.
    inclination
        Inclination of the disk in degrees, 0 face-on; NaN without a single disk.
    axis_ratio, position_angle
        Apparent axis ratio of the disk (of the bulge without a disk) and the angle of its major axis in degrees from +y
        towards -x, 0 to 180: north through east in a cutout with east to the left. NaN without a single galaxy.
    winding
        "anticlockwise" if spiral arms turn from +x towards +y outwards, "clockwise" if they turn the other way, empty
        without arms.
    clumps
        Star-forming clumps, (k, 2 + bands): x and y in arcsec from the centre of the cutout, flux per band in the unit
        of `Layer.total`.
    """

    galaxy: Galaxy
    layers: list[Layer] = field(default_factory=list)
    sersic_index: float = float("nan")
    inclination: float = float("nan")
    axis_ratio: float = float("nan")
    position_angle: float = float("nan")
    winding: str = ""
    clumps: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def n_clumps(self) -> int:
        """Number of star-forming clumps."""
        return len(self.clumps)

    @property
    def next_owner(self) -> int:
        """Owner number of the next source other than the galaxy."""
        return max((layer.owner for layer in self.layers), default=0) + 1

    def set_orientation(self, q: float, angle: float) -> None:
        """Set axis ratio and position angle from the angle of the major axis in radians from +x towards +y."""
        self.axis_ratio = float(q)
        self.position_angle = float(np.degrees(angle) - 90) % 180

    def flux(self, band: int, part: str | None = None) -> float:
        """Return the flux of the galaxy, or of one part of it, in a band."""
        layers = [layer for layer in self.layers if layer.part and (part is None or layer.part == part)]
        return float(sum(layer.total[band] for layer in layers))

    def scale_to_magnitude(self, magnitude: float, band: int) -> None:
        """Scale all layers so that the galaxy has a given AB magnitude in a band."""
        factor = 10 ** (-0.4 * magnitude) / self.flux(band)
        self.layers = [replace(layer, flux=layer.flux * factor) for layer in self.layers]
        self.clumps[:, 2:] *= factor


class Canvas:
    """Grid and band fluxes with which light is added to scenes.

    Parameters
    ----------
    grid
        Geometry.
    flux_table
        Band fluxes of spectra.
    truth_band
        Index of the band of fractions and magnitudes.
    """

    def __init__(self, grid: Grid, flux_table: FluxTable, truth_band: int) -> None:
        self.grid = grid
        self.flux_table = flux_table
        self.truth_band = truth_band

    def band_fluxes(self, spectrum: Spectrum, z: float, flux: float) -> NDArray[np.float64]:
        """Return the flux per band (in AB units) of light with a given flux in the truth band."""
        bands = self.flux_table.flux(spectrum, z)
        return bands * (flux / bands[self.truth_band])

    def draw_centre(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw the galaxy's position, within half a pixel of the centre of the cutout."""
        x, y = rng.uniform(-0.5, 0.5, 2) * self.grid.pixel
        return float(x), float(y)

    def add_layer(self, scene: Scene, part: str, image: Fourier, spectrum: Spectrum, flux: float) -> None:
        """Add a layer of the galaxy with a flux in the truth band."""
        scene.layers.append(Layer(part, image, self.band_fluxes(spectrum, scene.galaxy.z, flux)))

    def add_source(self, scene: Scene, image: Fourier, spectrum: Spectrum, z: float, flux: float) -> None:
        """Add another source at redshift `z` with a flux in the truth band."""
        scene.layers.append(Layer("", image, self.band_fluxes(spectrum, z, flux), owner=scene.next_owner))

    def add_fraction(self, scene: Scene, part: str, image: Fourier, spectrum: Spectrum, fraction: float) -> None:
        """Add a layer with a fraction of the present flux of the galaxy in the truth band."""
        self.add_layer(scene, part, image, spectrum, fraction * scene.flux(self.truth_band))

    def move_light(self, scene: Scene, image: Fourier, spectrum: Spectrum, fraction: float, feature: str = "") -> None:
        """Move a fraction of the disk's light (in the truth band) from its layers to a new one, perhaps bar or arms."""
        disk = scene.flux(self.truth_band, "disk")
        scene.layers = [
            replace(layer, flux=layer.flux * (1 - fraction)) if layer.part == "disk" else layer
            for layer in scene.layers
        ]
        self.add_layer(scene, "disk", image, spectrum, fraction * disk)
        scene.layers[-1] = replace(scene.layers[-1], feature=feature)

    def add_bulge_and_disk(
        self,
        rng: np.random.Generator,
        scene: Scene,
        bt: float,
        n: float,
        ratio: float,
        bulge: Spectrum,
        disk: Spectrum,
    ) -> tuple[Frame, float]:
        """Add a bulge and an inclined exponential disk; return the disk's frame and scale length.

        Parameters
        ----------
        bt
            Bulge-to-total flux ratio.
        n
            Sersic index of the bulge.
        ratio
            Half-light radius of the bulge over that of the disk.
        bulge, disk
            Spectra.
        """
        x, y = self.draw_centre(rng)
        cosine, thickness, angle = rng.uniform(0.02, 1.0), rng.uniform(0.14, 0.27), float(rng.uniform(0, np.pi))
        q = float(np.sqrt(cosine**2 * (1 - thickness**2) + thickness**2))
        disk_radius = scene.galaxy.radius / half_light_radius(bt, n, ratio)
        scale = disk_radius / EXPONENTIAL_B
        # Bulges are oblate and rounder than the disk.
        bulge_q = float(np.sqrt(cosine**2 * (1 - 0.65**2) + 0.65**2))
        spheroid = self.grid.sersic(n, max(ratio * disk_radius, 0.015), bulge_q, angle, x, y)
        self.add_layer(scene, "bulge", spheroid, bulge, bt)
        reddened = replace(disk, reddening=min(disk.reddening + 0.12 * (1 - cosine) ** 2, 0.75))
        self.add_layer(scene, "disk", self.grid.exponential(scale, q, angle, x, y), reddened, 1 - bt)
        scene.inclination = float(np.degrees(np.arccos(cosine)))
        scene.sersic_index = equivalent_index(bt, n, ratio)
        scene.set_orientation(q, angle)
        return Frame(x, y, q, angle), scale

    def add_dust_lane(self, rng: np.random.Generator, scene: Scene, frame: Frame, scale: float, depth: float) -> None:
        """Add a dust lane across an inclined disk and its bulge."""
        height = frame.q * scale
        offset = height * rng.uniform(-0.1, 0.1) + np.sign(rng.standard_normal()) * 0.5 * max(frame.q - 0.2, 0) * scale
        width = max(height * rng.uniform(0.3, 0.7), 0.6 * self.grid.pixel)
        cover = structure.draw_dust_lane(self.grid, frame, scale, offset, width, self.grid.noise_field(rng, 60, 0.8))
        self.add_dust_screen(scene, cover, depth, ("bulge", "disk"))

    def add_dust_screen(self, scene: Scene, cover: Floats, depth: float, parts: tuple[str, ...]) -> None:
        """Add a dust screen of optical depth `depth` (rest-frame V) in front of some parts, as negative layers."""
        absorbed = 1 - self.flux_table.attenuation(depth, scene.galaxy.z)
        behind = [layer for layer in scene.layers if layer.part in parts]
        for layer in behind:
            image = self.grid.transform(self.grid.to_map(layer.image) * cover)
            scene.layers.append(Layer(layer.part, image, -layer.flux * absorbed, feature=layer.feature))

    def add_clumps(
        self, rng: np.random.Generator, scene: Scene, weight: Floats, n: int, brightest: float = 0.07
    ) -> None:
        """Add up to `n` star-forming clumps with a density proportional to `weight`, a map on the fine grid.

        Luminosities follow a power law from `FAINTEST_CLUMP` to `brightest`, as fractions of the galaxy's light, with a
        sum of at most 40 %; sizes grow with the cube root of luminosity. Most clumps are young, some older and redder
        (Guo et al. 2018). Each consists of three knots, so that resolved clumps are not round.
        """
        if n == 0 or not weight.any():
            return
        x, y = structure.draw_positions(rng, self.grid, weight, n)
        inside = (np.abs(x) < 0.9 * self.grid.half_width) & (np.abs(y) < 0.9 * self.grid.half_width)
        x, y = x[inside], y[inside]
        low, high = np.array([FAINTEST_CLUMP, brightest]) ** (CLUMP_SLOPE + 1)
        fraction = (low + rng.random(len(x)) * (high - low)) ** (1 / (CLUMP_SLOPE + 1))
        width = _CLUMP_SIGMA_KPC * (fraction / 0.02) ** (1 / 3) * 10 ** (0.12 * rng.standard_normal(len(x)))
        fraction *= min(1.0, 0.4 / max(fraction.sum(), 1e-9))
        young = rng.random(len(x)) < 0.65
        total = scene.flux(self.truth_band)
        flux = np.zeros((len(x), len(self.flux_table.bands)))
        for members, templates in ((young, (2.7, 3.8)), (~young, (1.7, 2.8))):
            if members.any():
                spectrum = Spectrum(float(rng.uniform(*templates)), float(rng.exponential(0.08)))
                sigma = scene.galaxy.arcsec_per_kpc * width[members]
                image = self._draw_knots(rng, x[members], y[members], sigma, fraction[members])
                self.add_layer(scene, "clump", image, spectrum, total)
                flux[members] = np.outer(fraction[members], scene.layers[-1].flux)
        scene.clumps = np.column_stack([x, y, flux])

    def _draw_knots(
        self,
        rng: np.random.Generator,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        sigma: NDArray[np.float64],
        flux: NDArray[np.float64],
    ) -> Fourier:
        """Draw clumps of three knots each, with the centre of light at (x, y) and a width of about sigma."""
        part = rng.dirichlet(np.full(3, 2.0), len(x))
        offset = 0.9 * sigma[:, None] * rng.standard_normal((2, len(x), 3))
        offset -= (part * offset).sum(axis=2, keepdims=True)
        knots = (x[:, None] + offset[0], y[:, None] + offset[1], np.repeat(0.6 * sigma, 3), flux[:, None] * part)
        return self.grid.gaussians(*(values.ravel() for values in knots))
