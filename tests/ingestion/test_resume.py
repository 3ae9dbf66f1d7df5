"""An interrupted ingestion resumes after the last finished block, with the same bytes as without interruption."""

import os
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from astrodl.errors import DataError
from astrodl.ingestion.blocks import ingest_block
from astrodl.ingestion.ingest import ingest
from tests.ingestion.toy import catalog, image_file, settings


class BlockCounter:
    """Ingest blocks, record their first rows, and interrupt before a given number of blocks."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.starts = stop_at, list[int]()

    def __call__(self, survey: Any, entries: Any, *arguments: Any) -> Any:
        if len(self.starts) == self.stop_at:
            raise KeyboardInterrupt
        self.starts.append(entries[0].row)
        return ingest_block(survey, entries, *arguments)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("astrodl.ingestion.ingest.block_length", lambda data: 3)
    return monkeypatch


def interrupt(values: Any, store: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr("astrodl.ingestion.ingest.ingest_block", BlockCounter(stop_at=after))
    with pytest.raises(KeyboardInterrupt):
        ingest(values, store)


def resume(values: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counter = BlockCounter()
    monkeypatch.setattr("astrodl.ingestion.ingest.ingest_block", counter)
    ingest(values, store)
    return counter.starts


def test_only_unfinished_blocks_are_ingested_after_an_interruption(
    survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    image_file(survey, 1).write_bytes(b"broken")
    values = settings(survey, columns={"class": "kind", "z": "z_spec"})
    assert resume(values, tmp_path / "whole" / "store.h5", small_blocks) == [0, 3, 6, 9]
    parts = tmp_path / "parts"
    interrupt(values, parts / "store.h5", small_blocks, after=2)
    assert not (parts / "store.h5").exists()
    assert resume(values, parts / "store.h5", small_blocks) == [6, 9]
    for path in (tmp_path / "whole").iterdir():
        assert (parts / path.name).read_bytes() == path.read_bytes()
    assert set(os.listdir(parts)) == set(os.listdir(tmp_path / "whole"))


def test_a_truncated_journal_entry_costs_one_block(
    survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.h5"
    interrupt(settings(survey), store, small_blocks, after=3)
    journal = tmp_path / ".store.h5.journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert resume(settings(survey), store, small_blocks) == [6, 9]


@pytest.mark.parametrize("change", ["settings", "catalogue"])
def test_other_settings_or_another_catalogue_start_again(
    change: str, survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.h5"
    interrupt(settings(survey), store, small_blocks, after=2)
    if change == "catalogue":
        table = Table.read(survey / "catalog.fits")
        table["z_spec"][0] = 9.0
        table.write(survey / "catalog.fits", overwrite=True)
    values = settings(survey, background="border") if change == "settings" else settings(survey)
    assert resume(values, store, small_blocks) == [0, 3, 6, 9]


def test_a_refused_survey_leaves_no_files_to_resume_from(survey: Path, tmp_path: Path) -> None:
    for number in range(len(catalog()) - 1):
        image_file(survey, number).write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be used"):
        ingest(settings(survey), tmp_path / "store.h5")
    assert os.listdir(tmp_path) == ["quarantine.ecsv"] or set(os.listdir(tmp_path)) == {"quarantine.ecsv", "survey"}
