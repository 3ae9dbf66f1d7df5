"""Augmentation: symmetries that undo, the same for image and mask, reproducible from the seed."""

import pytest
import torch

from astrodl.augment import dihedral, random_moves


def test_the_eight_symmetries_are_distinct_and_keep_the_pixels() -> None:
    image = torch.arange(9.0).view(1, 3, 3)
    views = [dihedral(image, element) for element in range(8)]
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
    assert all(torch.equal(view.flatten().sort().values, image.flatten()) for view in views)


def test_image_and_mask_move_together() -> None:
    image = torch.randn(20, 3, 8, 8)
    moved, mask = random_moves(image, image[:, 1])
    assert torch.equal(moved[:, 1], mask)
    assert not torch.equal(moved, image)


def test_each_object_stays_in_its_place() -> None:
    image = torch.arange(20.0).view(20, 1, 1, 1).expand(20, 1, 4, 4)
    (moved,) = random_moves(image)
    assert torch.equal(moved, image)


def test_the_seed_decides() -> None:
    image = torch.randn(16, 1, 8, 8)
    torch.manual_seed(3)
    first = random_moves(image)[0]
    torch.manual_seed(3)
    assert torch.equal(random_moves(image)[0], first)


@pytest.mark.parametrize("element", range(8))
def test_segmentation_undoes_every_symmetry(element: int) -> None:
    from astrodl.tasks.segmentation import _undo

    maps = torch.randn(2, 3, 8, 8)
    assert torch.equal(_undo(dihedral(maps, element), element), maps)
