"""Read images from FITS files that come from untrusted sources.

`open_fits` checks the structure of a file before any pixel is read, so that a header cannot cause more memory to be
allocated than the file holds. Plain images are views of the file's bytes; tile-compressed images are checked and then
decompressed by astropy. `Hdu.header` is the complete header as astropy reads it.

The pixels equal those of astropy bit for bit, with one exception: BLANK also marks missing pixels if it is zero or if
the image has unsigned integers. The FITS standard requires this; astropy 8.0 ignores BLANK in these cases.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.fits.bytes import UnreadableError
from astrodl.fits.header import (
    FileLayout,
    HduLayout,
    Scaling,
    find_layout,
    format_shape,
    parse_cards_cached,
)
from astrodl.fits.tiles import decompress

__all__ = [
    "AUXILIARY_IMAGES",
    "FitsFile",
    "Hdu",
    "MissingExtensionError",
    "list_extensions",
    "match_extension",
    "open_fits",
]

AUXILIARY_IMAGES = ("WCSDVARR", "D2IMARR")
"""Extensions that describe the distortions of an image (lookup tables of CPDISi and D2IMDISi), not the sky."""


class MissingExtensionError(UnreadableError):
    """The file lacks an extension; `available` lists the extensions that hold images."""

    def __init__(self, extension: str | int, available: Sequence[str]) -> None:
        super().__init__(f"no extension '{extension}' (images in the file: {', '.join(available) or 'none'})")
        self.available = list(available)


class Hdu:
    """One header-data unit (HDU) of a file."""

    __slots__ = ("_data", "layout")

    def __init__(self, data: bytes, layout: HduLayout) -> None:
        self._data = data
        self.layout = layout

    @property
    def index(self) -> int:
        """Position in the file, from 0."""
        return self.layout.index

    @property
    def name(self) -> str:
        """EXTNAME; "PRIMARY" for the first HDU if it has none."""
        return self.layout.name

    @property
    def version(self) -> int:
        """EXTVER, which tells extensions of one name apart."""
        version = self.layout.cards.get("EXTVER", 1)
        return version if isinstance(version, int) else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image, slowest axis first; empty if there is no image."""
        return self.layout.shape

    @property
    def is_image(self) -> bool:
        """Whether the HDU holds an image, tile-compressed or not."""
        return bool(self.layout.shape) and 0 not in self.layout.shape

    @property
    def is_compressed(self) -> bool:
        """Whether the image is tile-compressed."""
        return self.layout.is_compressed

    @property
    def cards(self) -> dict[str, Any]:
        """Values of the cards that describe structure, zero point and unit."""
        cards = b"".join([self._data[place] for place in self.layout.value_cards])
        return {**parse_cards_cached(cards), **self.layout.cards}

    @property
    def header(self) -> fits.Header:
        """The header as astropy reads it."""
        with warnings.catch_warnings():
            # Cards that violate the standard are common, and none of them matters to a WCS.
            warnings.simplefilter("ignore", AstropyWarning)
            return fits.Header.fromstring(self._data[self.layout.header_start : self.layout.data_start])


class FitsFile:
    """The bytes of a FITS file and its HDUs; see `open_fits`."""

    __slots__ = ("_data", "_layout")

    def __init__(self, data: bytes, layout: FileLayout) -> None:
        self._data = data
        self._layout = layout

    @property
    def hdus(self) -> tuple[Hdu, ...]:
        """All HDUs, in the order of the file."""
        return tuple([Hdu(self._data, layout) for layout in self._layout.hdus])

    @property
    def primary(self) -> Hdu:
        """The first HDU."""
        return Hdu(self._data, self._layout.hdus[0])

    @property
    def images(self) -> list[str]:
        """Names of the HDUs that hold an image of the sky; see `list_extensions`."""
        return list_extensions([(hdu.index, hdu.name, hdu.version) for hdu in self.hdus if hdu.is_image])

    def find(self, extension: str | int) -> Hdu:
        """Find an image by number or by name (not case-sensitive; "SCI,2" is the extension with EXTVER 2).

        Raises
        ------
        MissingExtensionError
            If there is no such extension.
        UnreadableError
            If the extension holds no image.
        """
        layout = self._layout.by_extension.get(extension)
        if layout is None:
            layout = self._layout.by_extension[extension] = self._search(extension)
        return Hdu(self._data, layout)

    def _search(self, extension: str | int) -> HduLayout:
        hdus = self._layout.hdus
        # Numbers are looked up without the names: a file can hold one object in each of thousands of extensions.
        names = [("", 1)] * len(hdus) if isinstance(extension, int) else [(hdu.name, hdu.version) for hdu in self.hdus]
        matches = [hdus[number] for number in match_extension(extension, names)]
        if not matches:
            if hdus[-1].n_available < hdus[-1].n_bytes:
                raise _truncated(hdus[-1])
            raise MissingExtensionError(extension, self.images)
        images = [hdu for hdu in matches if hdu.shape and 0 not in hdu.shape]
        if not images:
            raise UnreadableError(f"extension '{extension}' holds no image")
        return images[0]

    def first_image(self, n_axes: int) -> Hdu:
        """Find the first image with `n_axes` axes longer than one pixel, or else the first image of the sky.

        Raises
        ------
        UnreadableError
            If the file holds no image.
        """
        images = [hdu for hdu in self.hdus if hdu.is_image and hdu.name.upper() not in AUXILIARY_IMAGES]
        if not images:
            raise UnreadableError("the file holds no image")
        return next((hdu for hdu in images if sum(length > 1 for length in hdu.shape) == n_axes), images[0])

    def pixels(
        self, hdu: Hdu, out: NDArray[Any] | None = None, dtype: type[np.floating[Any]] = np.float32
    ) -> NDArray[Any]:
        """Read an image as float32 with NaN for missing pixels, without leading axes of length one.

        Parameters
        ----------
        hdu
            An HDU of this file.
        out
            Array to write to and return, for example a slice of shared memory.
        dtype
            Another type, float64 for values that float32 cannot represent.

        Raises
        ------
        UnreadableError
            If the data are truncated or cannot be decompressed, or if the shape of the image differs from `out`.
        """
        layout = hdu.layout
        shape = layout.image_shape
        if out is not None and out.shape != shape:
            raise UnreadableError(f"the image has {format_shape(shape)} pixels, others have {format_shape(out.shape)}")
        stored = np.ndarray(shape, layout.dtype, self._data, layout.data_start) if layout.is_plain else self._read(hdu)
        if out is None:
            out = np.empty(shape, dtype)
        if layout.is_plain:
            out[...] = stored
        else:
            _convert(stored, layout.scaling, out)
        finite = np.isfinite(out)
        if np.count_nonzero(finite) != finite.size:
            out[~finite] = np.nan
        return out

    def values(self, hdu: Hdu) -> NDArray[Any]:
        """Read an image without conversion to float32, so that the integers of a mask keep all bits.

        Raises
        ------
        UnreadableError
            If the data are truncated or cannot be decompressed.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return _scale(self._read(hdu), hdu.layout.scaling)

    def _read(self, hdu: Hdu) -> NDArray[Any]:
        layout = hdu.layout
        if layout.n_available < layout.n_bytes:
            raise _truncated(layout)
        if layout.is_compressed:
            return decompress(self._data, layout).reshape(layout.image_shape)
        return np.ndarray(layout.image_shape, layout.dtype, self._data, layout.data_start)


def open_fits(data: bytes) -> FitsFile:
    """Find the HDUs in the bytes of a FITS file.

    Raises
    ------
    UnreadableError
        If the data are not FITS or a header is broken.
    """
    return FitsFile(data, find_layout(data))


def match_extension(extension: str | int, identities: Sequence[tuple[str, int]]) -> list[int]:
    """Return the numbers of the HDUs that an extension stands for.

    Parameters
    ----------
    extension
        Number, name (not case-sensitive), name and EXTVER ("SCI,2"), or the digits of a number.
    identities
        EXTNAME and EXTVER of all HDUs.
    """
    if isinstance(extension, int):
        return [extension] if 0 <= extension < len(identities) else []
    wanted = extension.strip().upper()
    names = [name.strip().upper() for name, _ in identities]
    matches = [number for number, name in enumerate(names) if name == wanted != ""]
    if not matches:
        wanted_name, _, version = (part.strip() for part in wanted.rpartition(","))
        versions = [str(version) for _, version in identities]
        pairs = enumerate(zip(names, versions, strict=True))
        matches = [number for number, pair in pairs if wanted_name and pair == (wanted_name, version)]
    if not matches and wanted.isdigit() and int(wanted) < len(identities):
        return [int(wanted)]
    return matches


def list_extensions(images: Sequence[tuple[int, str, int]]) -> list[str]:
    """Return what `match_extension` finds images by: name, name and EXTVER if a name occurs twice, or number.

    Parameters
    ----------
    images
        Number, EXTNAME and EXTVER of HDUs; lookup tables of distortions are left out.
    """
    counts = Counter(name.upper() for _, name, _ in images)
    sky = [image for image in images if image[1].upper() not in AUXILIARY_IMAGES]
    return [(f"{name},{version}" if counts[name.upper()] > 1 else name) if name else str(n) for n, name, version in sky]


def _convert(stored: NDArray[Any], scaling: Scaling | None, out: NDArray[Any]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 become infinite, and then NaN
        out[...] = _scale(stored, scaling)
    if scaling is not None and scaling.blank is not None:
        out[stored == scaling.blank] = np.nan


def _scale(stored: NDArray[Any], scaling: Scaling | None) -> NDArray[Any]:
    """Apply BSCALE and BZERO with astropy's types: float32 for 8 and 16 bits, else float64; unsigned integers exact."""
    if scaling is None:
        return stored
    bits = 8 * stored.dtype.itemsize
    native = stored.dtype.newbyteorder("=")
    if stored.dtype.kind == "f":
        image = stored.astype(native)
    elif scaling.scale == 1 and scaling.zero == (2 ** (bits - 1) if bits > 8 else -128):
        shifted = stored.astype(native).view(f"u{bits // 8}") + np.array(1 << (bits - 1), f"u{bits // 8}")
        return shifted if bits > 8 else shifted.view(np.int8)
    else:
        image = stored.astype(np.float32 if bits <= 16 else np.float64)
    if scaling.scale != 1:
        image *= scaling.scale
    if scaling.zero != 0:
        image += scaling.zero
    return image


def _truncated(hdu: HduLayout) -> UnreadableError:
    size = f"{format_shape(hdu.shape) or 'data of'} pixels ({hdu.n_bytes / 1e6:.3g} MB)"
    return UnreadableError(
        f"the file is cut short: extension '{hdu.name or hdu.index}' should hold {size}, "
        f"{hdu.n_available / 1e6:.3g} MB are there"
    )
