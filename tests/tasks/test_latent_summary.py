"""Axes, Hubble coordinate and map of a representation."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors
from torch import nn

from astrodl.models.representation import LatentNetwork
from astrodl.tasks.latent import summary
from astrodl.tasks.latent.summary import fit_axes, fit_hubble, fit_map, fit_response


def test_axes_make_codes_white_with_the_largest_variance_first() -> None:
    random = np.random.default_rng(0)
    codes = random.normal(size=(500, 3)) * [1.0, 5.0, 0.2] @ np.linalg.qr(random.normal(size=(3, 3)))[0] + 7
    centre, axes = fit_axes(codes)
    white = (codes - centre) @ axes
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=1e-9)
    variances = 1 / np.square(axes).sum(0)
    np.testing.assert_allclose(variances, np.sort(np.linalg.eigvalsh(np.cov(codes.T)))[::-1], rtol=1e-9)
    assert (axes[np.abs(axes).argmax(0), range(3)] > 0).all()


def test_an_axis_without_variance_is_not_scaled_up() -> None:
    codes = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 1.0, 0.0]
    centre, axes = fit_axes(codes)
    assert np.isfinite(axes).all()
    assert np.abs((codes - centre) @ axes)[:, 2].max() < 1e-6


def test_decoding_inverts_the_standardisation() -> None:
    network = LatentNetwork(nn.Module(), 4)
    network.core.decoder = nn.Identity()  # type: ignore[assignment]
    codes = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5, 3.0]) + 1
    centre, axes = fit_axes(codes.numpy())
    network.centre.copy_(torch.from_numpy(centre))
    network.axes.copy_(torch.from_numpy(axes))
    torch.testing.assert_close(network.decode(network.standardise(codes)), codes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flip", [1, -1])
def test_the_hubble_coordinate_runs_from_concentrated_and_smooth_to_the_opposite(flip: int) -> None:
    random = np.random.default_rng(2)
    form, colour, nuisance = random.normal(size=(3, 2000))
    concentration = -form - colour + 0.3 * random.normal(size=2000)
    concentration[::7] = np.nan
    rows = random.normal(size=(2, 6))
    profile = flip * colour[:, None] * rows[0] + 0.1 * random.normal(size=(2000, 6))
    texture = -flip * form[:, None] * rows[1] + 0.1 * random.normal(size=(2000, 6))
    vectors = np.column_stack([nuisance, form, colour])
    direction = fit_hubble(vectors, profile, texture, concentration)
    np.testing.assert_allclose(direction, [0, 2**-0.5, 2**-0.5], atol=0.05)
    assert (vectors @ direction).std() == pytest.approx(1)


def test_a_map_keeps_neighbours_and_places_new_objects_beside_their_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_STEPS", 400)
    random = np.random.default_rng(3)
    centres = 6 * random.normal(size=(5, 8))
    kind = np.tile(np.arange(5), 120)
    vectors = (centres[kind] + random.normal(size=(600, 8))).astype(np.float32)
    torch.manual_seed(0)
    network = LatentNetwork(nn.Identity(), 8).map
    first = torch.from_numpy(vectors[:500, 0])
    fit_map(network, torch.from_numpy(vectors[:500]), first)
    with torch.no_grad():
        placed = network(torch.from_numpy(vectors)).numpy()
    nearest = NearestNeighbors(n_neighbors=5).fit(placed[:500]).kneighbors(placed[500:], return_distance=False)
    assert (kind[nearest] == kind[500:, None]).mean() > 0.95
    np.testing.assert_allclose(placed[:500].mean(0), 0, atol=1e-3)
    assert placed[:500].var(0).mean() == pytest.approx(1, rel=1e-3)
    assert spearmanr(placed[:500, 0], first).statistic > abs(spearmanr(placed[:500, 1], first).statistic)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_map_of_few_objects_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_STEPS", 20)
    network = LatentNetwork(nn.Identity(), 2).map
    vectors = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    fit_map(network, vectors, vectors[:, 0])
    assert torch.isfinite(network(vectors)).all()


def test_the_response_is_that_of_a_linear_fit_and_zero_without_a_change() -> None:
    draws = torch.Generator().manual_seed(0)
    terms, slope = torch.randn(200, 2, generator=draws), torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, 3.0]])
    fitted = fit_response(terms, terms @ slope + 0.01 * torch.randn(200, 3, generator=draws))
    torch.testing.assert_close(fitted.float(), slope, atol=0.01, rtol=0)
    assert float(fit_response(torch.zeros(5, 2), torch.ones(5, 3)).abs().max()) == 0
