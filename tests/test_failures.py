"""Failures of disk, permissions and memory: one line, status 2, and no half file."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from astrodl import cli
from astrodl.cli import failures, reports
from astrodl.errors import DataError
from tests.small_task import small_settings

Capture = pytest.CaptureFixture[str]
FULL = OSError(errno.ENOSPC, "a paragraph of HDF5\n with details", "/data/.out.h5.01234567-89-" + "a" * 32 + ".tmp")


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let writes beyond a size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def chained(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


def named(error: OSError, name: str) -> OSError:
    error.filename = name
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a.fits: wrong; correct it"), "a.fits: wrong; correct it"),
        (FULL, "/data/out.h5: no space left on device; free some space"),
        (OSError(errno.EDQUOT, "x", "a"), "a: disk quota exceeded; free some space"),
        (PermissionError(errno.EACCES, "x", "a"), "a: permission denied; choose a place"),
        (FileNotFoundError(errno.ENOENT, "x", "a"), "a: no such file or directory; give an existing path"),
        (OSError(errno.EIO, "x"), "input/output error; check the file and its disk"),
        (OSError("[Errno 28] No space left on device"), "no space left on device; free some space"),
        (
            named(OSError("18960 requested and 7296 written"), "a.fits"),
            "a.fits: no space left on device; free some",
        ),
        (OSError("18960 requested and 7296 written"), "no space left on device; free some space"),
        (OSError("Header missing END card."), "header missing END card.; check the file and its disk"),
        (OSError(), "oSError; check the file and its disk"),
        (MemoryError(), "out of memory; use fewer processes"),
        (MemoryError("Unable to allocate 9 GiB"), "out of memory (Unable to allocate 9 GiB); use fewer processes"),
        (RecursionError("maximum recursion depth exceeded"), "an input is nested too deeply"),
        (chained(RuntimeError("Can't decrement id ref count"), FULL), "/data/out.h5: no space left on device"),
    ],
)
def test_a_failure_is_described_with_file_reason_and_advice(error: Exception, line: str) -> None:
    described = failures.describe(error)
    assert described is not None
    assert described.startswith(line)
    assert "\n" not in described


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), KeyError("a"), chained(ValueError("bug"), FileNotFoundError(errno.ENOENT, "x", "a"))]
)
def test_any_other_error_is_a_bug(error: Exception) -> None:
    assert failures.describe(error) is None


def test_a_device_without_memory_is_a_failure() -> None:
    torch = pytest.importorskip("torch")
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ):
        described = failures.describe(error)
        assert described is not None
        assert described.startswith("out of memory (")


@pytest.fixture
def words_of(store: Path, trained_model: Callable[[str], Path], tmp_path: Path) -> Callable[[str], list[str]]:
    """A function that returns the command line of a verb whose output is in `tmp_path`."""
    out = str(tmp_path / "out")

    def words(verb: str) -> list[str]:
        folder = trained_model("photoz")
        predictions, model = str(folder / "predictions.h5"), str(folder / "model.safetensors")
        known = {
            "train": ["photoz", str(store), "--out", out, "--settings", json.dumps(small_settings("photoz"))],
            "predict": ["photoz", str(store), model, "--out", f"{out}/p.h5"],
            "evaluate": ["photoz", str(store), predictions, "--out", f"{out}/m.json", "--figures", f"{out}/figures"],
            "catalog": [str(store), predictions, "--out", f"{out}/catalog.fits"],
            "product": ["photoz", str(store), predictions, "--out", f"{out}/photoz_pdf.hdf5"],
            "inspect": [str(store), "--out", f"{out}/sheet.png"],
            "simulate": ["--out", out, "--settings", '{"n_objects": 2, "size": 32}'],
            "schema": ["--out", f"{out}/schema.json"],
        }
        return [verb, *known[verb]]

    return words


@pytest.mark.parametrize(
    "verb", ["train", "predict", "evaluate", "catalog", "product", "inspect", "simulate", "schema"]
)
def test_a_verb_on_a_full_disk_is_one_line_with_status_2_and_goes_on_when_there_is_room(
    verb: str, words_of: Callable[[str], list[str]], tmp_path: Path, capsys: Capture
) -> None:
    words = words_of(verb)
    with largest_file(1000):
        assert cli.main(words) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"astrodl: {tmp_path / 'out'}")
    assert "too large" in line
    large = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= 1000]
    assert large == []
    assert not list(tmp_path.rglob("*.tmp"))
    assert cli.main(words) == 0


def test_a_path_through_a_file_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["schema", "--out", str(tmp_path / "file" / "schema.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"astrodl: {tmp_path / 'file'}")
    assert error.count("\n") == 1


def test_every_failure_ends_a_verb_with_status_2(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for error in (FULL, MemoryError(), RecursionError()):

        def run(args: object, error: BaseException = error) -> None:
            raise error

        run.__name__, run.__doc__ = "_schema", "Run.\n\nastrodl schema"
        monkeypatch.setattr(reports, "_schema", run)
        assert cli.main(["schema"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_under_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "astrodl", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("astrodl: no space left on device; ")
    assert done.stderr.count("\n") == 1
