"""Readers of FITS files that may be damaged or come from untrusted sources."""

from astrodl.fits.bytes import MAX_BYTES, UnreadableError, read_bytes
from astrodl.fits.file import (
    AUXILIARY_IMAGES,
    FitsFile,
    Hdu,
    MissingExtensionError,
    list_extensions,
    match_extension,
    open_fits,
)
from astrodl.fits.units import pixel_scale_arcsec, to_microjansky, zero_point

__all__ = [
    "AUXILIARY_IMAGES",
    "MAX_BYTES",
    "FitsFile",
    "Hdu",
    "MissingExtensionError",
    "UnreadableError",
    "list_extensions",
    "match_extension",
    "open_fits",
    "pixel_scale_arcsec",
    "read_bytes",
    "to_microjansky",
    "zero_point",
]
