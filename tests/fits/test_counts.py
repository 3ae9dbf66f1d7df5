"""Headers with counts that astropy would follow for hours are refused before it opens the file."""

import bz2
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astrodl.errors import DataError, StoreError
from astrodl.fits import UnreadableError
from astrodl.fits.counts import check_counts
from astrodl.ingestion.mosaic import Mosaic
from astrodl.ingestion.shard import read_shard_plan
from astrodl.ingestion.tables import read_table
from astrodl.products import read_catalog
from astrodl.products.hats import write_hats

PRIMARY = {"SIMPLE": "T", "BITPIX": "8", "NAXIS": "0"}
TABLE = {"XTENSION": "'BINTABLE'", "BITPIX": "8", "NAXIS": "2", "NAXIS1": "8", "NAXIS2": "1"}
TABLE |= {"PCOUNT": "0", "GCOUNT": "1"}
CASES = [
    ([{**PRIMARY, "NAXIS": "4000000000"}], "NAXIS is 4000000000: a FITS file has at most 999 axes"),
    ([{**PRIMARY, "NAXIS": "+00090000000 / axes"}], "NAXIS is 90000000"),
    ([PRIMARY, {**TABLE, "NAXIS": "90000000"}], "NAXIS is 90000000"),
    ([PRIMARY, {**TABLE, "TFIELDS": "900000000"}], "TFIELDS is 900000000: a FITS file has at most 999 columns"),
    ([PRIMARY, {**TABLE, "TFIELDS": "0", "ZIMAGE": "T", "ZNAXIS": "90000000"}], "ZNAXIS is 90000000"),
    ([{**PRIMARY, "WCSAXESB": "100000"}], "WCSAXESB is 100000"),
    ([{**PRIMARY, "NAXIS": "2", "NAXIS1": "9000000000000000000", "NAXIS2": "9"}], "more data than any disk can hold"),
]
"""Headers of a file, and the reason of the refusal."""


def write(headers: list[dict[str, str]], *, padded: bool = True) -> bytes:
    """Return a file of headers, of which only the last has data."""
    parts = ["".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) for cards in headers]
    parts = [f"{part}{'END':80}" for part in parts]
    whole = "".join(part.ljust(-(-len(part) // 2880) * 2880) for part in parts)
    return (whole if padded else whole.rstrip().ljust(len(whole.rstrip()) + 77)).encode()


@pytest.mark.parametrize(("headers", "message"), CASES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_a_count_beyond_the_standard_is_refused_before_astropy_opens_the_file(
    headers: list[dict[str, str]], message: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "bad.fits"
    for padded in (True, False):
        data = write(headers, padded=padded)
        path.write_bytes(pack(data))
        for source in (path, io.BytesIO(data)):
            with pytest.raises(UnreadableError, match=message):
                check_counts(source)


@pytest.mark.parametrize(("headers", "message"), CASES[:4])
def test_every_reader_refuses_such_a_file_in_one_line(
    headers: list[dict[str, str]], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(write(headers))
    monkeypatch.setattr(fits, "open", lambda *args, **options: pytest.fail("astropy opened the file"))
    with pytest.raises(UnreadableError, match=message):
        Mosaic(path, None, None)
    with pytest.raises(DataError, match=f"bad.fits: .*{message}"):
        read_table(path, "object_id")
    with pytest.raises(StoreError, match=f"bad.fits: .*{message}"):
        read_catalog(path)
    with pytest.raises(StoreError, match=f"bad.fits: .*{message}"):
        write_hats([path], tmp_path / "hats", name="x", max_rows=10, builder="test")
    with pytest.raises(DataError, match="not the file of a shard"):
        read_shard_plan(path)


def test_a_header_without_end_and_endless_extensions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableError, match="the header has no end"):
        check_counts(io.BytesIO(b"SIMPLE  =".ljust(1001 * 2880)))
    monkeypatch.setattr("astrodl.fits.counts._MAX_HDUS", 3)
    extension = write([TABLE | {"NAXIS": "0"}])
    check_counts(io.BytesIO(write([PRIMARY]) + 2 * extension))
    with pytest.raises(UnreadableError, match="more than 3 extensions"):
        check_counts(io.BytesIO(write([PRIMARY]) + 3 * extension))


def test_good_and_other_files_pass(tmp_path: Path) -> None:
    images = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 5), np.float32)), fits.CompImageHDU(np.zeros((9, 9)))]
    columns = [fits.Column(f"c{number}", "E", array=[1.0]) for number in range(999)]
    fits.HDUList([*images, fits.BinTableHDU.from_columns(columns)]).writeto(tmp_path / "good.fits")
    source = io.BytesIO((tmp_path / "good.fits").read_bytes())
    check_counts(tmp_path / "good.fits")
    check_counts(source)
    assert source.tell() == 0
    for data in (b"", b"a,b\n1,2\n", b"SIMPLE  =", source.getvalue()[:4000]):
        check_counts(io.BytesIO(data))
