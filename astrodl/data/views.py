"""Canonical view of a galaxy: centred, aligned with its major axis, scaled to its size, divided by its flux.

Without it, the first two latent numbers of an autoencoder are signal-to-noise ratio and size.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["SOFTENING", "canonicalize", "make_views"]

SOFTENING = 0.1
"""Surface brightness, in units of the mean of the view, above which the scaling of views turns logarithmic."""


def canonicalize(
    images: Tensor,
    sky_sigma: Tensor,
    *,
    units: Sequence[float] | None = None,
    size: int = 32,
    extent: float = 3.0,
    n_iterations: int = 6,
) -> tuple[Tensor, Tensor]:
    """Resample each galaxy to a common centre, orientation, scale and flux.

    Centre, axes and size come from iterated Gaussian-weighted second moments (Bernstein & Jarvis 2002, AJ 123, 583) of
    the noise-weighted sum of the bands. The signs of the third moments resolve the two remaining mirror ambiguities.

    Parameters
    ----------
    images : (N, bands, y, x) tensor
        Linear fluxes, NaN where there is no data.
    sky_sigma : (N, bands) tensor
        Sky noise per pixel.
    units : (bands,) sequence of float, optional
        What one unit of each band is in the view, such as its typical sky noise, where bands have different units: the
        flux by which a view is divided is a mean over bands. By default they have the same unit.
    size : int
        Side of the resampled view.
    extent : float
        Half of the side of the view in units of the rms radius.
    n_iterations : int
        Iterations of the moments.

    Returns
    -------
    views : (N, bands, size, size) tensor
        Surface brightness, normalised to a mean of one over pixels and bands.
    noise : (N, bands) tensor
        Sky noise per pixel in the same unit.
    """
    if units is not None:
        unit = images.new_tensor(units)
        images, sky_sigma = images / unit[:, None, None], sky_sigma / unit
    images = torch.nan_to_num(images)
    weight = torch.where(torch.isfinite(sky_sigma) & (sky_sigma > 0), 1 / sky_sigma, torch.zeros_like(sky_sigma))
    detection = (images * weight[..., None, None]).sum(1)
    y0, x0, radius, angle = _moments(detection, n_iterations)
    grid = _grid(y0, x0, extent * radius, angle, size, images.shape[-1])
    views = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    views = _mirror(views, (views * weight[..., None, None]).sum(1))
    area = (2 * extent * radius / size) ** 2
    flux = (views.mean(1).sum((-2, -1)) * area).clamp_min(1e-12)
    # the measured flux of very faint objects may be below its noise
    floor = (sky_sigma.nan_to_num().mean(1) * 5 * radius).clamp_min(1e-12)
    scale = (area * size**2 / torch.maximum(flux, floor))[:, None]
    return views * scale[..., None, None], sky_sigma.nan_to_num() * scale


def make_views(
    images: NDArray[np.floating],
    sky_sigma: NDArray[np.floating],
    *,
    units: Sequence[float] | None = None,
    size: int = 32,
    extent: float = 3.0,
    softening: float = SOFTENING,
) -> tuple[Tensor, Tensor]:
    """Make canonical views, scaled by arsinh, of images in memory.

    Parameters
    ----------
    images, sky_sigma, units, size, extent
        As for `canonicalize`, as arrays.
    softening : float
        Surface brightness, in units of the mean of the view, above which the scaling turns logarithmic.

    Returns
    -------
    views : (N, bands, size, size) tensor
        arsinh of the surface brightness in units of the softening.
    noise : (N, bands) tensor
        Sky noise per pixel before arsinh, in the same unit.
    """
    tensors = (torch.from_numpy(np.require(array, np.float32, ["C", "W"])) for array in (images, sky_sigma))
    views, noise = canonicalize(*tensors, units=units, size=size, extent=extent)
    return torch.arcsinh(views / softening), noise / softening


def _moments(detection: Tensor, n_iterations: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return centre (y, x) in pixels from the image centre, rms radius in pixels, position angle of the major axis."""
    n_objects, side, _ = detection.shape
    axis = torch.arange(side, device=detection.device) - (side - 1) / 2
    y, x = axis[None, :, None], axis[None, None, :]
    zero = detection.new_zeros(n_objects, 1, 1)
    y0, x0, sigma = zero, zero, zero + 4.0
    for _ in range(n_iterations):
        dy, dx = y - y0, x - x0
        weighted = detection * torch.exp(-0.5 * (dy**2 + dx**2) / sigma**2)
        total = weighted.sum((1, 2), keepdim=True).clamp_min(1e-6)
        mean_y, mean_x = ((weighted * d).sum((1, 2), keepdim=True) / total for d in (dy, dx))
        yy, xx, xy = ((weighted * d).sum((1, 2), keepdim=True) / total for d in (dy**2, dx**2, dy * dx))
        y0 = (y0 + mean_y).clamp(-side / 8, side / 8)
        x0 = (x0 + mean_x).clamp(-side / 8, side / 8)
        # a Gaussian seen through a Gaussian weight of its own size has half its variance
        sigma = (yy + xx).clamp_min(0.5).sqrt().clamp(1.5, side / 6)
    # in double precision: the last bit of a float32 angle depends on the object's position in the batch
    angle = 0.5 * torch.atan2((2 * xy).double(), (xx - yy).double()).float()
    return y0.flatten(), x0.flatten(), sigma.flatten() * math.sqrt(2), angle.flatten()


def _grid(y0: Tensor, x0: Tensor, half_side: Tensor, angle: Tensor, size: int, side: int) -> Tensor:
    """Return the sampling grid (N, size, size, 2) in the coordinates of `grid_sample`, -1 to 1."""
    axis = (torch.arange(size, device=y0.device) + 0.5) / size * 2 - 1
    v, u = axis[:, None], axis[None, :]
    cos, sin, scale = (t[:, None, None] for t in (angle.cos(), angle.sin(), half_side))
    x = x0[:, None, None] + scale * (cos * u - sin * v)
    y = y0[:, None, None] + scale * (sin * u + cos * v)
    return torch.stack([x, y], dim=-1) * (2 / side)


def _mirror(views: Tensor, detection: Tensor) -> Tensor:
    """Flip each view so that the third moments of its light along both axes are positive."""
    axis = torch.linspace(-1, 1, views.shape[-1], device=views.device) ** 3
    flip_x = (detection.sum(1) * axis).sum(1) < 0
    flip_y = (detection.sum(2) * axis).sum(1) < 0
    views = torch.where(flip_x[:, None, None, None], views.flip(-1), views)
    return torch.where(flip_y[:, None, None, None], views.flip(-2), views)
