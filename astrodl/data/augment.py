"""Random augmentation of a batch, on its device.

All randomness comes from torch's global generator, which the engine seeds before every update, and is drawn for the
batch of all ranks.
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

Batch = Mapping[str, Tensor]

BINARY = ("coverage", "mask")
"""Maps of zeros and ones, which stay so."""


def dihedral(images: Tensor, element: int) -> Tensor:
    """Apply a symmetry of the square to (..., y, x): `element % 4` quarter turns, then a flip if `element >= 4`."""
    turned = torch.rot90(images, element % 4, (-2, -1))
    return turned.flip(-1) if element >= 4 else turned


def moved(batch: Batch, settings: AugmentSettings) -> dict[str, Tensor]:
    """Flip, turn, shift, rotate and zoom every map of a batch (B, ..., y, x), the same way for an object's maps."""
    maps = {name: tensor for name, tensor in batch.items() if tensor.ndim >= 3}
    if settings.symmetries or settings.shift_pixels:
        chosen = random_moves(*maps.values(), max_pixels=settings.shift_pixels, symmetries=settings.symmetries)
        maps = dict(zip(maps, chosen, strict=True))
    if settings.rotate or settings.zoom:
        rows = next(iter(maps.values())).flatten(1)[:, 0]
        angle = math.radians(settings.rotate) * (2 * distributed.rand_like(rows) - 1)
        zoom = (1 + settings.zoom) ** (2 * distributed.rand_like(rows) - 1)
        maps = {name: resampled(tensor, angle, zoom, nearest=name in BINARY) for name, tensor in maps.items()}
    return {**batch, **maps}


def degraded(batch: Batch, settings: AugmentSettings, stretch: float) -> dict[str, Tensor]:
    """Blur the image (B, bands, y, x), make it noisier and hide a square of it.

    The image is arsinh(x / s) / `stretch` of the flux x, where s is `N_SIGMA` times the typical noise of the sky. Blur
    and noise act on x / s, as a broader point-spread function and a shorter exposure would; what has no data stays
    empty.
    """
    image = batch["image"]
    if settings.blur or settings.noise:
        flux = torch.sinh(stretch * image)
        if settings.blur:
            flux = blurred(flux, settings.blur * distributed.rand_like(flux[:, 0, 0, 0]))
        if settings.noise:
            level = settings.noise / N_SIGMA * distributed.rand_like(flux[:, :1, :1, :1])
            flux = flux + level * distributed.randn_like(flux)
        image = torch.arcsinh(flux) / stretch * batch.get("coverage", torch.ones_like(flux[:1]))
    if settings.cutout:
        image = image * ~square(image[:, 0], settings.cutout)[:, None]
    return {**batch, "image": image}


def random_moves(*tensors: Tensor, max_pixels: int = 2, symmetries: bool = True) -> tuple[Tensor, ...]:
    """Flip, turn and shift each object, all maps of an object (B, ..., y, x) alike; the batch is permuted nowhere.

    An eighth of the objects, chosen at random, gets each of the eight symmetries of the square; then the whole batch is
    shifted by up to `max_pixels` along y and x (wrapping round: cutouts are sky at their border). Every pixel is moved
    once, by one gather.
    """
    device, side = tensors[0].device, tensors[0].shape[-1]
    n_objects = len(tensors[0]) * distributed.size()
    elements = torch.zeros(n_objects, dtype=torch.int64, device=device)
    if symmetries:
        # shares as even as `chunk` makes them
        share = -(-n_objects // 8)
        elements[torch.randperm(n_objects, device=device)] = torch.arange(n_objects, device=device) // share
    shift = torch.randint(-max_pixels, max_pixels + 1, (2,)).tolist()
    sources = _sources(side, device)[distributed.mine(elements)].roll(shift, (1, 2)).flatten(1)
    return tuple(_gathered(tensor, sources) for tensor in tensors)


def resampled(maps: Tensor, angle: Tensor, zoom: Tensor, *, nearest: bool = False) -> Tensor:
    """Rotate maps (B, ..., y, x) about their centre as `torch.rot90` turns, and enlarge them, mirrored at the border.

    Parameters
    ----------
    angle, zoom : Tensor
        Radians and factor of each object, (B,).
    nearest : bool
        Take the nearest pixel instead of interpolating between four.
    """
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    zero = torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    # in float32: places in half precision would be off by pixels
    with torch.autocast(maps.device.type, enabled=False):
        flat = maps.reshape(len(maps), -1, *maps.shape[-2:])
        grid = functional.affine_grid(matrix, list(flat.shape), align_corners=False)
        mode = "nearest" if nearest else "bilinear"
        return functional.grid_sample(flat, grid, mode, "reflection", align_corners=False).view(maps.shape)


def blurred(maps: Tensor, sigma: Tensor) -> Tensor:
    """Convolve (B, ..., y, x) with Gaussians of `sigma` (B,) pixels, wrapping round; the sum of each map stays."""
    height, width = maps.shape[-2:]
    y, x = (torch.fft.fftfreq(height, device=maps.device), torch.fft.rfftfreq(width, device=maps.device))
    square = sigma.view(-1, *[1] * (maps.ndim - 1)) ** 2 * (y[:, None] ** 2 + x**2)
    return torch.fft.irfft2(torch.fft.rfft2(maps) * torch.exp(-2 * math.pi**2 * square), s=(height, width))


def square(maps: Tensor, share: float) -> Tensor:
    """Tell which pixels of (B, y, x) lie in a square anywhere, with a `share` of the side, wrapping round.

    DeVries & Taylor (2017, arXiv:1708.04552) let it end at the border; here the hidden area is always the same, and
    every pixel as likely to be hidden as any other.
    """
    side = maps.shape[-1]
    place = torch.arange(side, device=maps.device)
    corner = (side * distributed.rand_like(maps[:, 0, :2])).long()
    inside = (place - corner[..., None]) % side < round(share * side)
    return inside[:, 0, :, None] & inside[:, 1, None, :]


def spared(there: Tensor, share: float) -> Tensor:
    """Draw which bands stay, (B, bands) of 0 and 1, each lost with probability `share`.

    An object that would lose all of the bands that are `there` (B, bands) loses none.
    """
    kept = (distributed.rand_like(there) >= share).to(there.dtype)
    some_left = (kept * there).sum(1, keepdim=True) > 0
    return torch.where(some_left, kept, torch.ones_like(kept))


def mirrored(batch: Batch, exchanged: Sequence[int]) -> dict[str, Tensor]:
    """Mirror every second object (B, ..., y, x) or so, at random, and exchange the classes of its `target` (B, C)."""
    chosen = distributed.rand_like(batch["target"][:, 0]) < 0.5
    changed = dict(batch)
    for name, tensor in batch.items():
        if name == "target" or tensor.ndim >= 3:
            other = tensor[:, exchanged] if name == "target" else tensor.flip(-1)
            changed[name] = torch.where(chosen.view(-1, *[1] * (tensor.ndim - 1)), other, tensor)
    return changed


def mixup(batch: Batch, alpha: float, names: Collection[str] = ("image", "coverage", "features")) -> dict[str, Tensor]:
    """Mix the inputs of pairs of objects (Zhang et al. 2018, ICLR, arXiv:1710.09412).

    Partners are half a batch apart, which is as good as random where the order is, and in the same rank. The loss to
    take is ``share * loss(target) + (1 - share) * loss(target[partner])``.

    Parameters
    ----------
    batch : dict of Tensor
        Objects first, (B, ...).
    alpha : float
        The share is drawn from Beta(alpha, alpha) for each object.
    names : collection of str
        What is mixed, as far as the batch has it; anything else stays. A target that is a probability of each class
        may be among them, where the loss is linear in it.

    Returns
    -------
    dict of Tensor
        The batch, with `partner`, the place of the other object, and `share`, what is left of the object itself, (B,).
    """
    image = batch["image"]
    n_objects = len(image)
    partner = torch.arange(n_objects, device=image.device).roll(n_objects // 2)
    concentration = torch.full((n_objects * distributed.size(),), alpha, device=image.device)
    # a check of the arguments would wait for a GPU
    share = distributed.mine(torch.distributions.Beta(concentration, concentration, validate_args=False).sample())
    mixed = {}
    for name in names:
        if name in batch:
            own = batch[name]
            mixed[name] = torch.lerp(own[partner], own, share.view(-1, *[1] * (own.ndim - 1)))
    return {**batch, **mixed, "partner": partner, "share": share}


def _gathered(maps: Tensor, sources: Tensor) -> Tensor:
    """Take the pixels (B, ..., y, x) from the places `sources` (B, y x)."""
    flat = maps.reshape(len(maps), -1, sources.shape[1])
    return flat.gather(2, sources[:, None].expand(-1, flat.shape[1], -1)).view(maps.shape)


@lru_cache(maxsize=8)
def _sources(side: int, device: torch.device) -> Tensor:
    """Tell for each symmetry where each pixel of a square comes from, (8, side, side)."""
    places = torch.arange(side * side, device=device).view(side, side)
    return torch.stack([dihedral(places, element) for element in range(8)])
