"""Columns of a FITS table read in blocks equal those that astropy reads."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from astrodl.ingestion.tables import TextColumn, column_texts, missing_entries, read_table

N = 11


def write(path: Path) -> list[str]:
    """Write a table with every kind of column; return their names."""
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


@pytest.mark.parametrize("block", [1, 400, 10_000])
def test_selected_columns_equal_those_of_the_full_table(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrodl.ingestion.tables._BLOCK_BYTES", block)
    names = [name for name in write(tmp_path / "c.fits") if name != "also"]
    full, selected = Table.read(tmp_path / "c.fits"), read_table(tmp_path / "c.fits", "id", names)
    assert selected.colnames == names
    for name in (name for name in names if name != "vector"):
        assert column_texts(selected[name]) == column_texts(full[name]), name
        if selected[name].dtype.kind not in "SU":
            assert (missing_entries(selected[name]) == missing_entries(full[name])).all(), name
            known = ~missing_entries(selected[name])
            assert (np.asarray(selected[name])[known] == np.asarray(full[name])[known]).all(), name
    assert selected["vector"].shape == (N, 3)


def test_a_missing_column_reads_all_columns_for_the_error_message(tmp_path: Path) -> None:
    names = write(tmp_path / "c.fits")
    assert read_table(tmp_path / "c.fits", "id", ["id", "nonsense"]).colnames == names


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    Table({"id": np.empty(0, "S3"), "z": np.empty(0)}).write(tmp_path / "c.fits")
    assert read_table(tmp_path / "c.fits", "id", ["z", "id"]).colnames == ["z", "id"]


def test_a_text_column_formats_integral_floats_as_integers() -> None:
    table = Table({"n": MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False]), "x": [0.5, 1.0, 2.0]})
    assert [TextColumn(table["n"])[row] for row in range(3)] == ["1", "", "3"]
    assert list(TextColumn(table["x"])) == ["0.5", "1.0", "2.0"]
