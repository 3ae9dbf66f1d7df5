"""Updates that are refused on the device move nothing."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import nn

from astrodl.config import TrainSettings
from astrodl.config.training import LEARNING_RATES
from astrodl.training.optimizers import average_gradients, limit_norms, make_optimizer, move, penalize, step_or_undo

YES, NO = torch.tensor(True), torch.tensor(False)


OPTIMIZERS = list(LEARNING_RATES)


def made(name: str, *weights: nn.Parameter, **settings: object) -> torch.optim.Optimizer:
    return make_optimizer(weights, TrainSettings.model_validate({"optimizer": name, "weight_decay": 0.1, **settings}))


def test_every_name_has_a_usual_rate_which_a_given_one_replaces() -> None:
    assert set(OPTIMIZERS) == set(get_args(TrainSettings.model_fields["optimizer"].annotation))
    assert TrainSettings(optimizer="sgd").peak_rate == LEARNING_RATES["sgd"]
    assert TrainSettings(optimizer="sgd", learning_rate=0.3).peak_rate == 0.3


@pytest.mark.parametrize("way", [move, lambda optimizer, _, refused: step_or_undo(optimizer, refused)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_refused_update_moves_neither_weights_nor_moments(
    name: str, way: Callable[[torch.optim.Optimizer, float, torch.Tensor], None]
) -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = made(name, weight)
    weight.grad = torch.ones(3, 2)
    way(optimizer, 0.1, NO)
    before = weight.detach().clone()
    moments = {key: value.clone() for key, value in optimizer.state[weight].items() if value is not None}
    weight.grad = torch.full((3, 2), float("nan"))
    way(optimizer, 0.1, YES)
    assert torch.equal(weight, before)
    assert all(torch.equal(optimizer.state[weight][key], value) for key, value in moments.items())
    weight.grad = torch.ones(3, 2)
    way(optimizer, 0.1, NO)
    assert (weight < before).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_refused_at_the_very_start_leaves_nothing_that_is_not_finite(name: str) -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = made(name, weight)
    weight.grad = torch.full((3, 2), float("nan"))
    step_or_undo(optimizer, YES)
    assert torch.equal(weight, torch.ones(3, 2))
    weight.grad = torch.ones(3, 2)
    step_or_undo(optimizer, NO)
    assert (weight < 1).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_is_that_of_the_plain_optimizer(name: str) -> None:
    first, second = TrainSettings().betas
    reference_of: dict[str, tuple[type[torch.optim.Optimizer], dict[str, object]]] = {
        "sgd": (torch.optim.SGD, {}),
        "momentum": (torch.optim.SGD, {"momentum": first}),
        "nesterov": (torch.optim.SGD, {"momentum": first, "nesterov": True}),
        "adagrad": (torch.optim.Adagrad, {}),
        "adadelta": (torch.optim.Adadelta, {"rho": second}),
        "rmsprop": (torch.optim.RMSprop, {"alpha": second}),
        "adam": (torch.optim.Adam, {"betas": (first, second)}),
        "adamw": (torch.optim.AdamW, {"betas": (first, second)}),
        "nadam": (torch.optim.NAdam, {"betas": (first, second)}),
    }
    plain, options = reference_of[name]
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3)) for _ in range(2))
    optimizer = made(name, ours)
    reference = plain([theirs], lr=0.05, weight_decay=0.1, **options)  # type: ignore[call-arg]
    for step in range(5):
        for weight in (ours, theirs):
            weight.grad = torch.cos(weight.detach() * (step + 1))
        move(optimizer, 0.05, NO)
        reference.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_quadratic_is_minimised_at_the_usual_rate(name: str) -> None:
    weight = nn.Parameter(torch.tensor([[0.5, -0.3]]))
    optimizer = made(name, weight, weight_decay=0.0)
    for step in range(2000):
        weight.grad = torch.tensor([[1.0, 4.0]]) * (weight.detach() - 0.1)
        move(optimizer, LEARNING_RATES[name] * (1 - step / 2000), NO)
    torch.testing.assert_close(weight.detach(), torch.full((1, 2), 0.1), atol=2e-3, rtol=0)


def test_penalties_add_their_gradients_to_the_weights_that_decay() -> None:
    weight, bias = nn.Parameter(torch.tensor([[2.0, -3.0], [0.0, 1.0]])), nn.Parameter(torch.ones(2))
    optimizer = made("adamw", weight, bias)
    loss = 0.3 * weight.abs().sum() + 0.2 * weight.square().sum() / 2
    (expected,) = torch.autograd.grad(loss, weight)
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    penalize(optimizer, 0.3, 0.2)
    torch.testing.assert_close(weight.grad, expected)
    assert torch.equal(bias.grad, torch.zeros(2))


def test_l1_makes_weights_small_that_the_data_do_not_need() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    optimizer = made("sgd", weight, weight_decay=0.0)
    for step in range(500):
        weight.grad = weight.detach() - torch.tensor([[2.0, 0.05]])
        penalize(optimizer, 0.1, 0.0)
        move(optimizer, 0.1 * (1 - step / 500), NO)
    # soft thresholding: the minimum of (w - a)^2 / 2 + l1 |w| is at max(a - l1, 0)
    torch.testing.assert_close(weight.detach(), torch.tensor([[1.9, 0.0]]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.Conv2d(3, 4, 2), nn.ConvTranspose2d(3, 4, 2)])
def test_a_limit_holds_for_the_incoming_weights_of_each_unit(layer: nn.Module) -> None:
    weight, before = layer.weight, layer.weight.detach().clone()
    into = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
    norms = into.detach().flatten(1).norm(dim=1)
    largest = float(norms.sort().values[1])
    limit_norms(layer, largest)
    assert len(norms) == 4
    torch.testing.assert_close(into.detach().flatten(1).norm(dim=1), norms.clamp_max(largest))
    limit_norms(layer, 2 * largest)
    kept = norms <= largest
    unchanged = before.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else before
    assert torch.equal(into.detach()[kept], unchanged[kept])


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
