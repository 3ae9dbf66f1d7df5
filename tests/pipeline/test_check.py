"""The verb check: files that are missing, unknown, damaged or valid."""

from pathlib import Path

import pytest

from astrodl import cli
from tests.conftest import ROOT


def test_missing_and_unknown_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").touch()
    assert cli.main(["check", str(tmp_path / "no.h5"), str(tmp_path / "notes.txt")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "no such file" in lines[0]
    assert "not known" in lines[1]


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.fits", "a.safetensors", "a.yaml"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(b"\x80 not what the name says" * 50)
    assert cli.main(["check", str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().out


def test_the_configurations_of_the_project_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", *(str(ROOT / "config" / name) for name in ("config.yaml", "tiny.yaml"))]) == 0
    assert capsys.readouterr().out.count(": ok\n") == 2
