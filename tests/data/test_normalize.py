"""Normalisation: invertible, monotonic, fitted on the noise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astrodl.data import normalize

SCALING = normalize.Normalization(("g", "r"), (0.3, 2.0))


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, (2, 2, 3, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_invert_undoes_apply(images: np.ndarray) -> None:
    np.testing.assert_allclose(SCALING.invert(SCALING.apply(images)), images, rtol=2e-4, atol=1e-4)


def test_tensors_and_arrays_are_scaled_equally() -> None:
    images = np.random.default_rng(0).normal(0, 10, (4, 2, 5, 5)).astype(np.float32)
    scaled = SCALING.apply(torch.from_numpy(images))
    np.testing.assert_allclose(scaled.numpy(), SCALING.apply(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(SCALING.invert(scaled).numpy(), images, rtol=1e-4, atol=1e-4)


def test_scaling_is_linear_below_the_softening_and_keeps_nan() -> None:
    images = np.full((1, 2, 2, 2), 1e-3, np.float32)
    images[0, 0, 0, 0] = np.nan
    scaled = SCALING.apply(images)
    assert np.isnan(scaled[0, 0, 0, 0])
    assert scaled[0, 1, 1, 1] == pytest.approx(1e-3 / 2.0 / SCALING.stretch, rel=1e-5)


def test_softening_is_twice_the_median_noise_of_each_band() -> None:
    sky = np.array([[1.0, 3.0], [2.0, np.nan], [3.0, 5.0]])
    assert normalize.fit(sky, ("g", "r")).softening == (4.0, 8.0)


def test_band_without_noise_anywhere_gets_unit_softening() -> None:
    sky = np.array([[1.0, np.nan], [1.0, 0.0]])
    assert normalize.fit(sky, ("g", "r")).softening == (2.0, 1.0)


def test_dictionary_restores_the_scaling() -> None:
    assert normalize.Normalization.from_dict(SCALING.to_dict()) == SCALING
