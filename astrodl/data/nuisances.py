"""Random views of a galaxy that differ in what should not matter: pointing, size estimate, seeing, depth, lost bands.

All random numbers come from torch's global generator and are drawn for the batch of all ranks, as in `augment`.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from astrodl import distributed
from astrodl.config import NuisanceSettings
from astrodl.data.augment import blur, draw_kept_bands, resample
from astrodl.losses import stable_asinh
from astrodl.models.symmetries import N_SYMMETRIES, apply_symmetry

__all__ = ["add_sky_noise", "draw_interpolated_noise", "draw_view"]

_MIRRORS = (0, 2, 4, 6)
_TURNS = (0, 1, 2, 3)


def draw_view(batch: Mapping[str, Tensor], settings: NuisanceSettings) -> dict[str, Tensor]:
    """Draw a view of each object that a telescope, or the estimate of its centre, axes and size, could have given.

    Flips and turns come first, then shift, rotation and zoom by one interpolation of the flux, then blur, noise, and
    the loss of bands. Interpolation and blur smooth the noise that the view has already, like those of an image that
    is resampled; the noise that is added is white.

    Parameters
    ----------
    batch : mapping of str to Tensor
        `image`, arsinh of the flux, (B, bands, S, S), and `noise`, the sky noise of the flux per pixel, (B, bands),
        zero for a band without data.
    settings : NuisanceSettings
        Parts and strengths; with all parts off the image is returned as it is.

    Returns
    -------
    dict of Tensor
        The batch with another `image` and its `noise`, which is zero for lost bands.
    """
    image, noise = batch["image"], batch["noise"]
    if settings.mirror or settings.quarter_turns:
        image = _flip_and_turn(image, settings)
    if settings.shift_pixels or settings.rotate or settings.zoom or settings.blur or settings.noise or settings.depth:
        flux = torch.sinh(image)
        if settings.shift_pixels or settings.rotate or settings.zoom:
            flux, noise = _move(flux, noise, settings)
        if settings.blur:
            flux = blur(flux, settings.blur * distributed.rand_like(noise[:, 0]))
        if settings.depth:
            flux, noise = _take_depth(flux, noise, settings.depth)
        if settings.noise:
            flux, noise = add_sky_noise(flux, noise, settings.noise * distributed.rand_like(noise[:, 0]))
        image = stable_asinh(flux)
    if settings.band_dropout:
        kept = draw_kept_bands((noise > 0).to(noise.dtype), settings.band_dropout)
        image, noise = image * kept[..., None, None], noise * kept
    return {**batch, "image": image, "noise": noise}


def add_sky_noise(flux: Tensor, noise: Tensor, level: Tensor | float) -> tuple[Tensor, Tensor]:
    """Add white Gaussian noise of `level` times each object's own sky noise, as a shorter exposure has.

    It is also the corruption of a denoising autoencoder (Vincent et al. 2008, ICML, 1096).

    Parameters
    ----------
    flux : (B, bands, S, S) tensor
    noise : (B, bands) tensor
        Sky noise per pixel.
    level : (B,) tensor or float
        Noise to add in units of the noise that is there.

    Returns
    -------
    flux, noise : tensors
        The noisier flux and its noise, sqrt(1 + level^2) times the former.
    """
    level = (level if isinstance(level, Tensor) else noise.new_full((1,), level)).to(noise).reshape(-1, 1)
    added = flux + (level * noise)[..., None, None] * distributed.randn_like(flux)
    return added, noise * (1 + level**2).sqrt()


def draw_interpolated_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise of unit variance before it is interpolated between pixels, as that of an image is in its view.

    White noise is interpolated bilinearly, displaced by a random part of a pixel for each object; the pixels of view
    and image are taken as equally large.

    Parameters
    ----------
    images : (B, bands, S, S) tensor
        Gives shape and device.
    generator : Generator
        Of the CPU.
    """
    n, bands, height, width = images.shape
    white = torch.randn(n, bands, height + 1, width + 1, generator=generator)
    x, y = torch.rand(2, n, 1, 1, 1, generator=generator)
    rows = torch.lerp(white[..., :-1, :], white[..., 1:, :], y)
    return torch.lerp(rows[..., :-1], rows[..., 1:], x).to(images)


def _take_depth(flux: Tensor, noise: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Add noise to a `share` of the objects until they are as noisy as a random other one, band by band."""
    everyone = distributed.gather_rows(noise)
    other = distributed.local_rows(everyone[torch.randperm(len(everyone), device=noise.device)])
    chosen = (distributed.rand_like(noise[:, :1]) < share) & (noise > 0)
    noisier = torch.where(chosen, torch.maximum(noise, other), noise)
    added = (noisier.square() - noise.square()).clamp_min(0).sqrt()
    return flux + added[..., None, None] * distributed.randn_like(flux), noisier


def _flip_and_turn(image: Tensor, settings: NuisanceSettings) -> Tensor:
    """Apply one of the chosen symmetries of the square to each object."""
    chosen = {(True, False): _MIRRORS, (False, True): _TURNS}.get(
        (settings.mirror, settings.quarter_turns), tuple(range(N_SYMMETRIES))
    )
    numbers = (len(chosen) * distributed.rand_like(image[:, 0, 0, 0])).long()
    made = image
    for number, element in enumerate(chosen):
        if element:
            made = torch.where((numbers == number)[:, None, None, None], apply_symmetry(image, element), made)
    return made


def _move(flux: Tensor, noise: Tensor, settings: NuisanceSettings) -> tuple[Tensor, Tensor]:
    """Shift, rotate and zoom each object, like a canonical view whose centre, axes and size were measured wrong."""
    draws = 2 * distributed.rand_like(noise.new_empty(len(noise), 4)) - 1
    angle, zoom = math.radians(settings.rotate) * draws[:, 2], (1 + settings.zoom) ** draws[:, 3]
    moved = resample(flux, angle, zoom, shift=settings.shift_pixels * draws[:, :2])
    # the total flux stays, as in a canonical view of another size
    return moved / zoom.square()[:, None, None, None], noise / zoom.square()[:, None]
