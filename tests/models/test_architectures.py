"""Networks by name: published sizes, common properties, and the symmetry of the equivariant networks."""

from dataclasses import replace
from itertools import cycle, islice, pairwise

import pytest
import torch
from torch import Tensor, nn

from astrodl.models.architectures import TRUNKS, build_trunk
from astrodl.models.architectures.base import stem_stride
from astrodl.models.architectures.dihedral import GroupConv2d, Views, orientations
from astrodl.models.blocks import ACTIVATIONS, INITIALIZATIONS, NORMALIZATIONS, BatchNorm2d, count_parameters
from astrodl.models.cnn import CompactResNet
from astrodl.models.style import POOLINGS, Pooling, Style


def conv_size(before: int, after: int, kernel: int = 3) -> int:
    return (before * kernel**2 + 1) * after


def dense_size(*widths: int) -> int:
    return sum((before + 1) * after for before, after in pairwise(widths))


def residual_size(before: int, after: int) -> int:
    shortcut = before * after + 2 * after if before != after else 0
    return 9 * after * (before + after) + 4 * after + shortcut


PUBLISHED = [
    ("lenet5", 1, 32, 10, 61_706),
    ("alexnet", 3, 224, 1000, 61_100_840),
    ("vgg11", 3, 224, 1000, 132_863_336),
    ("vgg16", 3, 224, 1000, 138_357_544),
    ("googlenet", 3, 224, 1000, 6_624_904),
    ("resnet18", 3, 224, 1000, 11_689_512),
    ("resnet34", 3, 224, 1000, 21_797_672),
    ("xception", 3, 224, 1000, 22_855_952),
    ("efficientnet_b0", 3, 224, 1000, 5_288_548),
    (
        "spp",
        3,
        224,
        1000,
        conv_size(3, 96, 7)
        + conv_size(96, 256, 5)
        + conv_size(256, 384)
        + conv_size(384, 384)
        + conv_size(384, 256)
        + dense_size(256 * (36 + 9 + 4 + 1), 4096, 4096, 1000),
    ),
    (
        "dilated",
        3,
        64,
        1000,
        conv_size(3, 64)
        + conv_size(64, 64)
        + conv_size(64, 128)
        + 6 * conv_size(128, 128)
        + conv_size(128, 128, 1)
        + dense_size(128, 1000),
    ),
    (
        "dieleman",
        3,
        69,
        37,
        conv_size(3, 32, 6)
        + conv_size(32, 64, 5)
        + conv_size(64, 128)
        + conv_size(128, 128)
        + dense_size(8 * 128 * 2 * 2, 4096)
        + dense_size(2048, 4096)
        + dense_size(2048, 37),
    ),
    (
        "d4",
        3,
        64,
        10,
        25 * 3 * 16
        + 9 * 8 * (16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
        + 2 * (16 + 32 + 32 + 64 + 64)
        + dense_size(64, 10),
    ),
    (
        "compact",
        5,
        64,
        7,
        25 * 5 * 32
        + 2 * 32
        + residual_size(32, 32)
        + residual_size(32, 64)
        + residual_size(64, 128)
        + dense_size(2 * 128, 128)
        + 2 * 128
        + dense_size(128, 7),
    ),
]


@pytest.mark.parametrize(("name", "in_channels", "size", "n_classes", "published"), PUBLISHED)
def test_the_number_of_parameters_is_as_published(
    name: str, in_channels: int, size: int, n_classes: int, published: int
) -> None:
    with torch.device("meta"):
        network = build_trunk(name, in_channels, size=size)
        classifier = nn.Linear(network.out_features, n_classes)
    assert count_parameters(network) + count_parameters(classifier) == published


def test_every_architecture_has_a_published_size() -> None:
    assert {name for name, *_ in PUBLISHED} == set(TRUNKS)


@pytest.mark.parametrize("name", TRUNKS)
@torch.no_grad()
def test_features_have_the_stated_length_and_do_not_depend_on_the_batch(name: str) -> None:
    for size in (48, 64, 80):
        network, image = build_trunk(name, 5, size=size, share=0.25).eval(), torch.randn(3, 5, size, size)
        features = network(image)
        assert features.shape == (3, network.out_features)
        assert torch.equal(features, network(image))
        torch.testing.assert_close(network(image[1:2]), features[1:2], rtol=1e-4, atol=1e-4 * float(features.std()))


@pytest.mark.parametrize("name", TRUNKS)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    network, image = build_trunk(name, 5, size=48, share=0.25), torch.randn(4, 5, 48, 48)
    before = image.clone()
    with torch.autocast("cpu", torch.bfloat16):
        features = network(image)
    features.float().square().sum().backward()
    assert torch.equal(image, before)
    for parameter, gradient in ((key, value.grad) for key, value in network.named_parameters()):
        assert gradient is not None, parameter
        assert torch.isfinite(gradient).all(), parameter


@pytest.mark.parametrize("name", TRUNKS)
def test_no_layer_uses_statistics_or_random_numbers_of_a_single_rank(name: str) -> None:
    modules = list(build_trunk(name, 5, size=64, share=0.1).modules())
    assert not [module for module in modules if type(module) in (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)]
    assert any(isinstance(module, BatchNorm2d) for module in modules) == (TRUNKS[name].style.norm == "batch")


@pytest.mark.parametrize("name", TRUNKS)
def test_every_choice_of_style_works(name: str) -> None:
    poolings = [kind for kind in POOLINGS if kind != "flatten" or TRUNKS[name].style.pooling == "flatten"]
    tables = [list(ACTIVATIONS), list(NORMALIZATIONS), list(INITIALIZATIONS), poolings]
    for activation, norm, initialization, pooling in islice(zip(*map(cycle, tables), strict=True), len(ACTIVATIONS)):
        style = Style(activation, norm, initialization, pooling, 0.3)
        network = build_trunk(name, 2, size=48, share=0.1, style=style)
        features = network(torch.randn(2, 2, 48, 48))
        features.float().square().sum().backward()
        kinds = {type(module) for module in network.modules()}
        assert features.shape == (2, network.out_features)
        assert type(ACTIVATIONS[activation]()) in kinds
        assert type(NORMALIZATIONS[norm](8)) in kinds
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None), style


@pytest.mark.parametrize("name", TRUNKS)
def test_a_misspelt_choice_is_an_error(name: str) -> None:
    for field in ("activation", "norm", "initialization", "pooling"):
        with pytest.raises(ValueError, match=r"'misspelt' is not known; accepted: \w+, \w+"):
            build_trunk(name, 2, size=48, share=0.1, style=replace(Style(), **{field: "misspelt"}))


ILL_CASES = [
    ("resnet19", 64, Style(), "architecture 'resnet19' is not known; accepted: lenet5, alexnet"),
    ("vgg11", 16, Style(), "size 16 is not accepted by 'vgg11'; accepted: 32 and more"),
    ("d4", 60, Style(), "size 60 is not accepted by 'd4'; accepted: 32 and more, multiples of 8"),
    ("d4", 64, Style(pooling="flatten"), "pooling 'flatten' is not accepted by 'd4'; accepted: mean, max"),
]


@pytest.mark.parametrize(("name", "size", "style", "message"), ILL_CASES)
def test_an_unknown_name_size_or_pooling_is_an_error(name: str, size: int, style: Style, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_trunk(name, 5, size=size, style=style)


@pytest.mark.parametrize(("norm", "pooling"), [("batch", "mean"), ("layer", "max"), ("group", "lp"), ("none", "mean")])
@pytest.mark.parametrize("size", [56, 64])
@torch.no_grad()
def test_features_of_d4_are_invariant_under_rotations_and_flips(norm: str, pooling: str, size: int) -> None:
    network = build_trunk("d4", 3, size=size, share=0.25, style=Style(norm=norm, pooling=pooling)).eval()
    features = [network(image) for image in orientations(torch.randn(2, 3, size, size))]
    assert float(features[0].std()) > 1e-3
    for turned in features[1:]:
        torch.testing.assert_close(turned, features[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_group_convolutions_are_equivariant() -> None:
    """The eight maps of the transformed image are the transformed maps, in another order."""
    layers = nn.Sequential(GroupConv2d(2, 3, 5, lifted=False, bias=True), GroupConv2d(3, 4, 3, lifted=True, bias=True))
    maps = [layers(image).unflatten(2, (8, 9))[0, 0] for image in orientations(torch.randn(1, 2, 9, 9))]
    for element, turned in enumerate(maps):
        expected = [orientations(single)[element] for single in maps[0]]
        order = [min(range(8), key=lambda g: float((single - expected[g]).abs().max())) for single in turned]
        assert sorted(order) == list(range(8))
        torch.testing.assert_close(turned, torch.stack(expected)[order], rtol=1e-4, atol=1e-5)


def test_views_contain_the_centre_and_are_the_same_for_a_rotated_image() -> None:
    image = torch.randn(1, 1, 9, 9)
    views = Views(nn.Identity(), 6)
    assert views(image).shape == (1, 8, 6, 6)
    assert all((view == image[0, 0, 4, 4]).any() for view in views(image)[0])
    sets = [sorted(view.flatten().tolist() for view in views(turned)[0]) for turned in orientations(image)]
    assert all(same == sets[0] for same in sets)


def test_the_compact_network_by_name_has_the_same_weights() -> None:
    torch.manual_seed(1)
    network = CompactResNet(5, widths=(32, 64, 128), dropout=0.2)
    torch.manual_seed(1)
    named = build_trunk("compact", 5, size=64)
    assert list(named.state_dict()) == list(network.state_dict())
    assert all(torch.equal(named.state_dict()[key], value) for key, value in network.state_dict().items())


def test_the_stride_of_the_first_layer_is_proportional_to_the_size() -> None:
    assert [stem_stride(4, size) for size in (224, 128, 64)] == [4, 2, 1]
    assert [stem_stride(2, size) for size in (224, 128, 64)] == [2, 1, 1]


def test_poolings_agree_with_those_of_torch() -> None:
    maps = torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(Pooling("lp")(maps), nn.LPPool2d(4, 7)(maps).flatten(1))
    expected = torch.cat([nn.AdaptiveMaxPool2d(n)(maps).flatten(2) for n in (3, 2, 1)], dim=2)
    torch.testing.assert_close(Pooling("max", (3, 2, 1))(maps).view(2, 14, 3).transpose(1, 2), expected)


def test_lp_pooling_of_an_empty_map_has_a_gradient() -> None:
    maps = torch.zeros(1, 2, 4, 4, requires_grad=True)
    Pooling("lp")(maps).sum().backward()
    assert isinstance(maps.grad, Tensor)
    assert torch.equal(maps.grad, torch.zeros(1, 2, 4, 4))


@torch.no_grad()
def test_spatial_pyramids_accept_images_of_any_size() -> None:
    network = build_trunk("spp", 3, size=64, share=0.1).eval()
    assert network(torch.randn(2, 3, 50, 91)).shape == (2, network.out_features)


def test_open_choices_of_a_style_are_the_published_ones() -> None:
    published = Style("relu", "batch", "he", "mean", 0.5)
    assert Style(norm="none", dropout=0.0).fill_from(published) == Style("relu", "none", "he", "mean", 0.0)
    assert Style().fill_from(published) == published


def test_constant_weights_make_all_units_of_a_layer_equal() -> None:
    network = build_trunk("lenet5", 1, size=32, style=Style(initialization="constant"))
    features = network(torch.randn(3, 1, 32, 32))
    torch.testing.assert_close(features, features[:, :1].expand_as(features))
