from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import KNeighborsRegressor

from astrodl.baselines import histograms, photoz
from astrodl.baselines.photoz import svm
from astrodl.baselines.photoz.mlp import mlp
from astrodl.metrics import pdf as pdf_metrics
from astrodl.metrics import photoz as point_metrics

EDGES = np.linspace(0, 2, 81)


def small_mlp(*data: np.ndarray, min_updates: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    return mlp(*data, n_networks=1, widths=(64, 64), dropout=0.0, epochs=1, min_updates=min_updates, seed=seed)


METHODS = [photoz.knn, lambda *x: photoz.forest(*x, n_trees=30), svm.svm, small_mlp]
NAMES = ["knn", "forest", "svm", "mlp"]


def survey(n: int, seed: int, scatter: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Draw redshifts, four colours that measure them with a known scatter, and one feature of noise."""
    random = np.random.default_rng(seed)
    z = random.uniform(0.1, 1.9, n)
    noisy = z + scatter * (1 + z) * random.normal(size=n)
    return np.stack([noisy, noisy**2, np.sin(2 * noisy), np.exp(-noisy), random.normal(size=n) / 9], axis=1), z


@pytest.fixture(scope="module", params=[*METHODS[:3], partial(small_mlp, min_updates=700)], ids=NAMES)
def estimated(request) -> tuple[dict, np.ndarray]:
    (train_x, train_z), (test_x, z) = survey(1200, 0), survey(500, 1)
    return request.param(train_x, train_z, test_x, EDGES), z


def test_point_estimates_reach_the_scatter_of_the_colours(estimated) -> None:
    result, z = estimated
    residual = (result["z"] - z) / (1 + z)
    assert 0.025 < 1.4826 * np.median(np.abs(residual)) < 0.042


def test_densities_are_positive_and_integrate_to_one(estimated) -> None:
    pdf = estimated[0]["pdf"]
    assert pdf.shape == (500, 80)
    assert (pdf >= 0).all()
    assert pdf @ np.diff(EDGES) == pytest.approx(np.ones(500))


def test_densities_are_about_as_wide_as_the_residuals(estimated) -> None:
    result, z = estimated
    cumulative = np.concatenate([np.zeros((500, 1)), np.cumsum(result["pdf"] * np.diff(EDGES), axis=1)], axis=1)
    pit = np.array([np.interp(truth, EDGES, row) for truth, row in zip(z, cumulative, strict=True)])
    assert np.mean(np.abs(pit - 0.5) < 0.34) == pytest.approx(0.68, abs=0.1)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_the_order_of_test_objects_does_not_matter(method) -> None:
    (train_x, train_z), (test_x, _) = survey(150, 0), survey(40, 1)
    whole, reverse = method(train_x, train_z, test_x, EDGES), method(train_x, train_z, test_x[::-1], EDGES)
    assert reverse["z"][::-1] == pytest.approx(whole["z"])
    assert reverse["pdf"][::-1] == pytest.approx(whole["pdf"])


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_features_may_be_missing_and_redshifts_outside_the_edges(method) -> None:
    (train_x, train_z), (test_x, _) = survey(150, 0), survey(40, 1)
    train_x[::5, 1], test_x[::3, 0], train_z[0] = np.nan, np.nan, 7.0
    result = method(train_x, train_z, test_x, EDGES)
    assert np.isfinite(result["z"]).all()
    assert result["pdf"] @ np.diff(EDGES) == pytest.approx(np.ones(40))


def test_knn_point_estimates_agree_with_scikit_learn() -> None:
    (train_x, train_z), (test_x, _) = survey(200, 0), survey(50, 1)
    centre, spread = train_x.mean(axis=0), train_x.std(axis=0)
    model = KNeighborsRegressor(10, weights="distance").fit((train_x - centre) / spread, train_z)
    expected = model.predict((test_x - centre) / spread)
    assert photoz.knn(train_x, train_z, test_x, EDGES)["z"] == pytest.approx(expected, rel=1e-9)


def test_mean_of_the_density_of_the_forest_is_about_its_prediction() -> None:
    (train_x, train_z), (test_x, _) = survey(400, 0), survey(50, 1)
    result = photoz.forest(train_x, train_z, test_x, EDGES, n_trees=40, seed=3)
    model = RandomForestRegressor(40, min_samples_leaf=3, max_features=0.33, random_state=3).fit(train_x, train_z)
    assert result["z"] == pytest.approx(model.predict(test_x))
    centre = 0.5 * (EDGES[1:] + EDGES[:-1])
    assert result["pdf"] @ (centre * np.diff(EDGES)) == pytest.approx(result["z"], abs=0.02)


def test_smoothing_keeps_the_mean_and_adds_the_variance() -> None:
    edges = np.linspace(0, 4, 401)
    centre, histogram = 0.5 * (edges[1:] + edges[:-1]), np.zeros((1, 400))
    histogram[0, 100] = 1
    probability = histograms.smooth(histogram, edges, 0.05)[0] * np.diff(edges)
    mean = probability @ centre
    assert mean == pytest.approx(centre[100], abs=1e-6)
    assert np.sqrt(probability @ (centre - mean) ** 2) == pytest.approx(0.05 * (1 + centre[100]), rel=0.01)


def test_densities_are_better_than_n_of_z(estimated) -> None:
    result, z = estimated
    train_x, train_z = survey(1200, 0)
    floor = photoz.trainz(train_x, train_z, np.zeros((500, 5)), EDGES)["pdf"]
    assert pdf_metrics.crps(result["pdf"], EDGES, z).mean() < 0.2 * pdf_metrics.crps(floor, EDGES, z).mean()
    assert pdf_metrics.cde_loss(result["pdf"], EDGES, z).mean() < pdf_metrics.cde_loss(floor, EDGES, z).mean() - 1


def test_trainz_has_a_uniform_pit_and_a_worse_crps_than_neighbours(estimated) -> None:
    (train_x, train_z), (test_x, z) = survey(1200, 0), survey(2000, 1)
    result = photoz.trainz(train_x, train_z, test_x, EDGES)
    assert pdf_metrics.pit_ks(pdf_metrics.pit(result["pdf"], EDGES, z)) < 0.05
    assert np.ptp(result["pdf"], axis=0).max() == 0
    assert result["z"] == pytest.approx(np.full(2000, np.median(train_z)), abs=0.03)
    neighbours = photoz.knn(train_x, train_z, test_x, EDGES)
    assert pdf_metrics.crps(result["pdf"], EDGES, z).mean() > 3 * pdf_metrics.crps(neighbours["pdf"], EDGES, z).mean()


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_the_same_data_give_the_same_estimates(method) -> None:
    (train_x, train_z), (test_x, _) = survey(150, 0), survey(40, 1)
    first, second = (method(train_x, train_z, test_x, EDGES) for _ in range(2))
    assert np.array_equal(first["z"], second["z"])
    assert np.array_equal(first["pdf"], second["pdf"])


@pytest.mark.parametrize("method", [*METHODS, photoz.trainz], ids=[*NAMES, "trainz"])
def test_two_training_objects_are_enough(method) -> None:
    result = method(np.array([[0.0], [1.0]]), [0.5, 1.0], np.zeros((3, 1)), EDGES)
    assert np.isfinite(result["z"]).all()
    assert result["pdf"] @ np.diff(EDGES) == pytest.approx(np.ones(3))


def test_networks_do_not_change_the_generator_of_torch() -> None:
    (train_x, train_z), (test_x, _) = survey(50, 0), survey(5, 1)
    state = torch.get_rng_state()
    one = small_mlp(train_x, train_z, test_x, EDGES)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.abs(small_mlp(train_x, train_z, test_x, EDGES, seed=2)["pdf"] - one["pdf"]).max() > 0


def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    (train_x, train_z), (test_x, _) = survey(50, 0), survey(5, 1)
    options = {"widths": (16,), "epochs": 1, "min_updates": 20}
    single = [mlp(train_x, train_z, test_x, EDGES, n_networks=1, seed=seed, **options)["pdf"] for seed in (3, 4)]
    both = mlp(train_x, train_z, test_x, EDGES, n_networks=2, seed=3, **options)
    assert both["pdf"] == pytest.approx(np.mean(single, axis=0))
    assert both["z"] == pytest.approx(pdf_metrics.median(both["pdf"], EDGES))
    with pytest.raises(ValueError, match="n_networks"):
        mlp(train_x, train_z, test_x, EDGES, n_networks=0)


def test_networks_use_which_features_are_missing() -> None:
    random = np.random.default_rng(0)
    z = np.repeat([0.5, 1.5], 200)
    x = random.normal(size=(400, 2))
    x[:200, 1] = np.nan
    order = random.permutation(400)
    result = small_mlp(x[order], z[order], x, EDGES, min_updates=200)
    assert np.abs(result["z"] - z).max() < 0.1


def test_p_z_of_the_svm_has_the_width_of_cross_validation_residuals() -> None:
    # Features of pure noise: residuals of the training objects themselves would be too small.
    random = np.random.default_rng(0)
    z = random.normal(1, 0.1, 300)
    result = svm.svm(random.normal(size=(300, 8)), z, random.normal(size=(200, 8)), EDGES)
    low, high = (pdf_metrics.quantile(result["pdf"], EDGES, level) for level in (0.16, 0.84))
    assert np.median(high - low) == pytest.approx(0.2, abs=0.05)


def test_the_svm_uses_at_most_max_train_objects() -> None:
    (train_x, train_z), (test_x, _) = survey(400, 0), survey(40, 1)
    subset = svm.svm(train_x, train_z, test_x, EDGES, max_train=100)
    assert subset["z"] != pytest.approx(svm.svm(train_x, train_z, test_x, EDGES)["z"])
    with pytest.raises(ValueError, match="above -1"):
        svm.svm(train_x, train_z - 2, test_x, EDGES)


@pytest.mark.slow
def test_networks_reach_the_published_scatter_on_real_galaxies(test_data: Path) -> None:
    path = test_data / "photoz_catalogs" / "sdss_mgs_ugriz_train.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: set ASTRODL_TEST_DATA")
    table = np.genfromtxt(path, delimiter=",", names=True)
    x = np.stack([table[name] for name in ("u", "g", "r", "i", "z", "u_g", "g_r", "r_i", "i_z")], axis=1)
    errors = np.log(np.stack([table[name] for name in ("eu", "eg", "er", "ei", "ez")], axis=1))
    x, z = np.concatenate([x, errors], axis=1), table["zs"]
    train, test = np.split(np.random.default_rng(0).permutation(len(z)), 2)
    edges = np.linspace(0, 1.05 * z[train].max(), 301)
    result = mlp(x[train], z[train], x[test], edges, smear=0.004)
    # SOURCE.md beside the table: 20 neighbours in colours and r, twice as many objects to train on.
    assert point_metrics.sigma_mad(result["z"], z[test]) <= 0.0140
    assert pdf_metrics.pit_ks(pdf_metrics.pit(result["pdf"], edges, z[test])) < 0.06


@pytest.mark.parametrize("method", [*METHODS, photoz.trainz], ids=[*NAMES, "trainz"])
@pytest.mark.parametrize(
    ("z", "edges", "message"),
    [
        (np.ones(9), EDGES, "train_z"),
        (np.full(10, np.nan), EDGES, "finite"),
        (np.ones(10), [1, 1], "strictly increasing"),
    ],
)
def test_training_sets_that_do_not_fit_together_raise(method, z, edges, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(np.ones((10, 2)), z, np.ones((3, 2)), edges)
