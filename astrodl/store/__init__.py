"""The store: one HDF5 file with the cutouts, measurements and catalogue columns of a survey.

Layout (N objects, B bands, cutouts of size x size pixels; objects are always the first axis):

========================  ===================  ==========================================================
``/image``                (N, B, y, x) f4      linear flux, NaN if there are no data; not in a survey without images
``/object_id``            (N,) text            unique
``/catalog/{name}``       (N,) number or text  a catalogue column (f8, i8, u8); NaN, ``null`` or "" if missing
``/features``             (N, F) f4            photometry; attribute ``names``; NaN if not measurable
``/sky_sigma``            (N, B) f4            noise of a pixel in the unit of the image, or error of the flux
``/background``           (N, B) f4            subtracted background, in the unit of the image
``/flags``                (N,) i4              bits, see `FLAGS`
``/band_flags``           (N, B) u1            bits per band, see `BAND_FLAGS`
``/split``                (N,) i1              0 train, 1 validation, 2 test, 3 rest (only predicted)
``/fold``                 (N,) i2              cross-validation fold; -1 for test and rest
``/label/{name}``         (N, y, x) f4         pixel labels, in the unit of the image
``/variance``             (N, B, y, x) f4      optional: variance of each pixel, NaN if there are no data
``/mask``                 (N, B, y, x) u1      optional: 1 if a mask plane masks the pixel
``/psf``                  (N, B, p, p) f4      optional: point-spread functions, centred on pixel p // 2
========================  ===================  ==========================================================

Root attributes: ``format``, ``format_version``, ``bands``, ``pixel_scale_arcsec`` (NaN: unknown), ``zero_points``
(AB magnitude of one count in the files; NaN: none, or not the same for all objects), ``unit`` ("uJy" or "relative"),
``survey``, ``version``, ``source_checksum``, ``settings`` (canonical JSON). Each dataset has an attribute ``sha256`` of
its content; ``object_id`` and catalogue columns have ``source``, ``type``, ``unit`` and ``description`` of the input,
and ``null``, the integer that stands for a missing value. Row 0 of an image is its bottom row, as in FITS.

`Reader` checks names, shapes, types and attributes when it opens a store, and refuses links and data in other files.
"""

from astrodl.store.checking import check
from astrodl.store.layout import BAND_FLAGS, FLAGS, FORMAT, FORMAT_VERSION, SPLITS
from astrodl.store.reader import Reader, Subset, open_store
from astrodl.store.rows import RowLocation, write_rows
from astrodl.store.writer import Writer

__all__ = [
    "BAND_FLAGS",
    "FLAGS",
    "FORMAT",
    "FORMAT_VERSION",
    "SPLITS",
    "Reader",
    "RowLocation",
    "Subset",
    "Writer",
    "check",
    "open_store",
    "write_rows",
]
