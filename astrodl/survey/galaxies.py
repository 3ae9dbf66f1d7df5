"""Galaxies of the five classes: how a drawn galaxy becomes layers of light and a row of truth.

Spectra, sizes, bulge fractions and structure of the classes overlap: some spirals are red, some ellipticals blue, some
mergers dry, many disks smooth, so that neither colour nor concentration alone tells the class.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from astrodl.survey import structure
from astrodl.survey.colors import ColorTable, Spectrum
from astrodl.survey.encounters import library, project
from astrodl.survey.fourier import Floats, Fourier, Grid, Layer
from astrodl.survey.population import Galaxy
from astrodl.survey.profiles import EXPONENTIAL_B, equivalent_index, half_light_radius, inclination_of
from astrodl.survey.spectra import irregular_spectrum, merger_spectra, old_spectrum, spiral_spectra
from astrodl.survey.structure import Arms, Frame


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


class Painter:
    """Makes galaxies on a grid.

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

    def paint(self, rng: np.random.Generator, galaxy: Galaxy) -> Scene:
        """Make a galaxy of its class."""
        scene = Scene(galaxy)
        {
            "elliptical": self._elliptical,
            "lenticular": self._lenticular,
            "spiral": self._spiral,
            "irregular": self._irregular,
            "merger": self._merger,
        }[galaxy.kind](rng, scene)
        return scene

    def centre(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw the galaxy's place: within half a pixel of the stamp's centre."""
        x, y = rng.uniform(-0.5, 0.5, 2) * self.grid.pixel
        return float(x), float(y)

    def _elliptical(self, rng: np.random.Generator, scene: Scene) -> None:
        galaxy = scene.galaxy
        x, y = self.centre(rng)
        n = float(np.clip(4.0 * 10 ** (0.12 * rng.standard_normal()), 2.0, 6.5))
        q, angle = 1 - 0.55 * rng.beta(1.3, 2.0), rng.uniform(0, np.pi)
        image = self.grid.sersic(n, galaxy.radius, q, angle, x, y)
        scene.layers.append(Layer("bulge", image, self.tint(old_spectrum(rng, 0.12), galaxy.z, 1.0)))
        scene.sersic_index = n
        scene.lie(q, angle)

    def _lenticular(self, rng: np.random.Generator, scene: Scene) -> None:
        bulge = old_spectrum(rng, 0.08)
        disk = Spectrum(float(np.clip(bulge.kind + rng.uniform(0.0, 0.6), 0, 3)), bulge.reddening)
        bt = float(rng.beta(3.5, 4.0) * 0.8 + 0.08)
        n = float(np.clip(rng.normal(2.8, 0.7), 1.2, 5.0))
        frame, scale = self._bulge_and_disk(rng, scene, bt, n, rng.uniform(0.25, 0.7), bulge, disk)
        if rng.random() < 0.3:
            self._bar(rng, scene, frame, scale, disk, share=rng.uniform(0.05, 0.18))
        if rng.random() < 0.25:
            lumps = self.grid.noise_field(rng, 12)
            lens = structure.draw_ring(self.grid, frame, 1.8 * scale, 0.5 * scale, 0.0, 0.3 * lumps)
            self._move_light(scene, self.grid.drawn(lens), disk, rng.uniform(0.05, 0.2))
        if frame.q < 0.35 and rng.random() < 0.4:
            self._lane(rng, scene, frame, scale, rng.uniform(1.0, 3.5))

    def _spiral(self, rng: np.random.Generator, scene: Scene) -> None:
        grid = self.grid
        red = rng.random() < 0.15
        bulge, disk, arm = spiral_spectra(rng, red)
        bt = float(np.clip(rng.beta(1.3, 5.0) * 0.9 + 0.01, 0.01, 0.65))
        n = float(np.clip(rng.normal(1.8, 0.7), 0.7, 4.0))
        frame, scale = self._bulge_and_disk(rng, scene, bt, n, rng.uniform(0.12, 0.4), bulge, disk)
        wander, lumps = grid.noise_field(rng, 14), grid.noise_field(rng, 40)
        arms = Arms(
            n=int(rng.choice([2, 3, 4], p=[0.65, 0.2, 0.15])),
            pitch=float(np.radians(rng.uniform(11, 30)) * rng.choice([-1, 1])),
            phase=float(rng.uniform(0, 2 * np.pi)),
            sharpness=float(rng.uniform(1.5, 4.5)),
            start=float(scale * rng.uniform(0.5, 0.9)),
        )
        drawn = structure.draw_arms(grid, frame, scale, arms, wander, lumps)
        # Seen edge-on the arms overlap and the dust takes their place.
        visible = float(np.clip((frame.q - 0.15) / 0.25, 0.15, 1.0))
        self._move_light(scene, grid.drawn(drawn), arm, visible * rng.uniform(0.25, 0.6) * (0.7 if red else 1.0))
        if rng.random() < 0.45:
            self._bar(rng, scene, frame, scale, bulge, share=rng.uniform(0.05, 0.2))
        if frame.q < 0.4:
            self._lane(rng, scene, frame, scale, rng.uniform(1.2, 4.0))
        elif rng.random() < 0.6:
            cover = structure.draw_arm_dust(grid, frame, arms, wander)
            self._absorb(scene, cover, rng.uniform(0.3, 1.2), ("disk",))
        n_clumps = rng.poisson(0.7 if red else 3.2)
        self._clumps(rng, scene, drawn * (drawn > 0.12 * drawn.max()), n_clumps, frame)

    def _irregular(self, rng: np.random.Generator, scene: Scene) -> None:
        galaxy, grid = scene.galaxy, self.grid
        base = irregular_spectrum(rng)
        x, y = self.centre(rng)
        q, angle = float(rng.uniform(0.35, 0.95)), float(rng.uniform(0, np.pi))
        scale = galaxy.radius / EXPONENTIAL_B
        frame = Frame(x, y, q, angle)
        slide, turn = scale * rng.uniform(0.3, 1.2), rng.uniform(0, 2 * np.pi)
        aside = Frame(x + slide * np.cos(turn), y + slide * np.sin(turn), min(1.0, q * rng.uniform(0.8, 1.3)), angle)
        lumps = grid.noise_field(rng, 18) + 0.6 * grid.noise_field(rng, 36)
        drawn = structure.draw_texture(grid, aside, 0.9 * scale, float(rng.uniform(0.5, 0.9)), lumps)
        patchy = float(rng.uniform(0.35, 0.75))
        younger = replace(base, kind=min(base.kind + 0.5, 3.6))
        smooth = grid.exponential(scale, q, angle, x, y)
        scene.layers.append(Layer("disk", smooth, self.tint(base, galaxy.z, 1 - patchy)))
        scene.layers.append(Layer("disk", grid.drawn(drawn), self.tint(younger, galaxy.z, patchy)))
        scene.sersic_index = 1.0
        scene.inclination = inclination_of(q, 0.2)
        scene.lie(q, angle)
        bt = float(rng.uniform(0.02, 0.15)) if rng.random() < 0.25 else 0.0
        if bt:
            core = grid.sersic(1.5, 0.25 * galaxy.radius, 0.5 + 0.5 * q, angle, x, y)
            self._add_light(scene, "bulge", core, replace(base, kind=max(base.kind - 1.2, 0.3)), bt)
        self._clumps(rng, scene, drawn * (drawn > 0.05 * drawn.max()), int(rng.poisson(3.5)), frame)

    def _merger(self, rng: np.random.Generator, scene: Scene) -> None:
        galaxy, grid = scene.galaxy, self.grid
        snapshots = library()
        snapshot = snapshots[int(rng.integers(len(snapshots)))]
        nuclei, particles = project(snapshot, rng)
        # A disk of the library has its half-light radius at 0.45 of its edge; a pair is about twice as large.
        edge = 1.45 * galaxy.radius
        x, y = self.centre(rng)
        dry = rng.random() < 0.12
        spectra = merger_spectra(rng, dry)
        masses = np.array([1.0, snapshot.mass_ratio]) / (1 + snapshot.mass_ratio)
        bt = float(rng.beta(2.0, 5.0) * 0.9 + 0.03)
        diffuse = grid.exponential(0.6 * edge, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi), x, y)
        share = float(rng.uniform(0.1, 0.25))
        scene.layers.append(Layer("disk", diffuse, self.tint(spectra[0], galaxy.z, share * (1 - bt))))
        maps = []
        for number, (mass, spectrum) in enumerate(zip(masses, spectra, strict=True)):
            image, drawn = self._particles(rng, np.split(particles, 2)[number] * edge + (x, y), 0.055 * edge)
            flux = (1 - share) * (1 - bt) * mass
            scene.layers.append(Layer("disk", image, self.tint(spectrum, galaxy.z, flux)))
            maps.append(mass * drawn)
            core = replace(spectrum, kind=max(spectrum.kind - 1.0, 0.0), young=0.0)
            radius = edge * rng.uniform(0.1, 0.25) * np.sqrt(mass)
            place = nuclei[number] * edge + (x, y)
            nucleus = grid.sersic(rng.uniform(1.0, 3.5), radius, rng.uniform(0.6, 1), rng.uniform(0, np.pi), *place)
            scene.layers.append(Layer("bulge", nucleus, self.tint(core, galaxy.z, bt * mass)))
        scene.sersic_index = equivalent_index(bt, 2.5, 0.35)
        weight = np.sqrt(maps[0] + maps[1])
        self._clumps(rng, scene, weight * (weight > 0.15 * weight.max()), int(rng.poisson(0.3 if dry else 3.0)), None)

    def _particles(self, rng: np.random.Generator, places: NDArray[np.float64], sigma: float) -> tuple[Fourier, Floats]:
        """Draw test particles smoothed by a Gaussian, with log-normal luminosities: Fourier image and map."""
        weight = np.exp(0.8 * rng.standard_normal(len(places)))
        sharp = self.grid.drawn(self.grid.splat(places[:, 0], places[:, 1], weight))
        drawn = np.maximum(self.grid.smoothed(sharp, max(sigma, 0.4 * self.grid.pixel)), 0)
        return self.grid.drawn(drawn), drawn

    def _bulge_and_disk(
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
        galaxy = scene.galaxy
        x, y = self.centre(rng)
        cosine, thickness, angle = rng.uniform(0.02, 1.0), rng.uniform(0.14, 0.27), rng.uniform(0, np.pi)
        q = float(np.sqrt(cosine**2 * (1 - thickness**2) + thickness**2))
        disk_radius = galaxy.radius / half_light_radius(bt, n, ratio)
        scale = disk_radius / EXPONENTIAL_B
        # Bulges are oblate and rounder than the disk.
        round_q = float(np.sqrt(cosine**2 * (1 - 0.65**2) + 0.65**2))
        image = self.grid.sersic(n, max(ratio * disk_radius, 0.015), round_q, angle, x, y)
        scene.layers.append(Layer("bulge", image, self.tint(bulge, galaxy.z, bt)))
        reddened = replace(disk, reddening=min(disk.reddening + 0.12 * (1 - cosine) ** 2, 0.75))
        scene.layers.append(
            Layer("disk", self.grid.exponential(scale, q, angle, x, y), self.tint(reddened, galaxy.z, 1 - bt))
        )
        scene.inclination = float(np.degrees(np.arccos(cosine)))
        scene.sersic_index = equivalent_index(bt, n, ratio)
        scene.lie(q, angle)
        return Frame(x, y, q, float(angle)), scale

    def _move_light(self, scene: Scene, image: Fourier, spectrum: Spectrum, share: float) -> None:
        """Move a share of the disk's light (in the truth band) from what is there into a new layer of the disk."""
        disk = scene.flux(self.truth_band, "disk")
        scene.layers = [
            replace(layer, flux=layer.flux * (1 - share)) if layer.part == "disk" else layer for layer in scene.layers
        ]
        scene.layers.append(Layer("disk", image, self.tint(spectrum, scene.galaxy.z, share * disk)))

    def _add_light(self, scene: Scene, part: str, image: Fourier, spectrum: Spectrum, share: float) -> None:
        """Add a layer that holds a share of the light of the galaxy so far (in the truth band)."""
        flux = share * scene.flux(self.truth_band)
        scene.layers.append(Layer(part, image, self.tint(spectrum, scene.galaxy.z, flux)))

    def _bar(
        self, rng: np.random.Generator, scene: Scene, frame: Frame, scale: float, spectrum: Spectrum, share: float
    ) -> None:
        bar = structure.draw_bar(
            self.grid, frame, scale * rng.uniform(0.9, 1.7), rng.uniform(0.22, 0.4), rng.uniform(0, np.pi)
        )
        self._move_light(scene, self.grid.drawn(bar), spectrum, share)

    def _lane(self, rng: np.random.Generator, scene: Scene, frame: Frame, scale: float, depth: float) -> None:
        """Put a dust lane across an inclined disk and its bulge."""
        height = frame.q * scale
        offset = height * rng.uniform(-0.1, 0.1) + np.sign(rng.standard_normal()) * 0.5 * max(frame.q - 0.2, 0) * scale
        width = max(height * rng.uniform(0.5, 0.9), 0.7 * self.grid.pixel)
        cover = structure.draw_lane(self.grid, frame, scale, offset, width, self.grid.noise_field(rng, 30))
        self._absorb(scene, cover, depth, ("bulge", "disk"))

    def _absorb(self, scene: Scene, cover: Floats, depth: float, parts: tuple[str, ...]) -> None:
        """Put a dust screen of optical depth `depth` (rest-frame V) before some parts: negative layers."""
        lost = 1 - self.colors.attenuation(depth, scene.galaxy.z)
        behind = [layer for layer in scene.layers if layer.part in parts]
        for layer in behind:
            image = structure.screened(self.grid, layer.image, cover)
            scene.layers.append(Layer(layer.part, image, -layer.flux * lost))

    def _clumps(self, rng: np.random.Generator, scene: Scene, weight: Floats, n: int, frame: Frame | None) -> None:
        """Add star-forming clumps where `weight` is high: 1 to 9 % of the galaxy's light each (Guo et al. 2015)."""
        galaxy = scene.galaxy
        if frame is not None:
            radius, _ = frame.polar(self.grid)
            weight = weight * ((radius > 0.45 * galaxy.radius) & (radius < 1.9 * galaxy.radius))
        if n == 0 or not weight.any():
            return
        x, y = structure.pick_positions(rng, self.grid, weight, n)
        inside = (np.abs(x) < 0.9 * self.grid.half_width) & (np.abs(y) < 0.9 * self.grid.half_width)
        x, y = x[inside], y[inside]
        share = 10 ** rng.uniform(-2.0, -1.05, len(x))
        share *= min(1.0, 0.35 / max(share.sum(), 1e-9))
        sigma = galaxy.arcsec_per_kpc * 10 ** rng.uniform(-0.8, -0.15, len(x))
        spectrum = Spectrum(float(rng.uniform(2.6, 3.9)), float(rng.exponential(0.08)))
        self._add_light(scene, "clump", self.grid.blobs(x, y, sigma, share), spectrum, 1.0)
        scene.clumps = np.column_stack([x, y, np.outer(share, scene.layers[-1].flux)])
