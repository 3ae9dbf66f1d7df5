"""The value-added catalogue: one FITS binary table with units, descriptions, UCDs and provenance.

Per column i: TTYPEi with the (shortened) description as comment, TUNITi, TUCDi (as TOPCAT reads and writes it), TCOMMi
with the full description. Provenance is in plain cards of the table's header where the name fits eight characters, else
in HISTORY. There is no date in the file: equal content gives equal bytes, in however many blocks it was written.
"""

from astrodl.products.columns import Column
from astrodl.products.read import read_catalog
from astrodl.products.write import CatalogFile, write_catalog, writing_catalog

__all__ = ["CatalogFile", "Column", "read_catalog", "write_catalog", "writing_catalog"]
