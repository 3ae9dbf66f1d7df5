"""Some columns of a FITS table, read block by block, are those that astropy reads of the whole."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from astrodl.ingestion import table_file
from astrodl.ingestion.table import Texts, masked, texts_of
from astrodl.ingestion.table_file import read_table

N = 11


def write(path: Path) -> list[str]:
    """Write a table of every kind of column; gives their names."""
    k = np.arange(N)
    Table(
        {
            "id": [f"g{n:02d} " for n in k],
            "empty": np.where(k % 3, "text", ""),
            "real": np.where(k == 4, np.nan, k / 7),
            "single": (k / 3).astype(np.float32),
            "missing": MaskedColumn(k + 2**40, mask=k == 2, fill_value=-5),
            "whole": k.astype(np.int16),
            "unsigned": (k + 2**31).astype(np.uint32),
            "truth": k % 2 == 0,
            "also": k,
            "vector": np.ones((N, 3)),
        }
    ).write(path)
    return Table.read(path).colnames


@pytest.mark.parametrize("block", [4, 100])
def test_columns_are_those_of_the_whole_table(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "_BLOCK_ROWS", block)
    names = [name for name in write(tmp_path / "c.fits") if name != "also"]
    whole, some = Table.read(tmp_path / "c.fits"), read_table(tmp_path / "c.fits", "id", names)
    assert some.colnames == names
    for name in (name for name in names if name != "vector"):
        assert texts_of(some[name]) == texts_of(whole[name]), name
        if some[name].dtype.kind not in "SU":
            assert (masked(some[name]) == masked(whole[name])).all(), name
            known = ~masked(some[name])
            assert (np.asarray(some[name])[known] == np.asarray(whole[name])[known]).all(), name
    assert some["vector"].shape == (N, 3)


def test_a_column_that_is_not_there_means_all_of_the_table_so_that_the_message_can_list_it(tmp_path: Path) -> None:
    names = write(tmp_path / "c.fits")
    assert read_table(tmp_path / "c.fits", "id", ["id", "nonsense"]).colnames == names


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    Table({"id": np.empty(0, "S3"), "z": np.empty(0)}).write(tmp_path / "c.fits")
    assert read_table(tmp_path / "c.fits", "id", ["z", "id"]).colnames == ["z", "id"]


def test_texts_are_made_when_asked_for_and_drop_the_point_of_whole_numbers() -> None:
    table = Table({"n": MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False]), "x": [0.5, 1.0, 2.0]})
    assert [Texts(table["n"])[row] for row in range(3)] == ["1", "", "3"]
    assert list(Texts(table["x"])) == ["0.5", "1.0", "2.0"]
