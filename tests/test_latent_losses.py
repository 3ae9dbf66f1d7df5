"""Losses of latent vectors against closed forms, second implementations and limits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from astrodl import distributed, latent_losses
from astrodl.losses import kl_standard_normal
from tests.thread_ranks import run_on_two_ranks


def test_without_free_bits_the_divergence_is_that_of_two_gaussians() -> None:
    mean, log_variance = torch.randn(50, 3), torch.randn(50, 3)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(latent_losses.free_bits(kl_standard_normal(mean, log_variance), 0.0), expected)


def test_a_dimension_below_its_free_bits_costs_them_and_has_no_gradient() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    loss = latent_losses.free_bits(kl, 0.5)
    assert loss.item() == pytest.approx(0.5 + 3.0)
    loss.backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0, 0.5], [0, 0.5]]


def test_free_bits_apply_to_the_mean_of_the_batch_and_not_to_each_object() -> None:
    assert float(latent_losses.free_bits(torch.tensor([[0.0], [2.0]]), 0.5)) == 1.0


def test_the_likelihood_is_that_of_scipy_in_nats_and_bits() -> None:
    mean, sigma, target = torch.randn(4, 2, 3, 3), torch.rand(4, 2, 1, 1) + 0.1, torch.randn(4, 2, 3, 3)
    expected = stats.norm.logpdf(target.numpy(), mean.numpy(), sigma.numpy()).sum((1, 2, 3))
    np.testing.assert_allclose(latent_losses.gaussian_log_likelihood(mean, sigma, target), expected, rtol=1e-5)
    bits = latent_losses.gaussian_log_likelihood(mean, sigma, target, unit="bits")
    np.testing.assert_allclose(bits, np.log2(np.e) * expected, rtol=1e-5)


def test_the_likelihood_of_a_scaled_target_changes_by_the_volume() -> None:
    mean, sigma, target = torch.zeros(2, 7), torch.ones(2, 7), torch.randn(2, 7)
    scaled = latent_losses.gaussian_log_likelihood(mean / 8, sigma / 8, target / 8, unit="bits")
    plain = latent_losses.gaussian_log_likelihood(mean, sigma, target, unit="bits")
    torch.testing.assert_close(scaled - plain, torch.full((2,), 7 * 3.0), atol=1e-4, rtol=0)


def test_the_sparse_penalty_is_the_sum_of_absolute_values() -> None:
    assert latent_losses.sparse_penalty(torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]])).tolist() == [3.0, 0.0]


def test_the_contractive_penalty_of_a_linear_encoder_is_the_norm_of_its_weights() -> None:
    encoder, image = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.randn(5, 3, 2, 2)
    expected = encoder[1].weight.square().sum().expand(5)
    torch.testing.assert_close(latent_losses.contractive_penalty(encoder, image), expected)


def test_the_contractive_penalty_of_a_sigmoid_layer_is_that_of_rifai() -> None:
    encoder, image = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), torch.randn(5, 6)
    code = encoder(image)
    expected = ((code * (1 - code)) ** 2 * encoder[0].weight.square().sum(1)).sum(1)
    penalty = latent_losses.contractive_penalty(encoder, image)
    torch.testing.assert_close(penalty, expected)
    gradients = [torch.autograd.grad(one.sum(), encoder[0].weight)[0] for one in (penalty, expected)]
    torch.testing.assert_close(*gradients)


def test_projections_estimate_the_contractive_penalty_without_bias() -> None:
    encoder, image = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), torch.randn(1, 6).expand(4000, -1)
    exact = latent_losses.contractive_penalty(encoder, image)[0].item()
    drawn = latent_losses.contractive_penalty(encoder, image, n_projections=2).detach()
    assert float(drawn.mean()) == pytest.approx(exact, abs=5 * float(drawn.std()) / 4000**0.5)
    assert float(drawn.std()) > 0


def expect_rbf(mean: Tensor, variance: float, sigma: float) -> float:
    """Squared MMD between N(mean, variance) and N(0, 1) in closed form (Gretton et al. 2012)."""
    square, d = sigma**2, len(mean)

    def term(total: float, shift: float) -> float:
        return (square / (square + total)) ** (d / 2) * math.exp(-shift / (2 * (square + total)))

    shift = float(mean.square().sum())
    return term(2 * variance, 0.0) - 2 * term(1 + variance, shift) + term(2, 0.0)


@pytest.mark.parametrize(("shift", "variance"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.3), (-1.0, 2.0)])
@pytest.mark.parametrize("n_objects", [2, 16])
def test_mmd_of_gaussians_is_its_closed_form_on_average(shift: float, variance: float, n_objects: int) -> None:
    mean = torch.full((3,), shift)
    values = torch.stack(
        [
            latent_losses.mmd_standard_normal(mean + variance**0.5 * torch.randn(n_objects, 3), "rbf", sigma=1.5)
            for _ in range(600)
        ]
    )
    expected = expect_rbf(mean, variance, 1.5)
    assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / 600**0.5)


def test_mmd_of_a_multiquadric_agrees_with_drawn_normal_vectors() -> None:
    codes, n_drawn = torch.randn(40, 2) * 0.5 + 0.3, 1_500
    normal, other = torch.randn(2, n_drawn, 2)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        square = torch.cdist(x, y).square()
        return sum(4 * s / (4 * s + square) for s in latent_losses.IMQ_SCALES)

    own = kernel(codes, codes)
    drawn = (own.sum() - own.diagonal().sum()) / (40 * 39) - 2 * kernel(codes, normal).mean()
    drawn = drawn + kernel(normal, other).mean()
    assert float(latent_losses.mmd_standard_normal(codes)) == pytest.approx(float(drawn), abs=0.03)


@pytest.mark.parametrize("n_dimensions", [1, 2, 16, 64])
def test_expectations_of_a_multiquadric_are_those_of_numerical_integration(n_dimensions: int) -> None:
    codes = torch.zeros(2, n_dimensions)
    radius = stats.chi(n_dimensions)

    def expect(scale: float) -> float:
        """E k(0, y) over y, and E k(y, y'), whose distance is sqrt(2) times that of one vector from zero."""
        wide = 2 * n_dimensions * scale
        once, twice = (
            integrate.quad(lambda r, f=f: radius.pdf(r) * wide / (wide + f * r * r), 0, 40, limit=300)[0]
            for f in (1, 2)
        )
        return 1 - 2 * once + twice

    expected = sum(expect(scale) for scale in latent_losses.IMQ_SCALES)
    assert float(latent_losses.mmd_standard_normal(codes)) == pytest.approx(expected, abs=2e-5)


def test_mmd_vanishes_for_normal_codes_and_grows_with_the_shift() -> None:
    codes = torch.randn(1500, 8)
    values = [float(latent_losses.mmd_standard_normal(codes + shift)) for shift in (0.0, 0.2, 1.0)]
    assert abs(values[0]) < 0.003
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_draws_codes_towards_the_normal_distribution(kernel: str) -> None:
    shift, width = torch.full((2,), 2.0, requires_grad=True), torch.full((2,), 0.2, requires_grad=True)
    optimizer = torch.optim.Adam([shift, width], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        latent_losses.mmd_standard_normal(shift + width * torch.randn(100, 2), kernel).backward()
        optimizer.step()
    assert float(shift.detach().abs().max()) < 0.15
    assert width.detach().tolist() == pytest.approx([1, 1], abs=0.15)


def test_mmd_of_one_code_or_an_unknown_kernel_raises() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        latent_losses.mmd_standard_normal(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="accepted: imq, rbf"):
        latent_losses.mmd_standard_normal(torch.zeros(3, 2), "linear")  # type: ignore[arg-type]


def naive_vicreg(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """The terms by NumPy, element by element."""
    views = [view.double().numpy() for view in (first, second)]
    n_objects, d = views[0].shape
    invariance = sum((views[0][i, j] - views[1][i, j]) ** 2 for i in range(n_objects) for j in range(d))
    variance = covariance = 0.0
    for view in views:
        matrix = np.cov(view.T)
        variance += np.mean([max(0.0, 1 - math.sqrt(matrix[j, j] + 1e-4)) for j in range(d)])
        covariance += sum(matrix[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d
    return invariance / (n_objects * d), variance, covariance


def test_vicreg_agrees_with_a_naive_implementation() -> None:
    first, second = torch.randn(20, 5) @ torch.randn(5, 5), 0.5 * torch.randn(20, 5)
    terms = latent_losses.vicreg(first, second)
    assert [float(term) for term in terms] == pytest.approx(naive_vicreg(first, second), rel=1e-5)
    assert float(terms.weighted((2, 3, 5))) == pytest.approx(
        2 * float(terms.invariance) + 3 * float(terms.variance) + 5 * float(terms.covariance)
    )


def test_vicreg_of_identical_independent_views_vanishes_and_of_collapsed_codes_not() -> None:
    white = torch.linalg.qr(torch.randn(400, 4) - 0.0)[0]
    white = white - white.mean(0)
    white = torch.linalg.qr(white)[0] * 400**0.5 * 1.01
    assert max(float(term) for term in latent_losses.vicreg(white, white)) < 1e-3
    collapsed = latent_losses.vicreg(torch.ones(30, 4), torch.ones(30, 4))
    assert [float(term) for term in collapsed] == pytest.approx([0, 2 * (1 - 0.01), 0])
    # equal dimensions: covariance 1 for each of 4 x 3 pairs
    repeated = latent_losses.vicreg(white[:, :1].expand(-1, 4), white[:, :1].expand(-1, 4))
    assert float(repeated.covariance) == pytest.approx(2 * 3, rel=0.1)


def test_vicreg_gives_collapsed_codes_a_finite_gradient() -> None:
    codes = torch.ones(8, 3, requires_grad=True)
    latent_losses.vicreg(codes, codes).weighted().backward()
    assert codes.grad is not None
    assert torch.isfinite(codes.grad).all()


def naive_nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    """Equation 1 of Chen et al. 2020, pair by pair."""
    vectors = [v / v.norm() for v in torch.cat([first, second]).double()]
    n_objects, total = len(first), 0.0
    for i in range(2 * n_objects):
        partner = (i + n_objects) % (2 * n_objects)
        weights = {k: math.exp(float(vectors[i] @ vectors[k]) / temperature) for k in range(2 * n_objects) if k != i}
        total -= math.log(weights[partner] / sum(weights.values()))
    return total / (2 * n_objects)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_agrees_with_a_naive_implementation(temperature: float) -> None:
    first = torch.randn(9, 4)
    second = first + 0.5 * torch.randn(9, 4)
    assert float(latent_losses.nt_xent(first, second, temperature)) == pytest.approx(
        naive_nt_xent(first, second, temperature), rel=1e-5
    )


def test_nt_xent_in_its_limits() -> None:
    collapsed = torch.ones(8, 3)
    assert float(latent_losses.nt_xent(collapsed, 5 * collapsed)) == pytest.approx(math.log(15))
    identical = torch.eye(8)
    assert float(latent_losses.nt_xent(identical, identical, 0.5)) == pytest.approx(math.log(1 + 14 * math.exp(-2)))
    assert float(latent_losses.nt_xent(identical, 3 * identical, 0.05)) < 1e-6


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "free_bits": lambda a, b: latent_losses.free_bits((a - b).square(), 1.5),
    "mmd": lambda a, b: latent_losses.mmd_standard_normal(a + b),
    "vicreg": lambda a, b: latent_losses.vicreg(a, b).weighted(),
    "nt_xent": lambda a, b: latent_losses.nt_xent(a, b, 0.1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_mixed_precision_computes_in_float32(name: str) -> None:
    first, second = (torch.randn(16, 6).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = LOSSES[name](first.float(), second.float())
    assert mixed.dtype is torch.float32
    assert torch.equal(mixed, LOSSES[name](first.float(), second.float()))
    if name in {"vicreg", "nt_xent"}:
        assert torch.equal(mixed, LOSSES[name](first, second))


def test_the_contractive_penalty_in_mixed_precision_is_that_of_float32() -> None:
    encoder, image = nn.Sequential(nn.Linear(6, 4), nn.Tanh()), torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = latent_losses.contractive_penalty(encoder, image)
    assert torch.equal(mixed, latent_losses.contractive_penalty(encoder, image))


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_have_the_loss_and_the_gradient_of_one_process(name: str) -> None:
    first, second = torch.randn(12, 6, requires_grad=True), torch.randn(12, 6)
    whole = LOSSES[name](first, second)
    (expected,) = torch.autograd.grad(whole, first)

    def part() -> tuple[Tensor, Tensor]:
        own = first.detach()[distributed.rank() :: 2].requires_grad_(True)
        loss = LOSSES[name](own, second[distributed.rank() :: 2])
        return loss.detach(), torch.autograd.grad(loss, own)[0]

    for rank, (loss, gradient) in enumerate(run_on_two_ranks(part)):
        torch.testing.assert_close(loss, whole.detach())
        # the sum over the two ranks of equal losses, which the training loop averages
        torch.testing.assert_close(gradient, 2 * expected[rank::2], atol=1e-6, rtol=1e-4)
