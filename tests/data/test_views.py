"""Canonical views do not depend on position, orientation, size and flux of the galaxy."""

import numpy as np
import pytest
import torch

from astrodl.data.views import canonicalize

SIDE = 64


def draw_galaxy(x0: float, y0: float, angle: float, size: float, flux: float) -> torch.Tensor:
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    y, x = axis[:, None] - y0, axis[None, :] - x0
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    image = np.exp(-0.5 * ((u / size) ** 2 + (v / (0.5 * size)) ** 2))
    clump = 0.3 * np.exp(-0.5 * (((u - size) / (0.3 * size)) ** 2 + (v / (0.3 * size)) ** 2))
    image = (image + clump) / (image + clump).sum() * flux
    return torch.from_numpy(np.stack([image, 2 * image])[None]).float()


def view(*parameters: float) -> torch.Tensor:
    return canonicalize(draw_galaxy(*parameters), torch.full((1, 2), 1e-3))[0]


def test_position_angle_size_and_flux_are_removed() -> None:
    reference = view(0, 0, 0, 6, 100)
    peak = float(reference.max())
    for parameters in [(3, -2, 0, 6, 100), (0, 0, 0.9, 6, 100), (0, 0, 0, 4.5, 100), (1, 1, 2.5, 7, 3000)]:
        assert float((view(*parameters) - reference).abs().max()) < 0.12 * peak


def test_the_mean_surface_brightness_of_a_view_is_one() -> None:
    assert float(view(0, 0, 0, 5, 100).mean()) == pytest.approx(1, abs=1e-4)


def test_noise_is_scaled_with_the_flux() -> None:
    sky = torch.full((1, 2), 1e-3)
    bright, faint = (canonicalize(draw_galaxy(0, 0, 0, 5, flux), sky)[1] for flux in (1000, 100))
    torch.testing.assert_close(faint / bright, torch.full((1, 2), 10.0), rtol=1e-3, atol=0)


def test_missing_band_does_not_break_the_view() -> None:
    image = draw_galaxy(0, 0, 0.3, 5, 100)
    image[:, 1] = float("nan")
    views, noise = canonicalize(image, torch.tensor([[1e-3, float("nan")]]))
    assert torch.isfinite(views).all()
    assert torch.isfinite(noise).all()


def test_views_do_not_depend_on_the_units_of_the_bands() -> None:
    image, sky, gain = draw_galaxy(1, -1, 0.4, 5, 100), torch.tensor([[1e-3, 4e-3]]), torch.tensor([1e6, 1e-3])
    reference, noise = canonicalize(image, sky, units=[1e-3, 4e-3])
    views, changed = canonicalize(image * gain[:, None, None], sky * gain, units=[1e3, 4e-6])
    torch.testing.assert_close(views, reference, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(changed, noise, rtol=1e-3, atol=0)
    assert (views.mean((0, 2, 3)) > 0.1).all()  # no band vanishes
    raw, _ = canonicalize(image * gain[:, None, None], sky * gain)
    assert float(raw[:, 1].abs().max()) < 1e-6


def test_one_unit_of_all_bands_leaves_the_view_as_it_is() -> None:
    image, sky = draw_galaxy(1, -1, 0.4, 5, 100), torch.tensor([[1e-3, 4e-3]])
    for first, second in zip(canonicalize(image, sky), canonicalize(image, sky, units=[1.0, 1.0]), strict=True):
        assert torch.equal(first, second)
