"""Random augmentation of a batch on its device.

All random numbers come from torch's global generator, which the training loop seeds before every update, and are drawn
for the batch of all ranks.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from astrodl import distributed
from astrodl.config import AugmentSettings
from astrodl.data.normalize import N_SIGMA
from astrodl.models.symmetries import N_SYMMETRIES, apply_symmetry

__all__ = [
    "blur",
    "degrade",
    "draw_kept_bands",
    "draw_square",
    "flip_turn_shift",
    "mirror_randomly",
    "mixup",
    "resample",
    "transform_maps",
]

BINARY_MAPS = ("coverage", "mask")
"""Maps of zeros and ones, which are resampled without interpolation."""


def transform_maps(batch: Mapping[str, Tensor], settings: AugmentSettings) -> dict[str, Tensor]:
    """Flip, turn, shift, rotate and zoom all maps of a batch, (B, ..., y, x); the maps of an object move together."""
    maps = {name: tensor for name, tensor in batch.items() if tensor.ndim >= 3}
    if settings.symmetries or settings.shift_pixels:
        moved = flip_turn_shift(*maps.values(), max_pixels=settings.shift_pixels, symmetries=settings.symmetries)
        maps = dict(zip(maps, moved, strict=True))
    if settings.rotate or settings.zoom:
        rows = next(iter(maps.values())).flatten(1)[:, 0]
        angle = math.radians(settings.rotate) * (2 * distributed.rand_like(rows) - 1)
        zoom = (1 + settings.zoom) ** (2 * distributed.rand_like(rows) - 1)
        maps = {name: resample(tensor, angle, zoom, nearest=name in BINARY_MAPS) for name, tensor in maps.items()}
    return {**batch, **maps}


def degrade(batch: Mapping[str, Tensor], settings: AugmentSettings, stretch: float) -> dict[str, Tensor]:
    """Blur the image, (B, bands, y, x), add noise, and hide a square.

    The image is arsinh(x / s) / `stretch` of the flux x, where s is `N_SIGMA` times the typical noise of the sky. Blur
    and noise act on x / s, like a broader point-spread function and a shorter exposure. Pixels without data stay empty.
    """
    image = batch["image"]
    if settings.blur or settings.noise:
        flux = torch.sinh(stretch * image)
        if settings.blur:
            flux = blur(flux, settings.blur * distributed.rand_like(flux[:, 0, 0, 0]))
        if settings.noise:
            level = settings.noise / N_SIGMA * distributed.rand_like(flux[:, :1, :1, :1])
            flux = flux + level * distributed.randn_like(flux)
        image = torch.arcsinh(flux) / stretch * batch.get("coverage", torch.ones_like(flux[:1]))
    if settings.cutout:
        image = image * ~draw_square(image[:, 0], settings.cutout)[:, None]
    return {**batch, "image": image}


def flip_turn_shift(*tensors: Tensor, max_pixels: int = 2, symmetries: bool = True) -> tuple[Tensor, ...]:
    """Flip, turn and shift each object, with all maps of an object (B, ..., y, x) moving together.

    Each of the eight symmetries of the square is applied to a random eighth of the objects. The whole batch is then
    shifted by up to `max_pixels` along y and x, wrapping round (cutouts show sky at their border). A single gather
    moves the pixels; the order of the objects does not change.
    """
    device, side = tensors[0].device, tensors[0].shape[-1]
    n_objects = len(tensors[0]) * distributed.world_size()
    elements = torch.zeros(n_objects, dtype=torch.int64, device=device)
    if symmetries:
        # shares as even as those of `chunk`
        share = -(-n_objects // 8)
        elements[torch.randperm(n_objects, device=device)] = torch.arange(n_objects, device=device) // share
    shift = torch.randint(-max_pixels, max_pixels + 1, (2,)).tolist()
    sources = _source_pixels(side, device)[distributed.local_rows(elements)].roll(shift, (1, 2)).flatten(1)
    return tuple(_gather_pixels(tensor, sources) for tensor in tensors)


def resample(
    maps: Tensor, angle: Tensor, zoom: Tensor, *, shift: Tensor | None = None, nearest: bool = False
) -> Tensor:
    """Rotate maps (B, ..., y, x) about their centre in the direction of `torch.rot90`, enlarge and shift them.

    Pixels beyond the border are mirrored at it.

    Parameters
    ----------
    maps : (B, ..., y, x) tensor
    angle, zoom : (B,) tensor
        Angle in radians and factor of each object.
    shift : (B, 2) tensor, optional
        Shift of each object towards larger x and y after the rest, in pixels; any fraction.
    nearest : bool
        Take the nearest pixel instead of interpolating between four.
    """
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    if shift is None:
        right = down = torch.zeros_like(angle)
    else:
        # the grid holds where each pixel comes from, in halves of the side
        x, y = (2 / side * part for side, part in zip((maps.shape[-1], maps.shape[-2]), shift.unbind(1), strict=True))
        right, down = sine * y - cosine * x, -sine * x - cosine * y
    matrix = torch.stack([torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)
    # in float32: half-precision coordinates are off by pixels
    with torch.autocast(maps.device.type, enabled=False):
        flat = maps.reshape(len(maps), -1, *maps.shape[-2:])
        grid = functional.affine_grid(matrix, list(flat.shape), align_corners=False)
        mode = "nearest" if nearest else "bilinear"
        return functional.grid_sample(flat, grid, mode, "reflection", align_corners=False).view(maps.shape)


def blur(maps: Tensor, sigma: Tensor) -> Tensor:
    """Convolve (B, ..., y, x) with Gaussians of `sigma` (B,) pixels, wrapping round; the sum of each map is kept."""
    height, width = maps.shape[-2:]
    y, x = (torch.fft.fftfreq(height, device=maps.device), torch.fft.rfftfreq(width, device=maps.device))
    square = sigma.view(-1, *[1] * (maps.ndim - 1)) ** 2 * (y[:, None] ** 2 + x**2)
    return torch.fft.irfft2(torch.fft.rfft2(maps) * torch.exp(-2 * math.pi**2 * square), s=(height, width))


def draw_square(maps: Tensor, share: float) -> Tensor:
    """Draw a mask (B, y, x) of a square at a random position per object, with a `share` of the side, wrapping round.

    DeVries & Taylor (2017, arXiv:1708.04552) cut the square off at the border. Here its area is always the same, and
    all pixels are hidden equally often.
    """
    side = maps.shape[-1]
    axis = torch.arange(side, device=maps.device)
    corner = (side * distributed.rand_like(maps[:, 0, :2])).long()
    inside = (axis - corner[..., None]) % side < round(share * side)
    return inside[:, 0, :, None] & inside[:, 1, None, :]


def draw_kept_bands(available: Tensor, share: float) -> Tensor:
    """Draw which bands are kept, (B, bands) of 0 and 1; each band is dropped with probability `share`.

    An object that would lose all of its `available` bands (B, bands) loses none.
    """
    kept = (distributed.rand_like(available) >= share).to(available.dtype)
    any_left = (kept * available).sum(1, keepdim=True) > 0
    return torch.where(any_left, kept, torch.ones_like(kept))


def mirror_randomly(batch: Mapping[str, Tensor], exchanged: Sequence[int]) -> dict[str, Tensor]:
    """Mirror each object with probability 1/2, and exchange the classes of its `target`.

    Parameters
    ----------
    batch : mapping of str to Tensor
        Maps (B, ..., y, x) and `target` (B, C).
    exchanged : sequence of int
        Class of the mirror image of each class.
    """
    chosen = distributed.rand_like(batch["target"][:, 0]) < 0.5
    changed = dict(batch)
    for name, tensor in batch.items():
        if name == "target" or tensor.ndim >= 3:
            other = tensor[:, exchanged] if name == "target" else tensor.flip(-1)
            changed[name] = torch.where(chosen.view(-1, *[1] * (tensor.ndim - 1)), other, tensor)
    return changed


def mixup(
    batch: Mapping[str, Tensor], alpha: float, names: Collection[str] = ("image", "coverage", "features")
) -> dict[str, Tensor]:
    """Mix the inputs of pairs of objects (Zhang et al. 2018, ICLR, arXiv:1710.09412).

    Partners are half a batch apart and on the same rank, which is random because the order of the objects is. The loss
    is ``share * loss(target) + (1 - share) * loss(target[partner])``.

    Parameters
    ----------
    batch : mapping of str to Tensor
        Objects first, (B, ...).
    alpha : float
        The share of each object is drawn from Beta(alpha, alpha).
    names : collection of str
        Entries that are mixed, if the batch has them. A target of class probabilities may be among them if the loss is
        linear in it.

    Returns
    -------
    dict of Tensor
        The batch with `partner`, the index of the other object, and `share`, the weight of the object itself, (B,).
    """
    image = batch["image"]
    n_objects = len(image)
    partner = torch.arange(n_objects, device=image.device).roll(n_objects // 2)
    concentration = torch.full((n_objects * distributed.world_size(),), alpha, device=image.device)
    # without the check of arguments, for which the host would wait for a GPU
    beta = torch.distributions.Beta(concentration, concentration, validate_args=False)
    share = distributed.local_rows(beta.sample())
    mixed = {}
    for name in names:
        if name in batch:
            own = batch[name]
            mixed[name] = torch.lerp(own[partner], own, share.view(-1, *[1] * (own.ndim - 1)))
    return {**batch, **mixed, "partner": partner, "share": share}


def _gather_pixels(maps: Tensor, sources: Tensor) -> Tensor:
    """Take the pixels (B, ..., y, x) at the flat indices `sources` (B, y x)."""
    flat = maps.reshape(len(maps), -1, sources.shape[1])
    return flat.gather(2, sources[:, None].expand(-1, flat.shape[1], -1)).view(maps.shape)


@lru_cache(maxsize=8)
def _source_pixels(side: int, device: torch.device) -> Tensor:
    """Return the flat index of the source of each pixel of a square under each symmetry, (8, side, side)."""
    pixels = torch.arange(side * side, device=device).view(side, side)
    return torch.stack([apply_symmetry(pixels, element) for element in range(N_SYMMETRIES)])
