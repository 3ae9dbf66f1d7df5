"""Normalising flow: a density that integrates to one, and that of known distributions."""

import math

import pytest
import torch

from astrodl.models.flow import Flow, fit_flow


def test_an_unfitted_flow_is_a_normal_distribution() -> None:
    vectors = torch.randn(20, 5)
    expected = -0.5 * (vectors.square().sum(1) + 5 * math.log(2 * math.pi))
    torch.testing.assert_close(Flow(5)(vectors), expected)


def test_the_density_integrates_to_one_for_any_weights() -> None:
    torch.manual_seed(0)
    flow = Flow(2, n_layers=3, width=8)
    for layer in flow.layers:
        torch.nn.init.normal_(layer[1].weight, std=0.3)
    axis = torch.linspace(-15, 15, 601)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow(grid).double().exp().sum() * float(axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=0.02)


def test_a_fitted_flow_is_near_the_entropy_of_a_curved_distribution() -> None:
    random = torch.Generator().manual_seed(1)
    base = torch.randn(4000, 2, generator=random)
    curved = torch.stack([base[:, 0], base[:, 1] * 0.3 + base[:, 0].square()], 1)
    flow = Flow(2, n_layers=4, width=32)
    fit_flow(flow, curved[:3000], n_updates=300)
    with torch.no_grad():
        found = float(flow(curved[3000:]).mean())
    entropy = math.log(2 * math.pi * math.e) + math.log(0.3)
    normal = torch.distributions.MultivariateNormal(curved.mean(0), torch.cov(curved.T)).log_prob(curved[3000:])
    assert float(normal.mean()) + 0.5 < found == pytest.approx(-entropy, abs=0.25)


def test_a_constant_coordinate_is_accepted() -> None:
    vectors = torch.randn(50, 3)
    vectors[:, 1] = 4.0
    flow = Flow(3, n_layers=2, width=8)
    fit_flow(flow, vectors, n_updates=3)
    assert flow(vectors).isfinite().all()
