from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("captum", reason="captum is not installed")

from astrodl.errors import ConfigError
from astrodl.explanation.algorithms import Call, integrated_gradients
from astrodl.explanation.methods import METHODS, Options, attribute
from astrodl.explanation.rules import SecantNorm, decompose
from astrodl.explanation.target import Explained
from astrodl.models.blocks import MLP, BatchNorm2d, ConvBlock, ResidualBlock, fold_batch_norm
from astrodl.models.cnn import CompactResNet
from astrodl.models.gan import EncoderGAN
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.style import Pooling
from tests.explanation.small_networks import N_BANDS, SIZE, Linear, Quadratic, draw_inputs, explain_network

WEIGHT = torch.randn((N_BANDS, SIZE, SIZE), generator=torch.Generator().manual_seed(1))
ONE_DRAW = Options(draws=1)


def first_sky(inputs):
    return inputs.baseline(inputs.noise(torch.Generator().manual_seed(0)))


def drawn(network: nn.Module) -> nn.Module:
    """Draw all weights, and the statistics of batch norms, at random."""
    torch.manual_seed(5)
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=0.6)
        if isinstance(module, BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_shap", "deeplift", "occlusion"])
def test_contributions_of_a_linear_network_are_weight_times_difference_from_the_sky(method: str) -> None:
    inputs = draw_inputs()
    if method == "deeplift":
        layer = nn.Linear(WEIGHT.numel(), 1)
        layer.weight.data, layer.bias.data = WEIGHT.reshape(1, -1), torch.zeros(1)
        explained = explain_network(nn.Sequential(Pooling("flatten"), layer))
    else:
        explained = explain_network(Linear(WEIGHT))
    options = Options(draws=1, window=1)
    found = attribute(explained, inputs, method, options=options)
    expected = WEIGHT * (inputs.image - first_sky(inputs))
    np.testing.assert_allclose(found.maps, expected.numpy(), atol=2e-5)
    np.testing.assert_allclose(found.change, expected.sum((1, 2, 3)).numpy(), rtol=1e-4)


def test_the_gradient_is_per_unit_of_the_sky_noise() -> None:
    inputs = draw_inputs()
    flux = inputs.sky.to_frame(inputs.image, "flux")
    slope = WEIGHT * 0.5 / (2.0 * (1 + (0.5 * flux) ** 2).sqrt())  # d/du of arsinh(0.5 u) / 2
    explained = explain_network(Linear(WEIGHT))
    np.testing.assert_allclose(attribute(explained, inputs, "gradient").maps, slope, rtol=1e-4, atol=1e-7)
    times_input = attribute(explained, inputs, "input_x_gradient").maps
    np.testing.assert_allclose(times_input, slope * flux, rtol=1e-3, atol=1e-5)


def test_ablation_of_a_band_is_the_sum_of_its_contributions() -> None:
    inputs = draw_inputs()
    found = attribute(explain_network(Linear(WEIGHT)), inputs, "band_ablation", options=ONE_DRAW)
    expected = (WEIGHT * (inputs.image - first_sky(inputs))).sum((2, 3))
    np.testing.assert_allclose(found.maps.sum((2, 3)), expected, rtol=1e-3, atol=1e-4)


def test_integrated_gradients_of_squares_are_differences_of_squares() -> None:
    inputs = draw_inputs()
    found = attribute(explain_network(Quadratic(WEIGHT)), inputs, "integrated_gradients", options=ONE_DRAW)
    expected = WEIGHT * (inputs.image.square() - first_sky(inputs).square())
    np.testing.assert_allclose(found.maps, expected, atol=1e-4)
    assert np.abs(found.residual).max() < 1e-3 * np.abs(found.change).max()


def test_integrated_gradients_agree_with_captum_at_many_equal_steps() -> None:
    from captum.attr import IntegratedGradients

    torch.manual_seed(0)
    network = drawn(nn.Sequential(ConvBlock(N_BANDS, 6, act="silu"), Pooling("mean"), nn.Linear(6, 1)))
    inputs = draw_inputs()
    explained = explain_network(network)
    found = attribute(explained, inputs, "integrated_gradients", options=ONE_DRAW).maps
    arguments = explained.bind(inputs, explained.fix(inputs), "network")
    expected = IntegratedGradients(explained).attribute(
        inputs.image, first_sky(inputs), additional_forward_args=arguments, n_steps=500
    )
    np.testing.assert_allclose(found, expected.detach(), atol=2e-3 * float(expected.abs().max()))


def test_integrated_gradients_add_up_also_with_few_steps() -> None:
    network = drawn(nn.Sequential(ConvBlock(N_BANDS, 6), Pooling("mean"), nn.Linear(6, 1)))
    inputs = draw_inputs()
    few, many = (
        attribute(explain_network(network), inputs, "integrated_gradients", options=Options(draws=1, steps=steps))
        for steps in (24, 256)
    )
    scale = np.abs(few.maps).sum((1, 2, 3)).min()
    np.testing.assert_allclose(few.maps.sum((1, 2, 3)), few.change, atol=1e-4 * scale)
    np.testing.assert_allclose(many.residual, 0, atol=1e-3 * scale)
    assert (np.abs(many.residual) < np.abs(few.residual)).all()
    np.testing.assert_allclose(few.maps, many.maps, atol=0.1 * np.abs(many.maps).max())


def test_the_integral_from_the_sky_to_the_image_is_minus_that_of_the_way_back() -> None:
    inputs = draw_inputs()
    explained = explain_network(drawn(nn.Sequential(ConvBlock(N_BANDS, 6), Pooling("mean"), nn.Linear(6, 1))))
    arguments = explained.bind(inputs, explained.fix(inputs), "network")
    ends = inputs.image, first_sky(inputs)
    there, back = (
        integrated_gradients(Call(explained, *order, arguments, Options(steps=256), inputs.sky.known))
        for order in (ends, ends[::-1])
    )
    np.testing.assert_allclose(there, -back, atol=2e-2 * float(there.abs().max()))


def residual_network() -> nn.Module:
    trunk = CompactResNet(N_BANDS, widths=(6, 8))
    return drawn(HybridNetwork(trunk, 0, 1, widths=(10,)))


def test_deeplift_adds_up_over_residual_blocks_poolings_and_layer_norms() -> None:
    found = attribute(explain_network(residual_network()), draw_inputs(), "deeplift")
    assert np.abs(found.maps).sum() > 0.1
    np.testing.assert_allclose(found.residual / np.abs(found.maps).sum((1, 2, 3)), 0, atol=1e-5)


@pytest.mark.parametrize("norm", [SecantNorm, None])
def test_a_decomposed_network_has_the_same_output(norm: type[nn.Module] | None) -> None:
    network, image = residual_network(), draw_inputs().image
    copied = decompose(fold_batch_norm(network), **({"norm": norm} if norm else {}))
    torch.testing.assert_close(copied(image), network(image), atol=1e-4, rtol=1e-4)


def test_the_multiplier_of_a_layer_norm_adds_up_to_its_change() -> None:
    norm = nn.LayerNorm(7)
    nn.init.normal_(norm.weight)
    image, baseline = torch.randn(2, 5, 7).unbind(0)
    both = torch.cat([image, baseline]).requires_grad_()
    for k in range(7):
        (gradient,) = torch.autograd.grad(SecantNorm(norm)(both)[:, k].sum(), both)
        change = (norm(image) - norm(baseline))[:, k]
        torch.testing.assert_close((gradient[:5] * (image - baseline)).sum(1), change, atol=1e-5, rtol=1e-4)


def test_lrp_conserves_an_output_without_biases() -> None:
    network = nn.Sequential(
        nn.Conv2d(N_BANDS, 6, 3, padding=1, bias=False), nn.ReLU(), ResidualBlock(6, 6, norm="none"),
        Pooling("mean"), nn.Linear(6, 1, bias=False),
    )  # fmt: skip
    network = drawn(network)
    for module in network.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d):
            module.weight.data.abs_()
    nn.init.uniform_(network[-1].weight, 1, 2)
    inputs = draw_inputs()
    inputs = inputs.replace(inputs.image.abs())
    found = attribute(explain_network(network), inputs, "lrp", options=ONE_DRAW)
    np.testing.assert_allclose(found.maps.sum((1, 2, 3)), found.value, rtol=0.02)


@pytest.mark.parametrize("method", ["guided_backpropagation", "deconvolution"])
def test_rules_for_relu_leave_a_network_of_positive_weights_alone(method: str) -> None:
    network = nn.Sequential(nn.Conv2d(N_BANDS, 4, 3, padding=1), nn.ReLU(), Pooling("mean"), nn.Linear(4, 1))
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    nn.init.constant_(network[0].bias, 50.0)
    explained, inputs = explain_network(network), draw_inputs()
    gradient = attribute(explained, inputs, "gradient").maps
    np.testing.assert_allclose(attribute(explained, inputs, method).maps, gradient, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "network", "reason"),
    [
        ("deeplift", nn.Sequential(nn.GroupNorm(1, N_BANDS)), "no rule for GroupNorm"),
        ("lrp", nn.Sequential(nn.GroupNorm(1, N_BANDS)), "no rule for GroupNorm"),
        ("deeplift", nn.Sequential(nn.MaxPool2d(2)), "max poolings"),
        ("lrp", nn.Sequential(nn.SiLU()), "no rule for SiLU"),
        ("guided_backpropagation", nn.Sequential(nn.Tanh()), "ReLU alone, and the network has Tanh"),
        ("deconvolution", nn.Sequential(nn.Linear(2, 2)), "needs ReLU"),
        ("grad_cam", nn.Sequential(nn.Linear(2, 2)), "needs convolutions"),
        ("grad_cam", EncoderGAN(N_BANDS, 2, size=16, widths=(4, 8), critic_widths=(4, 8)), "needs a last map"),
    ],
)
def test_a_method_that_the_layers_do_not_allow_is_refused(method: str, network: nn.Module, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^method {method}: .*{reason}.*; accepted: gradient, "):
        attribute(explain_network(network), draw_inputs(), method)


def test_what_is_not_an_output_of_the_network_has_no_rules() -> None:
    network = nn.Sequential(Pooling("flatten"), nn.Linear(N_BANDS * SIZE**2, 1))
    with pytest.raises(ConfigError, match="explains an output of the network, and output is computed from many"):
        attribute(explain_network(network, raw=False), draw_inputs(), "lrp")
    with pytest.raises(ConfigError, match="method 'lime' is not known; accepted: gradient"):
        attribute(explain_network(network), draw_inputs(), "lime")


@pytest.mark.parametrize("method", ["smooth_gradient", "integrated_gradients", "occlusion", "gradient_shap"])
def test_the_band_and_the_quadrant_that_a_network_looks_at_are_found(method: str) -> None:
    weight = torch.zeros(N_BANDS, SIZE, SIZE)
    weight[1, : SIZE // 2, : SIZE // 2] = 1.0
    found = attribute(explain_network(Linear(weight)), draw_inputs(), method, options=Options(draws=2))
    size = np.abs(found.maps).sum(0)
    inside = size[1, : SIZE // 2, : SIZE // 2].sum()
    assert inside > 0
    assert size.sum() == pytest.approx(inside, rel=1e-5)


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "band_ablation", "occlusion"])
def test_a_network_that_ignores_the_image_has_empty_maps(method: str) -> None:
    network = drawn(nn.Sequential(ConvBlock(N_BANDS, 4), Pooling("mean"), nn.Linear(4, 1)))
    nn.init.zeros_(network[-1].weight)
    found = attribute(explain_network(network), draw_inputs(), method, options=Options(draws=2))
    assert not found.maps.any()
    assert not found.change.any()


def test_pixels_without_data_have_no_attribution() -> None:
    known = torch.ones(4, N_BANDS, SIZE, SIZE, dtype=torch.bool)
    known[:, 0, :, :4] = False
    for method in METHODS:
        if method in ("lrp", "deeplift", "grad_cam"):
            continue
        network = drawn(nn.Sequential(ConvBlock(N_BANDS, 4), Pooling("mean"), nn.Linear(4, 1)))
        found = attribute(explain_network(network), draw_inputs(known=known), method, options=ONE_DRAW)
        assert not found.maps[~known.numpy()].any(), method
        assert found.maps[known.numpy()].any(), method


def test_maps_turn_with_the_image_where_all_orientations_are_averaged() -> None:
    network = drawn(nn.Sequential(ConvBlock(N_BANDS, 6), Pooling("mean"), nn.Linear(6, 1)))
    explained, inputs = explain_network(network), draw_inputs()
    options = Options(draws=8)
    maps = attribute(explained, inputs, "gradient", options=options, orientations=8).maps
    turned = attribute(explained, inputs.turn(5), "gradient", options=options, orientations=8).maps
    expected = np.flip(np.rot90(maps, 1, (2, 3)), 3)
    np.testing.assert_allclose(turned, expected, atol=1e-5 * np.abs(maps).max())


def test_the_result_does_not_depend_on_the_batch_size() -> None:
    network = drawn(nn.Sequential(ConvBlock(N_BANDS, 6), Pooling("mean"), nn.Linear(6, 1)))
    for method in ("integrated_gradients", "gradient_shap", "occlusion", "gradient"):
        one, other = (
            attribute(explain_network(network), draw_inputs(), method, options=Options(draws=2, batch_size=n)).maps
            for n in (128, 5)
        )
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max(), err_msg=method)


@pytest.mark.parametrize("method", ["smooth_gradient", "gradient_shap"])
def test_noise_has_a_seed_and_leaves_other_generators_alone(method: str) -> None:
    explained = explain_network(drawn(nn.Sequential(ConvBlock(N_BANDS, 6), Pooling("mean"), nn.Linear(6, 1))))
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again, other = (
        attribute(explained, draw_inputs(), method, options=Options(draws=1, seed=seed)).maps for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(again, first)
    assert np.abs(other - first).max() > 0
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002


@pytest.mark.parametrize("method", METHODS)
def test_no_more_images_than_a_batch_pass_the_network_at_a_time(method: str) -> None:
    seen: list[int] = []
    trunk = nn.Sequential(ConvBlock(N_BANDS, 4), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
    network = drawn(nn.Sequential(trunk, Pooling("mean"), nn.Linear(4, 1)))
    explained, inputs = explain_network(network), draw_inputs(20)
    predict, raw = explained.predict, explained.quantity.raw
    assert raw is not None

    def record(network: nn.Module, batch: dict[str, torch.Tensor]) -> Any:
        seen.append(len(batch["image"]))
        return predict(network, batch)

    def record_raw(network: nn.Module, batch: dict[str, torch.Tensor], fixed: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch["image"]))
        return raw(network, batch, fixed)

    watched = Explained(network, record, replace(explained.quantity, raw=record_raw))
    options = Options(draws=2, steps=24, samples=12, window=4, batch_size=8)
    found = attribute(watched, inputs, method, options=options)
    assert len(found.maps) == 20
    # DeepLIFT sends image and sky together
    assert max(seen) <= (2 if method == "deeplift" else 1) * options.batch_size


def test_attribution_leaves_the_network_unchanged() -> None:
    network = residual_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for method in METHODS:
        attribute(explain_network(network), draw_inputs(), method, options=ONE_DRAW)
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert MLP(2, (2,))[2].inplace
    assert network.join[2].inplace


@pytest.mark.parametrize("option", ["draws", "steps", "samples", "window", "batch_size"])
@pytest.mark.parametrize("number", [0, -1, 1.5, float("nan")])
def test_a_number_of_nothing_is_refused(option: str, number: float) -> None:
    with pytest.raises(ConfigError, match=f"{option} = {number}: must be a whole number of at least 1"):
        Options(**{option: number})
