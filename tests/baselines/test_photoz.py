import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import KNeighborsRegressor

from astrodl.baselines import photoz

EDGES = np.linspace(0, 2, 81)
METHODS = [photoz.knn, lambda *x: photoz.forest(*x, n_trees=30)]
NAMES = ["knn", "forest"]


def survey(n: int, seed: int, scatter: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Draw redshifts and four colours that tell them with a known scatter, and one feature that tells nothing."""
    random = np.random.default_rng(seed)
    z = random.uniform(0.1, 1.9, n)
    seen = z + scatter * (1 + z) * random.normal(size=n)
    return np.stack([seen, seen**2, np.sin(2 * seen), np.exp(-seen), random.normal(size=n) / 9], axis=1), z


@pytest.fixture(scope="module", params=METHODS, ids=NAMES)
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


def test_densities_are_about_as_wide_as_the_errors(estimated) -> None:
    result, z = estimated
    cumulative = np.concatenate([np.zeros((500, 1)), np.cumsum(result["pdf"] * np.diff(EDGES), axis=1)], axis=1)
    pit = np.array([np.interp(truth, EDGES, row) for truth, row in zip(z, cumulative, strict=True)])
    assert np.mean(np.abs(pit - 0.5) < 0.34) == pytest.approx(0.68, abs=0.1)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_the_order_of_test_objects_does_not_matter(method) -> None:
    (train_x, train_z), (test_x, _) = survey(150, 0), survey(40, 1)
    whole, turned = method(train_x, train_z, test_x, EDGES), method(train_x, train_z, test_x[::-1], EDGES)
    assert turned["z"][::-1] == pytest.approx(whole["z"])
    assert turned["pdf"][::-1] == pytest.approx(whole["pdf"])


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_missing_features_and_redshifts_beyond_the_edges_are_borne(method) -> None:
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


def test_mean_of_the_forests_density_is_its_prediction_but_for_bins_and_smoothing() -> None:
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
    probability = photoz._smooth(histogram, edges, 0.05)[0] * np.diff(edges)
    mean = probability @ centre
    assert mean == pytest.approx(centre[100], abs=1e-6)
    assert np.sqrt(probability @ (centre - mean) ** 2) == pytest.approx(0.05 * (1 + centre[100]), rel=0.01)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
@pytest.mark.parametrize(
    ("z", "edges", "message"),
    [
        (np.ones(9), EDGES, "train_z"),
        (np.full(10, np.nan), EDGES, "finite"),
        (np.ones(10), [1, 1], "strictly increasing"),
    ],
)
def test_training_sets_that_do_not_fit_together_are_refused(method, z, edges, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(np.ones((10, 2)), z, np.ones((3, 2)), edges)
