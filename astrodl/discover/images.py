"""Read what a file of images holds: sizes, filters, zero points, missing pixels, the extent of the central object."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from astrodl.discover.names import extension_role
from astrodl.fits import FitsFile, Hdu, UnreadableError, open_fits, pixel_scale_arcsec, read_bytes, zero_point
from astrodl.ingestion import rgb
from astrodl.ingestion.arrays import ArrayFile
from astrodl.ingestion.axes import find_band_axis
from astrodl.ingestion.mosaic import Mosaic
from astrodl.ingestion.zeros import find_empty_borders
from astrodl.photometry.sky import border_sky

__all__ = ["LARGE_BYTES", "ImageInfo", "mask_bits", "measure_extent", "read_image_info"]

LARGE_BYTES = 128 << 20
"""Larger files are not read whole: their first image is described, with the statistics of its middle."""

_MIDDLE = 512
_MOST_IMAGES = 12
_FAINTEST, _FAINTEST_OF_PICTURE = 0.01, 0.15
"""Surface brightness at the edge of an object, relative to its peak; higher for pictures, which are stretched."""


@dataclass(frozen=True)
class ImageInfo:
    """Description of one image of a file."""

    extension: str | int | None
    """Its name or number in the configuration; None in a picture."""
    role: str
    """``image``, or the plane that goes with one: ``mask``, ``psf``, ``sigma``, ``auxiliary`` ..."""
    shape: tuple[int, ...]
    """Axes, slowest first, with that of the bands before those of the image."""
    source: Literal["fits", "array", "picture"]
    bands: tuple[str, ...] = ()
    """Filters in the header: one, or one per plane of a cube."""
    zero_point: float | None = None
    """AB magnitude of one count."""
    unit: str = ""
    pixel_scale_arcsec: float | None = None
    nan_share: float = 0.0
    zero_share: float = 0.0
    """Share of pixels that are exactly zero, in regions at the border; see `find_empty_borders`."""
    sky_in_sigma: float = np.nan
    """Level of the border over its noise, NaN if it cannot be measured."""
    extent_pixels: float = 0.0
    """Side of the square about the centre that holds the central object; 0 without an object."""
    bits: tuple[tuple[int, float], ...] = ()
    """Bits that occur, if the pixels are whole numbers, and the share of pixels that have them."""
    bands_last: bool = False
    """Whether the file has the bands on its last axis."""

    @property
    def n_axes(self) -> int:
        """Number of axes, without single planes in front."""
        return 2 + len(list(dropwhile(lambda length: length == 1, self.shape[:-2])))

    @property
    def n_elements(self) -> int:
        """Length of the first axis as it is in the file."""
        return self.shape[1] if self.bands_last and len(self.shape) == 3 else self.shape[0]


def read_image_info(path: Path) -> list[ImageInfo]:
    """Describe the images of a FITS, HDF5, NPZ, JPEG or PNG file.

    Raises
    ------
    UnreadableError
        The file is none of these, is damaged, or holds no image.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
        large = path.stat().st_size > LARGE_BYTES
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        pixels = rgb.decode(read_bytes(path))
        colours = ("red", "green", "blue") if len(pixels) == 3 else ("grey",)
        statistics = _statistics(pixels, _FAINTEST_OF_PICTURE)
        return [ImageInfo(None, "image", pixels.shape, "picture", colours, **statistics)]
    if start.startswith((b"PK\x03\x04", b"\x89HDF")):
        infos = _arrays(path)
    else:
        infos = [_large(path)] if large else _fits(open_fits(read_bytes(path)))
    if not infos:
        raise UnreadableError("the file holds no image")
    return infos


def _arrays(path: Path) -> list[ImageInfo]:
    file, infos = ArrayFile(path), []
    names = file.texts("bands", "filters")
    for entry in file.entries:
        role = extension_role(entry.name)
        shape, bands_last = _bands_first(entry.shape, role, len(names) or None)
        if len(shape) < 2 or min(shape[-2:]) < 2:
            continue
        bands = names if len(shape) > 2 and len(names) == shape[-3] else ()
        statistics: dict[str, Any] = {}
        if np.prod(shape[-3:]) * 8 < LARGE_BYTES:
            pixels = file.read(entry, (0,) * (len(shape) - 3))
            statistics = _statistics(np.moveaxis(pixels, -1, 0) if bands_last else pixels)
        infos.append(ImageInfo(entry.name, role, shape, "array", bands, **statistics, bands_last=bands_last))
    return infos


def _bands_first(shape: tuple[int, ...], role: str, n_bands: int | None = None) -> tuple[tuple[int, ...], bool]:
    """Return a shape with the axis of the bands before those of the image, and whether it was the last.

    Raises
    ------
    UnreadableError
        If the axes of images with more than three cannot be told apart.
    """
    if len(shape) < 3:
        return shape, False
    try:
        axis = find_band_axis(shape[-3:], n_bands)
    except UnreadableError:
        if len(shape) > 3 and role == "image":
            raise
        axis = 0  # or objects, y, x
    height, width, n_planes = shape[-3:]
    return ((*shape[:-3], n_planes, height, width), True) if axis == 2 else (shape, False)


def _fits(file: FitsFile) -> list[ImageInfo]:
    images = [hdu for hdu in file.hdus if hdu.is_image and len(hdu.shape) >= 2]
    found = [(hdu, *_bands_first(hdu.shape, _role(hdu, images))) for hdu in images]
    found = [(hdu, shape, bands_last) for hdu, shape, bands_last in found if min(shape[-2:]) > 1]
    images = [hdu for hdu, _, _ in found]
    names = Counter(hdu.name.upper() for hdu in images)
    infos = []
    for place, (hdu, shape, bands_last) in enumerate(found):
        try:
            pixels = file.pixels(hdu) if place < _MOST_IMAGES else np.empty(0, np.float32)
            statistics = _statistics(np.moveaxis(pixels, -1, -3) if bands_last and pixels.ndim > 2 else pixels)
        except UnreadableError:
            if len(file.hdus) == 1:
                raise
            statistics = {}
        info = ImageInfo(
            hdu.name if hdu.name not in ("", "PRIMARY") and names[hdu.name.upper()] == 1 else hdu.index,
            _role(hdu, images),
            shape,
            "fits",
            _filters(hdu.header, file.primary.header),
            _plausible(partial(zero_point, hdu, file.primary)),
            str(hdu.cards.get("BUNIT", file.primary.cards.get("BUNIT", ""))).strip(),
            pixel_scale_arcsec(hdu),
            **statistics,
            bands_last=bands_last,
        )
        infos.append(info)
    return infos


def _role(hdu: Hdu, images: list[Hdu]) -> str:
    """Return the role of an extension; one without name and filter beside others that have them is auxiliary."""
    if hdu.name or _filters(hdu.header):
        return extension_role(hdu.name)
    others = any((other.name and other.name != "PRIMARY") or _filters(other.header) for other in images)
    return "auxiliary" if others else "image"


def _large(path: Path) -> ImageInfo:
    """Describe the first image of a large file without reading it whole."""
    mosaic = Mosaic(path, None, 0)
    try:
        (height, width), header = mosaic.shape, mosaic.header or fits.Header()
        top, left = (max(length - _MIDDLE, 0) // 2 for length in (height, width))
        statistics = _statistics(mosaic.section(top, left, min(height, _MIDDLE), min(width, _MIDDLE)))
        unit, zero = str(header.get("BUNIT", "")).strip(), _plausible(lambda: mosaic.zero_point)
        optional = _filters(header), zero, unit, mosaic.pixel_scale_arcsec
        return ImageInfo(None, "image", mosaic.full_shape, "fits", *optional, **statistics)
    finally:
        mosaic.close()


def _plausible(read: Callable[[], float | None]) -> float | None:
    """Return a zero point; None if it is not plausible, so that the settings need one."""
    try:
        return read()
    except UnreadableError:
        return None


def _filters(*headers: fits.Header) -> tuple[str, ...]:
    """Read the names of filters: BAND0, BAND1 ...; BANDS; FILTER or BAND."""
    for header in headers:
        try:
            planes = [str(header[key]).strip() for key in (f"BAND{k}" for k in range(100)) if key in header]
            text = str(header.get("BANDS", "")).strip()
            planes = planes or (re.split(r"[\s,;]+", text) if re.search(r"[\s,;]", text) else list(text))
            for key in ("FILTER", "BAND", "FILTNAM1", "FILTER1"):
                planes = planes or str(header.get(key, "")).split()[:1]
        except (ValueError, TypeError, KeyError):  # a card that breaks the standard
            continue
        if planes:
            return tuple(planes)
    return ()


def _statistics(pixels: NDArray[np.float32], faintest: float = _FAINTEST) -> dict[str, Any]:
    """Measure missing pixels; in the middle of the image also mask bits, sky on the border, and the central object."""
    if pixels.size == 0:
        return {}
    planes = pixels.reshape(-1, *pixels.shape[-2:])
    image = planes[len(planes) // 2]
    top, left = (max(length - _MIDDLE, 0) // 2 for length in image.shape)
    image = image[top : top + _MIDDLE, left : left + _MIDDLE]
    level, sigma = border_sky(image)
    return {
        "nan_share": float(np.isnan(pixels).mean()),
        "zero_share": float(find_empty_borders(pixels).mean()),
        "sky_in_sigma": level / sigma if sigma > 0 else np.nan,
        "extent_pixels": measure_extent(image, level, sigma, faintest),
        "bits": mask_bits(image),
    }


def mask_bits(mask: NDArray[np.float32]) -> tuple[tuple[int, float], ...]:
    """Return the bits that occur in a mask of whole numbers, and the share of pixels that have them."""
    values = np.nan_to_num(mask.ravel())
    if (values < 0).any() or (values >= 2**31).any() or (values != np.trunc(values)).any():
        return ()
    whole = values.astype(np.int64)
    shares = ((bit, float((whole >> bit & 1).mean())) for bit in range(31))
    return tuple((bit, share) for bit, share in shares if share > 0)


def measure_extent(image: NDArray[np.float32], level: float, sigma: float, faintest: float = _FAINTEST) -> float:
    """Measure the side of the square about the centre that holds the central object of an image, (y, x).

    The image minus the sky `level` is smoothed with a Gaussian of 1.5 pixels, which makes independent noise five times
    smaller. The object consists of the pixels connected to the brightest pixel of the central ninth that are brighter
    than 1.5 `sigma` of the sky and than the share `faintest` of that pixel.

    Returns
    -------
    float
        Side in pixels, 0 without an object.
    """
    if not (np.isfinite(level) and sigma > 0) or min(image.shape) < 8:
        return 0.0
    smooth = ndimage.gaussian_filter(np.where(np.isfinite(image), image - level, 0.0), 1.5)
    height, width = image.shape
    ninth = slice(height // 3, height - height // 3), slice(width // 3, width - width // 3)
    centre = np.unravel_index(np.argmax(smooth[ninth]), smooth[ninth].shape)
    segments, _ = ndimage.label(smooth > max(1.5 * sigma, faintest * smooth[ninth][centre]))
    segment = segments[ninth][centre]
    if segment == 0:
        return 0.0
    y, x = np.nonzero(segments == segment)
    return float(2 * max(np.abs(y - height / 2).max(), np.abs(x - width / 2).max()))
