"""An ingestion that is interrupted goes on from the last complete block, and ends in the same bytes."""

import os
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from astrodl.errors import DataError
from astrodl.ingestion import run as module
from astrodl.ingestion.run import ingest
from astrodl.ingestion.worker import read_block
from tests.ingestion.toy import catalog, image_file, settings


class Read:
    """Counts the blocks that are read, and interrupts before one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.starts = stop_at, list[int]()

    def __call__(self, plan: Any, sources: Any, *arguments: Any) -> Any:
        if len(self.starts) == self.stop_at:
            raise KeyboardInterrupt
        self.starts.append(sources[0].row)
        return read_block(plan, sources, *arguments)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(module, "block_length", lambda data: 3)
    return monkeypatch


def interrupt(values: Any, store: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(module, "read_block", Read(stop_at=after))
    with pytest.raises(KeyboardInterrupt):
        ingest(values, store)


def go_on(values: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reader = Read()
    monkeypatch.setattr(module, "read_block", reader)
    ingest(values, store)
    return reader.starts


def test_only_the_blocks_that_are_missing_are_read_again(
    survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    image_file(survey, 1).write_bytes(b"broken")
    values = settings(survey, columns={"class": "kind", "z": "z_spec"})
    assert go_on(values, tmp_path / "whole" / "store.h5", small_blocks) == [0, 3, 6, 9]
    parts = tmp_path / "parts"
    interrupt(values, parts / "store.h5", small_blocks, after=2)
    assert not (parts / "store.h5").exists()
    assert go_on(values, parts / "store.h5", small_blocks) == [6, 9]
    for path in (tmp_path / "whole").iterdir():
        assert (parts / path.name).read_bytes() == path.read_bytes()
    assert set(os.listdir(parts)) == set(os.listdir(tmp_path / "whole"))


def test_a_note_that_was_cut_short_costs_one_block(
    survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.h5"
    interrupt(settings(survey), store, small_blocks, after=3)
    journal = tmp_path / ".store.h5.journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert go_on(settings(survey), store, small_blocks) == [6, 9]


@pytest.mark.parametrize("change", ["settings", "catalogue"])
def test_what_was_made_otherwise_is_not_taken_up(
    change: str, survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.h5"
    interrupt(settings(survey), store, small_blocks, after=2)
    if change == "catalogue":
        table = Table.read(survey / "catalog.fits")
        table["z_spec"][0] = 9.0
        table.write(survey / "catalog.fits", overwrite=True)
    values = settings(survey, background="border") if change == "settings" else settings(survey)
    assert go_on(values, store, small_blocks) == [0, 3, 6, 9]


def test_a_refused_survey_leaves_nothing_to_go_on_from(survey: Path, tmp_path: Path) -> None:
    for number in range(len(catalog()) - 1):
        image_file(survey, number).write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be used"):
        ingest(settings(survey), tmp_path / "store.h5")
    assert os.listdir(tmp_path) == ["quarantine.ecsv"] or set(os.listdir(tmp_path)) == {"quarantine.ecsv", "survey"}
