"""Merge FITS catalogues into one catalogue in the HATS format: Parquet files by HEALPix pixel, for `hats` and `lsdb`.

Layout (IVOA Note "HATS", https://www.ivoa.net/documents/Notes/HATS/):

    hats.properties, properties             name, number of rows, position columns
    partition_info.csv                      Norder, Npix of each partition
    dataset/Norder=k/Dir=d/Npix=p.parquet   rows, sorted by `_healpix_29`, their pixel of order 29 (nested)
    dataset/_metadata, _common_metadata     footers of all files, and the schema

Partitions are smaller where objects are dense. The metadata of a field hold unit, description and UCD of the column.
The files hold no date: equal catalogues give equal bytes.
"""

import shutil
import sys
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.units import UnitsWarning
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from astrodl.atomic import FilePath, error_reason
from astrodl.errors import DataError, StoreError
from astrodl.fits.counts import DAMAGED, check_counts
from astrodl.healpix import MAX_ORDER, Tile, divide_sky, find_tiles, sky_pixels
from astrodl.products.parquet import import_parquet

if TYPE_CHECKING:
    import pyarrow

__all__ = ["MAX_ROWS", "write_hats"]

PARTITION_ORDER = 10
"""Order of the smallest partitions, 3.4 arcmin."""
MAX_ROWS = 1_000_000
"""Most rows of a partition, unless it is one of the smallest."""
INDEX = f"_healpix_{MAX_ORDER}"
BLOCK = 1_000_000
"""Number of positions that are converted to pixels at a time."""


def write_hats(
    catalogs: Sequence[FilePath], out: FilePath, *, name: str, max_rows: int = MAX_ROWS, builder: str = "astrodl"
) -> int:
    """Merge FITS catalogues into one HATS catalogue; memory: one partition, and four bytes per object.

    Parameters
    ----------
    catalogs
        FITS catalogues with columns `ra` and `dec`, of different objects: those of the shards of a survey, or one.
    out
        Folder to write; it appears when it is complete, and replaces an existing one.
    name
        Name of the catalogue.
    max_rows
        Most rows of a partition, unless it is one of the smallest.
    builder
        Program and version.

    Returns
    -------
    int
        Number of rows. Objects without a position are left out; their number is printed.

    Raises
    ------
    DataError
        The catalogues have no positions or different columns, or pyarrow is not installed.
    StoreError
        A file cannot be read or written.
    """
    parquet = import_parquet()
    out = Path(out)
    sources = [_Catalog(Path(path)) for path in catalogs]
    schema = _common_schema(sources)
    pixels = [source.pixels() for source in sources]
    n_objects = np.zeros(12 * 4**PARTITION_ORDER, np.int64)
    for found in pixels:
        np.add.at(n_objects, found[found >= 0], 1)
    occupied = np.flatnonzero(n_objects)
    tiles = divide_sky(occupied, n_objects[occupied], PARTITION_ORDER, max_rows)
    if not tiles:
        raise DataError(f"{sources[0].path}: no object has a position; a HATS catalogue needs `ra` and `dec`")
    n_missing = sum(int((found < 0).sum()) for found in pixels)
    if n_missing:
        print(f"{out}: {n_missing:,} objects without a position are left out", file=sys.stderr)
    # -1, the pixel of a missing position, stays -1.
    partitions = [find_tiles(found.astype(np.int64), tiles, PARTITION_ORDER).astype(np.int32) for found in pixels]
    with _replace_folder(out) as folder:
        footers = []
        for number, tile in enumerate(tiles):
            rows = [np.flatnonzero(partition == number) for partition in partitions]
            tables = [source.read(chosen, schema) for source, chosen in zip(sources, rows, strict=True) if len(chosen)]
            footers.append(_write_partition(parquet, folder, tile, tables))
        _write_metadata(parquet, folder, schema, tiles, footers, {"obs_collection": name, "hats_builder": builder})
    return sum(tile.n_objects for tile in tiles)


class _Catalog:
    """A FITS catalogue with positions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise StoreError(f"{path}: no such catalogue; make it with `astrodl catalog`")
        with warnings.catch_warnings():
            # astropy only warns about wrong checksums and truncated files
            warnings.simplefilter("error", AstropyUserWarning)
            warnings.simplefilter("ignore", UnitsWarning)  # of columns of the input
            with self._open(verify=True) as hdu:
                self.names, self.n_rows = list(hdu.columns.names), len(hdu.data)
                self.empty = {name: np.asarray(hdu.data[:0][name]) for name in self.names}
                self.metadata = [_describe(hdu.header, position) for position in range(1, len(self.names) + 1)]
        missing = [name for name in ("ra", "dec") if name not in self.names]
        if missing:
            raise DataError(
                f"{path}: no column {' and '.join(missing)} (has {', '.join(self.names[:10])} ...); a HATS catalogue "
                "needs positions on the sky: set data.ra_column and data.dec_column, and run again"
            )

    @contextmanager
    def _open(self, *, verify: bool = False) -> Iterator[fits.BinTableHDU]:
        """Open the file for one read: a survey may have more shards than a process may have open files."""
        damaged = (*DAMAGED, StopIteration) if verify else (OSError,)
        try:
            if verify:
                check_counts(self.path)
            # astropy leaves a file that it opened itself open after an error
            with open(self.path, "rb") as stream, fits.open(stream, memmap=True, checksum=verify) as file:
                yield next(hdu for hdu in file if isinstance(hdu, fits.BinTableHDU))
        except damaged as error:
            reason = " ".join(str(error).split()) or "no binary table"
            raise StoreError(
                f"{self.path}: cannot be read ({reason:.200}); give what `astrodl catalog` wrote"
            ) from None

    def pixels(self) -> NDArray[np.int32]:
        """Return the pixel of order 10 of each row, (n_rows,); -1 for a missing position."""
        found = np.full(self.n_rows, -1, np.int32)
        for start in range(0, self.n_rows, BLOCK):
            with self._open() as hdu:
                ra, dec = (np.array(hdu.data[name][start : start + BLOCK], np.float64) for name in ("ra", "dec"))
            known = np.isfinite(ra) & np.isfinite(dec)
            found[start : start + BLOCK][known] = sky_pixels(ra[known], dec[known], PARTITION_ORDER)
        return found

    def read(self, rows: NDArray[np.int64], schema: "pyarrow.Schema") -> "pyarrow.Table":
        """Read rows, with their pixel of order 29 as first column."""
        import pyarrow

        with self._open() as hdu:
            data = hdu.data[rows]
            nulls = [None, *(hdu.columns[name].null for name in self.names)]
            columns = [sky_pixels(data["ra"], data["dec"]), *(data[name] for name in self.names)]
            arrays = [
                _to_arrow(values, field.type, null) for values, field, null in zip(columns, schema, nulls, strict=True)
            ]
        return pyarrow.table(arrays, schema=schema)

    def fields(self) -> list["pyarrow.Field"]:
        """Return name, type and metadata (unit, description, UCD) of each column."""
        import pyarrow

        fields = []
        for name, metadata in zip(self.names, self.metadata, strict=True):
            dtype, shape = self.empty[name].dtype, self.empty[name].shape
            arrow_type = pyarrow.string() if dtype.kind in "SU" else pyarrow.from_numpy_dtype(dtype.newbyteorder("="))
            for length in shape[:0:-1]:
                arrow_type = pyarrow.list_(arrow_type, length)
            fields.append(pyarrow.field(name, arrow_type, metadata=metadata))
        return fields


def _describe(header: fits.Header, position: int) -> dict[str, str]:
    """Return unit, description and UCD of a column, as far as it has them."""
    keywords = {"unit": "TUNIT", "description": "TCOMM", "ucd": "TUCD"}
    values = {key: header.get(f"{keyword}{position}") for key, keyword in keywords.items()}
    return {key: str(value) for key, value in values.items() if value}


def _common_schema(sources: Sequence[_Catalog]) -> "pyarrow.Schema":
    """Return the schema of all catalogues; they must have the same columns."""
    import pyarrow

    first = sources[0].fields()
    for source in sources[1:]:
        for field, expected in zip_longest(source.fields(), first):
            if not (field and expected and field.equals(expected)):
                raise DataError(
                    f"{source.path}: column '{(field or expected).name}' differs from that of {sources[0].path}; give "
                    "the catalogues of the shards of one survey, made with the same settings"
                )
    description = f"HEALPix pixel of order {MAX_ORDER}, nested"
    return pyarrow.schema([pyarrow.field(INDEX, pyarrow.int64(), metadata={"description": description}), *first])


def _to_arrow(values: NDArray[Any], arrow_type: "pyarrow.DataType", null: int | None = None) -> "pyarrow.Array":
    """Convert a column, objects first, to Arrow; arrays per object become lists of fixed length.

    The integer `null` stands for a missing value.
    """
    import pyarrow

    values = np.asarray(values)
    if values.ndim > 1:
        inner = _to_arrow(values.reshape(-1, *values.shape[2:]), arrow_type.value_type)
        return pyarrow.FixedSizeListArray.from_arrays(inner, type=arrow_type)
    if values.dtype.kind in "SU":
        return pyarrow.array(values.astype(str).tolist(), arrow_type)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return pyarrow.array(values, arrow_type, mask=None if null is None else values == null)


def _write_partition(parquet: Any, folder: Path, tile: Tile, tables: Sequence["pyarrow.Table"]) -> Any:
    """Write the rows of a partition in the order of their pixels, and return the footer of the file."""
    import pyarrow

    table = pyarrow.concat_tables(tables)
    order = np.argsort(table[INDEX].to_numpy(), kind="stable")
    name = f"Norder={tile.order}/Dir={tile.pixel // 10000 * 10000}/Npix={tile.pixel}.parquet"
    path = folder / "dataset" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.take(order), path, compression="zstd")
    footer = parquet.read_metadata(path)
    footer.set_file_path(name)
    return footer


def _write_metadata(
    parquet: Any,
    folder: Path,
    schema: "pyarrow.Schema",
    tiles: Sequence[Tile],
    footers: Sequence[Any],
    provenance: dict[str, str],
) -> None:
    """Write schema, footers, list of partitions and properties; partitions sorted by order and pixel, as in `hats`."""
    order = sorted(range(len(tiles)), key=lambda k: (tiles[k].order, tiles[k].pixel))
    parquet.write_metadata(schema, folder / "dataset" / "_common_metadata")
    parquet.write_metadata(schema, folder / "dataset" / "_metadata", metadata_collector=[footers[k] for k in order])
    lines = ["Norder,Npix", *(f"{tiles[k].order},{tiles[k].pixel}" for k in order)]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n", "utf-8")
    size = sum(path.stat().st_size for path in (folder / "dataset").rglob("*") if path.is_file())
    properties = {
        **provenance,
        "dataproduct_type": "object",
        "hats_nrows": sum(tile.n_objects for tile in tiles),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": INDEX,
        "hats_col_healpix_order": MAX_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max(tile.n_objects for tile in tiles),
        "hats_order": max(tile.order for tile in tiles),
        "moc_sky_fraction": f"{sum(1 / (12 << 2 * tile.order) for tile in tiles):.6g}",
        "hats_estsize": size // 1024,
        "hats_version": "v1.0",
    }
    text = "#HATS catalog\n" + "".join(f"{key}={value}\n" for key, value in properties.items())
    for file in ("hats.properties", "properties"):
        (folder / file).write_text(text, "utf-8")


@contextmanager
def _replace_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces `out` when the block ends without an error."""
    temporary, old = (out.with_name(f".{out.name}.{uuid.uuid4().hex}.{suffix}") for suffix in ("tmp", "old"))
    try:
        (temporary / "dataset").mkdir(parents=True)
        yield temporary
        if out.exists():
            out.rename(old)
        temporary.rename(out)
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written ({error_reason(error)}); choose a writable path with enough space"
        ) from None
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)
