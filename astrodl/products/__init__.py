"""The value-added catalogue: a FITS binary table with units, descriptions, UCDs and provenance.

For column i, the comment of TTYPEi holds the (shortened) description, TCOMMi the full description, TUNITi the unit and
TUCDi the UCD (the keyword that TOPCAT reads and writes). Provenance is in cards of the table header where the name is a
FITS keyword, otherwise in HISTORY. The file holds no date: equal content gives equal bytes for any block size.
"""

from astrodl.products.columns import Column, name_safely
from astrodl.products.read import read_catalog
from astrodl.products.vectors import Vectors
from astrodl.products.write import FITS_SUFFIXES, CatalogWriter, require_suffix, stream_catalog, write_catalog

__all__ = [
    "FITS_SUFFIXES",
    "CatalogWriter",
    "Column",
    "Vectors",
    "name_safely",
    "read_catalog",
    "require_suffix",
    "stream_catalog",
    "write_catalog",
]
