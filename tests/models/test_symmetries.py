"""The symmetries of the square, and networks that look at all of them."""

import pytest
import torch

from astrodl.models.apertures import ApertureResNet, LearnedApertures
from astrodl.models.blocks import ImageNetwork
from astrodl.models.cnn import CompactResNet
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.symmetries import apply_symmetry, undo_symmetry


def test_the_eight_symmetries_are_distinct_and_keep_the_pixels() -> None:
    image = torch.arange(9.0).view(1, 3, 3)
    views = [apply_symmetry(image, element) for element in range(8)]
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
    assert all(torch.equal(view.flatten().sort().values, image.flatten()) for view in views)


@pytest.mark.parametrize("element", range(8))
def test_every_symmetry_is_undone(element: int) -> None:
    maps = torch.randn(2, 3, 8, 8)
    assert torch.equal(undo_symmetry(apply_symmetry(maps, element), element), maps)


NETWORKS = {
    "compact": lambda: CompactResNet(4, widths=(8, 16)),
    "learned apertures": lambda: LearnedApertures(4, 3, n_apertures=2, width=8),
    "aperture resnet": lambda: ApertureResNet(4, 3, widths=(8, 16), n_apertures=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_views_are_the_vectors_of_the_oriented_images(name: str) -> None:
    torch.manual_seed(0)
    trunk: ImageNetwork = NETWORKS[name]().eval()
    image = torch.randn(3, 4, 32, 32)
    expected = torch.stack([trunk(apply_symmetry(image, element)) for element in range(8)])
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)
    torch.testing.assert_close(trunk.views(image, 8), expected, rtol=1e-4, atol=1e-5)


def test_only_the_convolutions_of_a_prediction_have_the_precision_of_autocast() -> None:
    torch.manual_seed(0)
    network = HybridNetwork(CompactResNet(3, widths=(8, 16)), 2, 4, widths=(32, 16)).eval()
    image, features = torch.randn(5, 3, 32, 32), torch.randn(5, 2)
    with torch.autocast("cpu", torch.bfloat16):
        vectors = network.views(image, features)
    assert vectors.dtype == torch.float32
    alone = torch.stack([network.represent(apply_symmetry(image, element), features) for element in range(8)])
    torch.testing.assert_close(vectors, alone, rtol=0.05, atol=0.1)
    assert not torch.equal(vectors, alone)
