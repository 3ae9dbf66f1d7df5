"""Outlier scores: what was not observed is not odd, and what is far out ranks high."""

from pathlib import Path

import numpy as np
import pytest
import torch

from astrodl import tasks
from astrodl.config import parse
from astrodl.data.batches import Cutouts, Resident
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.tasks.outliers import _distance, _percentile, _rank_table, _robust_covariance, _surprise


def test_pixels_that_were_not_observed_leave_no_residual(store: Path) -> None:
    kind = tasks.get("outliers")
    settings = parse(kind.Settings, {"latent": 4, "widths": [8, 16], "critic_widths": [8, 16]})
    with open_store(store) as reader:
        task = kind(settings, objects.fit_context(kind, settings, reader))
        cutouts = Cutouts.from_store(reader, np.array([5]))
    cutouts.images[:, 1] = np.nan
    network = task.build().eval()
    batch = next(Resident(task.inputs(cutouts), torch.device("cpu")).in_order(1))
    with torch.no_grad():
        numbers, _ = task._residuals(network, batch)
    # regions first, bands second; the logarithm of nothing is that of the floor
    of_band = numbers.reshape(3, 3)[:, 1]
    assert torch.equal(of_band, torch.full((3,), float(np.log(np.float32(1e-4)))))


def test_surprise_is_minus_the_logarithm_of_the_tail() -> None:
    values = np.random.default_rng(0).exponential(size=20000)
    levels = np.geomspace(1, 1 / len(values), 64)
    table = np.quantile(values, 1 - levels)
    # the tail of an exponential beyond x is exp(-x)
    asked = np.array([0.5, 1.0, 3.0])
    assert _surprise(asked, list(table), list(-np.log(levels))) == pytest.approx(asked, abs=0.1)


def test_surprise_goes_on_beyond_the_table() -> None:
    first, second = _surprise(np.array([5.0, 9.0]), [0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    assert 2 < first < second


def test_robust_covariance_is_not_moved_by_a_few_far_objects() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(2000, 2)) @ np.array([[2.0, 0.0], [1.0, 0.5]])
    spoilt = np.concatenate([features, random.normal(60, 1, (40, 2))])
    centre, precision = _robust_covariance(spoilt, ridge=0.0)
    assert np.abs(centre).max() < 0.15
    assert _distance(spoilt, centre, precision)[2000:].min() > 10


def test_the_percentile_is_the_fraction_of_the_reference_with_a_lower_score_and_fine_in_the_tail() -> None:
    random = np.random.default_rng(0)
    reference, asked = random.gumbel(size=5000), random.gumbel(size=2000)
    counted = (reference[:, None] < asked).mean(0)
    given = _percentile(asked, _rank_table(reference))
    np.testing.assert_allclose(given, counted, atol=0.002)
    # of the highest ranks what counts is the fraction above, to a few per cent or a few objects
    np.testing.assert_allclose(1 - given, 1 - counted, rtol=0.1, atol=3 / len(reference))
    assert _percentile(np.array([-99.0, 99.0]), _rank_table(reference)).tolist() == [0.0, 1.0]


def test_the_percentile_does_not_depend_on_what_else_is_predicted() -> None:
    table = _rank_table(np.random.default_rng(0).normal(size=300))
    asked = np.array([0.3, 1.7, -2.0])
    assert (_percentile(asked, table) == [_percentile(one, table)[0] for one in asked[:, None]]).all()
