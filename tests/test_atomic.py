"""Files are replaced atomically, and a lock file is held by one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from astrodl.atomic import replacing, write_text


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "new"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_an_error_leaves_only_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_second_process_waits_for_the_first_and_the_lock_file_is_removed(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from astrodl.atomic import exclusive_lock\n"
        "with exclusive_lock(pathlib.Path(sys.argv[1]) / '.lock', 'counts'):\n"
        "    path = pathlib.Path(sys.argv[1]) / 'count'\n"
        "    value = int(path.read_text())\n"
        "    time.sleep(0.05)\n"
        "    path.write_text(str(value + 1))\n"
    )
    (tmp_path / "count").write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(5)]
    messages = b"".join(process.communicate()[1] for process in running)
    assert (tmp_path / "count").read_text() == "5"
    assert [process.returncode for process in running] == [0] * 5
    assert b"another process counts here; waiting for it" in messages
    assert not (tmp_path / ".lock").exists()
