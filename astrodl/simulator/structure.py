"""Structure of disks: spiral arms, bars, rings, texture, dust, positions of clumps.

Each function draws a non-negative surface brightness (in any unit) on the fine grid of `fourier.Grid`. `Frame`
describes the plane of the disk on the sky.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from astrodl.simulator.fourier import Floats, Grid

__all__ = [
    "Arms",
    "Frame",
    "draw_arms",
    "draw_bar",
    "draw_dust_clouds",
    "draw_dust_disk",
    "draw_dust_lane",
    "draw_flocculent_arms",
    "draw_patchy_disk",
    "draw_positions",
    "draw_ring",
    "draw_sheared_noise",
]


@dataclass(frozen=True)
class Frame:
    """The plane of a disk on the sky.

    Attributes
    ----------
    x, y
        Centre in arcsec.
    q
        Apparent axis ratio.
    angle
        Angle of the apparent major axis from x in radians.
    """

    x: float
    y: float
    q: float
    angle: float

    def plane(self, grid: Grid) -> tuple[Floats, Floats]:
        """Return the coordinates of every sample in the plane of the disk (arcsec along major and minor axis)."""
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dy = grid.x - np.float32(self.x), grid.y - np.float32(self.y)
        return dx * cosine + dy * sine, (dy * cosine - dx * sine) / np.float32(self.q)

    def polar(self, grid: Grid) -> tuple[Floats, Floats]:
        """Return radius (arcsec) and azimuth of every sample in the plane of the disk."""
        u, v = self.plane(grid)
        return np.sqrt(u * u + v * v) + np.float32(1e-4), np.arctan2(v, u)


@dataclass(frozen=True)
class Arms:
    """Logarithmic spirals, azimuth = ln(r / start) / tan(pitch) + phase; arrays have a value per arm."""

    pitch: NDArray[np.float64]
    """Angle between arm and circle in radians; the sign is the direction of winding."""
    phase: NDArray[np.float64]
    """Azimuth of the inner end."""
    strength: NDArray[np.float64]
    """Relative brightness."""
    start: NDArray[np.float64]
    """Radius of the inner end in arcsec."""
    end: NDArray[np.float64]
    """Radius in arcsec at which the contrast falls to half."""
    width: float
    """Half-width across the arm, in radians of azimuth."""


def draw_arms(
    grid: Grid, frame: Frame, scale: float, arms: Arms, wander: Floats, lumps: Floats
) -> tuple[Floats, Floats]:
    """Draw the light of spiral arms on an exponential disk, and their dust.

    Parameters
    ----------
    scale
        Scale length of the disk in arcsec.
    arms
        The spirals.
    wander
        Random field of deviations from the spiral.
    lumps
        Random field that makes the arms patchy.

    Returns
    -------
    light, dust
        Surface brightness, and the covering fraction (0 to 1) of the dust along the inner, trailing edges.
    """
    radius, azimuth = frame.polar(grid)
    square, logarithm, bent = radius * radius, np.log(radius), azimuth + np.float32(0.22) * wander
    narrow = np.float32(1 / arms.width**2)
    light, dust = np.zeros_like(radius), np.zeros_like(radius)
    for pitch, phase, strength, start, end in zip(
        arms.pitch, arms.phase, arms.strength, arms.start, arms.end, strict=True
    ):
        across = bent - (logarithm - np.float32(np.log(start))) / np.float32(np.tan(pitch)) - np.float32(phase)
        # Squares of squares, as powers in numpy are slow.
        rise, fall = (square / np.float32(start**2)) ** 2, square / np.float32(end**2)
        along = (1 - np.exp(-rise)) / (1 + fall * fall * fall)
        light += along * (np.float32(strength) * np.exp(narrow * (np.cos(across) - 1)))
        lag = np.float32(1.1 * arms.width * np.sign(pitch))
        dust = np.maximum(dust, along * np.exp(2 * narrow * (np.cos(across - lag) - 1)))
    # Arms fade more slowly than the disk: their contrast increases outwards (Elmegreen & Elmegreen 1984).
    light *= np.exp(np.float32(0.4) * lumps - radius / np.float32(1.15 * scale))
    return light, np.clip(dust * (1 + np.float32(0.4) * lumps), 0, 1)


def draw_sheared_noise(rng: np.random.Generator, cells: int = 128) -> Floats:
    """Draw a periodic random field of unit variance whose features are three times longer along the second axis."""
    spectrum = scipy.fft.rfft2(rng.standard_normal((cells, cells), dtype=np.float32), workers=1)
    across = np.abs(scipy.fft.fftfreq(cells, 1 / cells))[:, None]
    along = scipy.fft.rfftfreq(cells, 1 / cells)[None, :]
    wave = np.hypot(across, 3 * along)
    spectrum *= np.where((wave > 2) & (wave < 30), 1 / np.maximum(wave, 1), 0).astype(np.float32)
    field = scipy.fft.irfft2(spectrum, s=(cells, cells), workers=1)
    return field / max(float(field.std()), 1e-6)


def draw_flocculent_arms(
    grid: Grid, frame: Frame, scale: float, pitch: float, start: float, phase: float, contrast: float, noise: Floats
) -> tuple[Floats, Floats]:
    """Draw flocculent arms, periodic noise wound along a spiral; return light and dust as `draw_arms`.

    Parameters
    ----------
    scale
        Scale length of the disk in arcsec.
    pitch
        Pitch angle in radians.
    start
        Radius in arcsec inside which there are no arms.
    phase
        Azimuth at which the noise begins.
    contrast
        Standard deviation of the natural logarithm of the brightness.
    noise
        Square periodic field, see `draw_sheared_noise`.
    """
    radius, azimuth = frame.polar(grid)
    logarithm = np.log(radius)
    across = azimuth - logarithm / np.float32(np.tan(pitch)) - np.float32(phase)
    cells = len(noise)
    per_turn = np.float32(cells / (2 * np.pi))
    row = (across * per_turn).astype(np.int32) % cells
    column = (logarithm * per_turn).astype(np.int32) % cells
    field = noise[row, column]
    behind = noise[(row - np.int32(3 * np.sign(pitch))) % cells, column]
    rise = 1 - np.exp(-((radius / np.float32(start)) ** 2))
    light = rise * np.exp(np.float32(contrast) * field - radius / np.float32(1.15 * scale))
    return light, np.clip(rise * (behind - np.float32(0.5)), 0, 1)


def draw_bar(grid: Grid, frame: Frame, length: float, q: float, twist: float) -> Floats:
    """Draw a flat-topped bar (a generalised Ferrers profile), rotated by `twist` in the plane of the disk."""
    u, v = frame.plane(grid)
    along = (u * np.float32(np.cos(twist)) + v * np.float32(np.sin(twist))) / np.float32(length)
    across = (v * np.float32(np.cos(twist)) - u * np.float32(np.sin(twist))) / np.float32(length * q)
    # Boxy isophotes: exponent 2.6 instead of 2 for an ellipse (Athanassoula et al. 1990).
    distance = (np.abs(along) ** 2.6 + np.abs(across) ** 2.6) ** np.float32(1 / 2.6)
    return np.exp(-(distance**3)) * np.exp(-distance)


def draw_ring(grid: Grid, frame: Frame, radius: float, width: float, lopsided: float, lumps: Floats) -> Floats:
    """Draw a knotty, lopsided ring of a given radius and width in the plane of the disk."""
    r, azimuth = frame.polar(grid)
    # The radius of the ring depends on azimuth.
    course = np.float32(radius) * (1 + np.float32(0.08 * lopsided) * np.cos(2 * azimuth) + np.float32(0.04) * lumps)
    profile = np.exp(-0.5 * ((r - course) / np.float32(width)) ** 2)
    return profile * (1 + np.float32(lopsided) * np.cos(azimuth)) * np.exp(np.float32(0.7) * lumps)


def draw_patchy_disk(grid: Grid, frame: Frame, scale: float, contrast: float, lumps: Floats) -> Floats:
    """Draw an exponential disk with log-normal patches and no symmetry."""
    radius, _ = frame.polar(grid)
    return np.exp(-radius / np.float32(scale) + np.float32(contrast) * lumps)


def draw_dust_lane(grid: Grid, frame: Frame, scale: float, offset: float, width: float, lumps: Floats) -> Floats:
    """Draw the covering fraction, 0 to 1, of dust in front of an edge-on disk.

    Parameters
    ----------
    scale
        Scale length of the disk; the dust ends at about three scale lengths.
    offset, width
        Position across the disk and thickness of the lane, in arcsec.
    lumps
        Random field that makes the lane patchy and warped.
    """
    cosine, sine = np.float32(np.cos(frame.angle)), np.float32(np.sin(frame.angle))
    dx, dy = grid.x - np.float32(frame.x), grid.y - np.float32(frame.y)
    along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
    height = (across - np.float32(offset) - np.float32(0.35 * width) * lumps) / np.float32(width)
    cover = np.exp(-0.5 * height**2 - (np.abs(along) / np.float32(2.5 * scale)) ** 4)
    return np.clip(cover * (np.float32(0.95) + np.float32(0.2) * lumps), 0, 1)


def draw_dust_disk(grid: Grid, frame: Frame, radius: float) -> Floats:
    """Draw the covering fraction of a small inclined dust disk, with its near half in front of the stars."""
    u, v = frame.plane(grid)
    disk = np.exp(-(((u * u + v * v) / np.float32(radius**2)) ** 2))
    return disk * (np.float32(0.5) + np.float32(0.4) * np.tanh(v / np.float32(0.3 * radius)))


def draw_dust_clouds(grid: Grid, frame: Frame, radius: float, lumps: Floats) -> Floats:
    """Draw the covering fraction of dust clouds scattered over a disk."""
    r, _ = frame.polar(grid)
    return np.clip(lumps - np.float32(0.3), 0, 1) * np.exp(-((r / np.float32(radius)) ** 2))


def draw_positions(
    rng: np.random.Generator, grid: Grid, weight: Floats, n: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Draw positions (arcsec) with probabilities proportional to a map on the fine grid."""
    cumulative = np.cumsum(weight.ravel(), dtype=np.float64)
    index = np.searchsorted(cumulative, rng.random(n) * cumulative[-1])
    row, column = np.divmod(np.minimum(index, weight.size - 1), grid.samples)
    jitter = rng.uniform(-0.5, 0.5, (2, n))
    return (column + jitter[0]) * grid.step - grid.centre, (row + jitter[1]) * grid.step - grid.centre
