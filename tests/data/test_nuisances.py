"""Views for self-supervised learning: each part alone does what it says."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from astrodl import distributed
from astrodl.config import NuisanceSettings
from astrodl.data.nuisances import add_sky_noise, draw_interpolated_noise, draw_view
from astrodl.models.symmetries import apply_symmetry

SIDE = 32
OFF = {
    "mirror": False,
    "quarter_turns": False,
    "shift_pixels": 0.0,
    "rotate": 0.0,
    "zoom": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "depth": 0.0,
    "band_dropout": 0.0,
}


def settings(**changed: float | bool) -> NuisanceSettings:
    """All parts off, but for some."""
    return NuisanceSettings(**{**OFF, **changed})


def galaxies(n: int = 200, n_bands: int = 2, *, x0: float = 0.0, width: float = 3.0, ratio: float = 1.0) -> Tensor:
    """Draw Gaussian galaxies of unit peak flux along x, on the arsinh scale: (n, bands, side, side)."""
    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    square = ((axis[None, :] - x0) / width) ** 2 + (axis[:, None] / (width * ratio)) ** 2
    return torch.arcsinh(torch.exp(-0.5 * square)).expand(n, n_bands, -1, -1).clone()


def make_batch(image: Tensor, noise: float = 0.1) -> dict[str, Tensor]:
    return {"image": image, "noise": torch.full(image.shape[:2], noise), "id": torch.arange(len(image))}


def moments(image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return total flux, centroid (x, y) and variances (xx, yy) of the first band of each object."""
    flux = torch.sinh(image[:, 0]).double()
    axis = torch.arange(SIDE).double() - (SIDE - 1) / 2
    total = flux.sum((1, 2))
    x, y = (flux * axis).sum((1, 2)) / total, (flux * axis[:, None]).sum((1, 2)) / total
    xx = (flux * axis**2).sum((1, 2)) / total - x**2
    yy = (flux * axis[:, None] ** 2).sum((1, 2)) / total - y**2
    return total, x, y, xx, yy


def test_zero_strength_is_the_identity() -> None:
    batch = make_batch(torch.randn(7, 3, SIDE, SIDE))
    made = draw_view(batch, settings())
    assert all(torch.equal(made[name], batch[name]) for name in batch)


def test_the_same_seed_gives_the_same_view_and_another_one_not() -> None:
    batch, everything = make_batch(galaxies(16)), NuisanceSettings(quarter_turns=True)
    views = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        views.append(draw_view(batch, everything)["image"])
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert views[0].isfinite().all()


@pytest.mark.parametrize(
    ("parts", "elements"),
    [
        ({"mirror": True}, (0, 2, 4, 6)),
        ({"quarter_turns": True}, (0, 1, 2, 3)),
        ({"mirror": True, "quarter_turns": True}, range(8)),
    ],
)
def test_mirrors_and_turns_take_each_symmetry_equally_often(parts: dict[str, bool], elements: range) -> None:
    image = torch.randn(1, 2, 6, 6).expand(4000, -1, -1, -1)
    made = draw_view(make_batch(image), settings(**parts))["image"]
    counts = [int((made == apply_symmetry(image, e)).flatten(1).all(1).sum()) for e in range(8)]
    for element, count in enumerate(counts):
        expected = 4000 / len(elements) if element in elements else 0
        assert count == pytest.approx(expected, abs=5 * expected**0.5)


def test_mirrors_keep_the_major_axis() -> None:
    image = galaxies(100, width=4.0, ratio=0.5)
    *_, xx, yy = moments(draw_view(make_batch(image), settings(mirror=True))["image"])
    assert (xx > 3 * yy).all()


def test_noise_has_the_variance_of_the_objects_own_depth_in_linear_flux() -> None:
    image = galaxies(6, 3)
    noise = torch.tensor([[0.01, 0.1, 1.0]]) * torch.arange(1.0, 7.0)[:, None]
    made, error = add_sky_noise(torch.sinh(image), noise, 0.5)
    deviation = (made - torch.sinh(image)) / noise[..., None, None]
    assert deviation.std((2, 3)).numpy() == pytest.approx(0.5, rel=5 / math.sqrt(2 * SIDE**2))
    assert deviation.mean((2, 3)).abs().max() < 5 * 0.5 / SIDE
    torch.testing.assert_close(error, noise * 1.25**0.5)


def test_levels_of_noise_are_uniform_and_the_noise_of_the_view_is_known() -> None:
    image = galaxies(2000, 1)
    batch = make_batch(image, noise=0.2)
    view = draw_view(batch, settings(noise=1.5))
    level = (torch.sinh(view["image"]) - torch.sinh(image)).std((1, 2, 3)) / 0.2
    assert float(level.max()) == pytest.approx(1.5, rel=0.08)
    assert float(level.mean()) == pytest.approx(0.75, abs=0.04)
    expected = 0.2 * (1 + level**2).sqrt()
    torch.testing.assert_close(view["noise"][:, 0], expected, rtol=0.06, atol=0)


def test_a_view_may_have_the_noise_of_another_object_but_never_less_than_its_own() -> None:
    depths = torch.tensor([0.01, 0.1, 1.0]).repeat(400)
    batch = {"image": torch.arcsinh(torch.ones(1200, 2, 8, 8)), "noise": torch.stack([depths, 2 * depths], 1)}
    view = draw_view(batch, settings(depth=0.6))
    noise = view["noise"][:, 0]
    assert set(noise.tolist()) == set(depths.tolist())
    # kept with 0.4, or drawn by thirds
    for own, shares in ((0.01, [0.6, 0.2, 0.2]), (0.1, [0, 0.8, 0.2]), (1.0, [0, 0, 1])):
        drawn = noise[torch.isclose(depths, torch.tensor(own))]
        found = [float(torch.isclose(drawn, torch.tensor(depth)).float().mean()) for depth in (0.01, 0.1, 1.0)]
        assert found == pytest.approx(shares, abs=0.1)
    torch.testing.assert_close(view["noise"][:, 1], 2 * noise)
    added = (view["noise"].square() - batch["noise"].square()).clamp_min(0).sqrt()
    deviation = torch.sinh(view["image"]) - 1
    for level in (0.1**2 - 0.01**2, 1 - 0.01**2, 1 - 0.1**2):
        members = torch.isclose(added[:, 0], torch.tensor(level**0.5))
        assert float(deviation[members, 0].std()) == pytest.approx(level**0.5, rel=0.05)
    assert float(deviation[added[:, 0] == 0].abs().max()) < 1e-5


def test_a_shift_moves_the_centre_by_any_fraction_up_to_the_largest() -> None:
    total, x, y, xx, _ = moments(draw_view(make_batch(galaxies(2000)), settings(shift_pixels=2.0))["image"])
    before = moments(galaxies(1))
    for centre in (x, y):
        assert float(centre.abs().max()) == pytest.approx(2.0, abs=0.02)
        assert float(centre.std()) == pytest.approx(2 / 3**0.5, rel=0.05)
    assert abs(float(np.corrcoef(x, y)[0, 1])) < 0.1
    torch.testing.assert_close(total, before[0].expand(2000), rtol=1e-3, atol=0)
    # linear interpolation between two pixels broadens by up to a quarter of a square pixel
    assert ((xx - before[3] > -0.01) & (xx - before[3] < 0.26)).all()


def test_rotation_turns_by_up_to_the_angle_about_the_centre() -> None:
    image = galaxies(1000, width=4.0, ratio=0.5)
    flux = torch.sinh(draw_view(make_batch(image), settings(rotate=20))["image"][:, 0]).double()
    axis = torch.arange(SIDE).double() - (SIDE - 1) / 2
    xx, yy = (flux * axis**2).sum((1, 2)), (flux * axis[:, None] ** 2).sum((1, 2))
    angle = 0.5 * torch.atan2(2 * (flux * axis * axis[:, None]).sum((1, 2)), xx - yy).rad2deg()
    assert float(angle.abs().max()) == pytest.approx(20, abs=0.5)
    assert float(angle.std()) == pytest.approx(20 / 3**0.5, rel=0.1)
    assert abs(float(angle.mean())) < 1.5


def test_zoom_changes_the_size_and_keeps_the_flux() -> None:
    image = galaxies(1000)
    view = draw_view(make_batch(image), settings(zoom=0.2))
    total, _, _, xx, _ = moments(view["image"])
    zoom = (xx / moments(image)[3]).sqrt()
    assert float(zoom.max()) == pytest.approx(1.2, rel=0.02)
    assert float(zoom.min()) == pytest.approx(1 / 1.2, rel=0.02)
    assert float(zoom.log().mean()) == pytest.approx(0, abs=0.02)
    torch.testing.assert_close(total, moments(image)[0], rtol=0.01, atol=0)
    torch.testing.assert_close(view["noise"][:, 0].double(), 0.1 / zoom**2, rtol=0.03, atol=0)


def test_blur_adds_its_variance_and_keeps_flux_and_centre() -> None:
    image = galaxies(1000, x0=1.0)
    total, x, _, xx, _ = moments(draw_view(make_batch(image), settings(blur=1.5))["image"])
    before = moments(image)
    sigma = (xx - before[3]).clamp_min(0).sqrt()
    assert float(sigma.max()) == pytest.approx(1.5, abs=0.03)
    assert float(sigma.mean()) == pytest.approx(0.75, abs=0.06)
    torch.testing.assert_close(total, before[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(x, before[1], rtol=0, atol=1e-3)


def test_lost_bands_are_empty_like_bands_without_data() -> None:
    batch = make_batch(1 + torch.rand(3000, 3, 8, 8))
    batch["image"][:, 0], batch["noise"][:, 0] = 0, 0
    view = draw_view(batch, settings(band_dropout=0.4))
    empty = (view["image"] == 0).flatten(2).all(2)
    assert torch.equal(empty, view["noise"] == 0)
    assert empty[:, 0].all()
    assert not empty.all(1).any()
    # lost alone, not with the other one
    assert float(empty[:, 1].float().mean()) == pytest.approx(0.4 * 0.6, abs=0.04)
    kept = ~empty
    assert torch.equal(view["image"][kept], batch["image"][kept])


def test_a_band_without_data_stays_empty_under_every_part() -> None:
    batch = make_batch(galaxies(8))
    batch["image"][:, 1], batch["noise"][:, 1] = 0, 0
    view = draw_view(batch, NuisanceSettings(quarter_turns=True))
    assert not view["image"][:, 1].any()
    assert not view["noise"][:, 1].any()


def test_two_ranks_draw_the_views_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # without zoom, so that the noise that the ranks exchange is that of the batch
    batch, everything = make_batch(galaxies(12)), NuisanceSettings(quarter_turns=True, band_dropout=0.3, zoom=0)
    batch["noise"] *= torch.arange(1, 13)[:, None]
    torch.manual_seed(4)
    whole = draw_view(batch, everything)
    monkeypatch.setattr(distributed, "gather_rows", lambda rows: batch["noise"])
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        torch.manual_seed(4)
        part = draw_view({name: tensor[rank::2] for name, tensor in batch.items()}, everything)
        for name in part:
            torch.testing.assert_close(part[name], whole[name][rank::2], rtol=0, atol=1e-6)


def test_interpolated_noise_has_the_variance_and_correlation_of_bilinear_weights() -> None:
    noise = draw_interpolated_noise(torch.zeros(400, 2, 16, 16), torch.Generator().manual_seed(0))
    # over phases the mean of (1 - t)^2 + t^2 is 2/3, and that of t (1 - t) is 1/6
    assert float(noise.var()) == pytest.approx(4 / 9, abs=0.02)
    assert float((noise[..., 1:] * noise[..., :-1]).mean()) == pytest.approx(1 / 9, abs=0.02)
    assert float((noise[..., 2:] * noise[..., :-2]).mean()) == pytest.approx(0, abs=0.01)
