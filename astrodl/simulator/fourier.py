"""Light profiles in Fourier space.

A scene is a list of `Layer`: the Fourier image of a component of a galaxy and its flux per band. Smooth profiles have
analytic transforms. Structure (arms, tails, lensed arcs) is drawn on a grid with twice the sampling of the image and
transformed. The image of a band is the sum of the layers with band-dependent weights, times the band's effective
point-spread function. Each profile is therefore computed once for all bands, which is several times faster than drawing
each component in each band, as in scarlet or GalSim.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import gammaincinv

__all__ = ["Floats", "Fourier", "Grid", "Layer", "sersic_b", "sersic_transform"]

Floats = NDArray[np.float32]
Fourier = NDArray[np.complex64]

_LOG_STEP = 0.02
_LOG_RADIUS = (np.arange(2048) - 1280) * _LOG_STEP
"""ln(r / r_e) from -25.6 to 15.3: r I(r) vanishes at both ends for Sersic indices up to 8."""
_RADIUS = np.exp(_LOG_RADIUS)


@dataclass(frozen=True)
class Layer:
    """A component of the scene.

    Attributes
    ----------
    part
        Truth map that it belongs to, "bulge", "disk" or "clump"; "" for light that the truth magnitude excludes.
    image
        Fourier image; its value at zero frequency is its flux in units of `flux`.
    flux
        Flux per band, (bands,).
    owner
        Source that it belongs to: 0 the galaxy, 1 and up other sources in the cutout (neighbours, lensed sources,
        trails). A quasar and stripped gas belong to the galaxy, though to no part.
    feature
        "bar" or "arm", of which the disk has soft masks; "" for other light.
    """

    part: str
    image: Fourier
    flux: NDArray[np.float64]
    owner: int = 0
    feature: str = ""

    @property
    def total(self) -> NDArray[np.float64]:
        """Flux of the layer in each band."""
        return float(self.image[0, 0].real) * self.flux


class Grid:
    """Frequencies and coordinates of the fine grid, a padded image with twice the sampling of the cutout.

    Positions are in arcsec from the centre of the cutout, x along its rows and y along its columns. A Fourier image is
    the half spectrum of a real image on the fine grid.

    Parameters
    ----------
    size
        Side of the cutout in pixels.
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
        """Half the side of the cutout in arcsec."""
        return self.size * self.pixel / 2

    def elliptical_frequency(self, q: float, angle: float) -> Floats:
        """Return the length of the frequency vector in the frame in which an ellipse is a circle of its major axis.

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
        """Move a real Fourier image, symmetric about the origin, to a position in the cutout (arcsec)."""
        phase_x = np.exp(-1j * self.kx * np.float32(x + self.centre)).astype(np.complex64)
        phase_y = np.exp(-1j * self.ky * np.float32(y + self.centre)).astype(np.complex64)
        return image.astype(np.float32, copy=False) * phase_x * phase_y

    def centre_of(self, image: Fourier) -> tuple[float, float]:
        """Return the position (arcsec) of the centre of a Fourier image that is symmetric about it."""
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
            Half-light radius along the major axis in arcsec.
        q, angle, x, y
            Axis ratio, angle of the major axis in radians, position in arcsec.
        """
        log_k, amplitude = sersic_transform(n)
        with np.errstate(divide="ignore"):
            log_frequency = np.log(self.elliptical_frequency(q, angle) * np.float32(radius))
        position = (log_frequency - np.float32(log_k[0])) / np.float32(_LOG_STEP)
        position[0, 0] = 0.0
        position = np.clip(position, 0, len(amplitude) - 1.001)
        index = position.astype(np.int32)
        slope = np.diff(amplitude, append=amplitude[-1])
        profile = amplitude[index] + slope[index] * (position - index.astype(np.float32))
        profile[0, 0] = 1.0
        return self.shift(profile, x, y)

    def exponential(self, scale: float, q: float, angle: float, x: float = 0.0, y: float = 0.0) -> Fourier:
        """Transform an exponential disk of unit flux: (1 + k^2 h^2)^(-3/2) (Freeman 1970).

        `scale` is the scale length h in arcsec; the other parameters are those of `sersic`.
        """
        k = self.elliptical_frequency(q, angle) * np.float32(scale)
        return self.shift((1 + k * k) ** np.float32(-1.5), x, y)

    def gaussians(self, x: NDArray[Any], y: NDArray[Any], sigma: NDArray[Any], flux: NDArray[Any]) -> Fourier:
        """Transform a sum of round Gaussians (positions and widths in arcsec); zero width gives a point source."""
        along = np.exp(-1j * self.kx * (x[:, None] + self.centre) - 0.5 * (self.kx * sigma[:, None]) ** 2)
        across = np.exp(-1j * self.ky.T * (y[:, None] + self.centre) - 0.5 * (self.ky.T * sigma[:, None]) ** 2)
        return np.asarray((flux[:, None] * across).astype(np.complex64).T @ along.astype(np.complex64))

    def point_source(self, x: float, y: float) -> Fourier:
        """Transform a point source of unit flux at a position in arcsec."""
        return self.gaussians(np.array([x]), np.array([y]), np.zeros(1), np.ones(1))

    def transform(self, surface: NDArray[Any]) -> Fourier:
        """Transform a map of flux per sample on the fine grid."""
        return scipy.fft.rfft2(surface.astype(np.float32, copy=False), workers=1)

    def transform_unit_flux(self, surface: NDArray[Any]) -> Fourier:
        """Transform a map on the fine grid, scaled to unit flux (an empty map stays empty)."""
        total = float(surface.sum())
        scale = 1.0 / total if total > 0 else 0.0
        return self.transform(surface * np.float32(scale))

    def to_map(self, image: Fourier) -> Floats:
        """Transform a Fourier image back to a map of flux per sample on the fine grid."""
        return scipy.fft.irfft2(image, s=(self.samples,) * 2, workers=1)

    def blur(self, image: Fourier, sigma: float) -> Fourier:
        """Smooth a Fourier image by a Gaussian (arcsec)."""
        k2 = self.kx * self.kx + self.ky * self.ky
        return image * np.exp(np.float32(-0.5 * sigma**2) * k2)

    def deposit(self, x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]) -> Floats:
        """Deposit particles on the nearest samples of the fine grid; those outside are lost."""
        column = np.rint((x + self.centre) / self.step).astype(np.int64)
        row = np.rint((y + self.centre) / self.step).astype(np.int64)
        inside = (column >= 0) & (column < self.samples) & (row >= 0) & (row < self.samples)
        flat = row[inside] * self.samples + column[inside]
        counts = np.bincount(flat, weights=weight[inside], minlength=self.samples**2)
        return counts.reshape(self.samples, self.samples).astype(np.float32)

    def noise_field(self, rng: np.random.Generator, cells: int, slope: float = 0.0) -> Floats:
        """Draw a Gaussian random field of unit variance with about `cells` cells on a side.

        Amplitudes fall with the wave number as k^-slope: 0 gives cells of one size, 1 equal power at all sizes.
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


def sersic_b(n: float) -> float:
    """Return b_n, for which half of the light of a Sersic profile lies within r_e."""
    return float(gammaincinv(2 * n, 0.5))


def sersic_transform(n: float) -> tuple[NDArray[np.float64], Floats]:
    """Transform the circular Sersic profile of unit flux and unit half-light radius.

    The Hankel transform F(k) = 2 pi int I(r) J_0(k r) r dr is computed on a logarithmic grid (FFTLog, Hamilton 2000).

    Returns
    -------
    log_k, amplitude
        ln(k r_e), in steps of 0.02, and F, which is 1 at small k, (2048,) each.
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
    """Return the offset of ln k and the Hankel transform, a convolution on the logarithmic grid, in Fourier space."""
    offset = float(scipy.fft.fhtoffset(_LOG_STEP, mu=0.0))
    impulse = np.zeros(len(_LOG_RADIUS))
    impulse[0] = 1.0
    return offset, scipy.fft.rfft(scipy.fft.fht(impulse, _LOG_STEP, mu=0.0, offset=offset)[::-1])
