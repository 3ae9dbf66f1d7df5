import errno
import io
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from astrodl.fits import UnreadableError
from astrodl.hdf5 import _ClosableFile, guarded_hdf5, has_sound_texts, open_hdf5, replacing_hdf5
from astrodl.ingestion.arrays import ArrayFile

OPEN = """
import sys
from astrodl.hdf5 import guarded_hdf5, has_sound_texts, open_hdf5
for path in sys.argv[1:]:
    try:
        with open_hdf5(path) as file:
            print("sound" if has_sound_texts(file["names"]) else "texts", end=" ")
    except OSError as error:
        print(error, end=" ")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """File with texts in an attribute and in 1000 rows."""
    with h5py.File(tmp_path / "a.h5", "w", libver=("v110", "v110")) as file:
        file.attrs["survey"] = "wide"
        names = [f"object {number:06d} {'x' * (number % 40)}" for number in range(1000)]
        file.create_dataset("names", data=names, dtype=h5py.string_dtype())
        file.create_dataset("image", data=np.arange(400.0).reshape(20, 20))
    return tmp_path / "a.h5"


def heaps(content: bytes) -> list[int]:
    return [place for place in range(len(content)) if content.startswith(b"GCOL", place)]


def test_sound_files_are_opened(path: Path) -> None:
    with open_hdf5(path) as file:
        assert file.attrs["survey"] == "wide"
        assert has_sound_texts(file["names"])
    with guarded_hdf5(path) as file:
        np.testing.assert_array_equal(file["image"][:], np.arange(400.0).reshape(20, 20))
        assert file["names"].asstr()[999] == f"object 000999 {'x' * 39}"


def test_objects_without_a_size_in_any_heap_are_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    places = heaps(content)
    assert len(places) == 2  # that of the attribute and that of the rows
    damaged = []
    for place in places:
        for offset in (16, 48):
            altered = bytearray(content)
            altered[place + offset : place + offset + 64] = bytes(64)
            damaged.append(tmp_path / f"{place}-{offset}.h5")
            damaged[-1].write_bytes(altered)
    # HDF5 reads such a heap without an end, and no exception ends it: another process, which can be stopped
    done = subprocess.run([sys.executable, "-c", OPEN, *damaged], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == 2 * ["a", "text", "in", "it", "is", "damaged"] + 2 * ["texts"]


def test_references_beyond_the_file_are_refused(path: Path) -> None:
    with h5py.File(path) as file:
        offset = file["names"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset + 4 : offset + 12] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    with open_hdf5(path) as file:
        assert not has_sound_texts(file["names"], heaps=False)


def test_lengths_that_overflow_are_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = heaps(content)[0] + 16 + 8
    content[place : place + 8] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(OSError, match="a text in it is damaged"):
        open_hdf5(path)


def test_names_of_bands_in_damaged_input_files_are_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["bands"] = ["g", "r"]
    content = bytearray(path.read_bytes())
    for place in heaps(content):
        content[place + 16 : place + 80] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="its texts cannot be read"):
        ArrayFile(path).texts("bands")


def test_an_hdf5_file_on_a_full_disk_is_an_error_and_does_not_crash(tmp_path: Path) -> None:
    code = (
        "import errno, resource, sys\n"
        "import numpy as np\n"
        "from astrodl.hdf5 import replacing_hdf5\n"
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
