"""Photo-z networks: shapes, published sizes, learned apertures, distances in feature space."""

import numpy as np
import pytest
import torch
from torch import nn

from astrodl.models.apertures import LearnedApertures
from astrodl.models.blocks import ImageNetwork
from astrodl.models.cnn import CompactResNet
from astrodl.models.redshift import Branches, InceptionBlock, PasquetInception, RedshiftNetwork
from astrodl.models.space import FeatureSpace

TRUNKS: list[ImageNetwork] = [
    LearnedApertures(5, 5, n_apertures=4, width=8),
    LearnedApertures(10, 5, n_apertures=4, width=8),
    CompactResNet(5, widths=(8, 16)),
    Branches(5, 5, subset=2, widths=(8, 16, 24), dropout=0.1),
    Branches(10, 5, subset=3, widths=(8, 16), dropout=0.0),
    PasquetInception(5, size=32, share=0.1),
]


def count_channels(trunk: ImageNetwork) -> int:
    convolution = next(module for module in trunk.modules() if isinstance(module, nn.Conv2d))
    if isinstance(trunk, Branches):
        return 1 + max(max(subset) for subset in trunk.subsets)
    return convolution.in_channels - isinstance(trunk, LearnedApertures)


@pytest.mark.parametrize("trunk", TRUNKS, ids=lambda trunk: type(trunk).__name__)
def test_outputs_and_features_of_any_trunk_have_the_stated_shapes(trunk: ImageNetwork) -> None:
    network = RedshiftNetwork(trunk, 7, 11, widths=(16, 8)).eval()
    image, features = torch.randn(3, count_channels(trunk), 32, 32), torch.randn(3, 7)
    assert network(image, features).shape == (3, 11)
    assert network.represent(image, features).shape == (3, 8)
    assert trunk(image).shape == (3, trunk.out_features)


def test_without_a_trunk_the_image_is_not_used() -> None:
    network = RedshiftNetwork(None, 4, 6, widths=(8,)).eval()
    features = torch.randn(2, 4)
    assert torch.equal(network(torch.zeros(2, 1, 8, 8), features), network(torch.ones(2, 1, 8, 8), features))


def test_inception_has_the_channels_of_the_paper() -> None:
    trunk = PasquetInception(5, size=64, share=1.0)
    blocks = [module for module in trunk.blocks if isinstance(module, InceptionBlock)]
    assert [block.out_channels for block in blocks] == [240, 340, 476, 476, 348]
    dense = [module for module in trunk.dense if isinstance(module, nn.Linear)]
    assert [layer.in_features for layer in dense] == [348 * 8 * 8, 1096]


def test_branches_read_adjacent_bands_only() -> None:
    trunk = Branches(10, 5, subset=2, widths=(8, 16), dropout=0.0)
    assert trunk.subsets == [[0, 1, 5, 6], [1, 2, 6, 7], [2, 3, 7, 8], [3, 4, 8, 9]]


@torch.no_grad()
def test_learned_apertures_measure_colours_that_do_not_depend_on_brightness() -> None:
    torch.manual_seed(0)
    axis = torch.arange(32) - 15.5
    profile = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 18)
    flux = torch.tensor([40.0, 80.0, 160.0])[:, None, None] * profile
    trunk = LearnedApertures(3, 3, n_apertures=2, width=8, stretch=2.0, noise=0.5).eval()
    weight = trunk.apertures(torch.asinh(flux * 0.5)[None] / 2)
    torch.testing.assert_close(weight.sum((2, 3)), torch.ones(1, 2))
    assert float((weight * (torch.hypot(axis[:, None], axis[None, :]) < 10)).sum((2, 3)).min()) > 0.8
    colours = trunk(torch.asinh(flux * 0.5)[None] / 2)[0, 6:10]
    # the flux doubles from band to band, and the network scales magnitude differences by two; softening is small
    torch.testing.assert_close(colours, torch.full((4,), 2 * float(np.log(2))), atol=0.1, rtol=0)


def test_a_missing_band_leaves_finite_photometry() -> None:
    trunk = LearnedApertures(3, 3, n_apertures=2, width=8).eval()
    assert torch.isfinite(trunk(torch.zeros(2, 3, 16, 16))).all()


def test_p_values_are_uniform_for_like_objects_and_small_for_outliers() -> None:
    torch.manual_seed(1)
    mixing = torch.randn(6, 6)
    train, validation, other = (torch.randn(n, 6) @ mixing for n in (3000, 1000, 1000))
    space = FeatureSpace(6)
    assert torch.equal(space(other), torch.ones(1000))
    space.fit(train, validation)
    p_value = space(other)
    assert float(p_value.mean()) == pytest.approx(0.5, abs=0.05)
    assert float((p_value < 0.05).float().mean()) == pytest.approx(0.05, abs=0.02)
    assert float(space(30 * other).max()) < 0.01


def test_feature_space_is_saved_with_the_network() -> None:
    network = RedshiftNetwork(None, 4, 6, widths=(8,))
    network.space.fit(torch.randn(50, 8), torch.randn(20, 8))
    again = RedshiftNetwork(None, 4, 6, widths=(8,))
    again.load_state_dict(network.state_dict())
    vectors = torch.randn(5, 8)
    assert torch.equal(network.space(vectors), again.space(vectors))
