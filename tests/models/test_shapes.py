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
from astrodl.models.unet import DecompositionUNet, UNet, radial_profile, sum_fractions

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


def test_unet_returns_maps_of_the_input_size_a_bottleneck_and_features() -> None:
    maps, bottleneck, features = UNet(3, 5, widths=(8, 16, 32))(torch.randn(2, 3, 32, 24))
    assert maps.shape == (2, 5, 32, 24)
    assert bottleneck.shape == (2, 32)
    assert features.shape == (2, 8, 16, 12)


UNET_OPTIONS = [
    {"norm": "group"},
    {"skips": "attention"},
    {"skips": "none"},
    {"upsampling": "resize"},
    {"dilation": 2},
]


@pytest.mark.parametrize("options", UNET_OPTIONS, ids=str)
def test_unet_takes_any_size(options: dict) -> None:
    # without normalisation over the pixels, which would see the padding
    options = {"norm": "none", **options} if options.get("norm") != "group" else options
    network, image = UNet(3, 5, widths=(8, 16, 32), **options).eval(), torch.randn(1, 3, 31, 27)
    result = network(image)
    padded = torch.zeros(1, 3, 32, 32)
    padded[..., :31, :27] = image
    assert result.maps.shape == (1, 5, 31, 27)
    torch.testing.assert_close(result.maps, network(padded).maps[..., :31, :27])
    torch.testing.assert_close(result.bottleneck, network(padded).bottleneck)


@pytest.mark.parametrize("options", [{}, *UNET_OPTIONS[1:]], ids=str)
def test_no_pixel_beyond_the_reach_changes_a_map(options: dict) -> None:
    network = UNet(1, 2, widths=(4, 4, 4), **options).eval()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.01, 0.1)  # every path counts, those that start at zero too
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    network(image).maps[0, :, 128:136, 128].sum().backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert network.reach % network.factor == 0
    assert 128 - int(rows.min()) <= network.reach
    assert int(rows.max()) - 135 <= network.reach
    assert network.reach < 128 - int(rows.min()) + 4 * network.factor


def test_a_condition_shifts_the_maps() -> None:
    network = UNet(2, 1, widths=(4, 8), n_condition=3).eval()
    nn.init.ones_(network.condition.weight)
    image = torch.randn(2, 2, 16, 16)
    maps = network(image, torch.tensor([[0.0, 0, 0], [5.0, 0, 0]])).maps
    torch.testing.assert_close(maps[0], network(image[:1], torch.zeros(1, 3)).maps[0])
    assert (maps[1] - network(image[1:], torch.zeros(1, 3)).maps[0]).abs().max() > 1e-3


def test_a_radial_profile_is_the_mean_of_rings() -> None:
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    radius = torch.hypot(y, x)
    profile = radial_profile(torch.stack([radius, torch.ones_like(radius)])[None]).view(2, 12)
    torch.testing.assert_close(profile[1, :11], torch.ones(11))
    for ring, (inner, outer) in enumerate([(0, 1), (1, 2), (2, 3)]):
        assert inner < float(profile[0, ring]) < outer


def test_unknown_options_of_the_unet_are_errors() -> None:
    with pytest.raises(ValueError, match="concatenate, attention, none"):
        UNet(1, 1, skips="add")
    with pytest.raises(ValueError, match="transposed, resize"):
        UNet(1, 1, upsampling="bilinear")


def test_an_unknown_normalisation_is_an_error() -> None:
    with pytest.raises(ValueError, match="batch, group, layer, instance, none"):
        make_normalization("weight", 8)


def test_decomposition_outputs_have_the_stated_shapes() -> None:
    network = DecompositionUNet(5, (0.0, 0.25, 0.75, 1.0), n_bands=2, reference=1, n_features=3, widths=(8, 16))
    output = network(torch.randn(2, 5, 16, 16), torch.randn(2, 3))
    shapes = {name: tuple(tensor.shape) for name, tensor in output.items()}
    expected = {"clump": (2, 16, 16), "centre": (2, 16, 16), "fraction": (2, 2, 3, 16, 16), "light": (2, 2, 16, 16)}
    assert shapes == expected | {"bt": (2, 4), "summed": (2, 2, 3)}
    assert network.maps(torch.randn(1, 5, 40, 24))["fraction"].shape == (1, 2, 3, 40, 24)


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
