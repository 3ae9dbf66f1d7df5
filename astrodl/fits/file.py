"""Read images from FITS files that nobody vouches for.

A file is read whole, unpacked within a limit, and its structure is walked before any pixel is touched, so that a header
can never make us allocate more than the file holds. Plain images are then views of those bytes; tile-compressed ones
are checked and go through astropy. `Hdu.header` gives the whole header as astropy reads it.

Pixels are those that astropy gives, bit for bit, but for one thing: BLANK marks missing pixels also where it is zero
or the image is one of unsigned integers, as the standard says and astropy 8.0 does not heed.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.fits.bytes import MAX_BYTES, UnreadableError, read_bytes
from astrodl.fits.header import Layout, Scaling, Unit, by, find_units, parse_values
from astrodl.fits.tiles import unpack
from astrodl.fits.units import pixel_scale_arcsec, to_microjansky, zero_point

__all__ = [
    "MAX_BYTES",
    "FitsFile",
    "Hdu",
    "MissingExtensionError",
    "UnreadableError",
    "open_fits",
    "pixel_scale_arcsec",
    "read_bytes",
    "to_microjansky",
    "zero_point",
]


class MissingExtensionError(UnreadableError):
    """The file lacks an extension; `available` lists those that hold images."""

    def __init__(self, extension: str | int, available: Sequence[str]) -> None:
        super().__init__(f"no extension '{extension}' (images in the file: {', '.join(available) or 'none'})")
        self.available = list(available)


class Hdu:
    """One header-data unit of a file.

    Attributes
    ----------
    index, name
        Position in the file, from 0, and EXTNAME ("PRIMARY" for the first if it has none).
    shape
        Axes of the image, slowest first; empty if there is none.
    """

    __slots__ = ("_data", "unit")

    def __init__(self, data: bytes, unit: Unit) -> None:
        self._data = data
        self.unit = unit

    @property
    def index(self) -> int:
        """Position in the file, from 0."""
        return self.unit.index

    @property
    def name(self) -> str:
        """EXTNAME; "PRIMARY" for the first unit if it has none."""
        return self.unit.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the image, slowest first; empty if there is none."""
        return self.unit.shape

    @property
    def is_image(self) -> bool:
        """Whether it holds an image, tile-compressed or not."""
        return bool(self.unit.shape) and 0 not in self.unit.shape

    @property
    def compressed(self) -> bool:
        """Whether the image is tile-compressed."""
        return self.unit.compressed

    @property
    def cards(self) -> dict[str, Any]:
        """Values of the cards that tell structure, zero point and unit."""
        return {**parse_values(b"".join([self._data[place] for place in self.unit.values])), **self.unit.cards}

    @property
    def header(self) -> fits.Header:
        """The header as astropy reads it."""
        with warnings.catch_warnings():
            # Cards that break the standard are frequent, and none of them matters to a WCS.
            warnings.simplefilter("ignore", AstropyWarning)
            return fits.Header.fromstring(self._data[self.unit.header : self.unit.start])


class FitsFile:
    """The bytes of a FITS file and the units found in them."""

    __slots__ = ("_layout", "data")

    def __init__(self, data: bytes, layout: Layout) -> None:
        self.data = data
        self._layout = layout

    @property
    def hdus(self) -> tuple[Hdu, ...]:
        """All units, in the order of the file."""
        return tuple([Hdu(self.data, unit) for unit in self._layout.units])

    @property
    def primary(self) -> Hdu:
        """The first unit."""
        return Hdu(self.data, self._layout.units[0])

    @property
    def images(self) -> list[str]:
        """Names (or numbers, where there is no name) of the units that hold an image."""
        return [hdu.name or str(hdu.index) for hdu in self.hdus if hdu.is_image]

    def find(self, extension: str | int) -> Hdu:
        """Find an image by number or by name (case does not matter; "SCI,2" is the second of that name).

        Raises
        ------
        MissingExtensionError
            There is no such extension.
        UnreadableError
            The extension holds no image.
        """
        found = self._layout.found.get(extension)
        if found is None:
            found = self._layout.found[extension] = self._search(extension)
        return Hdu(self.data, found)

    def _search(self, extension: str | int) -> Unit:
        units = self._layout.units
        if isinstance(extension, int):
            matches = [unit for unit in units if unit.index == extension]
        else:
            name, _, version = extension.partition(",")
            matches = [unit for unit in units if unit.name.upper() == name.strip().upper()]
            if version:
                matches = [unit for unit in matches if str(unit.cards.get("EXTVER", 1)) == version.strip()]
        if not matches:
            if units[-1].available < units[-1].n_bytes:
                raise UnreadableError(_truncated(units[-1]))
            raise MissingExtensionError(extension, self.images)
        if not matches[0].shape or 0 in matches[0].shape:
            raise UnreadableError(f"extension '{extension}' holds no image")
        return matches[0]

    def first_image(self, n_axes: int) -> Hdu:
        """Find the first image with `n_axes` axes longer than one pixel, else the first image.

        Raises
        ------
        UnreadableError
            The file holds no image.
        """
        images = [hdu for hdu in self.hdus if hdu.is_image]
        if not images:
            raise UnreadableError("the file holds no image")
        return next((hdu for hdu in images if sum(length > 1 for length in hdu.shape) == n_axes), images[0])

    def pixels(self, hdu: Hdu, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Read an image as float32 with NaN where there is no data, axes of one pixel in front removed.

        Parameters
        ----------
        hdu
            A unit of this file.
        out
            Array to fill and give back, for instance a slice of shared memory.

        Raises
        ------
        UnreadableError
            The data are cut short or cannot be unpacked, or the image has not the shape of `out`.
        """
        unit = hdu.unit
        if out is not None and out.shape != unit.flat:
            raise UnreadableError(f"the image has {by(unit.flat)} pixels, others have {by(out.shape)}")
        raw = np.ndarray(unit.flat, unit.kind, self.data, unit.start) if unit.plain else self._raw(unit)
        if out is None:
            out = np.empty(unit.flat, np.float32)
        if unit.plain:
            out[...] = raw
        else:
            _convert(raw, unit.scaling, out)
        finite = np.isfinite(out)
        if np.count_nonzero(finite) != finite.size:
            out[~finite] = np.nan
        return out

    def values(self, hdu: Hdu) -> NDArray[Any]:
        """Read an image as it is stored, its integers with all of their bits; for masks.

        Raises
        ------
        UnreadableError
            The data are cut short or cannot be unpacked.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return _scale(self._raw(hdu.unit), hdu.unit.scaling)

    def _raw(self, unit: Unit) -> NDArray[Any]:
        if unit.available < unit.n_bytes:
            raise UnreadableError(_truncated(unit))
        if unit.compressed:
            return unpack(self.data, unit).reshape(unit.flat)
        return np.ndarray(unit.flat, unit.kind, self.data, unit.start)


def open_fits(data: bytes) -> FitsFile:
    """Walk through the structure of a FITS file.

    Raises
    ------
    UnreadableError
        Not FITS, or a header is broken.
    """
    return FitsFile(data, find_units(data))


def _convert(raw: NDArray[Any], scaling: Scaling | None, out: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and then missing
        out[...] = _scale(raw, scaling)
    if scaling is not None and scaling.blank is not None:
        out[raw == scaling.blank] = np.nan


def _scale(raw: NDArray[Any], scaling: Scaling | None) -> NDArray[Any]:
    """Apply BSCALE and BZERO with astropy's types: 8 and 16 bits in float32, more in float64, unsigned ones exactly."""
    if scaling is None:
        return raw
    bits = 8 * raw.dtype.itemsize
    native = raw.dtype.newbyteorder("=")
    if raw.dtype.kind == "f":
        image = raw.astype(native)
    elif scaling.scale == 1 and scaling.zero == (2 ** (bits - 1) if bits > 8 else -128):
        shifted = raw.astype(native).view(f"u{bits // 8}") + np.array(1 << (bits - 1), f"u{bits // 8}")
        return shifted if bits > 8 else shifted.view(np.int8)
    else:
        image = raw.astype(np.float32 if bits <= 16 else np.float64)
    if scaling.scale != 1:
        image *= scaling.scale
    if scaling.zero != 0:
        image += scaling.zero
    return image


def _truncated(unit: Unit) -> str:
    return (
        f"the file is cut short: extension '{unit.name or unit.index}' should hold {by(unit.shape) or 'data of'} "
        f"pixels ({unit.n_bytes / 1e6:.3g} MB), {unit.available / 1e6:.3g} MB are there"
    )
