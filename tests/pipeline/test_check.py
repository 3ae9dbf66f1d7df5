"""The verb check: files that are missing, unknown, damaged or valid."""

from pathlib import Path

import numpy as np
import pytest

import astrodl
from astrodl import cli
from astrodl.atomic import write_json
from astrodl.store import Writer
from tests.conftest import ROOT
from tests.small_store import write_store


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


def test_a_configuration_is_checked_with_its_catalogue(tmp_path: Path) -> None:
    data = {"root": str(tmp_path), "catalog": "t.csv", "layout": "files", "path": "{id}.fits", "id_column": "id"}
    survey = {"data": data | {"bands": [{"name": "r"}], "columns": {"z": "z_spec"}}}
    write_json(tmp_path / "survey.yaml", {"surveys": {"a": survey}, "tasks": {"photoz": {}}})
    assert astrodl.check(tmp_path / "survey.yaml") == []  # the data may be on another machine
    for text, problem in (
        ("id,z_spec\na,0.1\nb,0.2\n", None),
        ("id,z_spec\né,0.1\nb,0.2\n", "column 'id' holds 'é', printable ASCII is accepted, as FITS needs"),
        ("id,z_spec\na,0.1\nb,unsure\n", "column 'z_spec' holds text, 'unsure' in row 2, numbers are accepted"),
        ("id,z\na,0.1\nb,0.2\n", "column 'z_spec' (data.columns.z) is not in the catalogue (has id, z)"),
    ):
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        problems = astrodl.check(tmp_path / "survey.yaml")
        assert [problem in line for line in problems] == ([] if problem is None else [True])


def test_identifiers_that_no_fits_table_can_hold_are_a_problem_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_block = Writer.write_block

    def rename(writer: Writer, start: int, block: dict) -> None:
        write_block(writer, start, block | {"object_id": np.array([f"é{row}" for row in range(20)])})

    monkeypatch.setattr(Writer, "write_block", rename)
    (problem,) = astrodl.check(write_store(tmp_path / "store.h5", 20))
    assert "object_id 'é0' is not printable ASCII, as `astrodl catalog` needs; rename the objects" in problem
