"""Light profiles in Fourier space, and the one transform that turns a scene into images of all bands.

A scene is a list of `Layer`: the Fourier image of a piece of a galaxy and its flux per band. Smooth profiles have
analytic transforms; structure (arms, tails, lensed arcs) is drawn on a grid with twice the sampling of the image and
transformed. Bands are sums of layers with band-dependent weights times the band's effective point-spread function, so
each profile is made once however many bands there are (several times faster than drawing each component in each band,
as in scarlet or GalSim).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import gammaincinv

from astrodl.simulator.bands import Band

Floats = NDArray[np.float32]
Fourier = NDArray[np.complex64]

_LOG_STEP = 0.02
_LOG_RADIUS = (np.arange(2048) - 1280) * _LOG_STEP
"""ln(r / r_e) from -25.6 to 15.3: both ends of r I(r) vanish for every Sersic index up to 8."""
_RADIUS = np.exp(_LOG_RADIUS)


@dataclass(frozen=True)
class Layer:
    """A piece of the scene.

    Attributes
    ----------
    part
        "bulge", "disk" or "clump": a truth map it belongs to; "" for light outside the galaxy's truth magnitude.
    image
        Fourier image; its value at zero frequency is its flux in units of `flux`.
    flux
        (bands,) flux.
    owner
        Whose light it is: 0 the galaxy, 1 and up other sources of the stamp (neighbours, lensed sources, trails). A
        quasar and stripped gas are the galaxy's, though they belong to no part.
    """

    part: str
    image: Fourier
    flux: NDArray[np.float64]
    owner: int = 0

    @property
    def total(self) -> NDArray[np.float64]:
        """Flux of the layer in each band."""
        return float(self.image[0, 0].real) * self.flux


class Grid:
    """Frequencies and coordinates of a padded image with twice the sampling of the stamp.

    Positions are in arcsec from the stamp's centre, x along rows' pixels (columns of the array), y along its rows.

    Parameters
    ----------
    size
        Side of the stamp in pixels.
    pixel_scale_arcsec
        Pixel scale.
    """

    def __init__(self, size: int, pixel_scale_arcsec: float) -> None:
        self.size = size
        self.pixel = pixel_scale_arcsec
        self.padded = scipy.fft.next_fast_len(size + size // 2, real=True)
        self.padded += (self.padded - size) % 2
        self.samples = 2 * self.padded
        self.step = pixel_scale_arcsec / 2
        self.centre = (self.padded - 1) / 2 * pixel_scale_arcsec
        self.kx = (2 * np.pi * scipy.fft.rfftfreq(self.samples, self.step)).astype(np.float32)[None, :]
        self.ky = (2 * np.pi * scipy.fft.fftfreq(self.samples, self.step)).astype(np.float32)[:, None]
        axis = (np.arange(self.samples) * self.step - self.centre).astype(np.float32)
        self.x, self.y = axis[None, :], axis[:, None]

    @property
    def half_width(self) -> float:
        """Half the side of the stamp in arcsec."""
        return self.size * self.pixel / 2

    def sheared(self, q: float, angle: float) -> Floats:
        """Give the length of the frequency vector in the frame where an ellipse is a circle of its major axis.

        Parameters
        ----------
        q
            Axis ratio.
        angle
            Angle of the major axis from x, in radians.
        """
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along = self.kx * cosine + self.ky * sine
        across = (self.ky * cosine - self.kx * sine) * np.float32(q)
        return np.sqrt(along * along + across * across)

    def shift(self, image: NDArray[Any], x: float, y: float) -> Fourier:
        """Move a real Fourier image, symmetric about the origin, to a position in the stamp (arcsec)."""
        phase_x = np.exp(-1j * self.kx * np.float32(x + self.centre)).astype(np.complex64)
        phase_y = np.exp(-1j * self.ky * np.float32(y + self.centre)).astype(np.complex64)
        return image.astype(np.float32, copy=False) * phase_x * phase_y

    def place(self, image: Fourier) -> tuple[float, float]:
        """Give the centre of a Fourier image that is symmetric about it (arcsec from the stamp's centre)."""
        along = -float(np.angle(image[0, 1])) % (2 * np.pi) / float(self.kx[0, 1])
        across = -float(np.angle(image[1, 0])) % (2 * np.pi) / float(self.ky[1, 0])
        return along - self.centre, across - self.centre

    def sersic(self, n: float, radius: float, q: float, angle: float, x: float = 0.0, y: float = 0.0) -> Fourier:
        """Transform a Sersic (1963) profile of unit flux, I(r) ~ exp(-b_n (r / r_e)^(1/n)).

        Parameters
        ----------
        n
            Sersic index, 0.3 to 8.
        radius
            Half-light radius along the major axis, arcsec.
        q, angle, x, y
            Axis ratio, angle of the major axis in radians, position in arcsec.
        """
        log_k, amplitude = sersic_transform(n)
        with np.errstate(divide="ignore"):
            place = (np.log(self.sheared(q, angle) * np.float32(radius)) - np.float32(log_k[0])) / np.float32(_LOG_STEP)
        place[0, 0] = 0.0
        place = np.clip(place, 0, len(amplitude) - 1.001)
        index = place.astype(np.int32)
        slope = np.diff(amplitude, append=amplitude[-1])
        profile = amplitude[index] + slope[index] * (place - index.astype(np.float32))
        profile[0, 0] = 1.0
        return self.shift(profile, x, y)

    def exponential(self, scale: float, q: float, angle: float, x: float = 0.0, y: float = 0.0) -> Fourier:
        """Transform an exponential disk of unit flux: (1 + k^2 h^2)^(-3/2) (Freeman 1970).

        `scale` is the scale length h in arcsec; the rest is as in `sersic`.
        """
        k = self.sheared(q, angle) * np.float32(scale)
        return self.shift((1 + k * k) ** np.float32(-1.5), x, y)

    def blobs(self, x: NDArray[Any], y: NDArray[Any], sigma: NDArray[Any], flux: NDArray[Any]) -> Fourier:
        """Transform a sum of round Gaussians (positions and widths in arcsec); zero width is a point source."""
        along = np.exp(-1j * self.kx * (x[:, None] + self.centre) - 0.5 * (self.kx * sigma[:, None]) ** 2)
        across = np.exp(-1j * self.ky.T * (y[:, None] + self.centre) - 0.5 * (self.ky.T * sigma[:, None]) ** 2)
        return np.asarray((flux[:, None] * across).astype(np.complex64).T @ along.astype(np.complex64))

    def drawn(self, surface: NDArray[Any], flux: float = 1.0) -> Fourier:
        """Transform a map drawn on the fine grid, scaled to the given flux (an empty map gives nothing)."""
        total = float(surface.sum())
        scale = flux / total if total > 0 else 0.0
        return self.drawn_as_is(surface * np.float32(scale))

    def drawn_as_is(self, surface: NDArray[Any]) -> Fourier:
        """Transform a map of flux per sample drawn on the fine grid."""
        return scipy.fft.rfft2(surface.astype(np.float32, copy=False), workers=1)

    def smoothed(self, image: Fourier, sigma: float) -> Floats:
        """Give the fine map of a Fourier image smoothed by a Gaussian (arcsec), in flux per sample."""
        blurred = self.blurred(image, sigma) if sigma > 0 else image
        return scipy.fft.irfft2(blurred, s=(self.samples,) * 2, workers=1)

    def blurred(self, image: Fourier, sigma: float) -> Fourier:
        """Smooth a Fourier image by a Gaussian (arcsec)."""
        k2 = self.kx * self.kx + self.ky * self.ky
        return image * np.exp(np.float32(-0.5 * sigma**2) * k2)

    def splat(self, x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]) -> Floats:
        """Drop particles on the nearest samples of the fine grid; those outside are lost."""
        column = np.rint((x + self.centre) / self.step).astype(np.int64)
        row = np.rint((y + self.centre) / self.step).astype(np.int64)
        inside = (column >= 0) & (column < self.samples) & (row >= 0) & (row < self.samples)
        flat = row[inside] * self.samples + column[inside]
        counts = np.bincount(flat, weights=weight[inside], minlength=self.samples**2)
        return counts.reshape(self.samples, self.samples).astype(np.float32)

    def noise_field(self, rng: np.random.Generator, cells: int, slope: float = 0.0) -> Floats:
        """Draw a Gaussian random field of unit variance with about `cells` cells on a side.

        Its amplitudes fall with the wave number as k^-slope: 0 makes cells of one size, 1 clouds of every size alike.
        """
        coarse = scipy.fft.rfft2(rng.standard_normal((cells, cells), dtype=np.float32), workers=1)
        if slope:
            wave = np.hypot(scipy.fft.fftfreq(cells, 1 / cells)[:, None], scipy.fft.rfftfreq(cells, 1 / cells))
            coarse *= (np.maximum(wave, 1.0) ** -slope).astype(np.float32)
        fine = np.zeros((self.samples, self.samples // 2 + 1), np.complex64)
        half = min(cells, self.samples) // 2
        fine[:half, :half] = coarse[:half, :half]
        fine[-half + 1 :, :half] = coarse[-half + 1 :, :half]
        field = scipy.fft.irfft2(fine, s=(self.samples,) * 2, workers=1)
        return (field - field.mean()) / max(float(field.std()), 1e-6)


class Camera:
    """Turns layers into images: point-spread function, pixels, crop.

    Parameters
    ----------
    grid
        Geometry.
    bands
        Bands of the images.
    psf_size
        Side of the PSF images in pixels.
    """

    def __init__(self, grid: Grid, bands: Sequence[Band], psf_size: int = 25) -> None:
        self.grid = grid
        self.response = np.stack([_effective_psf(grid, band) for band in bands])
        ones = np.ones(len(bands))
        start = (grid.size - psf_size) // 2
        # A PSF image has an odd side and its centre on a pixel: half a pixel from the centre of an even stamp.
        offset = 0.5 * grid.pixel if (grid.size - psf_size) % 2 else 0.0
        point = grid.blobs(np.array([-offset]), np.array([-offset]), np.zeros(1), np.ones(1))
        layer = Layer("", point, ones)
        frames = self.images([layer], [(b, None) for b in range(len(bands))])
        psf = np.maximum(frames[:, start : start + psf_size, start : start + psf_size], 0)
        self.psf = psf / psf.sum(axis=(1, 2), keepdims=True)

    def images(self, layers: Sequence[Layer], planes: Sequence[tuple[int, str | None]]) -> Floats:
        """Make noise-free images.

        Parameters
        ----------
        layers
            The scene.
        planes
            Per image the index of its band and the part of the scene that it shows (None: everything).

        Returns
        -------
        ndarray
            (planes, size, size) flux per pixel.
        """
        grid = self.grid
        weights = np.array(
            [[layer.flux[band] * (part is None or layer.part == part) for layer in layers] for band, part in planes],
            np.float32,
        )
        stacked = np.stack([layer.image for layer in layers]).reshape(len(layers), -1)
        # A product of real matrices: the weights are real, and a complex number is two reals side by side.
        mixed = (weights @ stacked.view(np.float32)).view(np.complex64).reshape(-1, *self.response.shape[1:])
        mixed *= self.response[[band for band, _ in planes]]
        frames = scipy.fft.irfft2(_fold(mixed), s=(grid.padded,) * 2, axes=(1, 2), workers=1)
        first = (grid.padded - grid.size) // 2
        window = slice(first, first + grid.size)
        # Folding sums four copies and the smaller transform divides by a quarter of the samples: flux per pixel.
        return frames[:, window, window]


def _fold(image: Fourier) -> Fourier:
    """Give the half spectrum of every second sample of real images from theirs: frequencies that alias are summed.

    `image` is (n, 2 m, m + 1), m even; the result (n, m, m // 2 + 1) is that of the samples times four.
    """
    half = image.shape[2] - 1
    keep = half // 2 + 1
    # Column j + m is the mirror image of column m - j.
    mirrored = image[:, :, : half - keep : -1].conj()
    folded = image[:, :, :keep].copy()
    folded[:, 0] += mirrored[:, 0]
    folded[:, 1:] += mirrored[:, :0:-1]
    return folded[:, :half] + folded[:, half:]


def _effective_psf(grid: Grid, band: Band) -> Floats:
    """Give the Fourier image of point-spread function times pixel response on the grid (real: both are symmetric)."""
    spacing = 2 * np.pi / (grid.samples * grid.step)
    drawn = band.psf().drawKImage(nx=grid.samples, ny=grid.samples, scale=spacing).array
    optics = np.fft.ifftshift(drawn.real)[:, : grid.samples // 2 + 1]
    pixel = np.sinc(grid.kx * grid.pixel / 2 / np.pi) * np.sinc(grid.ky * grid.pixel / 2 / np.pi)
    return (optics * pixel).astype(np.float32)


def sersic_b(n: float) -> float:
    """Give b_n, for which half of the light of a Sersic profile lies within r_e."""
    return float(gammaincinv(2 * n, 0.5))


def sersic_transform(n: float) -> tuple[NDArray[np.float64], Floats]:
    """Transform the circular Sersic profile of unit flux and unit half-light radius.

    The Hankel transform F(k) = 2 pi int I(r) J_0(k r) r dr is done on a logarithmic grid (FFTLog, Hamilton 2000).

    Returns
    -------
    log_k, amplitude
        (2048,) ln(k r_e), evenly spaced by 0.02, and F there, 1 at small k.
    """
    offset, response = _hankel_response()
    with np.errstate(under="ignore"):
        brightness = np.exp(-sersic_b(n) * _RADIUS ** (1 / n))
    weighted = brightness * _RADIUS
    transformed = scipy.fft.irfft(scipy.fft.rfft(weighted) * response, len(weighted))[::-1]
    log_k = offset - _LOG_RADIUS[::-1]
    amplitude = transformed / np.exp(log_k)
    total = np.sum(weighted * _RADIUS) * _LOG_STEP
    return np.asarray(log_k, np.float64), np.asarray(amplitude / total, np.float32)


@cache
def _hankel_response() -> tuple[float, NDArray[np.complex128]]:
    """Give the offset of ln k, and the transform that is a convolution on the logarithmic grid, in Fourier space."""
    offset = float(scipy.fft.fhtoffset(_LOG_STEP, mu=0.0))
    impulse = np.zeros(len(_LOG_RADIUS))
    impulse[0] = 1.0
    return offset, scipy.fft.rfft(scipy.fft.fht(impulse, _LOG_STEP, mu=0.0, offset=offset)[::-1])
