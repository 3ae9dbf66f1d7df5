"""Structure inside disks: spiral arms, bars, rings, texture, dust lanes, positions of clumps.

Each function draws a non-negative surface brightness (any scale) on the fine grid of `fourier.Grid`; `Frame` tells
where the disk's plane lies on the sky.
"""

from dataclasses import dataclass

import numpy as np

from astrodl.survey.fourier import Floats, Fourier, Grid


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
        """Give the coordinates of every sample in the plane of the disk (arcsec along major and minor axis)."""
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dy = grid.x - np.float32(self.x), grid.y - np.float32(self.y)
        return dx * cosine + dy * sine, (dy * cosine - dx * sine) / np.float32(self.q)

    def polar(self, grid: Grid) -> tuple[Floats, Floats]:
        """Give radius (arcsec) and azimuth of every sample in the plane of the disk."""
        u, v = self.plane(grid)
        return np.sqrt(u * u + v * v) + np.float32(1e-4), np.arctan2(v, u)


@dataclass(frozen=True)
class Arms:
    """A logarithmic spiral: azimuth = ln(r) / tan(pitch) + phase."""

    n: int
    pitch: float
    """Angle between an arm and a circle in radians; its sign is the sense of winding."""
    phase: float
    sharpness: float
    """Concentration of the light across an arm (of a von Mises distribution in azimuth)."""
    start: float
    """Radius in arcsec at which the arms begin."""

    def crest(self, radius: Floats, azimuth: Floats, lag: float = 0.0) -> Floats:
        """Give the cosine of the phase across the arms: 1 on the crest, which may be moved by `lag` radians."""
        turn = self.n * (azimuth - np.log(radius) / np.float32(np.tan(self.pitch)) - np.float32(self.phase))
        return np.cos(turn - np.float32(lag))


def draw_arms(grid: Grid, frame: Frame, scale: float, arms: Arms, wander: Floats, lumps: Floats) -> Floats:
    """Draw the light of spiral arms on an exponential disk.

    Parameters
    ----------
    scale
        Scale length of the disk in arcsec.
    arms
        The spiral.
    wander
        Random field that bends the arms out of the perfect spiral (flocculence).
    lumps
        Random field that makes them patchy.
    """
    radius, azimuth = frame.polar(grid)
    crest = arms.crest(radius, azimuth + np.float32(0.22) * wander)
    rise = 1 - np.exp(-((radius / np.float32(arms.start)) ** 3))
    # Arms fade more slowly than the disk beneath them: their contrast rises outwards (Elmegreen & Elmegreen 1984).
    fade = np.exp(-radius / np.float32(1.15 * scale))
    return fade * rise * np.exp(np.float32(arms.sharpness) * (crest - 1) + np.float32(0.45) * lumps)


def draw_arm_dust(grid: Grid, frame: Frame, arms: Arms, wander: Floats) -> Floats:
    """Draw the covering fraction of dust along the inner (trailing) edges of the arms, 0 to 1."""
    radius, azimuth = frame.polar(grid)
    lag = -0.9 * float(np.sign(arms.pitch))
    crest = arms.crest(radius, azimuth + np.float32(0.22) * wander, lag)
    rise = 1 - np.exp(-((radius / np.float32(arms.start)) ** 3))
    return rise * np.exp(np.float32(5.0) * (crest - 1))


def draw_bar(grid: Grid, frame: Frame, length: float, q: float, twist: float) -> Floats:
    """Draw a flat-topped bar (a generalised Ferrers profile) turned by `twist` in the plane of the disk."""
    u, v = frame.plane(grid)
    along = (u * np.float32(np.cos(twist)) + v * np.float32(np.sin(twist))) / np.float32(length)
    across = (v * np.float32(np.cos(twist)) - u * np.float32(np.sin(twist))) / np.float32(length * q)
    # Boxy isophotes: exponent 2.6 rather than the ellipse's 2 (Athanassoula et al. 1990).
    distance = (np.abs(along) ** 2.6 + np.abs(across) ** 2.6) ** np.float32(1 / 2.6)
    return np.exp(-(distance**3)) * np.exp(-distance)


def draw_ring(grid: Grid, frame: Frame, radius: float, width: float, lopsided: float, lumps: Floats) -> Floats:
    """Draw a knotty, lopsided ring of the given radius and width in the plane of the disk."""
    r, azimuth = frame.polar(grid)
    # The ring is slightly off-centre: its radius depends on the azimuth.
    course = np.float32(radius) * (1 + np.float32(0.08 * lopsided) * np.cos(2 * azimuth) + np.float32(0.04) * lumps)
    profile = np.exp(-0.5 * ((r - course) / np.float32(width)) ** 2)
    return profile * (1 + np.float32(lopsided) * np.cos(azimuth)) * np.exp(np.float32(0.7) * lumps)


def draw_texture(grid: Grid, frame: Frame, scale: float, contrast: float, lumps: Floats) -> Floats:
    """Draw an exponential disk with log-normal patches and no symmetry."""
    radius, _ = frame.polar(grid)
    return np.exp(-radius / np.float32(scale) + np.float32(contrast) * lumps)


def draw_lane(grid: Grid, frame: Frame, scale: float, offset: float, width: float, lumps: Floats) -> Floats:
    """Draw the covering fraction of the dust in front of an edge-on disk, 0 to 1.

    Parameters
    ----------
    scale
        Scale length of the disk; the dust ends at three of them.
    offset, width
        Position across the disk and thickness of the lane in arcsec.
    lumps
        Random field that makes the lane patchy and warped.
    """
    cosine, sine = np.float32(np.cos(frame.angle)), np.float32(np.sin(frame.angle))
    dx, dy = grid.x - np.float32(frame.x), grid.y - np.float32(frame.y)
    along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
    height = (across - np.float32(offset) - np.float32(0.35 * width) * lumps) / np.float32(width)
    cover = np.exp(-0.5 * height**2 - (np.abs(along) / np.float32(2.5 * scale)) ** 4)
    return np.clip(cover * (np.float32(0.95) + np.float32(0.2) * lumps), 0, 1)


def screened(grid: Grid, image: Fourier, cover: Floats) -> Fourier:
    """Give the Fourier image of that part of the light that lies behind the screen."""
    # No smoothing before the product: a smoothed core would shine through the screen.
    return grid.drawn_as_is(grid.smoothed(image, 0.0) * cover)


def pick_positions(
    rng: np.random.Generator, grid: Grid, weight: Floats, n: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Draw positions (arcsec) with a probability proportional to a map on the fine grid."""
    cumulative = np.cumsum(weight.ravel(), dtype=np.float64)
    index = np.searchsorted(cumulative, rng.random(n) * cumulative[-1])
    row, column = np.divmod(np.minimum(index, weight.size - 1), grid.samples)
    jitter = rng.uniform(-0.5, 0.5, (2, n))
    return (column + jitter[0]) * grid.step - grid.centre, (row + jitter[1]) * grid.step - grid.centre
