"""An interrupted ingestion resumes after the last finished block, with the same bytes as without interruption."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from astrodl.errors import DataError, StoreError
from astrodl.ingestion.blocks import ingest_block
from astrodl.ingestion.identity import identify_files
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.objects import read_objects
from tests.ingestion.toy import catalog, galaxy, image_file, settings, write_object


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


def change_file(kind: str, path: Path) -> None:
    if kind == "another image":
        write_object(path, 77)
    elif kind == "missing":
        path.unlink()
    elif kind == "damaged":
        path.write_bytes(path.read_bytes()[:4000])
    elif kind == "newer":
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    elif kind == "now there":
        write_object(path, 5)
    elif kind == "link to another":
        path.unlink()
        path.symlink_to(path.with_name(sorted(os.listdir(path.parent))[-1]))


@pytest.mark.parametrize("kind", ["another image", "missing", "damaged", "newer", "now there", "link to another"])
def test_blocks_whose_images_have_changed_are_ingested_again(
    kind: str, survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    changed, store = image_file(survey, 4), tmp_path / "store.h5"
    if kind == "now there":
        changed.unlink()
    interrupt(settings(survey), store, small_blocks, after=3)
    change_file(kind, changed)
    with pytest.warns(UserWarning, match="image files of 1 of 3 finished blocks have changed"):
        assert resume(settings(survey), store, small_blocks) == [3, 9]
    ingest(settings(survey), tmp_path / "whole" / "store.h5")
    assert store.read_bytes() == (tmp_path / "whole" / "store.h5").read_bytes()


def test_a_changed_block_that_is_interrupted_again_is_not_taken_for_the_first_one(
    survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    """Also if the first file is back: the rows may be those of the second."""
    store, changed = tmp_path / "store.h5", image_file(survey, 0)
    content, time = changed.read_bytes(), changed.stat().st_mtime_ns
    interrupt(settings(survey), store, small_blocks, after=1)
    write_object(changed, 77)
    with pytest.warns(UserWarning, match="image files of 1 of 1"):
        interrupt(settings(survey), store, small_blocks, after=0)
    changed.write_bytes(content)
    os.utime(changed, ns=(time, time))
    assert resume(settings(survey), store, small_blocks) == [0, 3, 6, 9]


@pytest.mark.parametrize("plane", ["noise", "masks", "psf", "labels"])
def test_planes_and_labels_belong_to_the_identity_of_a_block(plane: str, survey: Path) -> None:
    (survey / "other").mkdir()
    file = survey / "other" / f"{catalog()['objid'][2]}.fits"
    file.write_bytes(b"first")
    path = "other/{objid}.fits"
    section: dict[str, Any] = {"labels": {"path": path, "extensions": {"bulge": 1}}}
    section |= {"noise": {"path": path}, "psf": {"path": path}, "masks": [{"path": path}]}
    data = settings(survey, **{plane: section[plane]}).data
    entries = read_objects(survey / "catalog.fits", data).entries(range(3))
    before = identify_files(data, str(survey), entries)
    assert identify_files(data, str(survey), entries) == before
    file.write_bytes(b"second")
    assert identify_files(data, str(survey), entries) != before
    assert identify_files(data, str(survey), entries[:2]) == identify_files(data, str(survey), entries[:2])


def test_a_shared_file_that_has_changed_costs_all_blocks(
    tmp_path: Path, survey: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    images = np.stack([np.stack([galaxy(number), 2 * galaxy(number)]) for number in range(12)])
    values = settings(survey, layout="arrays", path="images.npz", extension="image")
    np.savez(survey / "images.npz", image=images)
    interrupt(values, tmp_path / "store.h5", small_blocks, after=2)
    np.savez(survey / "images.npz", image=images + 1)
    with pytest.warns(UserWarning, match="image files of 2 of 2"):
        assert resume(values, tmp_path / "store.h5", small_blocks) == [0, 3, 6, 9]


@pytest.mark.parametrize("damage", [b'{"start":0}', b'{"start":0,"n_rows":3,"refused":[{}]}', b"{}"])
def test_a_journal_entry_of_another_kind_costs_one_block(
    damage: bytes, survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.h5"
    interrupt(settings(survey), store, small_blocks, after=3)
    journal = tmp_path / ".store.h5.journal"
    head, first, *others = journal.read_bytes().splitlines()
    assert b'"start":0' in first
    journal.write_bytes(b"\n".join([head, damage, *others, b""]))
    assert resume(settings(survey), store, small_blocks) == [0, 9]


def test_images_with_other_properties_start_again(
    survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    """Without a zero point in the first file, no flux is calibrated: finished blocks would have another unit."""
    values = settings(survey, max_bad_fraction=0.95, split={"test": 0.0, "validation": 0.0})
    interrupt(values, tmp_path / "store.h5", small_blocks, after=2)
    write_object(image_file(survey, 0), 0, zero_points=False)
    assert resume(values, tmp_path / "store.h5", small_blocks) == [0, 3, 6, 9]


@pytest.mark.parametrize("function", ["_measure", "write_rows"])
def test_a_full_disk_keeps_finished_blocks(
    function: str, survey: Path, tmp_path: Path, small_blocks: pytest.MonkeyPatch
) -> None:
    store, write = tmp_path / "store.h5", ingest_block.__globals__[function]
    n_calls = 0

    def fill_disk(*arguments: Any) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"astrodl.ingestion.blocks.{function}", fill_disk)
        with pytest.raises(StoreError, match=r"store.h5: cannot be written \(No space left.*finished blocks are kept"):
            ingest(settings(survey), store)
    assert not store.exists()
    assert resume(settings(survey), store, small_blocks) == [6, 9]
    ingest(settings(survey), tmp_path / "whole" / "store.h5")
    assert store.read_bytes() == (tmp_path / "whole" / "store.h5").read_bytes()


def test_text_that_cannot_be_stored_is_refused_before_images_are_read(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrodl.ingestion.ingest._ingest_blocks", None)
    monkeypatch.setattr("astrodl.ingestion.ingest.read_objects", lambda *arguments: with_text("a\0b", *arguments))
    with pytest.raises(StoreError, match=r"column 'kind' holds 'a\\x00b' in row 2, accepted is Unicode"):
        ingest(settings(survey, columns={"kind": "kind"}), tmp_path / "store.h5")


def with_text(text: str, *arguments: Any) -> Any:
    objects = read_objects(*arguments)
    objects.columns["kind"][1] = text
    return objects


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
