"""The verb similar: the objects whose vectors are nearest to those of given ones."""

import difflib
import sys
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath, replacing
from astrodl.errors import ConfigError, StoreError
from astrodl.metrics.neighbours import METRICS, DistanceMetric, Moments, nearest
from astrodl.pipeline.suitability import require_other_output
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.style import NETWORK, save
from astrodl.products import require_suffix
from astrodl.products.vectors import Vectors
from astrodl.store import Reader, open_store
from astrodl.tasks.colour import colour

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["find_similar", "similar"]

_FORMATS = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
_N_COLUMNS = 8
_LONGEST_NAME = 14
_N_ALIKE = 200
"""Identifiers among which the most alike are looked for."""


def similar(
    store: FilePath,
    vectors: FilePath,
    object_id: str | int | Sequence[str | int],
    *,
    k: int = 20,
    metric: DistanceMetric = "standardized",
    out: FilePath | None = None,
    sheet: FilePath | None = None,
) -> "Table":
    """Find the objects of a store whose vectors are nearest to those of given objects.

    The search is exact, and its memory does not grow with the number of objects. Of equal distances, the object that
    comes first in the store comes first. Objects without a vector (NaN) are never neighbours; their number is printed.

    Parameters
    ----------
    store : path
        The store that was embedded.
    vectors : path
        Its vectors, from `astrodl.embed`.
    object_id : str, int, or sequence of them
        Identifiers of the objects to compare with; each gets neighbours of its own.
    k : int
        Number of neighbours of each.
    metric : str
        `standardized`: each dimension in units of its standard deviation; `whitened`: Mahalanobis distance, which
        counts correlated dimensions once; `euclidean`: vectors as they are.
    out : path, optional
        Table to write (.csv or .ecsv).
    sheet : path, optional
        Contact sheet to draw (PNG): each object, framed, and its neighbours with their distances.

    Returns
    -------
    astropy.table.Table
        Columns `query`, `rank` (from 1), `object_id`, `distance`, and `row`, the place in the store.

    Raises
    ------
    ConfigError
        No identifier, `k` below 1, a metric or format that does not exist, or a sheet of a survey without images.
    StoreError
        The vectors are damaged or were made from another store; an identifier is unknown or has no vector.

    Examples
    --------
    >>> astrodl.similar("store.h5", "vectors.fits", "G00042", k=5, sheet="sheet.png")  # doctest: +SKIP
    """
    wanted = list(dict.fromkeys(str(name) for name in np.atleast_1d(np.asarray(object_id, object))))
    _check_options(wanted, k, metric, out)
    for output in (out, sheet):
        if output is not None:
            require_other_output(output, store, vectors)
    source = Vectors(vectors)
    with open_store(store) as reader:
        _require_store(source, reader)
        if sheet is not None and not reader.has_images:
            raise ConfigError(
                f"{reader.path}: has no images, so that no contact sheet can be drawn; leave out the sheet"
            )
        query_rows, rows, distances = find_similar(source, wanted, k=k, metric=metric)
        table = _tabulate(wanted, rows, distances, reader.object_id[rows])
        if out is not None:
            with replacing(out) as temporary:
                table.write(temporary, format=_FORMATS[Path(out).suffix.lower()])
        if sheet is not None:
            _draw(reader, table, wanted, query_rows, Path(sheet), metric)
    return table


def find_similar(
    vectors: Vectors, wanted: Sequence[str], *, k: int = 20, metric: DistanceMetric = "standardized"
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find nearest neighbours in a file of vectors, in two passes over its blocks.

    Parameters
    ----------
    vectors : Vectors
        The file.
    wanted : sequence of str
        Identifiers to compare with, all different.
    k, metric
        As in `similar`.

    Returns
    -------
    query_rows : (q,) array of int
        Rows of the identifiers.
    rows, distances : (q, m) arrays
        Their neighbours, nearest first; m is k, or less where the file has fewer.

    Raises
    ------
    StoreError
        The file is damaged; an identifier is unknown or has no vector.
    """
    moments = Moments(vectors.dimension, metric)
    queries = np.full((len(wanted), vectors.dimension), np.nan)
    query_rows = np.full(len(wanted), -1)
    names, start = np.array(wanted), 0
    for ids, block in vectors.blocks():
        moments.add(block)
        for place in np.flatnonzero(np.isin(ids, names)):
            number = wanted.index(str(ids[place]))
            queries[number], query_rows[number] = block[place], start + place
        start += len(ids)
    for name, row, query in zip(wanted, query_rows, queries, strict=True):
        if row < 0:
            raise StoreError(f"{vectors.path}: {_unknown(name, vectors)}")
        if not np.isfinite(query).all():
            raise StoreError(
                f"{vectors.path}: '{name}' has no vector (NaN, as of an object without data); give another"
            )
    if moments.n_left_out:
        print(f"{vectors.path}: {moments.n_left_out:,} objects without a vector are left out", file=sys.stderr)
    blocks = (block for _, block in vectors.blocks())
    rows, distances = nearest(blocks, queries, k, moments.scaling(), exclude=query_rows)
    if rows.shape[1] < k:
        print(f"{vectors.path}: has {rows.shape[1]} other objects with a vector, fewer than k = {k}", file=sys.stderr)
    return query_rows, rows, distances


def _tabulate(
    wanted: Sequence[str], rows: NDArray[np.int64], distances: NDArray[np.float64], ids: NDArray[np.str_]
) -> "Table":
    from astropy.table import Table

    n_found = rows.shape[1]
    columns = {
        "query": np.repeat(np.array(wanted), n_found),
        "rank": np.tile(np.arange(1, n_found + 1), len(wanted)),
        "object_id": ids.ravel(),
        "distance": distances.ravel(),
        "row": rows.ravel(),
    }
    table = Table(columns)
    table["distance"].format = ".4g"
    return table


def _check_options(wanted: Sequence[str], k: int, metric: str, out: FilePath | None) -> None:
    if not wanted:
        raise ConfigError("object_id: none is given; give the identifier of an object of the store")
    if not isinstance(k, Integral) or k < 1:
        raise ConfigError(f"k = {k}: must be a whole number of at least 1")
    if metric not in METRICS:
        raise ConfigError(f"metric = '{metric}': must be one of {', '.join(METRICS)}; correct it")
    if out is not None:
        require_suffix(out, _FORMATS)


def _require_store(vectors: Vectors, reader: Reader) -> None:
    """Check that the vectors were made from this very store."""
    if vectors.provenance["STORE"] != reader.fingerprint or len(vectors) != len(reader):
        raise StoreError(
            f"{vectors.path}: made from another store, or from an older version of {reader.path} (fingerprint "
            f"{vectors.provenance['STORE'][:8]}, not {reader.fingerprint[:8]}); run 'astrodl embed' again"
        )


def _unknown(name: str, vectors: Vectors) -> str:
    """Return the message for an identifier that does not exist, with the most alike that do."""
    best: list[tuple[int, str]] = []
    for ids, _ in vectors.blocks():
        alike = _count_equal(name, ids)
        chosen = np.argsort(-alike, kind="stable")[:_N_ALIKE]
        best = sorted([*best, *((int(alike[i]), str(ids[i])) for i in chosen)], key=lambda pair: -pair[0])[:_N_ALIKE]
    near = difflib.get_close_matches(name, [other for _, other in best], n=3, cutoff=0.5)
    examples = near or [other for _, other in best[:3]]
    return f"no object '{name}'; {'near names' if near else 'identifiers are like'}: {', '.join(examples)}; correct it"


def _count_equal(name: str, ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Count the characters that identifiers share with a name at the same place from the start, or from the end."""
    width = max(len(name), ids.dtype.itemsize // 4)
    counts = []
    for pad in (np.char.ljust, np.char.rjust):
        letters = pad(ids, width).view("U1").reshape(len(ids), width)
        one = pad(np.array([name]), width).view("U1")
        counts.append(((letters == one) & (one != " ")).sum(axis=1))
    return np.maximum(*counts)


def _draw(
    reader: Reader, table: "Table", wanted: Sequence[str], query_rows: NDArray[np.int64], sheet: Path, metric: str
) -> None:
    """Draw each object and its neighbours, nearest first."""
    drawn: list[int] = []
    titles: list[str] = []
    rows: list[Sequence[int]] = []
    framed = set()
    for name, row in zip(wanted, query_rows, strict=True):
        found = table[table["query"] == name]
        places = range(len(drawn), len(drawn) + 1 + len(found))
        drawn += [int(row), *map(int, found["row"])]
        titles.append(_shortened(name))
        titles += [f"{_shortened(str(other))}\n{value:.3g}" for other, value in found.iterrows("object_id", "distance")]
        rows += [places[i : i + _N_COLUMNS] for i in range(0, len(places), _N_COLUMNS)]
        framed.add(places[0])
    figure = sheet_of_rows(
        colour(reader, np.array(drawn)),
        rows,
        title=titles.__getitem__,
        frame=lambda i: NETWORK if i in framed else None,
        n_columns=_N_COLUMNS,
        heading=f"{reader.survey}: the nearest of {len(reader):,} objects, {metric} distance",
    )
    save(figure, sheet)


def _shortened(name: str) -> str:
    """Shorten a long identifier in the middle."""
    half = _LONGEST_NAME // 2 - 1
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
