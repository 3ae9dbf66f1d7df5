import pytest
import torch
from torch import nn

from astrodl.errors import ConfigError
from astrodl.explanation.features import (
    Maximization,
    exemplars,
    feature_maps,
    first_kernels,
    list_layers,
    maximize,
    nearest_neighbours,
    pool_maps,
    unit_value,
)
from astrodl.models.blocks import ConvBlock
from astrodl.models.style import Pooling
from tests.explanation.small_networks import N_BANDS, SIZE, draw_inputs, explain_network


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(ConvBlock(N_BANDS, 4, norm="none"), Pooling("mean"), nn.Linear(4, 1)).eval()


def test_kernels_and_maps_are_those_of_the_network() -> None:
    network, inputs = small_network(), draw_inputs()
    explained = explain_network(network)
    assert torch.equal(first_kernels(network), network[0][0].weight)
    with pytest.raises(ConfigError, match="no convolution"):
        first_kernels(nn.Linear(2, 2))
    assert list_layers(explained, inputs)["0"] == (4, SIZE, SIZE)
    maps = feature_maps(explained, inputs, "0", batch_size=3)
    torch.testing.assert_close(maps, network[0](inputs.image))
    with pytest.raises(ConfigError, match="layer 'nonsense' is not in the network; accepted: 0, "):
        feature_maps(explained, inputs, "nonsense")


def test_exemplars_are_the_extremes_of_each_channel() -> None:
    values = torch.tensor([[0.0, 5.0], [3.0, 1.0], [2.0, 4.0], [1.0, 0.0]])
    most, least = exemplars(values, 2)
    assert most.tolist() == [[1, 2], [0, 2]]
    assert least.tolist() == [[0, 3], [3, 1]]


def test_neighbours_have_the_smallest_angle() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 1.0]])
    assert nearest_neighbours(torch.tensor([[2.0, 0.0]]), vectors, 2).tolist() == [[0, 2]]


@pytest.mark.parametrize("start", ["fourier", "pixels"])
def test_a_maximised_image_is_bright_where_and_in_which_band_the_number_is(start: str) -> None:
    inputs = draw_inputs(8)
    options = Maximization(steps=60, learning_rate=0.2, variation=0.0, power=0.01, jitter=0, start=start)

    def number(images: torch.Tensor) -> torch.Tensor:
        return images[:, 1, :8].mean((1, 2)) - images[:, 1, 8:].mean((1, 2))

    flux = maximize(number, inputs, options)
    assert flux.shape == (1, N_BANDS, SIZE, SIZE)
    assert (flux > 0).all()
    ratio = flux[:, :, :8].mean((0, 2, 3)) / flux[:, :, 8:].mean((0, 2, 3))
    assert ratio[1] > 3
    assert ratio[1] > ratio[0]


def test_maximised_images_are_not_brighter_than_the_survey() -> None:
    inputs = draw_inputs(8)
    flux = maximize(lambda images: images.mean((1, 2, 3)), inputs, Maximization(steps=40, learning_rate=0.5))
    brightest = inputs.sky.to_frame(inputs.image, "flux").amax((0, 2, 3))
    assert (flux.amax((0, 2, 3)) <= brightest * 1.001).all()


@pytest.mark.parametrize(("channel", "neuron"), [(0, False), (2, True), (None, False)])
def test_the_number_of_a_unit_is_that_of_its_map_and_grows(channel: int | None, neuron: bool) -> None:
    network, inputs = small_network(), draw_inputs()
    value = unit_value(explain_network(network), inputs, "0", channel, neuron=neuron)
    maps = network[0](inputs.image)
    if channel is None:
        expected = maps.flatten(1).square().mean(1)
    else:
        expected = maps[:, channel, 8, 8] if neuron else maps[:, channel].mean((1, 2))
    torch.testing.assert_close(value(inputs.image), expected)
    few, many = (
        value(inputs.sky.from_flux(maximize(value, inputs, Maximization(steps=n, learning_rate=0.2)))[:1])
        for n in (1, 40)
    )
    assert many > few
    torch.testing.assert_close(pool_maps(maps), maps.mean((2, 3)))
