"""A HATS catalogue contains every row once, in the partition of its pixel, and `hats` and `lsdb` open it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table, vstack
from astropy_healpix import HEALPix

from astrodl.errors import DataError, StoreError
from astrodl.products import Column, read_catalog, write_catalog
from astrodl.products.hats import write_hats
from tests.damage import damage

parquet = pytest.importorskip("pyarrow.parquet")


def columns(n: int, seed: int = 0, first: int = 0) -> list[Column]:
    rng = np.random.default_rng(seed)
    return [
        Column("object_id", [f"g{k}" for k in range(first, first + n)], None, "identifier", "meta.id;meta.main"),
        Column("ra", (359.9 + rng.normal(0, 2, n)) % 360, "deg", "right ascension", "pos.eq.ra;meta.main"),
        Column("dec", rng.normal(-5, 2, n), "deg", "declination", "pos.eq.dec;meta.main"),
        Column("z", np.where(np.arange(n) == 3, np.nan, rng.random(n)), None, "redshift", "src.redshift.phot"),
        Column("class", np.array(["spiral", "E", ""])[np.arange(n) % 3], None, "class", "src.morph.type"),
        Column("flags", np.arange(n, dtype=np.int32), None, "flag bits", "meta.code"),
        Column("number", np.arange(first, first + n) + 2**60, None, "a large integer"),
        Column("band_flags", np.arange(2 * n, dtype=np.int16).reshape(n, 2), None, "per band", "meta.code"),
        Column("good", np.arange(n) % 2 == 0, None, "a boolean", "meta.code"),
    ]


@pytest.fixture
def catalogs(tmp_path: Path) -> list[Path]:
    """Three catalogues of the same sky area, so that partitions contain rows of several."""
    paths = [tmp_path / f"{k}.fits" for k in range(3)]
    for k, path in enumerate(paths):
        write_catalog(path, columns(100, k, 1000 * k))
    return paths


def merged(catalogs: list[Path]) -> Table:
    """Return the rows of all catalogues, indexed by `object_id`."""
    table = vstack([read_catalog(path) for path in catalogs], metadata_conflicts="silent")
    table.add_index("object_id")
    return table


def properties(folder: Path) -> dict[str, str]:
    lines = (folder / "hats.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_every_row_is_in_the_partition_of_its_pixel_and_sorted(catalogs: list[Path], tmp_path: Path) -> None:
    assert write_hats(catalogs, tmp_path / "hats", name="sky", max_rows=50) == 300
    expected = merged(catalogs)
    files = sorted((tmp_path / "hats" / "dataset").rglob("Npix=*.parquet"))
    assert len(files) > 5
    found: list[str] = []
    for path in files:
        order, pixel = int(path.parts[-3].removeprefix("Norder=")), int(path.stem.removeprefix("Npix="))
        assert path.parts[-2] == f"Dir={pixel // 10000 * 10000}"
        # `read_table` would add columns for the folders.
        table = parquet.ParquetFile(path).read().to_pydict()
        index = np.asarray(table["_healpix_29"])
        assert len(index) <= 50
        assert (np.diff(index) >= 0).all()
        assert (index >> 2 * (29 - order) == pixel).all()
        rows = expected.loc[table["object_id"]]
        for name in ("ra", "dec", "z", "flags", "number", "good", "band_flags"):
            np.testing.assert_array_equal(np.array(table[name]), np.asarray(rows[name]))
        assert table["class"] == rows["class"].tolist()
        grid = HEALPix(nside=2**29, order="nested")
        assert (index == grid.lonlat_to_healpix(rows["ra"].quantity, rows["dec"].quantity)).all()
        found += table["object_id"]
    assert sorted(found) == sorted(expected["object_id"])


def test_partition_list_footers_and_properties_agree_with_the_files(catalogs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "hats"
    write_hats(catalogs, folder, name="sky", max_rows=50)
    header, *lines = (folder / "partition_info.csv").read_text().splitlines()
    assert header == "Norder,Npix"
    partitions = [tuple(map(int, line.split(","))) for line in lines]
    listed = {f"Norder={order}/Dir={pixel // 10000 * 10000}/Npix={pixel}.parquet" for order, pixel in partitions}
    files = {str(path.relative_to(folder / "dataset")) for path in (folder / "dataset").rglob("Npix=*.parquet")}
    assert listed == files
    footer = parquet.read_metadata(folder / "dataset" / "_metadata")
    assert footer.num_rows == 300
    assert {footer.row_group(k).column(0).file_path for k in range(footer.num_row_groups)} == files
    assert properties(folder)["obs_collection"] == "sky"
    assert properties(folder)["hats_nrows"] == "300"
    assert (folder / "properties").read_text() == (folder / "hats.properties").read_text()


def test_units_descriptions_and_ucds_are_in_the_fields(catalogs: list[Path], tmp_path: Path) -> None:
    write_hats(catalogs, tmp_path / "hats", name="sky")
    schema = parquet.read_schema(tmp_path / "hats" / "dataset" / "_common_metadata")
    assert schema.names == ["_healpix_29", *(column.name for column in columns(1))]
    for column in columns(1):
        expected = {b"unit": column.unit, b"description": column.description, b"ucd": column.ucd}
        metadata = schema.field(column.name).metadata
        assert {key: text.encode() for key, text in expected.items() if text} == {
            key: value for key, value in metadata.items() if not key.startswith(b"PARQUET:")
        }


def test_one_catalogue_and_its_parts_give_the_same_files(catalogs: list[Path], tmp_path: Path) -> None:
    write_hats(catalogs, tmp_path / "three", name="sky", max_rows=80)
    rows = merged(catalogs)
    together = [Column(c.name, np.asarray(rows[c.name]), c.unit, c.description, c.ucd) for c in columns(1)]
    write_catalog(tmp_path / "one.fits", together)
    write_hats([tmp_path / "one.fits"], tmp_path / "one", name="sky", max_rows=80)
    for path in (path for path in (tmp_path / "three").rglob("*") if path.is_file()):
        assert (tmp_path / "one" / path.relative_to(tmp_path / "three")).read_bytes() == path.read_bytes(), path.name


def test_objects_without_a_position_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = columns(20)
    np.asarray(table[1].values)[[4, 9]] = np.nan
    write_catalog(tmp_path / "c.fits", table)
    assert write_hats([tmp_path / "c.fits"], tmp_path / "hats", name="sky") == 18
    assert "2 objects without a position are left out" in capsys.readouterr().err


def test_a_new_catalogue_replaces_the_old_one(catalogs: list[Path], tmp_path: Path) -> None:
    write_hats(catalogs, tmp_path / "hats", name="sky", max_rows=20)
    write_hats(catalogs[:1], tmp_path / "hats", name="sky")
    assert properties(tmp_path / "hats")["hats_nrows"] == "100"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.fits", "1.fits", "2.fits", "hats"]


def test_unsuitable_catalogues_are_refused_and_nothing_is_written(catalogs: list[Path], tmp_path: Path) -> None:
    fewer, no_position, empty, text = (tmp_path / f"{name}.fits" for name in ("fewer", "no_position", "empty", "text"))
    write_catalog(fewer, columns(5)[:-1])
    write_catalog(no_position, [columns(5)[0]])
    write_catalog(empty, columns(0))
    text.write_text("a,b\n")
    for paths, error, message in (
        ([catalogs[0], fewer], DataError, r"fewer.fits: column 'good' differs from that of .*0.fits"),
        ([no_position], DataError, r"no_position.fits: no column ra and dec .*set data.ra_column"),
        ([empty], DataError, "no object has a position"),
        ([tmp_path / "missing.fits"], StoreError, "no such catalogue"),
        ([text], StoreError, r"text.fits: cannot be read"),
    ):
        with pytest.raises(error, match=message):
            write_hats(paths, tmp_path / "hats", name="sky")
    assert not list(tmp_path.glob("*hats*"))


def test_hats_opens_it(catalogs: list[Path], tmp_path: Path) -> None:
    hats = pytest.importorskip("hats")
    from hats.io.validation import is_valid_catalog

    write_hats(catalogs, tmp_path / "hats", name="sky", max_rows=50)
    assert is_valid_catalog(tmp_path / "hats", strict=True)
    catalog = hats.read_hats(tmp_path / "hats")
    assert catalog.catalog_info.total_rows == 300
    assert catalog.catalog_info.ra_column == "ra"
    assert catalog.schema.field("ra").metadata[b"unit"] == b"deg"


@pytest.mark.filterwarnings("ignore")
def test_lsdb_reads_the_rows_of_the_fits_catalogues(catalogs: list[Path], tmp_path: Path) -> None:
    lsdb = pytest.importorskip("lsdb")
    write_hats(catalogs, tmp_path / "hats", name="sky", max_rows=50)
    found = lsdb.open_catalog(tmp_path / "hats").compute()
    rows = merged(catalogs).loc[found["object_id"].tolist()]
    assert list(found.columns) == rows.colnames
    assert len(found) == 300
    for name in ("ra", "dec", "z", "flags", "number", "good"):
        np.testing.assert_array_equal(found[name].to_numpy(rows[name].dtype.newbyteorder("=")), np.asarray(rows[name]))
    assert found["class"].tolist() == rows["class"].tolist()
    np.testing.assert_array_equal(np.stack(found["band_flags"].to_list()), np.asarray(rows["band_flags"]))


def test_a_missing_pyarrow_names_the_extra_to_install(
    catalogs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install pyarrow"):
        write_hats(catalogs, tmp_path / "hats", name="sky")


def test_a_damaged_catalogue_is_refused_in_one_line(catalogs: list[Path], tmp_path: Path) -> None:
    copy, lines = tmp_path / "damaged.fits", list[str]()
    for content in damage(catalogs[0].read_bytes(), 60):
        copy.write_bytes(content)
        try:
            write_hats([copy], tmp_path / "hats", name="sky")
        except (StoreError, DataError) as error:
            lines.append(str(error))
    assert len(lines) > 50
    assert all(str(copy) in line and "\n" not in line for line in lines)
