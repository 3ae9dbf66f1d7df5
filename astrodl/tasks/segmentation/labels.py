"""Truth of segmentation from the pixel labels of a store: masks, centres of clumps, fractions, ratios."""

from typing import NamedTuple

import numpy as np

from astrodl.models.unet import COMPONENTS
from astrodl.photometry.clumps import TrueClumps, true_clumps
from astrodl.store import Reader
from astrodl.tasks.segmentation.settings import SegmentationSettings

__all__ = ["MASKS", "Labels", "draw_centres", "labelled_bands", "missing_label", "read_masks", "read_segment"]

MASKS = ("segment", "bar", "arm")
"""Pixel labels of further masks: the number of the brightest source of each pixel, 0 for none, as SExtractor and
photutils write it; the light of the bar and of the spiral arms in the reference band."""

_CENTRE_PIXELS = 1.0
"""Gaussian sigma of a clump in the map of the centres."""


def missing_label(store: Reader) -> str | None:
    """Return the first component whose label the store lacks, or None."""
    return next((name for name in COMPONENTS if name not in store.label_names), None)


def labelled_bands(store: Reader, reference: str) -> list[str]:
    """List the bands with pixel labels, in the order of the store: the reference, and those of `{component}_{band}`."""
    names = set(store.label_names)
    return [band for band in store.bands if band == reference or all(f"{part}_{band}" in names for part in COMPONENTS)]


class Labels(NamedTuple):
    """Noise-free light of the components of objects."""

    flux: np.ndarray
    """Flux per pixel, (n, bands, components, y, x)."""
    sigma: np.ndarray
    """Sky noise per pixel, (n, bands); NaN where unknown."""
    reference: int
    """Position of the reference band among the bands."""

    @classmethod
    def read(cls, store: Reader, indices: np.ndarray, bands: list[str], reference: int) -> "Labels":
        """Read the labels of objects in bands."""
        names = [
            [part if number == reference else f"{part}_{band}" for part in COMPONENTS]
            for number, band in enumerate(bands)
        ]
        flux = np.stack([np.stack([store.label(name, indices) for name in row], axis=1) for row in names], axis=1)
        sigma = store.sky_sigma[indices][:, store.band_indices(bands)]
        return cls(flux, np.where(sigma > 0, sigma, np.nan), reference)

    @property
    def total(self) -> np.ndarray:
        """Light of all components, (n, bands, y, x)."""
        return self.flux.sum(2)

    @property
    def fraction(self) -> np.ndarray:
        """Share of each component in the light, (n, bands, components, y, x)."""
        share: np.ndarray = (self.flux / np.maximum(self.total, 1e-12)[:, :, None]).astype(np.float32)
        return share

    @property
    def light(self) -> np.ndarray:
        """Arsinh of the light in units of the sky noise, (n, bands, y, x)."""
        light: np.ndarray = np.arcsinh(np.nan_to_num(self.total / self.sigma[..., None, None])).astype(np.float32)
        return light

    @property
    def bt(self) -> np.ndarray:
        """Bulge-to-total ratio, (n, bands)."""
        summed = self.flux.sum((-2, -1))
        ratio: np.ndarray = (summed[:, :, 0] / np.maximum(summed.sum(2), 1e-30)).astype(np.float32)
        return ratio

    def mask(self, settings: SegmentationSettings) -> np.ndarray:
        """Return the pixels of clumps in the reference band, (n, y, x) bool."""
        bulge, disk, clump = np.moveaxis(self.flux[:, self.reference], 1, 0)
        sigma = self.sigma[:, self.reference, None, None]
        mask: np.ndarray = (clump > settings.clump_sigma * sigma) & (clump > settings.clump_contrast * (bulge + disk))
        return mask

    def share(self, light: np.ndarray) -> np.ndarray:
        """Return the share of light (n, y, x) in that of the reference band, between 0 and 1."""
        share: np.ndarray = np.clip(light / np.maximum(self.total[:, self.reference], 1e-12), 0, 1).astype(np.float32)
        return share

    def clumps(self, mask: np.ndarray) -> TrueClumps:
        """List the true clumps in the reference band."""
        return true_clumps(self.flux[:, self.reference, 2], mask, self.sigma[:, self.reference])


def read_segment(store: Reader, indices: np.ndarray) -> np.ndarray:
    """Read the segment of the source at the centre of each cutout, (n, y, x) bool; empty where there is none."""
    numbers = store.label("segment", indices)
    middle = numbers.shape[-1] // 2
    own = numbers[:, middle, middle][:, None, None]
    segment: np.ndarray = (numbers == own) & (own > 0)
    return segment


def read_masks(names: list[str], store: Reader, indices: np.ndarray, labels: Labels) -> dict[str, np.ndarray]:
    """Read those of `MASKS` that the store has: the segment as boolean, bar and arms as shares of the light."""
    return {
        name: read_segment(store, indices) if name == "segment" else labels.share(store.label(name, indices))
        for name in names
        if name in store.label_names
    }


def draw_centres(truth: TrueClumps, n_images: int, size: int) -> np.ndarray:
    """Draw a Gaussian of height one at the centre of each detectable clump, (n, y, x) float32."""
    maps = np.zeros((n_images, size, size), np.float32)
    axis = np.arange(size)
    found = truth.clumps.select(truth.is_detectable)
    for image, y, x in zip(found.image, found.y, found.x, strict=True):
        square = (axis - y)[:, None] ** 2 + (axis - x) ** 2
        np.maximum(maps[image], np.exp(-0.5 * square / _CENTRE_PIXELS**2), out=maps[image])
    return maps
