"""A writer that is killed at any moment leaves something that the next writer completes, with the same bytes."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from astrodl.store import Writer, write_rows
from tests.test_store import BANDS, SIZE, arrays

N, STEP = 12, 4
NAMES = ("image", "object_id", "features", "split")
KEPT = {"all rows": range(N), "some rows": [0, 1, 4, 5, 9, 11]}


@pytest.fixture(autouse=True)
def without_synchronization(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written, and a disk needs a long time to confirm."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def write(path: Path, kept: Sequence[int], n: int = N) -> list[int]:
    """Write a store in blocks, as an ingestion does; return the blocks that had to be written."""
    content = {name: values for name, values in arrays(0, n).items() if name in NAMES}
    text = {name: values for name, values in content.items() if values.dtype == object}
    types = {"flags": "<i4", "band_flags": "u1", "split": "i1", "fold": "<i2", "catalog/n_visits": "<i8"}
    rows = {
        name: (values.shape[1:], types.get(name, "<f8" if name.startswith("catalog/") else "<f4"))
        for name, values in content.items()
        if name not in text
    }
    with Writer(path, n_objects=n, bands=BANDS, size=SIZE, feature_names=("one", "two"), resume="toy") as writer:
        writer.allocate(rows)
        for name, values in text.items():
            writer.write_text(name, list(values))
        done = {entry["start"] for entry in writer.recorded}
        starts = [start for start in range(0, n, STEP) if start not in done]
        for start in starts:
            block = {name: content[name][start : start + STEP] for name in rows}
            write_rows(writer.partial, writer.locations, start, block)
            writer.record({"start": start})
        writer.keep(kept)
    return starts


class Kill:
    """Kill this process at a file operation, in the middle of a write if it is one."""

    def __init__(self, number: int) -> None:
        self.number, self.n_seen = number, 0
        sys.addaudithook(self.hook)
        self.write, os.pwrite = os.pwrite, self.pwrite

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.truncate", "os.remove", "os.rename"):
            self.step()

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        self.step(lambda: self.write(descriptor, bytes(data)[: len(data) // 2], offset))
        return self.write(descriptor, data, offset)

    def step(self, last: Callable[[], object] = lambda: None) -> None:
        self.n_seen += 1
        if self.n_seen == self.number:
            last()
            os._exit(9)


def run_until_killed(path: Path, kept: Sequence[int], number: int) -> bool:
    """Write a store in another process, which is killed at its file operation `number`; return whether it was."""
    process = os.fork()
    if not process:
        try:
            Kill(number)
            write(path, kept)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize("kept", KEPT)
def test_a_writer_that_is_killed_at_any_file_operation_is_completed_by_the_next(kept: str, tmp_path: Path) -> None:
    rows = KEPT[kept]
    write(tmp_path / "whole.h5", rows)
    expected = (tmp_path / "whole.h5").read_bytes()
    number, written = 0, []
    while True:
        number += 1
        path = tmp_path / str(number) / "store.h5"
        if not run_until_killed(path, rows, number):
            break
        assert not path.exists() or path.read_bytes() == expected, f"half a store at operation {number}"
        written.append(len(write(path, rows)))
        assert path.read_bytes() == expected, f"another store after a kill at operation {number}"
        assert os.listdir(path.parent) == ["store.h5"], f"left over after a kill at operation {number}"
    assert number > 30
    assert written[0] == 3
    assert written.count(0) > 10, "blocks that were finished are written again"


def test_finished_rows_survive_kills_at_many_steps_in_a_row(tmp_path: Path) -> None:
    rows = KEPT["some rows"]
    write(tmp_path / "whole.h5", rows)
    path = tmp_path / "killed" / "store.h5"
    for number in range(5, 200, 7):
        if not run_until_killed(path, rows, number):
            break
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


def interrupt(path: Path, n_blocks: int) -> Path:
    """Write some blocks and stop; return the journal."""
    record = Writer.record

    def record_and_stop(self: Writer, entry: dict[str, Any]) -> None:
        record(self, entry)
        if entry["start"] == (n_blocks - 1) * STEP:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "record", record_and_stop)
        with pytest.raises(KeyboardInterrupt):
            write(path, range(N))
    return path.with_name(f".{path.name}.journal")


@pytest.mark.parametrize("torn", [b'{"start":', b"", b"\0\0\0\0", b"\xff\xfe{", b"[1]\n", b"1\n", b"\n", b"nul\n{}"])
def test_a_torn_line_costs_no_finished_block_however_often_it_happens(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    journal = interrupt(path, 1)
    journal.write_bytes(journal.read_bytes() + torn)
    interrupt(path, 2)
    journal.write_bytes(journal.read_bytes() + torn)
    assert write(path, range(N)) == [8]
    write(tmp_path / "whole.h5", range(N))
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("damage", ["no journal", "first line", "other content", "no rows", "rows cut short"])
def test_an_unusable_rest_of_an_interrupted_writer_starts_again(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    journal = interrupt(path, 2)
    partial = path.with_name(".store.h5.partial")
    if damage == "no journal":
        journal.unlink()
    elif damage == "first line":
        journal.write_bytes(journal.read_bytes()[5:])
    elif damage == "other content":
        journal.write_bytes(journal.read_bytes().replace(b"toy", b"boy"))
    elif damage == "no rows":
        partial.unlink()
    else:
        os.truncate(partial, 1000)
    assert write(path, range(N)) == [0, 4, 8]
