"""Probes, agreement and leakage of representations with planted values."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from astrodl.metrics import representation

RNG = np.random.default_rng


def test_r2_is_that_of_scikit_learn_and_leaves_unknown_values_out() -> None:
    y = RNG(0).normal(size=100)
    predicted = y + RNG(1).normal(size=100)
    assert representation.r2(predicted, y) == pytest.approx(r2_score(y, predicted))
    y[:5], predicted[5:9] = np.nan, np.inf
    assert representation.r2(predicted, y) == pytest.approx(r2_score(y[9:], predicted[9:]))
    assert np.isnan(representation.r2([1, 2, 3], [4, 4, 4]))
    assert representation.r2(np.full((3, 1), 2.0), [1, 2, 3]) == 0


def test_a_linear_boundary_is_found_and_a_curved_one_is_not() -> None:
    train, test = RNG(0).normal(size=(2, 600, 4)) * [1, 100, 0.01, 1]
    names = np.array(["disk", "spheroid"])
    linear = [names[(x[:, 0] + x[:, 1] / 100 > 0).astype(int)] for x in (train, test)]
    assert (representation.probe_classes(train, linear[0], test) == linear[1]).mean() > 0.97
    ring = [(np.hypot(x[:, 0], x[:, 3]) > 1.2).astype(int) for x in (train, test)]
    assert (representation.probe_classes(train, ring[0], test) == ring[1]).mean() < 0.65


def test_a_property_is_read_up_to_its_noise() -> None:
    train, test = RNG(0).normal(size=(2, 1500, 6))
    direction = np.array([1.0, 0, -1, 0.5, 0, 0])
    of_train, truth = (x @ direction + RNG(i).normal(size=1500) for i, x in enumerate((train, test), 1))
    of_train[:10] = np.nan
    signal = float(direction @ direction)
    predicted = representation.probe_values(train, of_train, test)
    assert representation.r2(predicted, truth) == pytest.approx(signal / (signal + 1), abs=0.04)
    plain = LinearRegression().fit(train[10:], of_train[10:]).predict(test)
    assert np.corrcoef(plain, predicted)[0, 1] > 0.999


def test_the_probe_reports_every_number_with_an_error() -> None:
    train, test = RNG(0).normal(size=(2, 400, 3))
    label = [np.where(x[:, 0] > 0, "late", "early") for x in (train, test)]
    label[0][:20], label[1][:20] = "", ""
    measured = representation.linear_probe(
        train,
        test,
        classes=(label[0], label[1]),
        properties={"bt": (train[:, 1], test[:, 1]), "noise": (train[:, 2], RNG(5).normal(size=400))},
        n_draws=100,
    )
    assert list(measured) == ["accuracy", "recall", "r2_bt", "r2_noise"]
    assert measured["accuracy"][0] > 0.95
    assert measured["r2_bt"] == pytest.approx((1, 0), abs=1e-3)
    # the variance of one direction is doubled by an error that has nothing to do with it
    assert measured["r2_noise"][0] < 0.05
    value, error = measured["accuracy"]
    assert error == pytest.approx((value * (1 - value) / 380) ** 0.5, rel=0.4)


def test_planted_nuisances_leak_as_much_as_was_planted() -> None:
    random = RNG(0)
    n = 3000
    angle, size, psf = random.uniform(0, 180, n), random.normal(size=n), random.normal(size=n)
    phase = np.deg2rad(2 * angle)
    codes = np.stack([np.cos(phase), np.sin(phase) + random.normal(size=n), size + random.normal(size=n)], axis=1)
    psf[:100] = np.nan
    found = representation.leakage(
        codes,
        {"orientation": representation.angle_components(angle), "size": size, "psf": psf, "angle": angle},
    )
    # the cosine is all there; the sine, of variance 1/2, has noise of variance 1
    assert found["orientation"][0] == pytest.approx((1 + 1 / 3) / 2, abs=0.03)
    assert found["size"][0] == pytest.approx(0.5, abs=4 * found["size"][1])
    assert found["psf"][0] == pytest.approx(0, abs=0.01)
    # an angle that wraps round is not linear in anything
    assert found["angle"][0] < found["orientation"][0]
    assert 0 < found["size"][1] < 0.03


def test_an_opposite_position_angle_is_the_same_orientation() -> None:
    np.testing.assert_allclose(
        representation.angle_components([10.0, 80.0]), representation.angle_components([190.0, -100.0]), atol=1e-12
    )


def test_a_nuisance_without_values_raises() -> None:
    with pytest.raises(ValueError, match="'psf' has 0 finite of 50 values for 50"):
        representation.leakage(np.zeros((50, 2)), {"psf": np.full(50, np.nan)})
    with pytest.raises(ValueError, match="'psf' has 40 finite of 40 values for 50"):
        representation.leakage(np.zeros((50, 2)), {"psf": np.zeros(40)})


def test_a_representation_shares_all_neighbours_with_a_scaled_and_permuted_copy() -> None:
    codes = RNG(0).normal(size=(300, 4))
    value, error = representation.neighbour_overlap(codes, codes[:, [2, 0, 1, 3]] * [1, -5, 1e-3, 9] + 7)
    assert (value, error) == (1, 0)


def test_unrelated_representations_share_neighbours_by_chance() -> None:
    first, second = RNG(0).normal(size=(2, 800, 3))
    value, error = representation.neighbour_overlap(first, second, k=20)
    assert value == pytest.approx(20 / 799, abs=5 * error)


def test_the_overlap_is_that_of_sets_of_neighbours() -> None:
    first = RNG(0).normal(size=(120, 3))
    second = first + 0.5 * RNG(1).normal(size=(120, 3))

    def nearest(codes: np.ndarray) -> list[set[int]]:
        codes = (codes - codes.mean(0)) / codes.std(0)
        distance = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
        return [set(np.argsort(row, kind="stable")[1:8]) for row in distance]

    shares = [len(a & b) / 7 for a, b in zip(nearest(first), nearest(second), strict=True)]
    value, error = representation.neighbour_overlap(first, second, k=7)
    assert value == pytest.approx(np.mean(shares))
    assert error == pytest.approx(np.std(shares, ddof=1) / 120**0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: representation.neighbour_overlap(np.zeros((5, 2)), np.zeros((4, 2))), "5 and 4 vectors"),
        (lambda: representation.neighbour_overlap(np.zeros((5, 2)), np.zeros((5, 2)), k=5), "k = 5"),
        (lambda: representation.probe_classes(np.zeros((3, 2)), ["a", "a", "b"], np.zeros((1, 2))), "'b': 1"),
        (lambda: representation.probe_values(np.zeros((3, 2)), [1, np.nan, 1], np.zeros((1, 2))), "at least 3"),
        (lambda: representation.probe_values(np.zeros((3, 2)), np.ones(3), np.zeros((1, 3))), "same D"),
        (lambda: representation.probe_values(np.full((3, 2), np.nan), np.ones(3), np.zeros((1, 2))), "not finite"),
    ],
)
def test_invalid_input_raises(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
