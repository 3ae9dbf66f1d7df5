import numpy as np
import pytest

from astrodl.metrics.bootstrap import bootstrap


def test_error_of_a_mean_is_sigma_over_root_n() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    value, error = bootstrap(np.mean, values, n_draws=2000)
    assert value == values.mean()
    # The error of the error itself is 1 / sqrt(2 * 2000), 1.6 %.
    assert error == pytest.approx(values.std() / 20, rel=0.06)


def test_all_arrays_are_resampled_together() -> None:
    x = np.random.default_rng(2).normal(size=50)
    assert bootstrap(lambda a, b: float(np.abs(a - b).max()), x, x[:, None][:, 0].copy()) == (0, 0)


def test_the_same_seed_gives_the_same_draws_to_different_statistics() -> None:
    x = np.random.default_rng(3).normal(size=100)
    assert bootstrap(np.mean, x, seed=4)[1] == pytest.approx(bootstrap(lambda a: a.mean() + 7, x, seed=4)[1], rel=1e-9)
    assert bootstrap(np.mean, x, seed=4) != bootstrap(np.mean, x, seed=5)


def test_draws_with_nan_are_left_out() -> None:
    rare = np.array([1.0] + [0.0] * 9)

    def mean_if_any(x: np.ndarray) -> float:
        return float(x.mean()) if x.any() else float("nan")

    value, error = bootstrap(mean_if_any, rare)
    assert value == pytest.approx(0.1)
    assert np.isfinite(error)


def test_the_error_is_nan_when_all_draws_are_nan() -> None:
    assert np.isnan(bootstrap(lambda x: float("nan"), np.ones(5))).all()


@pytest.mark.parametrize("arrays", [(), (np.ones(0),), (np.ones(3), np.ones(4)), (np.float64(1),)])
def test_invalid_arrays_raise(arrays: tuple) -> None:
    with pytest.raises(ValueError, match="equal and positive"):
        bootstrap(np.mean, *arrays)
