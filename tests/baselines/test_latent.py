import numpy as np
import pytest

from astrodl.baselines.latent import pca


def test_images_of_two_components_are_reconstructed_from_two_numbers() -> None:
    random = np.random.default_rng(0)
    patterns = random.normal(size=(2, 30))
    train, other = random.normal(size=(50, 2)) @ patterns + 3, random.normal(size=(20, 2)) @ patterns + 3
    result = pca(train, other, 2)
    assert result.train_latent.shape == (50, 2)
    assert result.other_latent.shape == (20, 2)
    assert result.other_reconstruction == pytest.approx(other, abs=1e-4)


def test_the_error_is_the_variance_of_the_other_components() -> None:
    images = np.random.default_rng(0).normal(size=(200, 30)) * np.linspace(5, 0.1, 30)
    result = pca(images, images, 5)
    values = np.linalg.svd(images - images.mean(axis=0), compute_uv=False)
    assert np.sum((result.other_reconstruction - images) ** 2) == pytest.approx(np.sum(values[5:] ** 2), rel=1e-3)


def test_missing_pixels_take_the_training_mean() -> None:
    random = np.random.default_rng(0)
    train = random.normal(size=(40, 6)) + np.arange(6)
    missing, filled = train[:3].copy(), train[:3].copy()
    missing[0, 2], filled[0, 2] = np.nan, np.float32(train[:, 2].astype(np.float32).mean())
    assert pca(train, missing, 3).other_latent == pytest.approx(pca(train, filled, 3).other_latent, abs=1e-5)
    train[:, 5] = np.nan
    assert np.isfinite(pca(train, missing, 3).other_reconstruction).all()


@pytest.mark.parametrize("n", [0, 5])
def test_an_invalid_dimension_raises(n: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 4"):
        pca(np.ones((4, 9)), np.ones((2, 9)), n)


def test_images_of_different_sizes_raise() -> None:
    with pytest.raises(ValueError, match="pixels"):
        pca(np.ones((4, 9)), np.ones((2, 8)), 1)
