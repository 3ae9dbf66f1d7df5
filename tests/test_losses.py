"""Losses against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
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


def test_smeared_targets_sum_to_one_and_have_the_requested_mean_and_width() -> None:
    edges = torch.linspace(0, 1, 501)
    target = losses.smear_targets(torch.tensor([0.4]), edges, 0.05)
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
    logits = 50 * (2 * target - 1)
    assert float(losses.soft_dice(logits, target)) == pytest.approx(0, abs=1e-5)
    assert float(losses.soft_dice(-logits, target)) == pytest.approx(1, abs=0.01)


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


def test_mixture_bins_are_normalised_and_agree_with_the_density() -> None:
    torch.manual_seed(2)
    outputs, edges = torch.randn(5, 9), torch.linspace(0, 2, 2001)
    probability = losses.mixture_bins(outputs, edges).exp()
    torch.testing.assert_close(probability.sum(1), torch.ones(5))
    z = torch.tensor([0.3, 0.7, 1.0, 1.3, 1.9]) + 5e-4
    density = probability[torch.arange(5), (z / 0.001).long()] / 0.001
    torch.testing.assert_close(losses.mixture_nll(outputs, edges, z), -density.log(), atol=2e-2, rtol=0)


def test_zero_outputs_are_equal_gaussians_at_equal_distances() -> None:
    log_weight, mean, sigma = losses.mixture_components(torch.zeros(1, 12), torch.linspace(0.0, 2.0, 11))
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


def votes_and_concentration() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return random.integers(0, 30, (40, 4)).astype(float), random.uniform(0.3, 60, (40, 4))


def test_dirichlet_multinomial_agrees_with_scipy() -> None:
    counts, concentration = votes_and_concentration()
    ours = losses.dirichlet_multinomial_nll(torch.tensor(concentration), torch.tensor(counts))
    expected = [
        -stats.dirichlet_multinomial.logpmf(k, a, int(k.sum())) for k, a in zip(counts, concentration, strict=True)
    ]
    np.testing.assert_allclose(ours.numpy(), np.array(expected), rtol=1e-9)


def test_dirichlet_multinomial_of_a_sharp_dirichlet_is_multinomial() -> None:
    counts, concentration = votes_and_concentration()
    probability = concentration / concentration.sum(1, keepdims=True)
    ours = losses.dirichlet_multinomial_nll(torch.tensor(1e9 * probability), torch.tensor(counts))
    expected = [-stats.multinomial.logpmf(k, k.sum(), p) for k, p in zip(counts, probability, strict=True)]
    np.testing.assert_allclose(ours.numpy(), np.array(expected), atol=1e-4)
    exact = losses.multinomial_nll(torch.tensor(probability), torch.tensor(counts))
    np.testing.assert_allclose(exact.numpy(), np.array(expected), rtol=1e-9)


def test_dirichlet_multinomial_sums_to_one_over_all_votes() -> None:
    counts = torch.tensor([[i, j, 5 - i - j] for i in range(6) for j in range(6 - i)], dtype=torch.float64)
    concentration = torch.tensor([[0.4, 2.0, 7.0]], dtype=torch.float64).expand(len(counts), 3)
    likelihood = (-losses.dirichlet_multinomial_nll(concentration, counts)).exp()
    assert float(likelihood.sum()) == pytest.approx(1)


def test_a_question_without_votes_costs_nothing_and_pulls_nowhere() -> None:
    concentration = torch.tensor([[3.0, 40.0]], requires_grad=True)
    loss = losses.dirichlet_multinomial_nll(concentration, torch.zeros(1, 2))
    loss.sum().backward()
    assert loss.item() == 0
    assert (concentration.grad == 0).all()


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0])])
def test_focal_loss_of_gamma_zero_is_cross_entropy(weights: torch.Tensor | None) -> None:
    logits, label = torch.randn(9, 3), torch.arange(9) % 3
    target = nn.functional.one_hot(label, 3) * (1.0 if weights is None else weights)
    expected = nn.functional.cross_entropy(logits, label, weights, reduction="none")
    torch.testing.assert_close(losses.focal_loss(logits, target, 0.0), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_its_formula_with_finite_gradients_at_certain_predictions(gamma: float) -> None:
    logits = torch.tensor([[0.2, 1.0], [0.0, 200.0]], requires_grad=True)
    loss = losses.focal_loss(logits, torch.eye(2), gamma)
    p = 1 / (1 + math.exp(0.8))
    assert loss.tolist() == pytest.approx([-((1 - p) ** gamma) * math.log(p), 0.0], abs=1e-6)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_batch_hard_triplets_agree_with_a_slow_search() -> None:
    vectors, label = torch.randn(12, 3), torch.tensor([0] * 5 + [1] * 4 + [2] * 2 + [3])
    loss, used = losses.triplet_batch_hard(vectors, label, 0.3)
    hard = nn.TripletMarginLoss(margin=0.3, eps=0)
    for i in range(11):
        others = [j for j in range(12) if j != i]
        positive = max(
            (j for j in others if label[j] == label[i]), key=lambda j: float((vectors[i] - vectors[j]).norm())
        )
        negative = min(
            (j for j in others if label[j] != label[i]), key=lambda j: float((vectors[i] - vectors[j]).norm())
        )
        torch.testing.assert_close(loss[i], hard(vectors[i], vectors[positive], vectors[negative]))
    assert used.tolist() == [1.0] * 11 + [0.0]  # the last object is the only one of its class
    assert loss[11].item() == 0


def test_triplet_loss_is_zero_for_distant_clusters_and_the_margin_for_equal_vectors() -> None:
    label = torch.arange(8) % 2
    apart = 10.0 * nn.functional.one_hot(label, 2)
    assert (losses.triplet_batch_hard(apart, label, 0.5)[0] == 0).all()
    point = torch.zeros(8, 2, requires_grad=True)
    loss, used = losses.triplet_batch_hard(point, label, 0.5)
    losses.pooled_mean(loss, used, least=1).backward()
    assert (loss == 0.5).all()
    assert (point.grad == 0).all()


def test_one_class_has_no_triplets() -> None:
    vectors = torch.randn(5, 2, requires_grad=True)
    loss, used = losses.triplet_batch_hard(vectors, torch.zeros(5, dtype=torch.long), 1.0)
    mean = losses.pooled_mean(loss, used, least=1)
    mean.backward()
    assert mean.item() == used.sum().item() == 0
    assert (vectors.grad == 0).all()


def slow_ssim(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    """Compute the structural similarity of one band window by window (Wang et al. 2004)."""
    axis = np.arange(11) - 5
    window = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / 1.5**2)
    window /= window.sum()
    c1, c2, values = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            spread = (window * (p - mean_p) ** 2).sum() + (window * (q - mean_q) ** 2).sum()
            luminance = (2 * mean_p * mean_q + c1) / (mean_p**2 + mean_q**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (spread + c2))
    return float(np.mean(values))


def test_ssim_is_its_definition() -> None:
    random = np.random.default_rng(4)
    a = random.normal(size=(2, 3, 16, 19))
    b = a + 0.5 * random.normal(size=a.shape)
    ours = losses.ssim(torch.tensor(a), torch.tensor(b), 4.0)
    expected = [np.mean([slow_ssim(a[i, k], b[i, k], 4.0) for k in range(3)]) for i in range(2)]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)


def test_ssim_agrees_with_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    random = np.random.default_rng(4)
    a, b = random.normal(size=(2, 5, 40, 33))
    expected = skimage.structural_similarity(
        a, b, data_range=3.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert float(losses.ssim(torch.tensor(a[None]), torch.tensor(b[None]), 3.0)) == pytest.approx(expected)


def test_ssim_of_equal_images_is_one_and_accepts_a_range_per_band() -> None:
    image = torch.randn(2, 2, 24, 24)
    assert losses.ssim(image, image, 1.0).tolist() == pytest.approx([1.0, 1.0])
    scale = torch.tensor([1.0, 1e3])[:, None, None]
    other = torch.randn(2, 2, 24, 24)
    torch.testing.assert_close(losses.ssim(image * scale, other * scale, 2 * scale), losses.ssim(image, other, 2.0))


def test_ssim_of_images_smaller_than_the_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="reduce width"):
        losses.ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), 1.0)


def test_binary_focal_loss_is_the_cross_entropy_without_focus_and_the_formula_with_it() -> None:
    logits, target = torch.randn(50), (torch.rand(50) > 0.5).float()
    expected = nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(losses.binary_focal(logits, target, 0.0), expected)
    p = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(losses.binary_focal(logits, target), (-((1 - p) ** 2) * p.log()).mean())


def test_tversky_is_the_dice_loss_for_equal_weights_and_prefers_completeness_by_default() -> None:
    logits, target = torch.randn(3, 8, 8), (torch.rand(3, 8, 8) > 0.7).float()
    torch.testing.assert_close(losses.tversky(logits, target, 0.5, 0.5), losses.soft_dice(logits, target))
    one, wrong, missed = torch.zeros(10), torch.full((10,), -20.0), torch.full((10,), -20.0)
    one[:4] = 1
    wrong[:8], missed[:2] = 20, 20  # twice the pixels, and half of them
    assert losses.tversky(wrong, one) < losses.tversky(missed, one)
