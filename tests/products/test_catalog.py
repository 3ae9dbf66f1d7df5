import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrodl.errors import DataError, StoreError
from astrodl.products import Column, read_catalog, stream_catalog, write_catalog

LONG = "probability that the object is an elliptical galaxy, averaged over the eight orientations of the image"


def columns(n: int = 4) -> list[Column]:
    """Return one column of each type; `object_id` is not the first."""
    return [
        Column("z", np.linspace(0.1, 2, n), None, "photometric redshift", "src.redshift.phot"),
        Column("object_id", [f"g{k}" for k in range(n)], None, "identifier", "meta.id;meta.main"),
        Column("ra", np.linspace(0, 359, n), "deg", "right ascension", "pos.eq.ra;meta.main"),
        Column("flux", np.arange(3 * n, dtype=np.float32).reshape(n, 3), "uJy", "flux per band", "phot.flux"),
        Column("map", np.arange(6.0 * n).reshape(n, 2, 3), None, "a small map"),
        Column("morphology", np.array(["spiral", "", "merger", "E"])[:n], None, "class", "src.morph.type"),
        Column("p_elliptical", np.array([0.5, np.nan, 0, 1])[:n], None, LONG, "stat.probability"),
        Column("flags", np.arange(n, dtype=np.int32), None, "flag bits", "meta.code"),
        Column("number", np.arange(n) - 2**40, None, "a large integer"),
        Column("is_test", np.arange(n) % 2 == 0, None, "object of the test split", "meta.code"),
        Column("names", np.array([["a", "bcd"]] * n), None, "two words"),
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.fits"


@pytest.mark.parametrize("read", [read_catalog, lambda path: Table.read(path, mask_invalid=False)])
def test_values_and_units_round_trip(path: Path, read) -> None:
    write_catalog(path, columns())
    table = read(path)
    assert table.colnames[:2] == ["object_id", "z"]
    for column in columns():
        values = np.asarray(column.values)
        back = np.asarray(table[column.name])
        assert back.shape == values.shape
        if values.dtype.kind == "U":
            assert np.array_equal(back.astype(str), values)
        else:
            assert back.dtype.newbyteorder("=") == values.dtype
            assert np.array_equal(back, values, equal_nan=values.dtype.kind == "f")
        assert table[column.name].unit == (units.Unit(column.unit) if column.unit else None)


@pytest.mark.parametrize(("numpy_type", "stored"), [("i1", "i2"), ("u2", "i4"), ("u4", "i8"), ("f2", "f4")])
def test_numbers_without_a_fits_type_are_stored_in_a_wider_one(path: Path, numpy_type: str, stored: str) -> None:
    values = np.array(
        [np.iinfo(numpy_type).min, np.iinfo(numpy_type).max] if numpy_type != "f2" else [np.nan, 0.1], numpy_type
    )
    write_catalog(path, [Column("object_id", ["a", "b"], None, "id"), Column("z", values, None, "z")])
    z = np.asarray(read_catalog(path)["z"])
    assert z.dtype.newbyteorder("=") == stored
    assert np.array_equal(z, values.astype(stored), equal_nan=True)


def test_descriptions_and_ucds_round_trip(path: Path) -> None:
    write_catalog(path, columns())
    table = read_catalog(path)
    for column in columns():
        assert table[column.name].description == column.description
        assert table[column.name].meta.get("ucd") == column.ucd
    assert not [key for key in table.meta if key.startswith(("TCOMM", "TUCD"))]


def test_the_comment_of_a_column_name_is_its_description(path: Path) -> None:
    write_catalog(path, columns())
    header = fits.getheader(path, 1)
    assert header["TTYPE2"] == "z"
    assert header.comments["TTYPE2"] == "photometric redshift"
    position = [header[f"TTYPE{k}"] for k in range(1, 12)].index("p_elliptical") + 1
    assert header.comments[f"TTYPE{position}"].endswith("...")
    assert LONG.startswith(header.comments[f"TTYPE{position}"].removesuffix("..."))
    assert header[f"TCOMM{position}"] == LONG
    assert header["TUCD1"] == "meta.id;meta.main"


def test_the_file_follows_the_fits_standard(path: Path) -> None:
    write_catalog(path, columns(), {"SURVEY": "demo", "a longer name": "x" * 300})
    with fits.open(path, checksum=True) as file:
        file.verify("exception")
        assert [hdu.name for hdu in file] == ["PRIMARY", "CATALOG"]
        assert not [card for card in file[1].header.cards if card.keyword.startswith(("HIERARCH", "DATE"))]
    assert len(path.read_bytes()) % 2880 == 0


def test_provenance_is_in_cards_and_in_history_for_long_names(path: Path) -> None:
    write_catalog(path, columns(), {"SURVEY": "demo", "SETTINGS": "s" * 500, "photoz model": "0123abc", "WHO": "é\n"})
    meta = read_catalog(path).meta
    assert meta["SURVEY"] == "demo"
    assert meta["SETTINGS"] == "s" * 500
    assert meta["WHO"] == r"\xe9\n"
    assert meta["HISTORY"] == ["photoz model = 0123abc"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=250))
def test_any_printable_provenance_round_trips(path: Path, text: str) -> None:
    write_catalog(path, columns(1)[:2], {"NOTE": text})
    # Trailing blanks are not significant in FITS.
    assert read_catalog(path).meta["NOTE"].replace(r"\u0027", "'").rstrip() == text.rstrip()


@pytest.mark.parametrize("text", ["'/", "it's' / that", "''/''/", '{"root": "/data/john\'/x"}'])
def test_a_quote_before_a_slash_does_not_end_a_value(path: Path, text: str) -> None:
    write_catalog(path, [replace(columns(1)[0], description=text), *columns(1)[1:2]], {"NOTE": text})
    table = read_catalog(path)
    for found in (table.meta["NOTE"], fits.getheader(path, 1)["TCOMM2"]):
        assert found.replace(r"\u0027", "'") == text
        assert json.loads(found) == json.loads(text) if text.startswith("{") else True


def test_equal_input_gives_equal_bytes_also_in_another_process(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.products.test_catalog import columns; "
        "from astrodl.products import write_catalog; write_catalog(Path(sys.argv[1]), columns(), {'SURVEY': 'demo'})"
    )
    write_catalog(path, columns(), {"SURVEY": "demo"})
    other = path.with_name("other.fits")
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script, str(other)], check=True, cwd=root)
    assert other.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(path.parent)) == ["catalog.fits", "other.fits"]


def test_a_catalogue_without_objects_can_be_written(path: Path) -> None:
    write_catalog(path, [Column(c.name, np.asarray(c.values)[:0], c.unit, c.description, c.ucd) for c in columns()])
    table = read_catalog(path)
    assert len(table) == 0
    assert len(table.colnames) == 11


def test_a_failure_leaves_the_old_file_and_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalog(path, columns())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot be written .No space left on device."):
        write_catalog(path, columns(2))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


ID = columns()[1]
ILL_CASES = [
    ([Column("z", np.ones(4), None, "z")], "no column object_id"),
    ([], "no column object_id"),
    ([ID, Column("z", np.ones(3), None, "z")], "'z' has 3 rows, object_id 4"),
    ([ID, Column("z", 1.0, None, "z")], "'z' has 1 rows"),
    ([ID, Column("z", np.ones(4), None, "z"), Column("Z", np.ones(4), None, "z")], "z, Z have the same name"),
    ([ID, Column("two words", np.ones(4), None, "z")], "letters, digits and underscores"),
    ([ID, Column("z", np.ones(4), "furlongs", "z")], "unit 'furlongs' of column 'z' is not known"),
    ([ID, Column("z", np.ones(4), None, "z", "src.redshift.guessed")], "UCD 'src.redshift.guessed'"),
    ([ID, Column("z", np.ones(4), None, "two\nlines")], "one line of ASCII"),
    ([ID, Column("z", np.ones(4, complex), None, "z")], "holds complex128"),
    ([ID, Column("z", [{}, {}, {}, {}], None, "z")], "holds object"),
    ([ID, Column("z", np.ma.masked_less([1.0, 2, 3, 4], 2), None, "z")], "is masked"),
]


@pytest.mark.parametrize(("ill", "message"), ILL_CASES, ids=[message for _, message in ILL_CASES])
def test_invalid_columns_are_refused_and_nothing_is_written(path: Path, ill: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_catalog(path, ill)
    assert not os.listdir(path.parent)


@pytest.mark.parametrize("name", ["TTYPE1", "NAXIS2", "DATE", "CHECKSUM", "TUCD12", "HISTORY"])
def test_reserved_header_names_are_refused(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is reserved for the table"):
        write_catalog(path, columns(), {name: "x"})


def test_text_that_is_not_ascii_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="'galaxy-é' in column object_id is not ASCII"):
        write_catalog(path, [Column("object_id", ["galaxy-é"], None, "identifier")])
    with pytest.raises(DataError, match="'spirale barrée' in column type"):
        write_catalog(path, [ID, Column("type", ["a", "b", "c", "spirale barrée"], None, "type")])


def test_repeated_identifiers_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="object_id 'b' occurs twice"):
        write_catalog(path, [Column("object_id", ["a", "b", "c", "b"], None, "identifier")])


def test_a_missing_catalogue_is_refused(path: Path) -> None:
    with pytest.raises(StoreError, match=r"no such catalogue; make it with"):
        read_catalog(path)


def damage(content: bytes, how: str) -> bytes:
    """Return the damaged bytes of a catalogue."""
    if how == "one bit":
        return content[:-2880] + bytes([content[-2880] ^ 1]) + content[-2879:]
    if how == "in the data":
        return content[:-1000]
    if how == "in the header":
        return content[:4000]
    return b"object_id,z\na,1\n"


@pytest.mark.parametrize("how", ["one bit", "in the data", "in the header", "text"])
def test_damaged_files_are_refused_in_one_line(path: Path, how: str) -> None:
    write_catalog(path, columns())
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.raises(StoreError, match="cannot be read") as caught:
        read_catalog(path)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_table_is_refused(path: Path) -> None:
    fits.PrimaryHDU(np.ones((2, 2))).writeto(path)
    with pytest.raises(StoreError, match="holds no binary table"):
        read_catalog(path)


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_catalogue_written_in_blocks_has_the_bytes_of_one_written_at_once(path: Path, step: int) -> None:
    write_catalog(path, columns(), {"SURVEY": "demo"})
    widths = {"object_id": 2, "morphology": 6, "names": 3}
    other = path.with_name("blocks.fits")
    with stream_catalog(other, 4, {"SURVEY": "demo"}, widths=widths) as catalog:
        for start in range(0, 4, step):
            catalog.write([replace(c, values=np.asarray(c.values)[start : start + step]) for c in columns()])
    assert other.read_bytes() == path.read_bytes()


def test_text_has_the_width_of_its_type_and_not_of_its_longest_entry(path: Path) -> None:
    with stream_catalog(path, 2) as catalog:
        for name, label in (("a", "E"), ("b", "spiral")):
            catalog.write(
                [Column("object_id", [name], None, "id"), Column("class", np.array([label], "U8"), None, "c")]
            )
    assert fits.getheader(path, 1)["TFORM2"] == "8A"


def test_blocks_that_differ_from_the_first_are_refused(path: Path) -> None:
    first = [Column("object_id", ["a"], None, "id"), Column("z", np.ones(1), None, "z")]
    with stream_catalog(path, 1) as catalog:
        catalog.write(first)
        with pytest.raises(ValueError, match="column 'z' has another type"):
            catalog.write([first[0], Column("z", np.ones(1, np.float32), None, "z")])
        with pytest.raises(ValueError, match="column 'object_id' has another type"):
            catalog.write([Column("object_id", ["long"], None, "id"), first[1]])
    with (
        pytest.raises(ValueError, match="text in column 'object_id' is longer than 2 characters"),
        stream_catalog(path.with_name("other.fits"), 1, widths={"object_id": 2}) as catalog,
    ):
        catalog.write([Column("object_id", ["abc"], None, "id")])
    assert os.listdir(path.parent) == [path.name]


def test_a_catalogue_with_too_few_objects_is_not_written(path: Path) -> None:
    with pytest.raises(AssertionError, match="1 of 2 objects"), stream_catalog(path, 2) as catalog:
        catalog.write([Column("object_id", ["a"], None, "id")])
    assert not os.listdir(path.parent)
