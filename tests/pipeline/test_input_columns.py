"""The catalogue keeps the columns of the input with name, type, unit and description; names are safe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table, join

import astrodl
from astrodl.pipeline import catalog as pipeline_catalog
from astrodl.products import Column as CatalogColumn
from astrodl.products import name_safely, read_catalog
from astrodl.store import Writer, open_store
from tests.ingestion.toy import N, catalog, settings, write_object
from tests.small_store import write_store

ROW = np.arange(N)
KEPT = ("z_spec", "mag_r", "flux", "parent", "level", "seen", "certain", "small", "2mass-j", "kind", "flags")


def make_table() -> Table:
    table = catalog()
    table["z_spec"] = Column((ROW / N).astype("f4"), description="spectroscopic redshift")
    table["mag_r"] = Column(20 + ROW / 10, unit="mag", description="r-band magnitude")
    table["flux"] = Column(ROW * 1.0, unit="nmgy")
    table["parent"] = MaskedColumn(5853498713190525703 + ROW, mask=ROW == 2, description="parent object")
    table["level"] = MaskedColumn(ROW.astype("i2"), mask=ROW == 0)
    table["seen"], table["small"] = ROW % 2 == 0, ROW.astype("u1")
    table["certain"] = MaskedColumn(ROW % 2 == 0, mask=ROW == 3)
    table["2mass-j"] = ROW * 2.0
    table["flags"] = ROW
    return table


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept")
    table = make_table()
    table.write(root / "catalog.ecsv")
    for number, name in enumerate(table["objid"]):
        write_object(root / "images" / f"{name}.fits", number)
    columns = {f"c{number}": name for number, name in enumerate(KEPT)}
    values = settings(root, catalog="catalog.ecsv", columns=columns, ra_column="ra", dec_column="dec")
    astrodl.ingest(values, root / "store.h5", progress=False)
    return root / "store.h5"


@pytest.fixture
def kept(ingested: Path, tmp_path: Path) -> Table:
    return read_catalog(astrodl.catalog(ingested, [], tmp_path / "catalog.fits"))


def test_columns_keep_name_type_unit_and_description(kept: Table) -> None:
    table = make_table()
    for name in ("z_spec", "mag_r", "flux", "parent", "level", "seen", "small"):
        assert kept[name].dtype.newbyteorder("=") == table[name].dtype, name
        assert kept[name].tolist() == table[name].tolist(), name
        assert kept[name].unit == table[name].unit, name
        assert table[name].description in (None, kept[name].description), name
    assert kept["kind"].tolist() == table["kind"].tolist()
    assert kept["flux"].unit == units.Unit("nmgy")
    assert kept["certain"].tolist() == [None if row == 3 else int(row % 2 == 0) for row in ROW]


def test_integer_identifiers_match_those_of_the_input(kept: Table) -> None:
    kept["objid"] = kept["object_id"]
    assert len(join(make_table()["objid", "ra"], kept["objid", "flags"], keys="objid")) == N


def test_columns_whose_name_is_taken_or_not_possible_get_another_and_keep_theirs_in_the_description(
    kept: Table,
) -> None:
    assert kept["flags_2"].tolist() == ROW.tolist()
    assert kept["c_2mass_j"].tolist() == (ROW * 2.0).tolist()
    assert "(name: 2mass-j)" in kept["c_2mass_j"].description
    assert "(name: flags)" in kept["flags_2"].description


@pytest.mark.parametrize("block", [5, 100])
def test_the_bytes_do_not_depend_on_the_blocks(
    ingested: Path, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = astrodl.catalog(ingested, [], tmp_path / "whole.fits").read_bytes()
    monkeypatch.setattr(pipeline_catalog, "BLOCK", block)
    assert astrodl.catalog(ingested, [], tmp_path / "blocks.fits").read_bytes() == whole


def test_the_table_of_a_store_has_units_and_masks(ingested: Path) -> None:
    with open_store(ingested) as store:
        table = store.table()
        assert table["object_id"].tolist() == make_table()["objid"].tolist()
        assert table["c1"].unit == "mag"
        assert table["c0"].description == "spectroscopic redshift"
        assert table["c3"].tolist() == make_table()["parent"].tolist()
        assert store.column("c3", [2, 1]).tolist() == [None, 5853498713190525704]


def test_a_store_of_an_older_version_keeps_its_columns_under_their_names(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store.h5", 20)
    table = read_catalog(astrodl.catalog(store, [], tmp_path / "catalog.fits"))
    with open_store(store) as reader:
        assert table["object_id"].tolist() == reader.object_id.tolist()
        for name in reader.column_names:
            assert table[name].tolist() == reader.column(name).tolist()


def test_text_outside_ascii_in_an_older_store_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_block: Callable[..., None] = Writer.write_block

    def rename(writer: Writer, start: int, block: dict[str, Any]) -> None:
        write_block(writer, start, block | {"catalog/class": np.array(["barrée"] * 20)})

    monkeypatch.setattr(Writer, "write_block", rename)
    store = write_store(tmp_path / "store.h5", 20)
    table = read_catalog(astrodl.catalog(store, [], tmp_path / "catalog.fits"))
    assert set(table["class"]) == {r"barr\xe9e"}


def test_names_of_odd_classes_are_safe_and_different() -> None:
    names = ["p_S0/a", "p_S0_a", "p_edge-on", "p_Sb", "p_SB", "p_a class", "p_" + "x" * 90, "p_é", "2mass"]
    columns = [CatalogColumn(name, np.zeros(2), None, f"probability of {name[2:]}") for name in names]
    safe = name_safely(columns)
    expected = ["p_S0_a", "p_S0_a_2", "p_edge_on", "p_Sb", "p_SB_2", "p_a_class", "p_" + "x" * 58, "p__", "c_2mass"]
    assert [column.name for column in safe] == expected
    assert safe[0].description == "probability of S0/a (name: p_S0/a)"
    assert safe[3].description == "probability of Sb"
    assert all(column.description.isascii() for column in safe)


def test_every_class_name_reaches_the_catalogue(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["S0/a", "edge-on", "Sb", "SB", "a class"]

    class Task:
        name = "morphology"

        def columns(self, arrays: Any) -> list[CatalogColumn]:
            return [
                CatalogColumn(f"morphology_p_{name}", np.ones(N), None, f"probability of class {name}")
                for name in names
            ]

    class Predicted:
        attributes: ClassVar = {"models": ["0" * 64]}
        path = tmp_path

        def __init__(self, path: Path) -> None: ...
        def task(self) -> Task:
            return Task()

        def require_store(self, reader: Any) -> None: ...
        def checked_block(self, reader: Any, start: int, stop: int) -> tuple[Any, dict[str, Any]]:
            return None, {}

        def held_out(self, start: int, stop: int) -> np.ndarray:
            return np.ones(stop - start, bool)

    monkeypatch.setattr(pipeline_catalog, "Predictions", Predicted)
    out = astrodl.catalog(ingested, ["morphology.h5"], tmp_path / "catalog.fits")
    header = fits.getheader(out, 1)
    positions = {header[key]: key.removeprefix("TTYPE") for key in header if key.startswith("TTYPE")}
    safe = [f"morphology_p_{name}" for name in ("S0_a", "edge_on", "Sb", "SB_2", "a_class")]
    for column, name in zip(safe, names, strict=True):
        assert f"probability of class {name}" in header[f"TCOMM{positions[column]}"]
