"""Catalogue columns mean what the table says: types, masks, units, placeholders, times, angles, text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Longitude, SkyCoord
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time

from astrodl.errors import ConfigError, DataError
from astrodl.ingestion.objects import Objects, read_objects
from astrodl.ingestion.placeholders import find_placeholders, is_missing_text
from tests.ingestion.toy import N, catalog, settings

FORMATS = ["catalog.fits", "catalog.ecsv", "catalog.vot"]
BIG = 5853498713190525703 + np.arange(N)
Z = np.linspace(0.1, 1, N)
SKY = {"ra_column": "ra", "dec_column": "dec"}


def read(folder: Path, name: str = "catalog.ecsv", *, columns: Any = None, change: Any = None, **data: Any) -> Objects:
    """Write a catalogue with other columns, and read it; kept columns keep their name."""
    table = catalog()
    for column, values in (change or {}).items():
        table[column] = values
    table.write(folder / name, format="votable" if name.endswith("vot") else None)
    kept = {column: column for column in columns} if isinstance(columns, list) else columns or {}
    return read_objects(folder / name, settings(folder, catalog=name, columns=kept, **data).data)


class TestTypes:
    @pytest.mark.parametrize("name", FORMATS)
    def test_masked_64_bit_integers_keep_all_digits(self, tmp_path: Path, name: str) -> None:
        change = {"parent": MaskedColumn(BIG, mask=np.arange(N) == 2)}
        objects = read(tmp_path, name, change=change, columns=["parent"], path="img/{parent}.fits")
        values = objects.descriptions["parent"].mask(objects.columns["parent"])
        assert values.dtype == np.int64
        assert np.ma.getmaskarray(values).tolist() == [row == 2 for row in range(N)]
        assert values.compressed().tolist() == [number for number in BIG.tolist() if number != BIG[2]]
        assert objects.fields["parent"][:3] == [str(BIG[0]), str(BIG[1]), ""]

    @pytest.mark.parametrize("name", ["catalog.fits", "catalog.ecsv", "catalog.csv"])
    @pytest.mark.parametrize("masked", [False, True])
    def test_unsigned_64_bit_integers_keep_all_digits(self, tmp_path: Path, name: str, masked: bool) -> None:
        numbers = np.uint64(2**63) + np.arange(N, dtype=np.uint64)
        column = MaskedColumn(numbers, mask=np.arange(N) == 1) if masked else Column(numbers)
        objects = read(tmp_path, name, change={"parent": column}, columns=["parent"])
        values = np.ma.asarray(objects.descriptions["parent"].mask(objects.columns["parent"]))
        assert values.tolist() == [None if masked and row == 1 else 2**63 + row for row in range(N)]

    @pytest.mark.parametrize("marker", ["", "nan", "NaN", "N/A"])
    def test_integers_in_csv_keep_all_digits_beside_missing_values(self, tmp_path: Path, marker: str) -> None:
        change = {"parent": [marker if row == 2 else str(number) for row, number in enumerate(BIG)]}
        objects = read(tmp_path, "catalog.csv", change=change, columns=["parent"], path="img/{parent}.fits")
        assert list(objects.fields["parent"])[3] == str(BIG[3])
        assert str(objects.columns["parent"][3]) == str(BIG[3])

    def test_small_integers_and_booleans_with_missing_values_become_floats(self, tmp_path: Path) -> None:
        change = {"b": MaskedColumn(np.arange(N) % 2 == 0, mask=np.arange(N) == 3), "u": np.arange(N, dtype=np.uint8)}
        objects = read(tmp_path, change=change, columns=["b", "n_visits", "u"])
        assert objects.columns["b"].tolist()[:3] == [1, 0, 1]
        assert np.flatnonzero(np.isnan(objects.columns["b"])).tolist() == [3]
        assert np.flatnonzero(np.isnan(objects.columns["n_visits"])).tolist() == [2]
        assert objects.columns["u"].dtype == np.int64
        assert [objects.descriptions[name].type for name in ("b", "n_visits", "u")] == ["bool", "int64", "uint8"]

    def test_an_undefined_logical_value_is_missing(self, tmp_path: Path) -> None:
        table = catalog()
        table["b"] = np.arange(N) % 2 == 0
        table["mark"] = "XYZ"
        table.write(tmp_path / "catalog.fits")
        content = (tmp_path / "catalog.fits").read_bytes().replace(b"TXYZ", b"\0XYZ", 1)
        (tmp_path / "catalog.fits").write_bytes(content)
        data = settings(tmp_path, columns={"b": "b"}).data
        assert np.flatnonzero(np.isnan(read_objects(tmp_path / "catalog.fits", data).columns["b"])).tolist() == [0]

    def test_integers_kept_as_floats_in_a_template_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"'parent' in a template holds 5.8535e.18, of which float64 loses digits"):
            read(tmp_path, change={"parent": BIG.astype(float)}, path="img/{parent}.fits")

    @pytest.mark.parametrize("name", FORMATS)
    def test_units_descriptions_and_types_are_known(self, tmp_path: Path, name: str) -> None:
        change = {"mag": Column(np.linspace(15, 20, N).astype("f4"), unit="mag", description="r band")}
        known = read(tmp_path, name, change=change, columns={"m": "mag"}).descriptions["m"]
        assert (known.source, known.type, known.unit, known.description) == ("mag", "float32", "mag", "r band")


class TestPlaceholders:
    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    @pytest.mark.parametrize(
        "value",
        [
            *(-1, -9, -99, -99.9, -999, -9999, -99999, 99, 99.9, 999, 9999, 9.99, 50),
            *(1e20, -1e20, 1e30, 3.4028235e38, -1.6375e30, -32768, -2147483648, np.inf, -np.inf),
        ],
    )
    def test_no_placeholder_or_impossible_redshift_is_kept(
        self, tmp_path: Path, value: float, dtype: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        z = Z.astype(dtype)
        z[[3, 5]] = value
        objects = read(tmp_path, change={"z_spec": z}, columns={"z": "z_spec"})
        assert np.flatnonzero(np.isnan(objects.columns["z"])).tolist() == [3, 5]
        assert np.array_equal(objects.columns["z"][6:], z[6:].astype(float))
        assert "column 'z_spec'" in capsys.readouterr().err

    def test_magnitudes_of_99_are_missing_and_counts_of_99_are_not(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        magnitude, count = np.linspace(15, 25, N), np.arange(N)
        magnitude[:2], count[3] = (99, -99), 99
        objects = read(tmp_path, change={"m": magnitude, "n": count}, columns=["m", "n"])
        assert np.flatnonzero(np.isnan(objects.columns["m"])).tolist() == [0, 1]
        assert objects.columns["n"].tolist() == count.tolist()
        lines = capsys.readouterr().err.splitlines()
        assert "column 'm': -99, 99 in 2 of 12 rows counts as missing" in lines[0]
        assert "column 'n': 99 is kept, although far from all other values" in lines[1]

    def test_the_user_can_name_the_placeholders(self, tmp_path: Path) -> None:
        magnitude, count = np.linspace(15, 25, N), np.arange(N)
        magnitude[0], count[3] = 99, 77
        missing = {"m": [], "n": [77], "kind": ["E"]}
        change = {"m": magnitude, "n": count}
        objects = read(tmp_path, change=change, columns=["m", "n", "kind"], missing=missing)
        assert objects.columns["m"][0] == 99
        assert np.flatnonzero(np.isnan(objects.columns["n"])).tolist() == [3]
        assert set(objects.columns["kind"]) == {"", "S"}

    @pytest.mark.parametrize(
        "values", [[-5.2, -9.0, 4.1], [99, 98, 97], [1.0, 99.0, 250.0], [1e43, 1e44], [0, 99], [-60.5, 9.0, 50.0, -99]]
    )
    def test_ordinary_values_are_no_placeholders(self, values: list[float]) -> None:
        assert find_placeholders(np.array(values))[0] == []

    def test_impossible_positions_are_missing_or_refused(self, tmp_path: Path) -> None:
        ra, dec = np.linspace(1, 300, N), np.linspace(-10, 10, N)
        ra[0], dec[0] = -99, -999
        objects = read(tmp_path, "a.ecsv", change={"ra": ra, "dec": dec}, **SKY)
        assert objects.ra is not None
        assert objects.dec is not None
        assert np.isnan([objects.ra[0], objects.dec[0]]).all()
        assert np.isfinite(objects.ra[1:]).all()
        dec[0] = 95
        with pytest.raises(
            DataError, match="column 'dec' holds 95 in 1 of 12 rows, accepted are -90 to 90 deg; correct"
        ):
            read(tmp_path, "b.ecsv", change={"dec": dec}, **SKY)

    def test_reddening_placeholders_reach_no_feature(self, tmp_path: Path) -> None:
        objects = read(tmp_path, change={"ebv": [-99.0, 1e20, -9999, *[0.1] * (N - 3)]}, ebv_column="ebv")
        assert objects.ebv is not None
        assert np.flatnonzero(np.isnan(objects.ebv)).tolist() == [0, 1, 2]

    def test_redshifts_of_exactly_zero_are_pointed_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        read(tmp_path, change={"z_spec": np.where(np.arange(N) < 3, 0, Z)}, columns={"z": "z_spec"})
        assert "3 redshifts are exactly 0; if 0 stands for unknown, list it" in capsys.readouterr().err


class TestText:
    @pytest.mark.parametrize("marker", ["N/A", "--", "nan", "NULL", "", "-", "None", "INDEF"])
    @pytest.mark.parametrize("name", ["catalog.ecsv", "catalog.csv", "catalog.fits"])
    def test_redshifts_as_text_are_numbers(self, tmp_path: Path, name: str, marker: str) -> None:
        change = {"z_spec": [marker, *(f"{z:.3f}" for z in Z[1:])]}
        z = read(tmp_path, name, change=change, columns={"z": "z_spec"}).columns["z"]
        assert z.dtype == np.float64
        np.testing.assert_array_equal(z, [np.nan, *np.round(Z[1:], 3)])

    def test_text_that_is_no_number_is_refused_with_its_row(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"'z_spec' holds text, '~0.2' in row 3, numbers are accepted; correct"):
            read(tmp_path, change={"z_spec": ["0.1", "1.5D-01", "~0.2", *["0.3"] * 9]}, columns={"z": "z_spec"})

    def test_real_numbers_as_text_are_numbers_under_any_name_and_digits_stay_text(self, tmp_path: Path) -> None:
        change = {"target": ["0.5", "N/A", *["1"] * 10], "number": ["007"] * N}
        objects = read(tmp_path, change=change, columns=["target", "number"])
        assert objects.columns["target"].tolist()[::2] == [0.5, *[1.0] * 5]
        assert set(objects.columns["number"]) == {"007"}

    def test_markers_are_no_classes_unless_they_are_renamed(self, tmp_path: Path) -> None:
        change = {"kind": ["N/A", "nan", *["E", "S"] * 5]}
        assert set(read(tmp_path, "a.ecsv", change=change, columns=["kind"]).columns["kind"]) == {"", "E", "S"}
        renames = {"kind": {"N/A": "unclear"}}
        renamed = read(tmp_path, "b.ecsv", change=change, columns=["kind"], replace=renames)
        assert set(renamed.columns["kind"]) == {"", "unclear", "E", "S"}

    def test_missing_texts(self) -> None:
        assert all(map(is_missing_text, ["", " ", "N/A", "--", "NaN", "<NA>", "null", "None"]))
        assert not any(map(is_missing_text, ["S0/a", "0", "unknown", "no"]))


class TestUnits:
    @pytest.mark.parametrize(
        ("ra", "dec"),
        [
            (Column(np.radians(np.linspace(1, 300, N)), unit="rad"), Column(np.full(N, 300.0), unit="arcmin")),
            (Column(np.linspace(1, 300, N) / 15, unit="hourangle"), Column(np.full(N, 5.0), unit="deg")),
            (Column(np.linspace(1, 300, N) / 15, unit="h"), Column(np.full(N, 5.0))),
            (Longitude(np.linspace(1, 300, N) / 15, unit="hourangle"), Column(np.full(N, 5.0), unit="degree")),
        ],
    )
    def test_positions_are_converted_to_degrees(self, tmp_path: Path, ra: Any, dec: Any) -> None:
        objects = read(tmp_path, change={"ra": ra, "dec": dec}, **SKY)
        np.testing.assert_allclose(objects.ra, np.linspace(1, 300, N), rtol=1e-14)
        np.testing.assert_allclose(objects.dec, 5.0, rtol=1e-14)
        assert objects.descriptions["ra"].unit == "deg"

    @pytest.mark.parametrize(
        ("ra", "dec"),
        [
            ("10:00:28.6", "-00:30:36"),
            ("10 00 28.6", "-00 30 36"),
            ("10h00m28.6s", "-00d30m36s"),
            ("150.11916666666667", "-0.51"),
        ],
    )
    def test_sexagesimal_text_is_read_in_hours_and_degrees(self, tmp_path: Path, ra: str, dec: str) -> None:
        objects = read(tmp_path, change={"ra": [ra] * N, "dec": [dec] * N}, **SKY)
        np.testing.assert_allclose(objects.ra, 150.11916666666667, rtol=1e-14)
        np.testing.assert_allclose(objects.dec, -0.51, rtol=1e-13)

    @pytest.mark.parametrize(("scale", "unit"), [(np.pi / 180, "radians"), (1 / 15, "hours"), (1, None)])
    def test_positions_that_fill_the_range_of_another_unit_are_pointed_out(
        self, tmp_path: Path, scale: float, unit: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ra, dec = np.linspace(1, 359, N) * scale, np.linspace(-80, 80, N) * (scale if unit == "radians" else 1)
        objects = read(tmp_path, change={"ra": ra, "dec": dec}, **SKY)
        np.testing.assert_array_equal(objects.ra, ra)
        expected = (
            f"column 'ra' is read in degrees, but seems to be in {unit}; if so, give it this unit" if unit else ""
        )
        assert capsys.readouterr().err.strip().endswith(expected)

    def test_settings_of_columns_that_are_not_kept_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="`replace` names 'klass', which is none of class; correct"):
            settings(tmp_path, columns={"class": "kind"}, replace={"klass": {"E": "e"}})
        with pytest.raises(ConfigError, match="`missing` names 'mag', which is none of dec, ebv, ra, x, y; correct"):
            settings(tmp_path, missing={"mag": [99]})

    def test_a_sky_position_column_gives_right_ascension_and_declination(self, tmp_path: Path) -> None:
        galactic = SkyCoord(np.linspace(0, 20, N), np.linspace(-5, 5, N), unit="deg", frame="galactic")
        objects = read(tmp_path, change={"sky": galactic}, ra_column="sky.ra", dec_column="sky.dec")
        np.testing.assert_allclose(objects.ra, galactic.icrs.ra.deg)
        np.testing.assert_allclose(objects.dec, galactic.icrs.dec.deg)

    @pytest.mark.parametrize("name", ["catalog.ecsv", "catalog.fits"])
    def test_masked_times_and_positions_are_missing(self, tmp_path: Path, name: str) -> None:
        taken = Time(59000.5 + np.arange(N), format="mjd")
        taken[2] = np.ma.masked
        change = {"taken": taken, "wait": taken - Time(59000.5, format="mjd"), "e": np.arange(N) * units.day}
        objects = read(tmp_path, name, change=change, columns=["taken", "wait", "e"])
        for column in ("taken", "wait"):
            assert np.flatnonzero(np.isnan(objects.columns[column])).tolist() == [2]
        assert objects.columns["wait"][:2].tolist() == objects.columns["e"][:2].tolist() == [0, 1]

    @pytest.mark.parametrize("name", ["catalog.ecsv", "catalog.fits"])
    def test_times_become_modified_julian_dates(self, tmp_path: Path, name: str) -> None:
        change = {"taken": Time(59000.5 + np.arange(N), format="mjd")}
        objects = read(tmp_path, name, change=change, columns=["taken"])
        assert objects.columns["taken"].tolist() == (59000.5 + np.arange(N)).tolist()
        assert objects.descriptions["taken"].unit == "d"

    @pytest.mark.parametrize(("factor", "unit"), [(299792.458, "km/s"), (299792458.0, "m/s"), (100, "%")])
    def test_redshifts_in_other_units_are_converted(self, tmp_path: Path, factor: float, unit: str) -> None:
        change = {"cz": Column(Z * factor, unit=unit)}
        np.testing.assert_allclose(read(tmp_path, change=change, columns={"z": "cz"}).columns["z"], Z, rtol=1e-14)

    def test_inclination_and_reddening_are_converted(self, tmp_path: Path) -> None:
        change = {"i": Column(np.radians(np.full(N, 60.0)), unit="rad"), "e": Column(np.full(N, 50.0), unit="mmag")}
        objects = read(tmp_path, change=change, columns={"inclination": "i"}, ebv_column="e")
        np.testing.assert_allclose(objects.columns["inclination"], 60)
        np.testing.assert_allclose(objects.ebv, 0.05)

    @pytest.mark.parametrize(
        ("change", "data", "message"),
        [
            (
                {"z_spec": Column(Z + 18, unit="mag")},
                {},
                "'z_spec' has the unit 'mag', accepted is numbers without unit",
            ),
            ({"z_spec": Z + 18}, {}, "'z_spec' has a median of 18.55, too high for redshifts"),
            ({"z_spec": Z * 3e5}, {}, "'z_spec' holds .* in 12 of 12 rows, accepted are -0.1 to 20; correct"),
            ({"ra": Column(Z, unit="km")}, SKY, "'ra' has the unit 'km', accepted is a unit such as deg"),
            ({"ra": Column(Z, unit="furlong")}, SKY, "'ra' has the unit 'furlong', accepted is a unit such as deg"),
            ({"x": Column(Z, unit="deg"), "y": Z}, {"x_column": "x", "y_column": "y"}, "'x' has the unit 'deg'"),
        ],
    )
    def test_other_quantities_are_refused(self, tmp_path: Path, change: Any, data: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read(tmp_path, change=change, columns={"z": "z_spec"}, **data)

    def test_units_that_astropy_does_not_know_are_kept(self, tmp_path: Path) -> None:
        table = Table(catalog())
        table["f"] = Column(np.arange(N) * 1.0, unit=units.Unit("bananas", parse_strict="silent"))
        assert read(tmp_path, change={"f": table["f"]}, columns=["f"]).descriptions["f"].unit == "bananas"


class TestClasses:
    def test_classes_are_listed_and_doubtful_ones_pointed_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kinds = ["S0/a", "edge-on", "Sb", "SB", "Sb", "SB", "SB", "S0/a", "edge on", "edge-on", "Irr", ""]
        read(tmp_path, change={"kind": kinds}, columns={"class": "kind"}, replace={"class": {"Spp": "S"}})
        err = capsys.readouterr().err
        assert "classes of 'class': SB 3, S0/a 2, Sb 2, edge-on 2, Irr 1, edge on 1, unknown 1" in err
        assert (
            "one object is 'Irr', 'edge on', too few to train on and to test; rename it with data.replace.class" in err
        )
        assert "'SB', 'Sb' differ in spelling alone" in err
        assert "'edge-on', 'edge on' differ in spelling alone" in err
        assert "data.replace.class: no object has 'Spp'" in err

    @pytest.mark.parametrize("values", [[1, 2] * 6, [True, False] * 6, [1.0, 2.0] * 6])
    def test_classes_as_numbers_keep_their_type_and_are_listed(
        self, tmp_path: Path, values: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        objects = read(tmp_path, change={"kind": values}, columns={"class": "kind"})
        assert objects.columns["class"].tolist() == values
        assert "classes of 'class': " in capsys.readouterr().err

    def test_text_outside_ascii_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="'objid' holds 'é0', printable ASCII is accepted, as FITS needs; rename"):
            read(tmp_path, "a.ecsv", change={"objid": [f"é{row}" for row in range(N)]})
        with pytest.raises(
            DataError, match=r"'kind' holds 'barrée', printable ASCII .* rename it with data.replace.class"
        ):
            read(tmp_path, "b.ecsv", change={"kind": ["barrée", "E"] * 6}, columns={"class": "kind"})


class TestIdentifiers:
    @pytest.mark.parametrize("name", ["catalog.csv", *FORMATS])
    def test_integers_are_known_as_integers(self, tmp_path: Path, name: str) -> None:
        objects = read(tmp_path, name)
        assert list(objects.object_id) == [str(number) for number in catalog()["objid"]]
        assert objects.descriptions["object_id"].type == "int64"

    def test_leading_zeros_are_text(self, tmp_path: Path) -> None:
        objects = read(tmp_path, "catalog.csv", change={"objid": [f"{row:03d}" for row in range(N)]})
        assert (objects.object_id[1], objects.descriptions["object_id"].type) == ("001", "text")

    @pytest.mark.parametrize("marker", ["N/A", "--", ""])
    def test_a_missing_identifier_is_refused(self, tmp_path: Path, marker: str) -> None:
        with pytest.raises(DataError, match="row 2 has no 'objid'; give every object an identifier"):
            read(tmp_path, change={"objid": ["a", marker, *map(str, range(N - 2))]})


@pytest.mark.parametrize(
    ("numbers", "null"), [([2**64 - 1, 2**64 - 2, 5, 7], 2**64 - 3), ([-(2**63), 2**63 - 1, 5, 7], 2**63 - 2)]
)
def test_the_value_for_missing_integers_is_one_that_no_object_has(
    numbers: list[int], null: int, tmp_path: Path
) -> None:
    values = np.resize(np.array(numbers, np.uint64 if null > 2**63 else np.int64), N)
    objects = read(
        tmp_path, change={"parent": MaskedColumn(values, mask=values == 5)}, columns=["parent"], missing={"parent": []}
    )
    assert objects.columns["parent"].tolist()[:4] == [numbers[0], numbers[1], null, numbers[3]]
    assert objects.descriptions["parent"].null == null


@pytest.mark.parametrize("text", ["25:00:00", "10:75:00"])
def test_text_that_is_no_angle_is_refused_and_sixty_seconds_are_a_minute(text: str, tmp_path: Path) -> None:
    angles = {"ra": Column(["10:00:00"] * N), "dec": Column(["1:00:60"] * N)}
    objects = read(tmp_path, change=angles, **SKY)
    assert objects.dec is not None
    assert objects.dec[0] == pytest.approx(1 + 1 / 60)
    with pytest.raises(DataError, match=f"'ra' holds '{text}', which is no angle, in hours, minutes and seconds"):
        read(tmp_path, "other.ecsv", change={**angles, "ra": Column([text] * N)}, **SKY)


def test_redshifts_are_no_logical_values_and_magnitudes_have_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="holds logical values, numbers are accepted"):
        read(tmp_path, change={"z": np.arange(N) > 5}, columns=["z"])
    magnitudes = np.resize([20.5, 0.0, 37.5, 21.0], N)
    found = read(tmp_path, "other.ecsv", change={"magnitude": magnitudes}, columns=["magnitude"]).columns["magnitude"]
    np.testing.assert_array_equal(found, np.where(magnitudes == 37.5, np.nan, magnitudes))
    assert "3 magnitudes are exactly 0; if 0 stands for unknown" in capsys.readouterr().err


def test_a_negative_number_among_classes_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, change={"class": np.resize([1, -1], N)}, columns=["class"])
    printed = capsys.readouterr().err
    assert "'-1' is a class; if it means unknown, list it in data.missing.class" in printed
    assert "spelling" not in printed


def test_limits_of_eight_bits_stand_for_missing_values_in_their_own_type_alone() -> None:
    assert find_placeholders(np.array([5, 3, 255, 0], np.uint8)) == ([], [255])
    assert find_placeholders(np.array([5, 3, -128, 0], np.int8)) == ([-128], [])
    assert find_placeholders(np.array([5, 3, 255, 0], np.int16)) == ([], [])
