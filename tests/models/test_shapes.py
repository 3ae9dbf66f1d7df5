"""Shapes of the networks, and shapes that are errors."""

import pytest
import torch
from torch import nn

from astrodl.models.apertures import ApertureResNet
from astrodl.models.autoencoders import VAE
from astrodl.models.blocks import MLP, ConvBlock, ResidualBlock, initialize, make_normalization
from astrodl.models.cnn import CompactResNet
from astrodl.models.gan import EncoderGAN
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.unet import DecompositionUNet, UNet, sum_fractions

CASES = [
    (ConvBlock(3, 8, stride=2), (2, 3, 16, 16), (2, 8, 8, 8)),
    (ResidualBlock(4, 8, stride=2), (2, 4, 16, 16), (2, 8, 8, 8)),
    (ResidualBlock(8, 8, norm="group"), (2, 8, 7, 7), (2, 8, 7, 7)),
    (MLP(5, (7, 3)), (4, 5), (4, 3)),
    (CompactResNet(5, widths=(8, 16, 24)), (2, 5, 64, 64), (2, 24)),
    (HybridNetwork(CompactResNet(2, widths=(8, 16)), 0, 11, widths=(16,)), (3, 2, 32, 32), (3, 11)),
    (ApertureResNet(4, 2, widths=(8, 16), n_apertures=3), (3, 4, 32, 32), (3, 16 + 12)),
    (EncoderGAN(3, 4, size=32, widths=(8, 16), critic_widths=(8, 16)), (2, 3, 32, 32), (2, 3, 32, 32)),
]


@pytest.mark.parametrize(("network", "shape_in", "shape_out"), CASES)
def test_shape(network: nn.Module, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> None:
    assert network.eval()(torch.randn(shape_in)).shape == shape_out


def test_unet_returns_maps_of_the_input_size_and_a_bottleneck() -> None:
    maps, bottleneck = UNet(3, 5, widths=(8, 16, 32))(torch.randn(2, 3, 32, 24))
    assert maps.shape == (2, 5, 32, 24)
    assert bottleneck.shape == (2, 32)


def test_unet_takes_any_size() -> None:
    network, image = UNet(3, 5, widths=(8, 16, 32)).eval(), torch.randn(1, 3, 31, 27)
    maps, bottleneck = network(image)
    padded = torch.zeros(1, 3, 32, 32)
    padded[..., :31, :27] = image
    assert maps.shape == (1, 5, 31, 27)
    torch.testing.assert_close(maps, network(padded)[0][..., :31, :27])
    torch.testing.assert_close(bottleneck, network(padded)[1])


def test_an_unknown_normalisation_is_an_error() -> None:
    with pytest.raises(ValueError, match="batch, group, layer, instance, none"):
        make_normalization("weight", 8)


def test_decomposition_outputs_have_the_stated_shapes() -> None:
    output = DecompositionUNet(5, widths=(8, 16))(torch.randn(2, 5, 16, 16))
    shapes = {name: tuple(tensor.shape) for name, tensor in output.items()}
    expected = {"clump": (2, 16, 16), "fraction": (2, 3, 16, 16), "light": (2, 16, 16), "bt": (2, 2), "summed": (2, 3)}
    assert shapes == expected


def test_sum_fractions_weights_with_the_light() -> None:
    fraction = torch.full((1, 3, 4, 4), -20.0)
    fraction[:, 0, :2] = 20.0
    fraction[:, 1, 2:] = 20.0
    light = torch.zeros(1, 4, 4)
    light[:, :2], light[:, 2:] = torch.arcsinh(torch.tensor(3.0)), torch.arcsinh(torch.tensor(1.0))
    torch.testing.assert_close(sum_fractions(fraction, light)[0], torch.tensor([0.75, 0.25, 0.0]), atol=1e-3, rtol=0)


def test_the_vae_samples_in_training_only() -> None:
    network, image = VAE(3, 2, size=16, widths=(8, 16)), torch.randn(4, 3, 16, 16)
    network.train()
    assert not torch.equal(network(image)[0], network(image)[0])
    network.eval()
    assert torch.equal(network(image)[0], network(image)[0])


def test_residual_block_starts_as_its_shortcut() -> None:
    block, x = ResidualBlock(8, 8).eval(), torch.rand(2, 8, 6, 6)
    initialize(block)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(("network", "size"), [(CompactResNet(5), 64), (VAE(5, 2), 32), (EncoderGAN(5, 8), 64)])
def test_he_initialisation_gives_outputs_of_order_one(network: nn.Module, size: int) -> None:
    output = network.eval()(torch.randn(16, 5, size, size))
    output = output[0] if isinstance(output, tuple) else output
    assert 0.05 < float(output.detach().std()) < 20
