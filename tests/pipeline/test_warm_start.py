"""Starting from the weights of another network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import astrodl
from astrodl.errors import ConfigError
from astrodl.pipeline.warm_start import map_bands, rearrange_bands

SMALL: dict[str, Any] = {"network": "compact", "widths": [8, 16], "joint": [16]}


def trained(store: Path, folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    chosen = {**SMALL, "train": {"epochs": 1, "batch_size": 16, "ema": 0.0}, **settings}
    return load_file(astrodl.train("morphology", store, folder, settings=chosen, progress=False))


def test_bands_are_mapped_by_name_unless_told_otherwise() -> None:
    assert map_bands(("g", "r", "z"), ("r", "i"), {"z": "i"}, "m") == {"g": None, "r": "r", "z": "i"}
    with pytest.raises(ConfigError, match="this survey has g, r, m has r, i"):
        map_bands(("g", "r"), ("r", "i"), {"g": "y"}, "m")


def test_each_band_gets_the_weights_of_its_counterpart_and_a_new_one_their_mean() -> None:
    weight = torch.arange(8.0).reshape(2, 4, 1, 1)  # two bands, coverage of either
    result = rearrange_bands(weight, ("b", "a"), ("a", "b"), {"b": "b", "a": "a"}, 4)
    assert result[:, :, 0, 0].tolist() == [[1, 0, 2, 3], [5, 4, 6, 7]]
    mean = rearrange_bands(weight, ("a", "c", "b"), ("a", "b"), {"a": "a", "c": None, "b": "b"}, 3)
    torch.testing.assert_close(mean[0, :, 0, 0], torch.tensor([0.0, 0.5, 1.0]) * 2 / 3)


def test_a_constant_image_gives_the_same_answer_with_other_bands() -> None:
    weight = torch.randn(4, 2, 3, 3)
    wider = rearrange_bands(weight, ("a", "c", "b"), ("a", "b"), {"a": "a", "c": None, "b": "b"}, 3)
    before = torch.nn.functional.conv2d(torch.ones(1, 2, 5, 5), weight)
    torch.testing.assert_close(torch.nn.functional.conv2d(torch.ones(1, 3, 5, 5), wider), before)


def test_frozen_parts_stay_as_they_were_and_the_rest_moves(store: Path, tmp_path: Path) -> None:
    source = trained(store, tmp_path / "first")
    frozen = trained(
        store, tmp_path / "second", init_from=str(tmp_path / "first" / "model.safetensors"), freeze=["trunk"]
    )
    trunk = [name for name in source if name.startswith("trunk.")]
    assert any("running_mean" in name for name in trunk)
    assert all(torch.equal(frozen[name], source[name]) for name in trunk)
    assert not torch.equal(frozen["head.weight"], source["head.weight"])


def test_what_does_not_fit_starts_afresh_and_is_named(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(store, tmp_path / "first")
    first = str(tmp_path / "first" / "model.safetensors")
    trained(store, tmp_path / "second", init_from=first, joint=[12])
    said = capsys.readouterr().err
    assert "bands: g from g, r from r, i from i" in said
    assert "initialised anew: join.0.weight" in said
    with pytest.raises(ConfigError, match="no part 'tail'; accepted: trunk, join, head"):
        trained(store, tmp_path / "third", freeze=["tail"])
