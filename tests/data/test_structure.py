"""Structure numbers of canonical views."""

import numpy as np
import pytest
import torch

from astrodl.data.structure import BLOCKS, N_RINGS, count_numbers, measure_structure

SIDE = 32
AXIS = torch.arange(SIDE) - (SIDE - 1) / 2
RADIUS = torch.hypot(AXIS[:, None], AXIS[None, :])
ANGLE = torch.atan2(AXIS[:, None].expand(SIDE, SIDE), AXIS[None, :].expand(SIDE, SIDE))


def rings(block: torch.Tensor) -> torch.Tensor:
    """Split the numbers of one view by map: (K,) -> (maps, rings)."""
    return block.view(-1, N_RINGS)


def test_the_blocks_have_their_sizes() -> None:
    measured = measure_structure(torch.zeros(3, 5, SIDE, SIDE))
    assert tuple(measured) == BLOCKS
    assert [block.shape for block in measured.values()] == [(3, 80), (3, 48), (3, 32), (3, 80)]
    assert count_numbers(5) == [80, 48, 32, 80]
    assert all(torch.isfinite(block).all() for block in measured.values())


def test_the_profile_is_that_of_each_band() -> None:
    views = torch.stack([torch.exp(-RADIUS / 4), 3 * torch.exp(-RADIUS / 8)])[None]
    profile = rings(measure_structure(views)["profile"][0])
    middle = (torch.arange(N_RINGS) + 0.5) * SIDE / 2 / N_RINGS
    expected = torch.stack([torch.exp(-middle / 4), 3 * torch.exp(-middle / 8)])
    # a ring is a pixel wide, so that its mean is not exactly the value at its middle
    torch.testing.assert_close(profile[:, 2:], expected[:, 2:], rtol=0.05, atol=0)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_structure_does_not_depend_on_orientation(turns: int) -> None:
    views = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    before, after = measure_structure(views), measure_structure(torch.rot90(views, turns, (-2, -1)).flip(-1))
    for name in BLOCKS:
        torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-3)


def test_asymmetry_tells_a_bar_from_a_lopsided_disk() -> None:
    disk = torch.exp(-RADIUS / 6)
    bar, lopsided = disk * (1 + 0.5 * torch.cos(2 * ANGLE)), disk * (1 + 0.5 * torch.cos(ANGLE))
    half, quarter = (
        rings(measure_structure(view[None, None])["asymmetry"][0])[:, 4:12].mean(1) for view in (bar, lopsided)
    )
    # a bar looks the same after half a turn, and not after a quarter
    assert half[0] == pytest.approx(np.log(1e-4), abs=0.1)
    assert half[1] > half[0] + 5
    assert quarter[0] > half[0] + 5


def test_texture_has_the_power_of_the_scale() -> None:
    powers = {}
    for period in (3, 12):
        wave = torch.cos(2 * np.pi * AXIS / period)[None, :].expand(SIDE, SIDE)
        powers[period] = rings(measure_structure(wave[None, None])["texture"][0])[:, 2:12].mean(1)
    fine, coarse = powers[3], powers[12]
    assert fine.argmax() == 0
    assert coarse.argmax() == 2
    # the transfer of a difference of Gaussians of 0 and 1 pixels at a period of 3 pixels, and a mean square of 1/2
    transfer = 1 - np.exp(-2 * np.pi**2 / 9)
    assert fine[0] == pytest.approx(np.log(transfer**2 / 2), abs=0.15)


def test_noise_without_structure_has_no_modulation_of_its_own() -> None:
    random = torch.Generator().manual_seed(1)
    noise = torch.randn(20, 1, SIDE, SIDE, generator=random)
    blobs = noise * (1 + torch.sign(torch.cos(2 * np.pi * AXIS / 16)))[None, None, None, :]
    smooth, patchy = (
        rings(measure_structure(views)["modulation"].mean(0))[:, 2:12].mean(1) for views in (noise, blobs)
    )
    # the noise of the patches has the same mean square, up to a factor of two, but its strength varies over 16 pixels
    assert patchy[2] - smooth[2] > 1.5
