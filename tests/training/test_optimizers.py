"""Optimizers against torch's own, skipped updates, penalties and limits of the weights."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import nn

from astrodl.config import TrainSettings
from astrodl.config.training import LEARNING_RATES
from astrodl.training.optimizers import (
    average_gradients,
    limit_norms,
    make_optimizer,
    penalize,
    step_or_undo,
    step_unless,
)

SKIP, STEP = torch.tensor(True), torch.tensor(False)

OPTIMIZERS = list(LEARNING_RATES)


def make(name: str, *weights: nn.Parameter, **settings: object) -> torch.optim.Optimizer:
    return make_optimizer(weights, TrainSettings.model_validate({"optimizer": name, "weight_decay": 0.1, **settings}))


def test_every_optimizer_has_a_default_rate_that_the_settings_override() -> None:
    assert set(OPTIMIZERS) == set(get_args(TrainSettings.model_fields["optimizer"].annotation))
    assert TrainSettings(optimizer="sgd").peak_rate == LEARNING_RATES["sgd"]
    assert TrainSettings(optimizer="sgd", learning_rate=0.3).peak_rate == 0.3


@pytest.mark.parametrize("update", [step_unless, lambda optimizer, _, skip: step_or_undo(optimizer, skip)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_skipped_update_changes_neither_weights_nor_moments(
    name: str, update: Callable[[torch.optim.Optimizer, float, torch.Tensor], None]
) -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = make(name, weight)
    weight.grad = torch.ones(3, 2)
    update(optimizer, 0.1, STEP)
    before = weight.detach().clone()
    moments = {key: value.clone() for key, value in optimizer.state[weight].items() if value is not None}
    weight.grad = torch.full((3, 2), float("nan"))
    update(optimizer, 0.1, SKIP)
    assert torch.equal(weight, before)
    assert all(torch.equal(optimizer.state[weight][key], value) for key, value in moments.items())
    weight.grad = torch.ones(3, 2)
    update(optimizer, 0.1, STEP)
    assert (weight < before).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_skipped_first_update_leaves_finite_moments(name: str) -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = make(name, weight)
    weight.grad = torch.full((3, 2), float("nan"))
    step_or_undo(optimizer, SKIP)
    assert torch.equal(weight, torch.ones(3, 2))
    weight.grad = torch.ones(3, 2)
    step_or_undo(optimizer, STEP)
    assert (weight < 1).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_torchs_optimizer(name: str) -> None:
    momentum, alpha = TrainSettings().betas
    reference_of: dict[str, tuple[type[torch.optim.Optimizer], dict[str, object]]] = {
        "sgd": (torch.optim.SGD, {}),
        "momentum": (torch.optim.SGD, {"momentum": momentum}),
        "nesterov": (torch.optim.SGD, {"momentum": momentum, "nesterov": True}),
        "adagrad": (torch.optim.Adagrad, {}),
        "adadelta": (torch.optim.Adadelta, {"rho": alpha}),
        "rmsprop": (torch.optim.RMSprop, {"alpha": alpha}),
        "adam": (torch.optim.Adam, {"betas": (momentum, alpha)}),
        "adamw": (torch.optim.AdamW, {"betas": (momentum, alpha)}),
        "nadam": (torch.optim.NAdam, {"betas": (momentum, alpha)}),
    }
    plain, options = reference_of[name]
    weight, expected = (nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3)) for _ in range(2))
    optimizer = make(name, weight)
    reference = plain([expected], lr=0.05, weight_decay=0.1, **options)  # type: ignore[call-arg]
    for step in range(5):
        for parameter in (weight, expected):
            parameter.grad = torch.cos(parameter.detach() * (step + 1))
        step_unless(optimizer, 0.05, STEP)
        reference.step()
    torch.testing.assert_close(weight, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_quadratic_is_minimised_at_the_default_rate(name: str) -> None:
    weight = nn.Parameter(torch.tensor([[0.5, -0.3]]))
    optimizer = make(name, weight, weight_decay=0.0)
    for step in range(2000):
        weight.grad = torch.tensor([[1.0, 4.0]]) * (weight.detach() - 0.1)
        step_unless(optimizer, LEARNING_RATES[name] * (1 - step / 2000), STEP)
    torch.testing.assert_close(weight.detach(), torch.full((1, 2), 0.1), atol=2e-3, rtol=0)


def test_penalties_add_their_gradients_to_weights_but_not_biases() -> None:
    weight, bias = nn.Parameter(torch.tensor([[2.0, -3.0], [0.0, 1.0]])), nn.Parameter(torch.ones(2))
    optimizer = make("adamw", weight, bias)
    loss = 0.3 * weight.abs().sum() + 0.2 * weight.square().sum() / 2
    (expected,) = torch.autograd.grad(loss, weight)
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    penalize(optimizer, 0.3, 0.2)
    torch.testing.assert_close(weight.grad, expected)
    assert torch.equal(bias.grad, torch.zeros(2))


def test_l1_sets_small_weights_to_zero() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    optimizer = make("sgd", weight, weight_decay=0.0)
    for step in range(500):
        weight.grad = weight.detach() - torch.tensor([[2.0, 0.05]])
        penalize(optimizer, 0.1, 0.0)
        step_unless(optimizer, 0.1 * (1 - step / 500), STEP)
    # soft thresholding: the minimum of (w - a)^2 / 2 + l1 |w| is at max(a - l1, 0)
    torch.testing.assert_close(weight.detach(), torch.tensor([[1.9, 0.0]]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.Conv2d(3, 4, 2), nn.ConvTranspose2d(3, 4, 2)])
def test_limit_norms_limits_the_incoming_weights_of_each_unit(layer: nn.Module) -> None:
    weight, before = layer.weight, layer.weight.detach().clone()
    incoming = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
    norms = incoming.detach().flatten(1).norm(dim=1)
    largest = float(norms.sort().values[1])
    limit_norms(layer, largest)
    assert len(norms) == 4
    torch.testing.assert_close(incoming.detach().flatten(1).norm(dim=1), norms.clamp_max(largest))
    limit_norms(layer, 2 * largest)
    below = norms <= largest
    unchanged = before.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else before
    assert torch.equal(incoming.detach()[below], unchanged[below])


def test_vectors_do_not_decay() -> None:
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = make_optimizer([weight, bias], TrainSettings(weight_decay=0.5))
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    step_unless(optimizer, 0.1, STEP)
    assert torch.allclose(weight, torch.tensor(0.95))
    assert torch.equal(bias, torch.ones(2))


def test_averaging_over_one_process_changes_nothing() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer([weight], TrainSettings())
    weight.grad = torch.arange(4.0).view(2, 2)
    assert torch.equal(average_gradients(optimizer, torch.tensor([7.0])), torch.tensor([7.0]))
    assert torch.equal(weight.grad, torch.arange(4.0).view(2, 2))
