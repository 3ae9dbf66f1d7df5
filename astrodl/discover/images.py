"""Look at a file of images that nobody vouches for: what it holds, how it is calibrated, what is missing."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astrodl.fits.file import FitsFile, Hdu, UnreadableError, open_fits, pixel_scale_arcsec, read_bytes, zero_point
from astrodl.ingestion import rgb
from astrodl.ingestion.arrays import ArrayFile
from astrodl.ingestion.mosaic import Mosaic
from astrodl.photometry.sky import border_sky

Role = Literal["image", "variance", "sigma", "weight", "mask", "psf", "segmentation"]

LARGE_BYTES = 128 << 20
"""Files beyond this are not read whole: one image of them is described, with the statistics of its middle."""
_MIDDLE = 512
_MOST_IMAGES = 12
_FAINTEST, _FAINTEST_OF_PICTURE = 0.01, 0.15
"""Surface brightness at which an object ends, over that of its peak; pictures are stretched, so theirs is higher."""
_BITPIX = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
_ROLE_WORDS: dict[Role, set[str]] = {
    "psf": {"psf", "psfs", "epsf", "prf"},
    "segmentation": {"seg", "segm", "segmap", "segmentation"},
    "mask": {"msk", "mask", "masks", "dq", "dqm", "flag", "flags", "bpm", "bad", "badpix", "ood"},
    "weight": {"wht", "weight", "weights", "wt", "ivar", "invvar", "oow"},
    "variance": {"var", "variance"},
    "sigma": {"sig", "sigma", "err", "error", "rms", "unc", "uncert", "uncertainty", "std", "noise"},
}
_IMAGE_WORDS = {"sci", "img", "image", "images", "im", "fit", "ooi", "drz", "drc", "data", "flux", "coadd", "int"}


@dataclass(frozen=True)
class ImageView:
    """What one image of a file looks like.

    Attributes
    ----------
    extension
        How to name it in a configuration; None in a picture.
    label
        Its name for people.
    role
        Image, or a plane that goes with one, by its name.
    shape
        Axes, slowest first.
    kind
        Type of the pixels, and compression.
    bands
        Names of filters in the header, one per plane of a cube where it tells them.
    zero_point, zero_from, unit
        AB magnitude of one count or None, the cards that say so, and BUNIT.
    pixel_scale_arcsec
        From the celestial WCS, or None.
    nan_share, zero_share
        Shares of pixels without data and exactly zero; NaN where no pixel was looked at.
    sky_in_sigma
        Level of the border over its noise, NaN where it cannot be measured.
    extent_pixels
        Side of the square about the centre that holds the central object; 0 where nothing stands out.
    bits
        Of a mask: bits that occur, and the share of pixels that have them.
    """

    extension: str | int | None
    label: str
    role: Role
    shape: tuple[int, ...]
    kind: str
    bands: tuple[str, ...] = ()
    zero_point: float | None = None
    zero_from: str = ""
    unit: str = ""
    pixel_scale_arcsec: float | None = None
    nan_share: float = np.nan
    zero_share: float = np.nan
    sky_in_sigma: float = np.nan
    extent_pixels: float = 0.0
    bits: tuple[tuple[int, float], ...] = ()

    @property
    def n_axes(self) -> int:
        """Number of axes, single planes in front not counted."""
        shape = self.shape
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        return len(shape)

    def seen(self) -> str:
        """Describe the image in a line."""
        parts = [" x ".join(map(str, reversed(self.shape))), self.kind]
        if self.pixel_scale_arcsec:
            parts.append(f"{self.pixel_scale_arcsec:.4g} arcsec/pixel")
        if self.unit:
            parts.append(f"unit {self.unit}")
        if self.role == "image" and self.kind != "picture":
            zero = (
                "no zero point" if self.zero_point is None else f"zero point {self.zero_point:.6g} ({self.zero_from})"
            )
            parts.append(zero)
        return ", ".join(parts)


def look_at(path: Path) -> list[ImageView]:
    """Describe the images of a FITS, HDF5, NPZ, JPEG or PNG file.

    Raises
    ------
    UnreadableError
        It is none of these, damaged, or holds no image.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
        large = path.stat().st_size > LARGE_BYTES
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        views = [_picture(path)]
    elif start.startswith((b"PK\x03\x04", b"\x89HDF")):
        views = _arrays(path)
    elif large:
        views = [_large(path)]
    else:
        views = _fits(open_fits(read_bytes(path)))
    if not views:
        raise UnreadableError("the file holds no image")
    return views


def role_of(name: str) -> Role:
    """Tell from a name whether it is that of an image, or of a plane that goes with one."""
    found = words(name)
    for role, known in _ROLE_WORDS.items():
        if known & set(found):
            return role
    return "image"


def words(name: str) -> list[str]:
    """Divide a name into words and numbers, lower case; an `im` at the end of a word is dropped (`psfim`, `mskim`)."""
    parts = re.findall(r"[a-z]+|\d+", name.casefold())
    return [re.sub(r"(?<=.{3})im(g|age)?$", "", part) for part in parts]


def bare(name: str) -> list[str]:
    """Give the words of a name without those that tell an image from the planes that go with it."""
    spoken = _IMAGE_WORDS.union(*_ROLE_WORDS.values())
    return [word for word in words(name) if word not in spoken]


def without_image_words(name: str) -> str:
    """Take `SCI` and the like away from the name of an extension, unless nothing would be left."""
    parts = re.split(r"[\s_.-]+", name)
    return "_".join(part for part in parts if part.casefold() not in _IMAGE_WORDS) or name


def _fits(file: FitsFile) -> list[ImageView]:
    images = [hdu for hdu in file.hdus if hdu.is_image and len(hdu.shape) >= 2 and min(hdu.shape[-2:]) > 1]
    names = [hdu.name.upper() for hdu in images]
    named = len(set(names)) == len(names) and "" not in names
    views = []
    for place, hdu in enumerate(images):
        extension = hdu.name if named and hdu.name != "PRIMARY" else hdu.index
        measured = _measured(_pixels(file, hdu)) if place < _MOST_IMAGES else {}
        views.append(_view(hdu, file.hdus[0], extension, measured))
    return views


def _pixels(file: FitsFile, hdu: Hdu) -> NDArray[np.float32] | None:
    try:
        return file.pixels(hdu)
    except UnreadableError:
        if len(file.hdus) == 1:
            raise
        return None


def _view(hdu: Hdu, primary: Hdu, extension: str | int | None, measured: dict[str, Any]) -> ImageView:
    zero = zero_point(hdu, primary)
    return ImageView(
        extension,
        hdu.name if hdu.name else f"extension {hdu.index}",
        role_of(hdu.name),
        hdu.shape,
        _kind(hdu),
        _filters(hdu.header, primary.header if primary is not hdu else {}),
        zero,
        "" if zero is None else _zero_from(hdu, primary),
        str(hdu.cards.get("BUNIT", primary.cards.get("BUNIT", ""))).strip(),
        pixel_scale_arcsec(hdu),
        **measured,
    )


def _kind(hdu: Hdu) -> str:
    if not hdu.compressed:
        return _BITPIX[hdu.cards["BITPIX"]]
    return _BITPIX.get(hdu.header.get("ZBITPIX"), "unknown type") + ", tile-compressed"


def _filters(*headers: Any) -> tuple[str, ...]:
    """Read the names of filters: BAND0, BAND1 ...; BANDS; FILTER or BAND."""
    for header in headers:
        try:
            planes = [str(header[key]).strip() for key in (f"BAND{k}" for k in range(100)) if key in header]
            if planes:
                return tuple(planes)
            if "BANDS" in header:
                text = str(header["BANDS"]).strip()
                parts = re.split(r"[\s,;]+", text)
                return tuple(parts if len(parts) > 1 else text)
            for key in ("FILTER", "BAND", "FILTNAM1", "FILTER1"):
                if str(header.get(key, "")).strip():
                    return (str(header[key]).split()[0],)
        except (ValueError, TypeError, KeyError):  # a card that breaks the standard
            continue
    return ()


def _zero_from(hdu: Hdu, primary: Hdu) -> str:
    """Name the cards that the zero point comes from, in the order in which `zero_point` looks."""
    for cards, where in ((hdu.cards, ""), (primary.cards, " of the primary header")):
        for key in ("MAGZERO", "MAGZPT", "ZP"):
            if isinstance(cards.get(key), (int, float)):
                return key + where
        if cards.get("PHOTFLAM") and cards.get("PHOTPLAM"):
            return f"PHOTFLAM and PHOTPLAM{where}"
        if cards.get("BUNIT"):
            return f"BUNIT{where}"
    return "the header"


def _large(path: Path) -> ImageView:
    """Describe the first image of a large file without reading it whole."""
    mosaic = Mosaic(path, None, 0)
    try:
        height, width = mosaic.shape
        top, left = (max(length - _MIDDLE, 0) // 2 for length in (height, width))
        pixels = mosaic.section(top, left, min(height, _MIDDLE), min(width, _MIDDLE))
        header = mosaic.header if mosaic.header is not None else {}
        scale = None
        if mosaic.wcs is not None:
            from astropy.wcs.utils import proj_plane_pixel_scales

            scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(mosaic.wcs))) * 3600)
        zero, unit = mosaic.zero_point, str(header.get("BUNIT", "")).strip()
        kind, bands, measured = (
            _BITPIX.get(header.get("BITPIX", 0), "unknown type"),
            _filters(header),
            _measured(pixels),
        )
        view = (None, "first image", "image", mosaic.full_shape, kind, bands, zero, "the header", unit, scale)
        return ImageView(*view, **measured)  # type: ignore[arg-type]
    finally:
        mosaic.close()


def _arrays(path: Path) -> list[ImageView]:
    file = ArrayFile(path)
    names = _text_array(path)
    views = []
    for entry in file.entries:
        if len(entry.shape) < 2 or min(entry.shape[-2:]) < 2:
            continue
        bands = names if len(entry.shape) > 2 and len(names) == entry.shape[-3] else ()
        index: tuple[int, ...] = (0,) * (len(entry.shape) - 3)
        measured = _measured(file.read(entry, index)) if np.prod(entry.shape[-3:]) * 8 < LARGE_BYTES else {}
        role = role_of(entry.name)
        views.append(ImageView(entry.name, entry.name, role, entry.shape, "array", bands, **measured))
    return views


def _text_array(path: Path) -> tuple[str, ...]:
    """Find the names of bands in a small array of text (`filters`, `bands`) of an NPZ file, or an attribute of HDF5."""
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                if name.casefold() in ("filters", "filter", "bands", "band"):
                    try:
                        values = file[name]
                    except ValueError:  # objects, which only pickle could read
                        continue
                    return tuple(str(value) for value in values.ravel()[:100])
        return ()
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        for key in ("bands", "filters"):
            values = file.attrs.get(key, file.get(key))
            if values is not None and 0 < np.size(values) <= 100 and np.ndim(values) == 1:
                return tuple(one.decode() if isinstance(one, bytes) else str(one) for one in values[:])
    return ()


def _picture(path: Path) -> ImageView:
    pixels = rgb.decode(read_bytes(path))
    bands = ("red", "green", "blue") if len(pixels) == 3 else ("grey",)
    return ImageView(
        None, "picture", "image", pixels.shape, "picture", bands, **_measured(pixels, _FAINTEST_OF_PICTURE)
    )


def bits_of(mask: NDArray[np.float32]) -> tuple[tuple[int, float], ...]:
    """Give the bits that occur in a mask and the share of pixels that have them; none unless all are whole numbers."""
    values = np.nan_to_num(mask.ravel())
    if (values < 0).any() or (values >= 2**31).any() or (values != np.trunc(values)).any():
        return ()
    whole = values.astype(np.int64)
    shares = ((bit, float((whole >> bit & 1).mean())) for bit in range(31))
    return tuple((bit, share) for bit, share in shares if share > 0)


def _measured(pixels: NDArray[np.float32] | None, faintest: float = _FAINTEST) -> dict[str, Any]:
    """Measure what is missing; and in the middle of the image the bits, the sky on the border, the central object."""
    if pixels is None or pixels.size == 0:
        return {}
    planes = pixels.reshape(-1, *pixels.shape[-2:])
    image = _middle(planes[len(planes) // 2])
    level, sigma = border_sky(image)
    return {
        "nan_share": float(np.isnan(pixels).mean()),
        "zero_share": float((pixels == 0).mean()),
        "sky_in_sigma": level / sigma if sigma > 0 else np.nan,
        "extent_pixels": extent(image, level, sigma, faintest),
        "bits": bits_of(image),
    }


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    top, left = (max(length - _MIDDLE, 0) // 2 for length in image.shape)
    return image[top : top + _MIDDLE, left : left + _MIDDLE]


def extent(image: NDArray[np.float32], level: float, sigma: float, faintest: float = _FAINTEST) -> float:
    """Give the side of the square about the centre that holds the central object.

    The object is what hangs together with the brightest pixel of the central ninth after smoothing with a Gaussian of
    1.5 pixels (which makes independent noise five times smaller): above one and a half sigma of the sky, and above
    the share `faintest` of that pixel, since the deepest images have no end.

    Returns
    -------
    Side in pixels, 0 where nothing stands out.
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
