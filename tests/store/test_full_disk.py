"""A full disk, a limit of the file size, missing permissions: one line, no half file, and the next writer continues."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from astrodl.errors import StoreError
from astrodl.store import Writer
from tests.store.test_kills import KEPT, N, write
from tests.test_store import BANDS, SIZE

LIMITED = """
import resource, sys
from pathlib import Path
from astrodl.errors import StoreError
from tests.store.test_kills import KEPT, write

for name, rows in KEPT.items():
    for limit in range(0, 600_000, 60_000):
        path = Path(sys.argv[1], name, str(limit), "store.h5")
        path.parent.mkdir(parents=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            write(path, rows)
            print("written")
        except StoreError as error:
            print(error)
"""


def test_a_limit_of_the_file_size_is_one_line_and_the_next_writer_continues(tmp_path: Path) -> None:
    """In a process of its own, because HDF5 crashes at its end if it could not write."""
    ended = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert len(lines) == 20
    refusals = [line for line in lines if line != "written"]
    assert 0 < len(refusals) < len(lines)
    assert all("store.h5: cannot be written (File too large); make room" in line for line in refusals)
    for name, rows in KEPT.items():
        paths = [folder / "store.h5" for folder in (tmp_path / name).iterdir()]
        assert {path.exists() for path in paths} == {True, False}
        for path in paths:
            write(path, rows)
            assert os.listdir(path.parent) == ["store.h5"]
        assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("kept", KEPT)
def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_next_writer_continues(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole.h5", KEPT[kept])
    expected = (tmp_path / "whole.h5").read_bytes()
    write_all, number = os.pwrite, 0
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    while True:
        number += 1
        path, n_calls = tmp_path / str(number) / "store.h5", 0

        def fill_disk(descriptor: int, data: bytes, offset: int, last: int = number) -> int:
            nonlocal n_calls
            n_calls += 1
            if n_calls >= last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write_all(descriptor, data, offset)

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fill_disk)
            try:
                write(path, KEPT[kept])
                break
            except StoreError as error:
                message = str(error)
        assert message.startswith(f"{path}: cannot be written (No space left on device); make room")
        assert not path.exists()
        assert set(os.listdir(path.parent)) <= {".store.h5.partial", ".store.h5.journal"}
        write(path, KEPT[kept])
        assert path.read_bytes() == expected
    assert number > 10


def test_a_full_disk_keeps_the_store_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.h5"
    write(path, range(N))
    before = path.read_bytes()

    def fill_disk(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fill_disk)
    with pytest.raises(StoreError, match="No space left on device"):
        write(path, [0, 1])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["store.h5"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"cannot be written \(Permission denied\)"):
        write(tmp_path / "store.h5", range(N))


@pytest.mark.parametrize("kind", ["folder", "file as folder", "long name"])
def test_a_place_where_no_file_can_be_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = {"folder": tmp_path, "file as folder": tmp_path / "file" / "store.h5", "long name": tmp_path / ("x" * 300)}
    (tmp_path / "file").touch()
    with (
        pytest.raises(
            StoreError,
            match=r"exists and is not a store|cannot be written \((Not a directory|File exists|File name too)",
        ),
        Writer(path[kind], n_objects=1, bands=BANDS, size=SIZE),
    ):
        pytest.fail("the writer was opened")
