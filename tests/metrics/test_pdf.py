from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from astrodl.metrics import pdf as metrics

EDGES = np.linspace(0, 2, 101)
UNEVEN = np.array([0.0, 0.1, 0.15, 0.4, 1.0, 1.2, 2.0])


def gaussians(centre: np.ndarray, sigma: np.ndarray | float, edges: np.ndarray = EDGES) -> np.ndarray:
    """Integrate Gaussians over the bins and normalise them within the edges."""
    spread = np.broadcast_to(sigma, centre.shape)
    probability = np.diff(stats.norm.cdf(edges, centre[:, None], spread[:, None]), axis=1)
    return probability / probability.sum(axis=1, keepdims=True) / np.diff(edges)


def draw_densities(n: int, edges: np.ndarray, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(edges.size - 1, 0.4), n) / np.diff(edges)


@pytest.fixture(scope="module")
def calibrated() -> tuple[np.ndarray, np.ndarray]:
    """p(z) and true redshifts drawn from them."""
    random = np.random.default_rng(3)
    centre, sigma = random.uniform(0.5, 1.5, 4000), random.uniform(0.03, 0.1, 4000)
    return gaussians(centre, sigma), centre + sigma * random.normal(size=4000)


def test_crps_of_a_gaussian_is_its_closed_form() -> None:
    edges, sigma = np.linspace(-5, 5, 20001), 0.5
    z = np.array([0.0, 0.3, -1.0])
    u = z / sigma
    expected = sigma * (u * (2 * stats.norm.cdf(u) - 1) + 2 * stats.norm.pdf(u) - 1 / np.sqrt(np.pi))
    assert metrics.crps(gaussians(np.zeros(3), sigma, edges), edges, z) == pytest.approx(expected, abs=1e-6)


def test_crps_of_a_uniform_density_is_its_closed_form() -> None:
    z = np.array([0.0, 0.5, 1.3, 2.0])
    u = z / 2
    expected = 2 * (u**3 + (1 - u) ** 3) / 3
    assert metrics.crps(np.full((4, 100), 0.5), EDGES, z) == pytest.approx(expected, abs=1e-12)


def test_crps_of_a_delta_function_is_the_absolute_error() -> None:
    edges = np.array([0, 0.999999, 1.000001, 2])
    delta = np.array([[0, 1 / (edges[2] - edges[1]), 0]] * 4)
    z = np.array([0.2, 1.7, -1.0, 4.0])
    assert metrics.crps(delta, edges, z) == pytest.approx(np.abs(z - 1), abs=2e-6)


@pytest.mark.parametrize("z", [0.0, 0.12, 0.15, 1.1, 2.0, -0.3, 2.7])
def test_crps_is_the_integral_that_defines_it(z: float) -> None:
    density = draw_densities(3, UNEVEN)
    cumulative = np.concatenate([np.zeros((3, 1)), np.cumsum(density * np.diff(UNEVEN), axis=1)], axis=1)
    for row, score in enumerate(metrics.crps(density, UNEVEN, np.full(3, z))):
        expected, _ = integrate.quad(
            lambda x, row=row: (np.interp(x, UNEVEN, cumulative[row]) - (x >= z)) ** 2,
            min(z, 0),
            max(z, 2),
            points=[*UNEVEN, z],
            limit=200,
        )
        assert score == pytest.approx(expected, abs=1e-9)


def test_crps_is_in_units_of_redshift_not_of_bins() -> None:
    coarse = draw_densities(5, UNEVEN)
    index = np.repeat(np.arange(6), 7)
    fine = np.concatenate([np.linspace(a, b, 8)[:-1] for a, b in pairwise(UNEVEN)] + [[2.0]])
    z = np.linspace(0.1, 1.9, 5)
    for metric in (metrics.crps, metrics.pit, metrics.cde_loss):
        assert metric(coarse[:, index], fine, z) == pytest.approx(metric(coarse, UNEVEN, z), abs=1e-9)


def test_pit_of_the_true_density_is_uniform_and_of_a_shifted_one_is_not(calibrated) -> None:
    density, z = calibrated
    true, shifted = metrics.pit(density, EDGES, z), metrics.pit(density, EDGES, z + 0.02)
    assert metrics.pit_ks(true) < 0.025 < 0.1 < metrics.pit_ks(shifted)
    assert metrics.pit_cvm(true) < 0.7 < 10 < metrics.pit_cvm(shifted)
    assert metrics.pit_ad(true) < 3.9 < 50 < metrics.pit_ad(shifted)


def test_pit_of_n_of_z_is_uniform_but_crps_and_cde_loss_are_worse(calibrated) -> None:
    density, z = calibrated
    same = np.repeat(density.mean(axis=0)[None], len(z), axis=0)
    assert metrics.pit_ks(metrics.pit(same, EDGES, z)) < 0.03
    assert metrics.crps(same, EDGES, z).mean() > 3 * metrics.crps(density, EDGES, z).mean()
    assert metrics.cde_loss(same, EDGES, z).mean() > metrics.cde_loss(density, EDGES, z).mean() / 3


def test_pit_is_zero_or_one_outside_the_edges() -> None:
    assert list(metrics.pit(draw_densities(2, EDGES), EDGES, [-0.1, 2.1])) == [0, 1]


def test_pit_statistics_agree_with_scipy() -> None:
    values = np.random.default_rng(4).beta(1.2, 0.9, 333)
    assert metrics.pit_ks(values) == pytest.approx(stats.kstest(values, "uniform").statistic, abs=1e-12)
    assert metrics.pit_cvm(values) == pytest.approx(stats.cramervonmises(values, "uniform").statistic, abs=1e-10)


def test_anderson_darling_is_its_sum_over_objects() -> None:
    values = np.sort(np.random.default_rng(4).uniform(size=57))
    total = sum((2 * i - 1) * (np.log(values[i - 1]) + np.log(1 - values[57 - i])) for i in range(1, 58))
    assert metrics.pit_ad(values) == pytest.approx(-57 - total / 57, abs=1e-9)


def test_anderson_darling_stays_finite_for_objects_outside_their_density() -> None:
    assert 0 < metrics.pit_ad([0, 0.3, 0.6, 1]) < np.inf


def test_cde_loss_of_the_truth_is_minus_its_squared_norm(calibrated) -> None:
    density, z = calibrated
    squared_norm = np.sum(density**2 * np.diff(EDGES), axis=1).mean()
    assert metrics.cde_loss(density, EDGES, z).mean() == pytest.approx(-squared_norm, rel=0.03)


def test_cde_loss_has_no_density_outside_the_edges() -> None:
    assert metrics.cde_loss(np.full((2, 100), 0.5), EDGES, [-1, 3]) == pytest.approx(0.5)
    assert metrics.cde_loss(np.full((2, 100), 0.5), EDGES, [0, 2]) == pytest.approx(-0.5)


@pytest.mark.parametrize("level", [0.5, 0.68, 0.95])
def test_coverage_of_the_true_density_is_its_level(calibrated, level: float) -> None:
    density, z = calibrated
    assert metrics.coverage(metrics.pit(density, EDGES, z), level) == pytest.approx(level, abs=0.02)


def test_coverage_is_the_fraction_of_objects_between_two_quantiles(calibrated) -> None:
    density, z = calibrated
    low, high = (metrics.quantile(density, EDGES, level) for level in (0.16, 0.84))
    assert metrics.coverage(metrics.pit(density, EDGES, z), 0.68) == np.mean((low <= z) & (z <= high))


def test_moments_of_a_narrow_gaussian_are_its_centre() -> None:
    centre = np.array([0.71, 1.23])
    density = gaussians(centre, 0.05)
    assert metrics.mean(density, EDGES) == pytest.approx(centre, abs=1e-6)
    assert metrics.median(density, EDGES) == pytest.approx(centre, abs=1e-3)
    assert metrics.mode(density, EDGES) == pytest.approx(centre, abs=1e-9)
    low, high = (metrics.quantile(density, EDGES, level) for level in stats.norm.cdf([-1, 1]))
    assert 0.5 * (high - low) == pytest.approx([0.05, 0.05], rel=0.02)


@pytest.mark.parametrize("level", [1e-6, 0.1, 0.5, 0.999])
def test_quantile_inverts_the_cumulative_distribution(level: float) -> None:
    density = draw_densities(50, UNEVEN)
    assert metrics.pit(density, UNEVEN, metrics.quantile(density, UNEVEN, level)) == pytest.approx(level, abs=1e-9)


def test_quantile_skips_bins_without_probability() -> None:
    density = np.array([[0.0, 5.0, 0.0, 5.0, 0.0]])
    edges = np.linspace(0, 0.5, 6)
    assert metrics.quantile(density, edges, 0.25) == pytest.approx(0.15)
    assert metrics.quantile(density, edges, 0.75) == pytest.approx(0.35)


def test_mode_is_the_bin_of_highest_density_not_of_highest_probability() -> None:
    edges = np.array([0.0, 0.1, 1.0])
    assert metrics.mode(np.array([[4.0, 0.6 / 0.9]]), edges) == pytest.approx(0.05)


def test_odds_of_a_gaussian_are_its_central_probability() -> None:
    edges = np.linspace(0, 2, 2001)
    density = gaussians(np.array([1.0005]), 0.06, edges)
    expected = 1 - 2 * stats.norm.sf(0.06 * 2.0005 / 0.06)
    assert metrics.odds(density, edges) == pytest.approx(expected, abs=1e-4)
    assert metrics.odds(density, edges, [0.2]) < 1e-6


@pytest.mark.filterwarnings("ignore")
def test_metrics_agree_with_qp() -> None:
    qp = pytest.importorskip("qp")
    from qp.metrics.concrete_metric_classes import CDELossMetric
    from qp.metrics.pit import PIT

    density, z = draw_densities(60, EDGES), np.random.default_rng(8).uniform(0.03, 1.97, 60)
    ensemble = qp.hist.create_ensemble(EDGES, density)
    reference = PIT(ensemble, z)
    pit = metrics.pit(density, EDGES, z)
    assert pit == pytest.approx(reference.pit_samps, abs=1e-9)
    assert metrics.pit_ks(pit) == pytest.approx(reference.evaluate_PIT_KS().statistic, abs=1e-9)
    assert metrics.pit_cvm(pit) == pytest.approx(reference.evaluate_PIT_CvM().statistic, abs=1e-9)
    assert metrics.mean(density, EDGES) == pytest.approx(np.squeeze(ensemble.mean()), abs=1e-9)
    assert metrics.median(density, EDGES) == pytest.approx(np.squeeze(ensemble.ppf(0.5)), abs=1e-9)
    # qp integrates over a grid by trapezoids and evaluates p(z) at the nearest node. On midpoints of narrow bins this
    # is our sum, except for half of the first and the last bin, which are left empty here.
    density[:, [0, -1]] = 0
    density /= np.sum(density * np.diff(EDGES), axis=1, keepdims=True)
    centre = 0.5 * (EDGES[1:] + EDGES[:-1])
    expected = CDELossMetric(eval_grid=centre).evaluate(qp.hist.create_ensemble(EDGES, density), z)
    assert metrics.cde_loss(density, EDGES, z).mean() == pytest.approx(expected, abs=1e-9)


PER_OBJECT = [metrics.crps, metrics.pit, metrics.cde_loss]


@pytest.mark.parametrize("metric", PER_OBJECT, ids=lambda metric: metric.__name__)
def test_objects_are_independent(metric) -> None:
    density, z = draw_densities(40, EDGES), np.random.default_rng(0).uniform(-0.2, 2.2, 40)
    order = np.random.default_rng(1).permutation(40)
    assert np.array_equal(metric(density[order], EDGES, z[order]), metric(density, EDGES, z)[order])


@pytest.mark.parametrize("metric", PER_OBJECT, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(
    ("density", "edges", "z", "message"),
    [
        (np.zeros((1, 2)), [0, 1, 2], [0.5], "1 of 1 pdfs are NaN, negative or not normalised"),
        ([[0.5, 0.5], [np.nan, 1]], [0, 1, 2], [0.5, 0.5], r"first: row 1"),
        ([[2.0, -1.0]], [0, 1, 2], [0.5], "negative"),
        ([[0.5, 0.5]], [0, 0.5, 1], [0.5], "integral 0.5"),
        ([[0.5, 0.5]], [0, 2, 1], [0.5], "strictly increasing"),
        ([[0.5, 0.5]], [0, 1], [0.5], r"must be \(N, 1\)"),
        ([[0.5, 0.5]], [0, 1, 2], [np.nan], "finite"),
        ([[0.5, 0.5]], [0, 1, 2], [0.5, 0.6], r"must be \(1,\)"),
    ],
)
def test_invalid_densities_and_redshifts_raise(metric, density, edges, z, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(density, edges, z)


@pytest.mark.parametrize(
    "statistic", [metrics.pit_ks, metrics.pit_cvm, metrics.pit_ad, metrics.coverage], ids=lambda s: s.__name__
)
@pytest.mark.parametrize("values", [[], [0.5, np.nan], [0.5, 1.2], [-0.1]])
def test_invalid_pit_values_raise(statistic, values: list) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        statistic(values)


@pytest.mark.parametrize("level", [0, 1, -0.1, np.nan])
def test_a_quantile_level_outside_0_to_1_raises(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.quantile(draw_densities(2, EDGES), EDGES, level)
