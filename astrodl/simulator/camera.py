"""The camera: layers in Fourier space to images of all bands, with point-spread functions and pixels."""

from collections.abc import Sequence

import numpy as np
import scipy.fft

from astrodl.simulator.bands import Band
from astrodl.simulator.fourier import Floats, Fourier, Grid, Layer

__all__ = ["Camera"]


class Camera:
    """Camera that turns layers into images: point-spread function, pixels, crop.

    Parameters
    ----------
    grid
        Geometry.
    bands
        Bands of the images.
    psf_size
        Side of the PSF images in pixels.

    Attributes
    ----------
    psf
        Images of the point-spread functions, pixel response included, of unit sum, (bands, psf_size, psf_size).
    """

    def __init__(self, grid: Grid, bands: Sequence[Band], psf_size: int = 25) -> None:
        self.grid = grid
        self.response = np.stack([_effective_psf(grid, band) for band in bands])
        start = (grid.size - psf_size) // 2
        # A PSF image has an odd side and its centre on a pixel: half a pixel from the centre of an even cutout.
        offset = 0.5 * grid.pixel if (grid.size - psf_size) % 2 else 0.0
        layer = Layer("", grid.point_source(-offset, -offset), np.ones(len(bands)))
        frames = self.render([layer], [(b, None) for b in range(len(bands))])
        psf = np.maximum(frames[:, start : start + psf_size, start : start + psf_size], 0)
        self.psf = psf / psf.sum(axis=(1, 2), keepdims=True)

    def render(self, layers: Sequence[Layer], planes: Sequence[tuple[int, str | None]]) -> Floats:
        """Render noise-free images.

        Parameters
        ----------
        layers
            The scene.
        planes
            For each image the index of its band and the part of the scene to include (None: everything).

        Returns
        -------
        ndarray
            Flux per pixel, (planes, size, size).
        """
        grid = self.grid
        weights = np.array(
            [[layer.flux[band] * (part is None or layer.part == part) for layer in layers] for band, part in planes],
            np.float32,
        )
        stacked = np.stack([layer.image for layer in layers]).reshape(len(layers), -1)
        # A real matrix product: the weights are real, and complex numbers are pairs of real numbers.
        mixed = (weights @ stacked.view(np.float32)).view(np.complex64).reshape(-1, *self.response.shape[1:])
        mixed *= self.response[[band for band, _ in planes]]
        frames = scipy.fft.irfft2(_fold(mixed), s=(grid.padded,) * 2, axes=(1, 2), workers=1)
        first = (grid.padded - grid.size) // 2
        window = slice(first, first + grid.size)
        # Folding sums four copies and the smaller transform divides by a quarter of the samples: flux per pixel.
        return frames[:, window, window]


def _fold(image: Fourier) -> Fourier:
    """Sum aliased frequencies: from half spectra of real images to those of every second sample, times four.

    `image` is (n, 2 m, m + 1) with m even; the result is (n, m, m // 2 + 1).
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
    """Return the Fourier image of point-spread function times pixel response (real, as both are symmetric)."""
    spacing = 2 * np.pi / (grid.samples * grid.step)
    spectrum = band.psf().drawKImage(nx=grid.samples, ny=grid.samples, scale=spacing).array
    optics = np.fft.ifftshift(spectrum.real)[:, : grid.samples // 2 + 1]
    pixel = np.sinc(grid.kx * grid.pixel / 2 / np.pi) * np.sinc(grid.ky * grid.pixel / 2 / np.pi)
    return (optics * pixel).astype(np.float32)
