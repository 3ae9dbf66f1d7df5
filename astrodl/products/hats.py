"""One catalogue as Parquet files by HEALPix pixel, in the HATS format that `hats` and `lsdb` open.

Layout (IVOA Note "HATS", https://www.ivoa.net/documents/Notes/HATS/):

    hats.properties, properties      what it is: name, number of rows, columns of the position
    partition_info.csv               Norder, Npix of each partition
    dataset/Norder=k/Dir=d/Npix=p.parquet   the rows, by `_healpix_29`, their pixel of order 29 (nested)
    dataset/_metadata, dataset/_common_metadata   footers of all files, and the schema

A partition is a pixel, the smaller where objects are dense. Unit, description and UCD of a column are in the metadata
of its field. There is no date: equal catalogues give equal bytes.
"""

import csv
import io
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astrodl.errors import DataError, StoreError
from astrodl.splits.tiling import FINEST, Tile, pixels, tiles, which

if TYPE_CHECKING:
    import pyarrow

Counts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Pixels, increasing, and the number of objects in each."""

HIGHEST = 10
"""Order of the smallest partitions, 3.4 arcmin."""
ROWS = 1_000_000
"""Rows that a partition may have, unless it is a smallest one."""
INDEX = f"_healpix_{FINEST}"
BLOCK = 1_000_000
"""Positions that are looked at at a time."""


def write_hats(catalogs: Sequence[Path], out: Path, *, name: str, n_most: int = ROWS, builder: str = "astrodl") -> int:
    """Write catalogues as one in the HATS format, in memory for one partition and the positions of one catalogue.

    Parameters
    ----------
    catalogs
        FITS catalogues with columns `ra` and `dec`, of different objects: those of the shards of a survey, or one.
    out
        Folder to write; it appears when it is complete, and replaces one of the same name.
    name
        Name of the catalogue.
    n_most
        Rows that a partition may have, unless it is one of the smallest.
    builder
        Program and version.

    Returns
    -------
    int
        Number of rows; objects without a position are left out, and this is said.

    Raises
    ------
    DataError
        Catalogues without positions or with different columns, or pyarrow is not installed.
    StoreError
        A file cannot be read or written.
    """
    parquet = _parquet()
    sources = [_Source(path) for path in catalogs]
    schema = _schema(sources)
    counted = [_added([some for _, _, some in source.positions()]) for source in sources]
    found, counts = _added(counted)
    parts = tiles(found, counts, HIGHEST, n_most)
    if not parts:
        raise DataError(f"{sources[0].path}: no object has a position; a HATS catalogue needs `ra` and `dec`")
    n_lost = sum(source.n_rows for source in sources) - int(counts.sum())
    if n_lost:
        print(f"{out}: {n_lost:,} objects without a position are left out", file=sys.stderr)
    holders = _holders(sources, counted, parts)
    about = {"obs_collection": name, "hats_builder": builder}
    with _replacing_folder(out) as folder:
        footers = []
        for place, tile in enumerate(parts):
            rows = [source.table(parts, place, schema) for source in holders[place]]
            footers.append(_write_partition(parquet, folder, tile, rows))
        _describe(parquet, folder, schema, parts, footers, about)
    return int(counts.sum())


class _Source:
    """A FITS catalogue, of which rows are read where they are wanted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as hdu:
            self.header, self.names, self.n_rows = hdu.header, list(hdu.columns.names), len(hdu.data)
            self.empty = {name: np.asarray(hdu.data[:0][name]) for name in self.names}
        missing = [name for name in ("ra", "dec") if name not in self.names]
        if missing:
            raise DataError(
                f"{path}: no column {' and '.join(missing)} (has {', '.join(self.names[:10])} ...); a HATS catalogue "
                "needs positions on the sky: set data.ra_column and data.dec_column, and run again"
            )
        self._tiles: NDArray[np.int32] | None = None

    @contextmanager
    def _opened(self) -> Iterator[fits.BinTableHDU]:
        """Open the file, and not for long: a survey may have more shards than a process may have files."""
        if not self.path.is_file():
            raise StoreError(f"{self.path}: no such catalogue; make it with `astrodl catalog`")
        try:
            with fits.open(self.path, memmap=True) as file:
                yield next(hdu for hdu in file if isinstance(hdu, fits.BinTableHDU))
        except (OSError, StopIteration) as error:
            reason = " ".join(str(error).split()) or "no binary table"
            raise StoreError(
                f"{self.path}: cannot be read ({reason:.200}); give what `astrodl catalog` wrote"
            ) from None

    def positions(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Counts]]:
        """Give, block by block, the rows that have a position, their smallest pixels, and the counts in these."""
        for start in range(0, self.n_rows, BLOCK):
            with self._opened() as hdu:
                ra, dec = (np.array(hdu.data[name][start : start + BLOCK], np.float64) for name in ("ra", "dec"))
            known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
            numbers = pixels(ra[known], dec[known], HIGHEST)
            yield start + known, numbers, np.unique(numbers, return_counts=True)

    def table(self, parts: Sequence[Tile], place: int, schema: "pyarrow.Schema") -> "pyarrow.Table":
        """Read the rows of a partition; partitions are asked for from the first to the last."""
        import pyarrow

        if self._tiles is None:
            self._tiles = np.full(self.n_rows, -1, np.int32)
            for rows, numbers, _ in self.positions():
                self._tiles[rows] = which(numbers, parts, HIGHEST)
        rows = np.flatnonzero(self._tiles == place)
        if self._tiles.max() <= place:  # its last partition
            self._tiles = None
        with self._opened() as hdu:
            data = hdu.data[rows]
            columns = [pixels(data["ra"], data["dec"]), *(data[name] for name in self.names)]
            arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        return pyarrow.table(arrays, schema=schema)


def _added(counted: Sequence[Counts]) -> Counts:
    """Add up counts in pixels."""
    if not counted:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    found, place = np.unique(np.concatenate([numbers for numbers, _ in counted]), return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, place, np.concatenate([counts for _, counts in counted]))
    return found, total


def _holders(sources: Sequence[_Source], counted: Sequence[Counts], parts: Sequence[Tile]) -> list[list[_Source]]:
    """Tell which catalogues have objects in each partition."""
    holders: list[list[_Source]] = [[] for _ in parts]
    for source, (numbers, _) in zip(sources, counted, strict=True):
        for place in np.unique(which(numbers, parts, HIGHEST)).tolist():
            holders[place].append(source)
    return holders


def _schema(sources: Sequence[_Source]) -> "pyarrow.Schema":
    """Give the schema that all catalogues share."""
    import pyarrow

    schemas = [[_field(source, number) for number in range(len(source.names))] for source in sources]
    for source, fields in zip(sources, schemas, strict=True):
        if fields != schemas[0]:
            pairs = zip_longest(fields, schemas[0])
            example = next((one or other).name for one, other in pairs if not (one and other and one.equals(other)))
            raise DataError(
                f"{source.path}: its columns differ from those of {sources[0].path} (the first: '{example}'); give the "
                "catalogues of the shards of one survey, made with the same settings"
            )
    index = pyarrow.field(INDEX, pyarrow.int64(), metadata={"description": f"HEALPix pixel of order {FINEST}, nested"})
    return pyarrow.schema([index, *schemas[0]])


def _field(source: _Source, number: int) -> "pyarrow.Field":
    """Describe a column: its type, and in the metadata unit, description and UCD."""
    import pyarrow

    name = source.names[number]
    empty = source.empty[name]
    kind = pyarrow.string() if empty.dtype.kind in "SU" else pyarrow.from_numpy_dtype(empty.dtype.newbyteorder("="))
    for length in empty.shape[:0:-1]:
        kind = pyarrow.list_(kind, length)
    cards = {"unit": "TUNIT", "description": "TCOMM", "ucd": "TUCD"}
    told = {key: source.header.get(f"{card}{number + 1}") for key, card in cards.items()}
    return pyarrow.field(name, kind, metadata={key: str(value) for key, value in told.items() if value})


def _array(values: NDArray[Any], kind: "pyarrow.DataType") -> "pyarrow.Array":
    """Turn a column, objects first, into Arrow's form."""
    import pyarrow

    values = np.asarray(values)
    if values.ndim > 1:
        inner = _array(values.reshape(-1, *values.shape[2:]), kind.value_type)
        return pyarrow.FixedSizeListArray.from_arrays(inner, type=kind)
    if values.dtype.kind in "SU":
        return pyarrow.array(values.astype(str).tolist(), kind)
    return pyarrow.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")), kind)


def _write_partition(parquet: Any, folder: Path, tile: Tile, rows: Sequence["pyarrow.Table"]) -> Any:
    """Write the rows of a pixel, by their place on the sky; gives the footer of the file."""
    import pyarrow

    table = pyarrow.concat_tables(rows)
    order = np.argsort(table[INDEX].to_numpy(), kind="stable")
    place = f"Norder={tile.order}/Dir={tile.pixel // 10000 * 10000}/Npix={tile.pixel}.parquet"
    path = folder / "dataset" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    footers: list[Any] = []
    parquet.write_table(table.take(order), path, compression="zstd", metadata_collector=footers)
    footers[0].set_file_path(place)
    return footers[0]


def _describe(
    parquet: Any,
    folder: Path,
    schema: "pyarrow.Schema",
    parts: Sequence[Tile],
    footers: list[Any],
    about: dict[str, str],
) -> None:
    """Write what stands beside the rows; partitions are in order of size, then of number, as `hats` has them."""
    order = sorted(range(len(parts)), key=lambda k: (parts[k].order, parts[k].pixel))
    parquet.write_metadata(schema, folder / "dataset" / "_common_metadata")
    parquet.write_metadata(schema, folder / "dataset" / "_metadata", metadata_collector=[footers[k] for k in order])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Norder", "Npix"])
    writer.writerows([parts[k].order, parts[k].pixel] for k in order)
    (folder / "partition_info.csv").write_text(text.getvalue(), "utf-8")
    size = sum(path.stat().st_size for path in (folder / "dataset").rglob("*") if path.is_file())
    properties = {
        **about,
        "dataproduct_type": "object",
        "hats_nrows": sum(tile.n_objects for tile in parts),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": INDEX,
        "hats_col_healpix_order": FINEST,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max(tile.n_objects for tile in parts),
        "hats_order": max(tile.order for tile in parts),
        "moc_sky_fraction": f"{sum(1 / (12 << 2 * tile.order) for tile in parts):.6g}",
        "hats_estsize": size // 1024,
        "hats_version": "v1.0",
    }
    lines = "#HATS catalog\n" + "".join(f"{key}={value}\n" for key, value in properties.items())
    for file in ("hats.properties", "properties"):
        (folder / file).write_text(lines, "utf-8")


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError('Parquet files need pyarrow; install it with: pip install "astrodl[parquet]"') from None
    return parquet


@contextmanager
def _replacing_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `out` when the block ends without error."""
    temporary, before = (out.with_name(f".{out.name}.{uuid.uuid4().hex}.{kind}") for kind in ("tmp", "old"))
    try:
        (temporary / "dataset").mkdir(parents=True)
        yield temporary
        if out.exists():
            out.rename(before)
        temporary.rename(out)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{out}: cannot be written ({reason}); give a writable place with room") from None
    finally:
        for folder in (temporary, before):
            shutil.rmtree(folder, ignore_errors=True)
