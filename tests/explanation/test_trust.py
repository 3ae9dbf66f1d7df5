import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("captum", reason="captum is not installed")

from astrodl.explanation.methods import Options, attribute
from astrodl.explanation.numerical import differentiate
from astrodl.explanation.shares import band_share, break_wavelength, radius_share, smooth_maps
from astrodl.explanation.target import Inputs, Sky
from astrodl.explanation.trust import (
    FRACTIONS,
    area_share,
    brightness,
    deletion,
    energy_inside,
    insertion,
    map_similarity,
    maps_of_shuffled,
    positive_inside,
    randomize,
    rank_correlation,
    with_noise,
)
from astrodl.models.blocks import BatchNorm2d, ConvBlock
from astrodl.models.style import Pooling
from tests.explanation.small_networks import N_BANDS, SIZE, Linear, draw_inputs, explain_network


def test_flux_in_units_of_the_noise_and_scaled_images_are_inverse() -> None:
    sky = Sky(torch.tensor([[0.3], [1.5]])[..., None, None], 2.0, torch.ones(2, 1, 3, 3, dtype=torch.bool))
    flux = torch.linspace(-5, 500, 18).view(2, 1, 3, 3)
    torch.testing.assert_close(sky.to_frame(sky.from_flux(flux), "flux"), flux, rtol=1e-4, atol=1e-5)


def test_baselines_are_sky_or_noisy_versions_of_what_is_expected() -> None:
    inputs = draw_inputs()
    noise = inputs.noise(torch.Generator().manual_seed(0))
    sky = inputs.sky.to_frame(inputs.baseline(noise), "flux")
    torch.testing.assert_close(sky, noise.expand_as(sky), rtol=1e-4, atol=1e-5)
    expected = Inputs(inputs.batch, inputs.sky, inputs.sky.from_flux(torch.full_like(inputs.image, 7.0)))
    for changed in (expected, expected.turn(3), expected.rows(slice(1, 3)), expected.replace(inputs.image)):
        flux = changed.sky.to_frame(changed.baseline(noise), "flux")
        torch.testing.assert_close(flux, 7 + noise.expand_as(flux), rtol=1e-4, atol=1e-4)


def test_deletion_finds_the_pixels_that_count_first() -> None:
    weight = torch.zeros(N_BANDS, SIZE, SIZE)
    weight[:, 6:10, 6:10] = 1.0
    explained, inputs = explain_network(Linear(weight)), draw_inputs()
    right = weight.expand(4, -1, -1, -1).numpy()
    wrong = right[..., ::-1, :].copy()
    wrong[..., 6:10, 6:10], wrong[..., :4, :4] = 0, 1
    fraction = np.array(FRACTIONS)
    good, bad = (deletion(explained, inputs, maps) for maps in (right, wrong))
    assert good.shape == (4, len(FRACTIONS))
    assert (good[:, fraction >= 16 / SIZE**2] > 1).all()
    np.testing.assert_allclose(bad[:, fraction < 0.06], 0, atol=1e-4)
    shown = insertion(explained, inputs, right)
    np.testing.assert_allclose(shown[:, fraction >= 16 / SIZE**2], 0, atol=1e-4)
    assert (shown[:, 0] > 1).all()


def test_maps_of_a_shuffled_network_differ_and_those_of_the_image_do_not() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(ConvBlock(N_BANDS, 8), ConvBlock(8, 8), Pooling("mean"), nn.Linear(8, 1))
    explained, inputs = explain_network(network), draw_inputs()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stages = list(randomize(explained, inputs, n_stages=2))
    assert len(stages) == 2
    first, last = (stage.network.state_dict() for stage in stages)
    assert torch.equal(first["0.0.weight"], before["0.0.weight"])
    assert not torch.equal(first["3.weight"], before["3.weight"])
    for name in ("0.0.weight", "3.weight"):
        assert not torch.equal(last[name], before[name])
        torch.testing.assert_close(last[name].sort().values.sum(), before[name].sort().values.sum())
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    maps = brightness(inputs)
    np.testing.assert_allclose(map_similarity(maps, maps), 1, atol=1e-5)
    noise = np.random.default_rng(0).standard_normal((2, *maps.shape))
    assert (map_similarity(*noise) < 0.2).all()
    assert np.isnan(map_similarity(np.ones_like(maps), maps)).all()


@pytest.mark.parametrize("n_objects", [4, 2])
def test_each_shuffled_network_explains_some_of_the_objects(n_objects: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(ConvBlock(N_BANDS, 4, norm="none"), Pooling("mean"), nn.Linear(4, 1))
    explained, inputs = explain_network(network), draw_inputs(n_objects)
    maps, rows, numbers = maps_of_shuffled(explained, inputs, "gradient", n_shuffles=3, options=Options(draws=1))
    assert rows.tolist() == ([0, 3, 1, 2] if n_objects == 4 else [0, 1, 0])
    assert numbers.tolist() == ([0, 0, 1, 2] if n_objects == 4 else [0, 1, 2])
    for k, row in enumerate(rows):
        (shuffled,) = randomize(explained, inputs, n_stages=1, seed=int(numbers[k]))
        expected = attribute(shuffled, inputs.rows(slice(row, row + 1)), "gradient", options=Options(draws=1)).maps
        np.testing.assert_allclose(maps[k], expected[0], atol=1e-6 * np.abs(expected).max())


def test_a_part_of_the_layers_is_shuffled() -> None:
    layers = [nn.Flatten(), nn.Linear(N_BANDS * SIZE**2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)]
    explained, inputs = explain_network(nn.Sequential(*layers)), draw_inputs()
    gradient = attribute(explained, inputs, "gradient").maps
    third, _, _ = maps_of_shuffled(explained, inputs, "gradient", n_shuffles=1, depth=1 / 3)
    everything, _, _ = maps_of_shuffled(explained, inputs, "gradient", n_shuffles=1)
    # with the first layer left alone, the gradient stays in the span of its four rows
    rows = layers[1].weight.detach().numpy() / np.cosh(0) * _slope(inputs)
    for maps, is_inside in ((gradient, True), (third, True), (everything, False)):
        residual = np.linalg.lstsq(rows[0].T, maps[0].ravel(), rcond=None)[1]
        assert (residual < 1e-6 * np.square(maps[0]).sum()) == is_inside


def _slope(inputs) -> np.ndarray:
    """Return the derivative of the network's scale by the flux, (B, 1, pixels)."""
    flux = inputs.sky.to_frame(inputs.image, "flux")
    return (0.25 / (1 + (0.5 * flux) ** 2).sqrt()).flatten(1)[:, None].numpy()


def test_layers_that_the_number_does_not_use_are_not_shuffled() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(N_BANDS * SIZE**2, 1), nn.Linear(3, 3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.used(image.flatten(1))

    network = Both()
    (stage,) = randomize(explain_network(network), draw_inputs(), n_stages=1)
    assert torch.equal(stage.network.unused.weight, network.unused.weight)
    assert not torch.equal(stage.network.used.weight, network.used.weight)


def test_matrices_that_are_fitted_after_the_training_are_shuffled_and_vectors_stay() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(N_BANDS * SIZE**2, 1))
    network.register_buffer("axes", torch.arange(12.0).view(4, 3))
    network.register_buffer("centres", torch.arange(5.0))
    explained = explain_network(network)
    for copied in randomize(explained, draw_inputs(), n_stages=2):
        axes, centres = copied.network.axes, copied.network.centres
        assert not torch.equal(axes, network.axes)
        assert torch.equal(axes.flatten().sort().values, network.axes.flatten())
        assert torch.equal(centres, network.centres)


def test_batch_norms_of_a_shuffled_network_have_the_statistics_of_the_images() -> None:
    network = nn.Sequential(nn.Conv2d(N_BANDS, 4, 3), BatchNorm2d(4), Pooling("mean"), nn.Linear(4, 1))
    inputs = draw_inputs()
    (stage,) = randomize(explain_network(network), inputs, n_stages=1)
    norm = stage.network[1]
    torch.testing.assert_close(norm.running_mean, stage.network[0](inputs.image).mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not norm.training


def test_rank_correlation_and_energy() -> None:
    maps = brightness(draw_inputs())
    np.testing.assert_allclose(rank_correlation(maps, 3 * maps), 1)
    assert np.isnan(rank_correlation(maps, np.ones_like(maps))).all()
    masks = np.zeros((4, SIZE, SIZE), bool)
    masks[:, 5:11, 5:11] = True
    masks[3] = False
    inside = energy_inside(maps, masks)
    assert (inside[:3] > 0.5).all()
    assert np.isnan(inside[3])
    assert area_share(masks)[0] == pytest.approx(36 / SIZE**2)
    ones = np.ones((4, 1, SIZE, SIZE))
    np.testing.assert_allclose(energy_inside(ones, masks)[:3], area_share(masks)[:3])
    signed = np.where(masks[:1, None], 1.0, -1.0)
    np.testing.assert_allclose(positive_inside(signed, masks[:1], smoothing=0), 1)
    assert 0.5 < positive_inside(signed.clip(0), masks[:1])[0] < 1  # the edge is smooth
    np.testing.assert_allclose(positive_inside(-signed, masks[:1], smoothing=0), 0)


def test_added_noise_has_the_depth_of_the_image() -> None:
    inputs = draw_inputs(16)
    noisy = with_noise(inputs)
    difference = noisy.sky.to_frame(noisy.image, "flux") - inputs.sky.to_frame(inputs.image, "flux")
    assert float(difference.std()) == pytest.approx(1, rel=0.03)


def test_shares_of_bands_and_annuli() -> None:
    maps = np.zeros((3, 2, 16, 16))
    maps[0, 0, 4:8, 4:8], maps[0, 1, 0:4, 0:4] = 3.0, -1.0
    maps[1, 0] = np.indices((16, 16)).sum(0) % 2 * 2 - 1.0  # noise that cancels
    np.testing.assert_allclose(band_share(maps)[0], [0.75, 0.25])
    assert np.isnan(band_share(maps)[1:]).all()
    assert smooth_maps(maps)[0, 0, 1, 1] == 48
    rings = np.zeros((1, 1, 16, 16))
    rings[..., 7:9, 7:9] = 1.0
    rings[..., 0, :] = 2.0
    share = radius_share(np.repeat(rings, 3, 0), np.array([4.0, np.nan, 2.0]))
    assert share[0, 0] == pytest.approx(4 / 36)
    assert share[0].sum() == pytest.approx(1)
    assert share[2, -1] == pytest.approx(32 / 36)
    assert np.isnan(share[1]).all()


def test_the_break_is_at_4000_angstrom_at_redshift_zero() -> None:
    np.testing.assert_allclose(break_wavelength(np.array([0.0, 0.5])), [4000, 6000])


def test_differences_are_the_gradient_of_a_function_of_arrays() -> None:
    values = torch.tensor([[1.0, 2.0], [0.5, -1.0]], requires_grad=True)

    def function(array: np.ndarray) -> np.ndarray:
        return np.stack([array[:, 0] * array[:, 1], array[:, 0] ** 2], axis=1)

    found = differentiate(function, values)
    torch.testing.assert_close(found, torch.tensor([[2.0, 1.0], [-0.5, 0.25]]))
    (gradient,) = torch.autograd.grad(found[:, 0].sum() + 3 * found[:, 1].sum(), values)
    torch.testing.assert_close(gradient, torch.tensor([[2 + 6.0, 1.0], [-1 + 3.0, 0.5]]), rtol=1e-5, atol=1e-5)
