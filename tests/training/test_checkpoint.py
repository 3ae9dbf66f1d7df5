"""Checkpoints: what is damaged is set aside, and the training starts afresh."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from astrodl.training.checkpoint import load_checkpoint, save_checkpoint

Damage = Callable[[bytes], bytes]


def state_of(network: nn.Module, change: dict[str, object] | None = None) -> dict[str, object]:
    state = {"fingerprint": "this", "network": network.state_dict(), "average": None, "optimizers": {}, "best": None}
    return {**state, "plain": "{}", **(change or {})}


@pytest.fixture
def network() -> nn.Module:
    return nn.Linear(3, 2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no checkpoint",
        lambda content: content[: len(content) // 2],
        lambda content: b"\0" * len(content),
    ],
    ids=["empty", "text", "half", "zeros"],
)
def test_an_unreadable_checkpoint_is_set_aside(
    damage: Damage, network: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(state_of(network), path)
    path.write_bytes(damage(path.read_bytes()))
    assert load_checkpoint(path, "this", network) is None
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt.damaged"]
    message = capsys.readouterr().err
    assert message.startswith(f"{path}: cannot be used (")
    assert message.endswith("kept as last.pt.damaged, training starts afresh\n")
    assert message.count("\n") == 1


def test_every_changed_byte_of_the_weights_is_noticed(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(state_of(network), path)
    content = path.read_bytes()
    weights = network.weight.detach().numpy().tobytes()
    start = content.index(weights)
    for position in range(start, start + len(weights)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert load_checkpoint(path, "this", network) is None


@pytest.mark.parametrize(
    "change",
    [
        {"network": nn.Linear(4, 2).state_dict()},
        {"network": None},
        {"best": {"weight": 3}},
        {"average": {name: value * torch.nan for name, value in nn.Linear(3, 2).state_dict().items()}},
    ],
    ids=["other shape", "no weights", "other tensors", "not finite"],
)
def test_weights_that_do_not_fit_are_not_resumed(change: dict[str, object], network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(state_of(network, change), path)
    assert load_checkpoint(path, "this", network) is None
    assert not path.exists()


def test_a_file_of_another_kind_is_not_resumed(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    for content in ([1, 2], {"network": network.state_dict()}):
        torch.save(content, path)
        assert load_checkpoint(path, "this", network) is None
        assert not path.exists()


def test_a_good_checkpoint_is_read_and_one_of_other_settings_is_kept(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(state_of(network), path)
    state = load_checkpoint(path, "this", network)
    assert state is not None
    assert torch.equal(state["network"]["weight"], network.weight)
    assert load_checkpoint(path, "other", network) is None
    assert path.exists()
