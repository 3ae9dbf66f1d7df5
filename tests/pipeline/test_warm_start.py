"""Training that starts from the weights of another network."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import astrodl
from astrodl.errors import ConfigError
from astrodl.models.cnn import CompactResNet
from astrodl.models.hybrid import HybridNetwork
from astrodl.pipeline.warm_start import align_image_networks, map_bands, rearrange_bands
from astrodl.tasks.model import Model, load_model

SMALL: dict[str, Any] = {
    "network": "compact",
    "widths": [8, 16],
    "joint": [16],
    "train": {"epochs": 1, "batch_size": 16, "ema": 0.0},
}


def train(store: Path, folder: Path, **settings: Any) -> Path:
    return astrodl.train("morphology", store, folder, settings={**SMALL, **settings}, progress=False)


@pytest.fixture(scope="module")
def source(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model from which the others start."""
    return train(store, tmp_path_factory.mktemp("source"))


def test_bands_are_mapped_by_name_unless_the_settings_map_them() -> None:
    assert map_bands(("g", "r", "z"), ("r", "i"), {"z": "i"}, "m") == {"g": None, "r": "r", "z": "i"}
    with pytest.raises(ConfigError, match="this survey has g, r, m has r, i"):
        map_bands(("g", "r"), ("r", "i"), {"g": "y"}, "m")


def test_each_band_gets_the_weights_of_its_counterpart_and_a_new_band_their_mean() -> None:
    weight = torch.arange(8.0).reshape(2, 4, 1, 1)  # two bands, then the coverage of each
    result = rearrange_bands(weight, ("b", "a"), ("a", "b"), {"b": "b", "a": "a"}, 4)
    assert result[:, :, 0, 0].tolist() == [[1, 0, 2, 3], [5, 4, 6, 7]]
    mean = rearrange_bands(weight, ("a", "c", "b"), ("a", "b"), {"a": "a", "c": None, "b": "b"}, 3)
    torch.testing.assert_close(mean[0, :, 0, 0], torch.tensor([0.0, 0.5, 1.0]) * 2 / 3)


def test_a_convolution_of_more_bands_gives_the_same_result_for_a_constant_image() -> None:
    weight = torch.randn(4, 2, 3, 3)
    wider = rearrange_bands(weight, ("a", "c", "b"), ("a", "b"), {"a": "a", "c": None, "b": "b"}, 3)
    before = torch.nn.functional.conv2d(torch.ones(1, 2, 5, 5), weight)
    torch.testing.assert_close(torch.nn.functional.conv2d(torch.ones(1, 3, 5, 5), wider), before)


def test_frozen_parts_keep_their_weights_and_the_others_change(store: Path, source: Path, tmp_path: Path) -> None:
    before = load_file(source)
    after = load_file(train(store, tmp_path, init_from=str(source), freeze=["trunk"]))
    trunk = [name for name in before if name.startswith("trunk.")]
    assert any("running_mean" in name for name in trunk)
    assert all(torch.equal(after[name], before[name]) for name in trunk)
    assert not torch.equal(after["head.weight"], before["head.weight"])


def test_tensors_of_another_shape_are_initialised_and_named(
    store: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(store, tmp_path / "second", init_from=str(source), joint=[12])
    printed = capsys.readouterr().err
    assert "bands: g from g, r from r, i from i" in printed
    assert "initialised anew: join.0.weight" in printed


def test_weights_of_other_images_are_named(
    store: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(source, device="cpu")
    values = model.task.context.to_dict()
    values |= {"unit": "relative", "pixel_scale_arcsec": 0.25}
    values["constants"]["classes"] = ["late", "early"]
    other = type(model.task)(model.task.settings, model.task.context.from_dict(values))
    Model(other, model.network, model.metadata).save(tmp_path / "other.safetensors")
    train(store, tmp_path / "second", init_from=str(tmp_path / "other.safetensors"))
    expected = "unit relative, here uJy; 0.250 arcsec per pixel, here 0.100; classes late, early, here early, late"
    assert expected in capsys.readouterr().err


def test_an_unknown_part_to_freeze_is_an_error(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no part 'tail'; accepted: trunk, join, head"):
        train(store, tmp_path, freeze=["tail"])


def test_the_image_network_is_found_wherever_it_is() -> None:
    trunk = CompactResNet(3, widths=(8, 16))
    encoder = nn.Sequential(OrderedDict(trunk=trunk, head=nn.Linear(16, 2)))
    source = nn.ModuleDict({"encoder": encoder, "decoder": nn.Linear(2, 5)})
    network = HybridNetwork(CompactResNet(3, widths=(8, 16)), 0, 4, widths=(6,))
    weights = align_image_networks(network, source)
    own = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("trunk.")}
    assert {name: weights[name].shape for name in own} == {name: tensor.shape for name, tensor in own.items()}
    for name, tensor in trunk.state_dict().items():
        assert torch.equal(weights[f"trunk.{name}"], tensor)
    assert {"encoder.head.weight", "decoder.bias"} <= weights.keys()
    assert not any(name.startswith("encoder.trunk.") for name in weights)
    same = align_image_networks(network, network)
    assert same.keys() == network.state_dict().keys()


def test_a_network_starts_from_the_encoder_of_a_latent_map(
    store: Path, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    source = trained_model("latent") / "model.safetensors"
    before = load_file(source)
    after = load_file(train(store, tmp_path, init_from=str(source), freeze=["trunk"]))
    stem = "trunk.trunk.0.0.weight"
    others = [name for name in after if name.startswith("trunk.") and name != stem]
    assert len(others) > 20
    assert all(torch.equal(after[name], before[f"core.{name}"]) for name in others)
    # a latent map does not see which pixels have data
    assert torch.equal(after[stem][:, :3], before[f"core.{stem}"])
    assert not after[stem][:, 3:].any()
