"""What a galaxy is made of while it is drawn: layers of light, and the tools that add to them."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator import structure
from astrodl.simulator.colors import ColorTable, Spectrum
from astrodl.simulator.fourier import Floats, Fourier, Grid, Layer
from astrodl.simulator.population import Galaxy
from astrodl.simulator.profiles import EXPONENTIAL_B, equivalent_index, half_light_radius
from astrodl.simulator.structure import Frame

FAINTEST_CLUMP = 0.004
"""Share of the galaxy's light in the truth band."""
CLUMP_SLOPE = -1.8
"""dN / dL ~ L^slope; -1.7 to -2 from H II regions (Kennicutt, Edgar & Hodge 1989) to clumps at z = 1 to 3
(Dessauges-Zavadsky & Adamo 2018)."""
CLUMP_SIGMA_KPC = 0.22
"""Gaussian width of a clump with 2 % of the light: 0.5 kpc across at half maximum, unresolved by HST beyond z = 0.5."""


@dataclass
class Scene:
    """A galaxy under construction.

    Attributes
    ----------
    layers
        Its light; fluxes in the truth band are fractions of the galaxy until `scale_to` is called.
    sersic_index
        Index of the single Sersic profile with the concentration r_80 / r_20 of bulge plus disk.
    inclination
        Of the disk in degrees, 0 face-on; NaN where there is no single disk.
    axis_ratio, position_angle
        Apparent axis ratio of the disk (of the bulge where there is no disk) and the angle of its major axis in
        degrees from +y towards -x, 0 to 180: north through east where the stamp has east to the left. NaN where there
        is no single galaxy.
    winding
        "anticlockwise" where spiral arms turn from +x towards +y on their way outwards, "clockwise" where they turn the
        other way, empty where there are none.
    clumps
        (k, 2 + bands) star-forming clumps: x and y in arcsec from the stamp's centre, flux per band in the unit of
        `Layer.total`.
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
        """Number for the next source that is not the galaxy."""
        return max((layer.owner for layer in self.layers), default=0) + 1

    def lie(self, q: float, angle: float) -> None:
        """Note the apparent axis ratio and the angle of the major axis (radians from +x towards +y)."""
        self.axis_ratio = float(q)
        self.position_angle = float(np.degrees(angle) - 90) % 180

    def flux(self, band: int, part: str | None = None) -> float:
        """Sum the flux of the galaxy, or of one part of it, in a band (light that is not the galaxy's left out)."""
        chosen = [layer for layer in self.layers if layer.part and (part is None or layer.part == part)]
        return float(sum(layer.total[band] for layer in chosen))

    def scale_to(self, flux: float, band: int) -> None:
        """Scale all layers so that the galaxy has the given flux in a band."""
        factor = flux / self.flux(band)
        self.layers = [replace(layer, flux=layer.flux * factor) for layer in self.layers]
        self.clumps[:, 2:] *= factor


class Canvas:
    """Puts light into scenes.

    Parameters
    ----------
    grid
        Geometry.
    colors
        Band fluxes of spectra.
    truth_band
        Index of the band in which fractions and magnitudes hold.
    """

    def __init__(self, grid: Grid, colors: ColorTable, truth_band: int) -> None:
        self.grid = grid
        self.colors = colors
        self.truth_band = truth_band

    def tint(self, spectrum: Spectrum, z: float, flux: float) -> NDArray[np.float64]:
        """Give the flux per band (in AB units) of light with the given flux in the truth band."""
        bands = self.colors.flux(spectrum, z)
        return bands * (flux / bands[self.truth_band])

    def centre(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw the galaxy's place: within half a pixel of the stamp's centre."""
        x, y = rng.uniform(-0.5, 0.5, 2) * self.grid.pixel
        return float(x), float(y)

    def lay(self, scene: Scene, part: str, image: Fourier, spectrum: Spectrum, flux: float) -> None:
        """Add a layer with a flux in the truth band."""
        scene.layers.append(Layer(part, image, self.tint(spectrum, scene.galaxy.z, flux)))

    def add_light(self, scene: Scene, part: str, image: Fourier, spectrum: Spectrum, share: float) -> None:
        """Add a layer that holds a share of the light of the galaxy so far (in the truth band)."""
        self.lay(scene, part, image, spectrum, share * scene.flux(self.truth_band))

    def move_light(self, scene: Scene, image: Fourier, spectrum: Spectrum, share: float) -> None:
        """Move a share of the disk's light (in the truth band) from what is there into a new layer of the disk."""
        disk = scene.flux(self.truth_band, "disk")
        scene.layers = [
            replace(layer, flux=layer.flux * (1 - share)) if layer.part == "disk" else layer for layer in scene.layers
        ]
        self.lay(scene, "disk", image, spectrum, share * disk)

    def bulge_and_disk(
        self,
        rng: np.random.Generator,
        scene: Scene,
        bt: float,
        n: float,
        ratio: float,
        bulge: Spectrum,
        disk: Spectrum,
    ) -> tuple[Frame, float]:
        """Put a bulge and an inclined exponential disk; give the disk's frame and scale length.

        `ratio` is the half-light radius of the bulge over that of the disk.
        """
        x, y = self.centre(rng)
        cosine, thickness, angle = rng.uniform(0.02, 1.0), rng.uniform(0.14, 0.27), float(rng.uniform(0, np.pi))
        q = float(np.sqrt(cosine**2 * (1 - thickness**2) + thickness**2))
        disk_radius = scene.galaxy.radius / half_light_radius(bt, n, ratio)
        scale = disk_radius / EXPONENTIAL_B
        # Bulges are oblate and rounder than the disk.
        round_q = float(np.sqrt(cosine**2 * (1 - 0.65**2) + 0.65**2))
        self.lay(scene, "bulge", self.grid.sersic(n, max(ratio * disk_radius, 0.015), round_q, angle, x, y), bulge, bt)
        reddened = replace(disk, reddening=min(disk.reddening + 0.12 * (1 - cosine) ** 2, 0.75))
        self.lay(scene, "disk", self.grid.exponential(scale, q, angle, x, y), reddened, 1 - bt)
        scene.inclination = float(np.degrees(np.arccos(cosine)))
        scene.sersic_index = equivalent_index(bt, n, ratio)
        scene.lie(q, angle)
        return Frame(x, y, q, angle), scale

    def lane(self, rng: np.random.Generator, scene: Scene, frame: Frame, scale: float, depth: float) -> None:
        """Put a dust lane across an inclined disk and its bulge."""
        height = frame.q * scale
        offset = height * rng.uniform(-0.1, 0.1) + np.sign(rng.standard_normal()) * 0.5 * max(frame.q - 0.2, 0) * scale
        width = max(height * rng.uniform(0.3, 0.7), 0.6 * self.grid.pixel)
        cover = structure.draw_lane(self.grid, frame, scale, offset, width, self.grid.noise_field(rng, 60, 0.8))
        self.absorb(scene, cover, depth, ("bulge", "disk"))

    def absorb(self, scene: Scene, cover: Floats, depth: float, parts: tuple[str, ...]) -> None:
        """Put a dust screen of optical depth `depth` (rest-frame V) before some parts: negative layers."""
        lost = 1 - self.colors.attenuation(depth, scene.galaxy.z)
        behind = [layer for layer in scene.layers if layer.part in parts]
        for layer in behind:
            image = structure.screened(self.grid, layer.image, cover)
            scene.layers.append(Layer(layer.part, image, -layer.flux * lost))

    def clumps(self, rng: np.random.Generator, scene: Scene, weight: Floats, n: int, brightest: float = 0.07) -> None:
        """Add up to `n` star-forming clumps where `weight` (a map on the fine grid) is high.

        Luminosities follow a power law from `FAINTEST_CLUMP` to `brightest`, as shares of the galaxy's light, together
        at most 40 % of it; sizes grow with the cube root of luminosity. Most clumps are young, some older and redder
        (Guo et al. 2018). Each is three knots, so that those that are resolved are not round.
        """
        if n == 0 or not weight.any():
            return
        x, y = structure.pick_positions(rng, self.grid, weight, n)
        inside = (np.abs(x) < 0.9 * self.grid.half_width) & (np.abs(y) < 0.9 * self.grid.half_width)
        x, y = x[inside], y[inside]
        low, high = np.array([FAINTEST_CLUMP, brightest]) ** (CLUMP_SLOPE + 1)
        share = (low + rng.random(len(x)) * (high - low)) ** (1 / (CLUMP_SLOPE + 1))
        width = CLUMP_SIGMA_KPC * (share / 0.02) ** (1 / 3) * 10 ** (0.12 * rng.standard_normal(len(x)))
        share *= min(1.0, 0.4 / max(share.sum(), 1e-9))
        young = rng.random(len(x)) < 0.65
        total = scene.flux(self.truth_band)
        flux = np.zeros((len(x), len(self.colors.bands)))
        for members, kinds in ((young, (2.7, 3.8)), (~young, (1.7, 2.8))):
            if members.any():
                spectrum = Spectrum(float(rng.uniform(*kinds)), float(rng.exponential(0.08)))
                sigma = scene.galaxy.arcsec_per_kpc * width[members]
                image = self._knots(rng, x[members], y[members], sigma, share[members])
                self.lay(scene, "clump", image, spectrum, total)
                flux[members] = np.outer(share[members], scene.layers[-1].flux)
        scene.clumps = np.column_stack([x, y, flux])

    def _knots(
        self,
        rng: np.random.Generator,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        sigma: NDArray[np.float64],
        flux: NDArray[np.float64],
    ) -> Fourier:
        """Transform clumps of three knots each, whose centre of light is at (x, y) and whose width is near sigma."""
        part = rng.dirichlet(np.full(3, 2.0), len(x))
        aside = 0.9 * sigma[:, None] * rng.standard_normal((2, len(x), 3))
        aside -= (part * aside).sum(axis=2, keepdims=True)
        knots = (x[:, None] + aside[0], y[:, None] + aside[1], np.repeat(0.6 * sigma, 3), flux[:, None] * part)
        return self.grid.blobs(*(values.ravel() for values in knots))
