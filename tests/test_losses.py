"""Losses against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from astrodl import losses
from astrodl.metrics import pdf as pdf_metrics


def test_gradient_penalty_of_a_linear_critic_of_slope_two_is_one() -> None:
    weight = torch.zeros(1, 2, 4, 4)
    weight[0, 0, 0, 0] = 2.0

    class Linear(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * weight).sum((1, 2, 3))

    real, fake = torch.randn(8, 2, 4, 4), torch.randn(8, 2, 4, 4)
    assert float(losses.gradient_penalty(Linear(), real, fake)) == pytest.approx(1.0, rel=1e-5)


def test_kl_matches_the_closed_form_of_two_gaussians() -> None:
    mean, log_variance = torch.tensor([[0.7]]), torch.tensor([[0.4]])
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(losses.kl_standard_normal(mean, log_variance), expected)


def test_crps_of_bins_agrees_with_the_exact_metric() -> None:
    random = np.random.default_rng(1)
    edges = np.linspace(0, 1, 201)
    centre = 0.5 * (edges[1:] + edges[:-1])
    density = np.exp(-0.5 * ((centre - random.uniform(0.3, 0.7, (20, 1))) / 0.06) ** 2)
    probability = density / density.sum(1, keepdims=True)
    z = random.uniform(0.2, 0.8, 20)
    ours = losses.crps_bins(*(torch.tensor(a, dtype=torch.float64) for a in (probability, edges, z)))
    exact = pdf_metrics.crps(probability / np.diff(edges), edges, z)
    np.testing.assert_allclose(
        ours.numpy(), exact, atol=0.005 / 2
    )  # half a bin: the loss integrates by the trapezoidal rule


def test_smeared_targets_sum_to_one_and_have_the_mean_and_width_asked_for() -> None:
    edges = torch.linspace(0, 1, 501)
    target = losses.smeared_targets(torch.tensor([0.4]), edges, 0.05)
    centre = 0.5 * (edges[1:] + edges[:-1])
    mean = (target * centre).sum()
    assert float(target.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(mean) == pytest.approx(0.4, abs=1e-3)
    assert float((target * (centre - mean) ** 2).sum().sqrt()) == pytest.approx(0.05, rel=2e-2)


def test_soft_cross_entropy_of_one_hot_targets_is_the_usual_one() -> None:
    logits, label = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    hot = nn.functional.one_hot(label, 4).float()
    expected = nn.functional.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(losses.soft_cross_entropy(logits, hot), expected)


def test_dice_loss_is_zero_for_equal_and_near_one_for_disjoint_masks() -> None:
    target = torch.zeros(2, 8, 8)
    target[:, :4] = 1
    sure = 50 * (2 * target - 1)
    assert float(losses.soft_dice(sure, target)) == pytest.approx(0, abs=1e-5)
    assert float(losses.soft_dice(-sure, target)) == pytest.approx(1, abs=0.01)


def test_gaussian_likelihood_is_best_at_the_true_width() -> None:
    target = torch.randn(20000) * 0.3
    widths = torch.tensor([0.2, 0.3, 0.45])
    values = [float(losses.gaussian_nll(torch.zeros(1), w.log(), target).mean()) for w in widths]
    assert min(values) == values[1]
    assert values[1] == pytest.approx(math.log(0.3) + 0.5, abs=0.02)


def test_moment_penalty_vanishes_for_normal_codes_and_not_for_others() -> None:
    codes = torch.randn(20000, 3)
    assert float(losses.moment_penalty(codes)) < 1e-3
    assert float(losses.moment_penalty(2 * codes + 1)) > 1


def test_stable_asinh_is_asinh() -> None:
    x = torch.cat([torch.logspace(-12, 8, 400), torch.zeros(1)]).double()
    x = torch.cat([x, -x])
    torch.testing.assert_close(losses.stable_asinh(x), x.asinh(), rtol=1e-12, atol=0)
    single = x.float().requires_grad_()
    torch.testing.assert_close(losses.stable_asinh(single), single.asinh(), rtol=3e-6, atol=0)
    (slope,) = torch.autograd.grad(losses.stable_asinh(single).sum(), single)
    inside = single.detach().abs() > 0
    torch.testing.assert_close(slope[inside], (1 / (1 + single.detach() ** 2).sqrt())[inside], rtol=1e-4, atol=1e-12)


def test_pooled_mean_is_weighted_by_the_whole_batch() -> None:
    values, weight = torch.tensor([2.0, 6.0]), torch.tensor([1.0, 3.0])
    assert float(losses.pooled_mean(values, weight)) == 2.0
    assert float(losses.pooled_mean(values, weight, least=8.0)) == 1.0


def test_mixture_in_bins_is_normalised_and_agrees_with_its_density() -> None:
    torch.manual_seed(2)
    outputs, edges = torch.randn(5, 9), torch.linspace(0, 2, 2001)
    probability = losses.mixture_bins(outputs, edges).exp()
    torch.testing.assert_close(probability.sum(1), torch.ones(5))
    z = torch.tensor([0.3, 0.7, 1.0, 1.3, 1.9]) + 5e-4
    density = probability[torch.arange(5), (z / 0.001).long()] / 0.001
    torch.testing.assert_close(losses.mixture_nll(outputs, edges, z), -density.log(), atol=2e-2, rtol=0)


def test_a_mixture_starts_as_equal_gaussians_side_by_side() -> None:
    log_weight, mean, sigma = losses.mixture(torch.zeros(1, 12), torch.linspace(0.0, 2.0, 11))
    torch.testing.assert_close(mean[0], torch.tensor([0.25, 0.75, 1.25, 1.75]))
    torch.testing.assert_close(log_weight.exp(), torch.full((1, 4), 0.25))
    torch.testing.assert_close(sigma, torch.full((1, 4), 0.25))


def test_crps_of_unequal_bins_agrees_with_the_exact_metric() -> None:
    random = np.random.default_rng(4)
    edges = np.concatenate([np.linspace(0, 0.5, 301), np.linspace(0.5, 1, 101)[1:]])
    centre = 0.5 * (edges[1:] + edges[:-1])
    probability = np.exp(-0.5 * ((centre - random.uniform(0.3, 0.7, (20, 1))) / 0.06) ** 2) * np.diff(edges)
    probability /= probability.sum(1, keepdims=True)
    z = random.uniform(0.2, 0.8, 20)
    ours = losses.crps_bins(*(torch.tensor(a, dtype=torch.float64) for a in (probability, edges, z)))
    np.testing.assert_allclose(ours.numpy(), pdf_metrics.crps(probability / np.diff(edges), edges, z), atol=0.0025)
