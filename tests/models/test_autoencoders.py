"""Autoencoders: shapes, and the linear one against principal components."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import nn

from astrodl.models.autoencoders import VAE, Autoencoder, LinearAutoencoder, interpolate, traverse


def draw_images(n_images: int, shape: tuple[int, ...] = (2, 3, 3)) -> torch.Tensor:
    """Draw correlated Gaussian images about a mean that is not zero."""
    n_numbers = int(np.prod(shape))
    mixing = torch.linalg.qr(torch.randn(n_numbers, n_numbers))[0] * torch.linspace(3, 0.3, n_numbers)
    return (torch.randn(n_images, n_numbers) @ mixing.T + 2).unflatten(1, shape)


@pytest.mark.parametrize("size", [16, 20])
def test_an_autoencoder_returns_image_and_code(size: int) -> None:
    network = Autoencoder(3, 5, size=size, widths=(8, 16))
    decoded, code = network(torch.randn(4, 3, size, size))
    assert decoded.shape == (4, 3, size, size)
    assert code.shape == (4, 5)
    assert network.encode(torch.randn(2, 3, size, size)).shape == (2, 5)
    decoded, code = Autoencoder(7, 2, size=0)(torch.randn(4, 7))
    assert (decoded.shape, code.shape) == ((4, 7), (4, 2))


def test_plain_and_variational_autoencoder_share_their_layers() -> None:
    plain, variational = Autoencoder(2, 4, size=16, widths=(8,)), VAE(2, 4, size=16, widths=(8,))
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in variational.named_parameters()]
    assert all(
        a.shape == b.shape for a, b in zip(plain.decoder.parameters(), variational.decoder.parameters(), strict=True)
    )


@pytest.mark.parametrize(("n_images", "n_components"), [(12, 4), (200, 4), (200, 18), (6, 5)])
def test_the_linear_autoencoder_starts_at_the_principal_components(n_images: int, n_components: int) -> None:
    images = draw_images(n_images)
    network = LinearAutoencoder((2, 3, 3), n_components)
    network.start_at_components(images)
    flat = images.flatten(1).numpy().astype(np.float64)
    pca = PCA(n_components, svd_solver="full").fit(flat)
    assert subspace_angles(network.encoder.weight.detach().numpy().T, pca.components_.T).max() < 1e-5
    decoded, code = (tensor.detach() for tensor in network(images))
    np.testing.assert_allclose(code.abs().numpy(), np.abs(pca.transform(flat)), atol=1e-4)
    expected = pca.inverse_transform(pca.transform(flat))
    np.testing.assert_allclose(decoded.flatten(1), expected, atol=1e-4)
    # the signs do not depend on the decomposition
    other = LinearAutoencoder((2, 3, 3), n_components)
    other.start_at_components(images.flip(0))
    torch.testing.assert_close(other.encode(images).detach(), code, atol=1e-4, rtol=0)


def test_a_trained_linear_autoencoder_spans_the_principal_components() -> None:
    images = draw_images(300, (3, 2, 2))
    network = LinearAutoencoder((3, 2, 2), 3)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(images)[0], images)
        loss.backward()
        return loss

    optimizer.step(step)
    components = PCA(3, svd_solver="full").fit(images.flatten(1).numpy().astype(np.float64)).components_
    for weight in (network.encoder.weight, network.decoder[0].weight.T):
        assert subspace_angles(weight.detach().numpy().T, components.T).max() < 0.02


@pytest.mark.parametrize(("n_images", "latent", "n_components"), [(4, 4, 3), (30, 19, 18)])
def test_more_dimensions_than_components_raise(n_images: int, latent: int, n_components: int) -> None:
    with pytest.raises(ValueError, match=f"{n_images} images of 18 numbers have {n_components} principal components"):
        LinearAutoencoder((2, 3, 3), latent).start_at_components(torch.randn(n_images, 2, 3, 3))


def test_a_traversal_moves_one_dimension_between_its_quantiles() -> None:
    codes = torch.rand(2001, 3) * torch.tensor([1.0, 10.0, 1.0]) + torch.tensor([0.0, 5.0, 0.0])
    path = traverse(codes, [1, 0], n_steps=5, quantile=0.1)
    assert path.shape == (2, 5, 3)
    torch.testing.assert_close(path[0, :, 1], torch.linspace(6, 14, 5), atol=0.4, rtol=0)
    torch.testing.assert_close(path[1, :, 0], torch.linspace(0.1, 0.9, 5), atol=0.04, rtol=0)
    assert torch.equal(path[0, :, [0, 2]], codes.median(0).values[[0, 2]].expand(5, 2))
    with pytest.raises(ValueError, match=r"quantile is 0\.5"):
        traverse(codes, [0], quantile=0.5)


def test_an_interpolation_keeps_the_length_and_turns_evenly() -> None:
    first, second = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 3.0, 0.0]])
    path = interpolate(first, second, 4)[0]
    torch.testing.assert_close(path[0], first[0])
    torch.testing.assert_close(path[-1], second[0])
    torch.testing.assert_close(path.norm(dim=1), torch.tensor([2, 7 / 3, 8 / 3, 3]))
    torch.testing.assert_close(torch.atan2(path[:, 1], path[:, 0]).rad2deg(), torch.tensor([0.0, 30, 60, 90]))


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, 0.0])
def test_an_interpolation_without_a_plane_is_straight(factor: float) -> None:
    first = torch.tensor([[1.0, -2.0, 0.5]])
    path = interpolate(first, factor * first, 3)[0]
    torch.testing.assert_close(path, first * torch.tensor([1, (1 + factor) / 2, factor])[:, None])
