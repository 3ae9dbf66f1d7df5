"""Updates that are refused on the device move nothing."""

import pytest
import torch
from torch import nn

from astrodl.config import TrainSettings
from astrodl.optimize import average_gradients, make_optimizer, move

YES, NO = torch.tensor(True), torch.tensor(False)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_refused_update_moves_neither_weights_nor_moments(name: str) -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = make_optimizer([weight], TrainSettings.model_validate({"optimizer": name}))
    weight.grad = torch.ones(3, 2)
    move(optimizer, 0.1, NO)
    before = weight.detach().clone()
    moments = {key: value.clone() for key, value in optimizer.state[weight].items()}
    weight.grad = torch.full((3, 2), float("nan"))
    move(optimizer, 0.1, YES)
    assert torch.equal(weight, before)
    assert all(torch.equal(optimizer.state[weight][key], value) for key, value in moments.items())
    weight.grad = torch.ones(3, 2)
    move(optimizer, 0.1, NO)
    assert (weight < before).all()


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_fused_update_is_that_of_the_plain_optimizer(name: str) -> None:
    settings = TrainSettings.model_validate({"optimizer": name, "weight_decay": 0.1})
    plain = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]
    options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {"betas": settings.betas}
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3)) for _ in range(2))
    optimizer, reference = make_optimizer([ours], settings), plain([theirs], 0.05, weight_decay=0.1, **options)
    for step in range(5):
        for weight in (ours, theirs):
            weight.grad = torch.cos(weight.detach() * (step + 1))
        move(optimizer, 0.05, NO)
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_vectors_do_not_decay() -> None:
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = make_optimizer([weight, bias], TrainSettings(weight_decay=0.5))
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    move(optimizer, 0.1, NO)
    assert torch.allclose(weight, torch.tensor(0.95))
    assert torch.equal(bias, torch.ones(2))


def test_gradients_of_one_process_are_their_average() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer([weight], TrainSettings())
    weight.grad = torch.arange(4.0).view(2, 2)
    assert torch.equal(average_gradients(optimizer, torch.tensor([7.0])), torch.tensor([7.0]))
    assert torch.equal(weight.grad, torch.arange(4.0).view(2, 2))
