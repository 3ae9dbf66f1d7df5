"""Training into a folder that holds something: a model of other settings, files of a killed training, a usual mode."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import astrodl
from astrodl import cli
from astrodl.errors import ConfigError
from tests.small_task import interrupt_training, small_settings


def train(store: Path, folder: Path, *, epochs: int = 1, **options: Any) -> Path:
    return astrodl.train(
        "photoz", store, folder, settings=small_settings("photoz", epochs=epochs), progress=False, **options
    )


def test_a_model_of_other_settings_is_replaced_by_force_only(store: Path, tmp_path: Path) -> None:
    path = train(store, tmp_path)
    before = path.read_bytes()
    for other in ({"epochs": 2}, {"seed": 1}):
        with pytest.raises(ConfigError, match="holds a model of other settings, data or version; give another --out"):
            train(store, tmp_path, **other)
    assert path.read_bytes() == before
    assert train(store, tmp_path) == path  # the same settings: nothing to do
    assert path.read_bytes() == before
    train(store, tmp_path, epochs=2, force=True)
    assert path.read_bytes() != before


def test_the_command_line_refuses_and_replaces(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"of somebody")
    words = [
        "train",
        "photoz",
        str(store),
        "--out",
        str(tmp_path),
        "--settings",
        '{"train": {"epochs": 1}, "n_bins": 9}',
    ]
    assert cli.main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert cli.parser().parse_args([*words, "--force"]).force


def test_a_model_has_the_mode_of_other_files(store: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = train(store, tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o640}


def test_a_training_with_a_damaged_checkpoint_starts_afresh(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = load_file(train(store, tmp_path / "whole"))
    folder = tmp_path / "killed"
    with interrupt_training(1), pytest.raises(KeyboardInterrupt):
        train(store, folder)
    checkpoint = folder / "last.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    resumed = load_file(train(store, folder))
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    assert "training starts afresh" in capsys.readouterr().err
    assert (folder / "last.pt.damaged").exists()
