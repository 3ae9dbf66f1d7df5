"""Files are replaced atomically, and a lock file is held by one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits

from astrodl.atomic import _sweep, final_name, replacing, write_text


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


def test_a_pipe_a_device_or_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in (tmp_path / "pipe", tmp_path / "link", Path("/dev/no-such-device")):
        with pytest.raises(OSError, match="is a device, a pipe or a socket"), replacing(name):
            pass
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "folder"):
        pass
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_named_tilde_is_not_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """astropy takes it for that when it opens a file."""
    monkeypatch.chdir(tmp_path)
    with replacing("~/a.fits") as temporary:
        fits.PrimaryHDU().writeto(temporary)
    assert (tmp_path / "~" / "a.fits").is_file()


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


def test_files_that_killed_processes_left_are_swept_and_those_of_running_ones_kept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.touch()
    number = f"-{os.getpid()}-"
    left = temporary.name.replace(number, f"-{ended.pid}-")
    machine = temporary.name.split(".")[3].split("-")[0]
    elsewhere = left.replace(machine, "0" * 8)
    old_elsewhere, former = elsewhere.replace("a.txt", "b.txt"), f".c.txt.{'0' * 32}.tmp"
    others = [".d.tmp", "e.tmp", f"f.{'0' * 32}.tmp"]
    for name in (temporary.name, left, elsewhere, old_elsewhere, former, *others):
        (tmp_path / name).touch()
    for name in (old_elsewhere, former, *others):
        os.utime(tmp_path / name, (0, 0))
    _sweep.cache_clear()
    write_text(tmp_path / "new.txt", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "new.txt", temporary.name, elsewhere, *others}


def test_the_final_name_of_a_temporary_file_is_that_of_its_target(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.b.txt") as temporary:
        temporary.touch()
        assert final_name(temporary) == tmp_path / "a.b.txt"
    assert final_name("x/.hidden.tmp") == Path("x/.hidden.tmp")
