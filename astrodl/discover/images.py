"""Read what a file of images holds: sizes, filters, zero points, missing pixels, the extent of the central object."""

import re
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from astrodl.discover.names import role_of
from astrodl.fits import FitsFile, UnreadableError, open_fits, pixel_scale_arcsec, read_bytes, zero_point
from astrodl.ingestion import rgb
from astrodl.ingestion.arrays import ArrayFile
from astrodl.ingestion.mosaic import Mosaic
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
    """``image``, or the plane that goes with one: ``mask``, ``psf``, ``sigma`` ..."""
    shape: tuple[int, ...]
    """Axes, slowest first."""
    source: Literal["fits", "array", "picture"]
    bands: tuple[str, ...] = ()
    """Filters in the header: one, or one per plane of a cube."""
    zero_point: float | None = None
    """AB magnitude of one count."""
    unit: str = ""
    pixel_scale_arcsec: float | None = None
    nan_share: float = 0.0
    zero_share: float = 0.0
    """Share of pixels that are exactly zero."""
    sky_in_sigma: float = np.nan
    """Level of the border over its noise, NaN if it cannot be measured."""
    extent_pixels: float = 0.0
    """Side of the square about the centre that holds the central object; 0 without an object."""
    bits: tuple[tuple[int, float], ...] = ()
    """Bits that occur, if the pixels are whole numbers, and the share of pixels that have them."""

    @property
    def n_axes(self) -> int:
        """Number of axes, without single planes in front."""
        return 2 + len(list(dropwhile(lambda length: length == 1, self.shape[:-2])))


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
    file, names, infos = ArrayFile(path), _band_names(path), []
    for entry in file.entries:
        if len(entry.shape) < 2 or min(entry.shape[-2:]) < 2:
            continue
        bands = names if len(entry.shape) > 2 and len(names) == entry.shape[-3] else ()
        small = np.prod(entry.shape[-3:]) * 8 < LARGE_BYTES
        statistics = _statistics(file.read(entry, (0,) * (len(entry.shape) - 3))) if small else {}
        infos.append(ImageInfo(entry.name, role_of(entry.name), entry.shape, "array", bands, **statistics))
    return infos


def _band_names(path: Path) -> tuple[str, ...]:
    """Read the names of bands: a short array of text, or attribute of HDF5, that is called `bands` or `filters`."""
    with h5py.File(path, "r", locking=False) if h5py.is_hdf5(path) else np.load(path, allow_pickle=False) as file:
        places = [file.attrs, file] if isinstance(file, h5py.File) else [file]
        try:
            values = next((place[key] for key in ("bands", "filters") for place in places if key in place), ())
        except ValueError:  # an array of objects, which needs pickle
            return ()
        if np.ndim(values) != 1 or np.size(values) > 100:
            return ()
        return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values[:])


def _fits(file: FitsFile) -> list[ImageInfo]:
    images = [hdu for hdu in file.hdus if hdu.is_image and len(hdu.shape) >= 2 and min(hdu.shape[-2:]) > 1]
    names = {hdu.name.upper() for hdu in images}
    named = len(names) == len(images) and "" not in names
    infos = []
    for place, hdu in enumerate(images):
        try:
            statistics = _statistics(file.pixels(hdu)) if place < _MOST_IMAGES else {}
        except UnreadableError:
            if len(file.hdus) == 1:
                raise
            statistics = {}
        info = ImageInfo(
            hdu.name if named and hdu.name != "PRIMARY" else hdu.index,
            role_of(hdu.name),
            hdu.shape,
            "fits",
            _filters(hdu.header, file.primary.header),
            zero_point(hdu, file.primary),
            str(hdu.cards.get("BUNIT", file.primary.cards.get("BUNIT", ""))).strip(),
            pixel_scale_arcsec(hdu),
            **statistics,
        )
        infos.append(info)
    return infos


def _large(path: Path) -> ImageInfo:
    """Describe the first image of a large file without reading it whole."""
    mosaic = Mosaic(path, None, 0)
    try:
        (height, width), header = mosaic.shape, mosaic.header or fits.Header()
        top, left = (max(length - _MIDDLE, 0) // 2 for length in (height, width))
        statistics = _statistics(mosaic.section(top, left, min(height, _MIDDLE), min(width, _MIDDLE)))
        optional = _filters(header), mosaic.zero_point, str(header.get("BUNIT", "")).strip(), mosaic.pixel_scale_arcsec
        return ImageInfo(None, "image", mosaic.full_shape, "fits", *optional, **statistics)
    finally:
        mosaic.close()


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
        "zero_share": float((pixels == 0).mean()),
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
