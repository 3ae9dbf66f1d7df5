"""Files are replaced atomically, and a lock file is held by one process at a time."""

import errno
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from astrodl.atomic import _ClosableFile, _sweep, final_name, replacing, replacing_hdf5, write_text


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


def test_an_hdf5_file_on_a_full_disk_is_an_error_and_does_not_crash(tmp_path: Path) -> None:
    code = (
        "import errno, resource, sys\n"
        "import numpy as np\n"
        "from astrodl.atomic import replacing_hdf5\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    with replacing_hdf5(sys.argv[1]) as file:\n"
        "        file.create_dataset('values', data=np.zeros(int(sys.argv[2])))\n"
        "        for number in range(int(sys.argv[3])):\n"
        "            file.create_group(f'group {number}')\n"
        "except OSError as error:\n"
        "    sys.exit(50 + (error.errno == errno.EFBIG))\n"
    )
    # the write of the values fails; that of the groups, when the block ends; none
    for n_values, n_groups, status in ((50_000, 0, 51), (12_000, 50, 51), (10, 1, 0)):
        words = [sys.executable, "-c", code, str(tmp_path / "x.h5"), str(n_values), str(n_groups)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ([] if status else ["x.h5"])


def test_what_a_full_disk_refused_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """HDF5 reads its own records again while it writes a file."""
    random, memory = np.random.default_rng(0), io.BytesIO(bytes(5000))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _ClosableFile(tmp_path / "x", "w+") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        try:
            for start, length in random.integers(0, 2500, (60, 2)).tolist():
                for each in (file, memory):
                    each.seek(start)
                assert file.write(data := random.bytes(length)) == memory.write(data)
                assert file.tell() == memory.tell()
                for each in (file, memory):
                    each.seek(length)
                read, expected = bytearray(b"?" * 1500), bytearray(1500)
                file.readinto(read)
                memory.readinto(expected)
                assert read == expected
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert file.failure is not None
        assert file.failure.errno == errno.EFBIG
    assert (tmp_path / "x").stat().st_size <= 1000


def test_hdf5_files_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        with replacing_hdf5(tmp_path / name) as file:
            file.create_dataset("values", data=np.arange(1000.0), track_times=False)
            file.attrs["format"] = "x"
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["values"][:], np.arange(1000.0))
