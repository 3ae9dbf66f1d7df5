"""Augmentation: the same for image and mask, reproducible from the seed, with the stated distributions."""

import pytest
import torch

from astrodl import distributed
from astrodl.config import AugmentSettings, TaskSettings, parse
from astrodl.data.augment import (
    blur,
    degrade,
    draw_kept_bands,
    draw_square,
    flip_turn_shift,
    mirror_randomly,
    mixup,
    resample,
    transform_maps,
)
from astrodl.data.normalize import N_SIGMA
from astrodl.errors import ConfigError

STRETCH = 2.0
EVERYTHING = AugmentSettings(rotate=180, zoom=0.3, noise=1.0, blur=1.5, cutout=0.25, shift_pixels=3)


def test_image_and_mask_move_together() -> None:
    image = torch.randn(20, 3, 8, 8)
    changed, mask = flip_turn_shift(image, image[:, 1])
    assert torch.equal(changed[:, 1], mask)
    assert not torch.equal(changed, image)


def test_the_order_of_the_objects_does_not_change() -> None:
    image = torch.arange(20.0).view(20, 1, 1, 1).expand(20, 1, 4, 4)
    (changed,) = flip_turn_shift(image)
    assert torch.equal(changed, image)


def test_the_same_seed_gives_the_same_images() -> None:
    image = torch.randn(16, 1, 8, 8)
    torch.manual_seed(3)
    first = flip_turn_shift(image)[0]
    torch.manual_seed(3)
    assert torch.equal(flip_turn_shift(image)[0], first)


def galaxies(n: int = 12, side: int = 32) -> torch.Tensor:
    """Draw smooth, off-centre blobs in three bands, normalised: (n, 3, side, side)."""
    y, x = torch.meshgrid(*[torch.arange(side) - side / 2 + 0.5] * 2, indexing="ij")
    flux = 50 * torch.exp(-0.5 * (((x - 3) / 4) ** 2 + ((y + 1) / 3) ** 2))
    return torch.arcsinh(flux).expand(n, 3, -1, -1) / STRETCH + torch.zeros(n, 3, 1, 1)


def augment(batch: dict[str, torch.Tensor], settings: AugmentSettings) -> dict[str, torch.Tensor]:
    return degrade(transform_maps(batch, settings), settings, STRETCH)


def test_the_default_augmentation_is_flip_turn_shift() -> None:
    batch = {"image": torch.randn(16, 3, 8, 8), "mask": torch.randn(16, 8, 8), "z": torch.randn(16)}
    torch.manual_seed(3)
    image, mask = flip_turn_shift(batch["image"], batch["mask"])
    torch.manual_seed(3)
    made = augment(batch, AugmentSettings())
    assert torch.equal(made["image"], image)
    assert torch.equal(made["mask"], mask)
    assert made["z"] is batch["z"]


def test_without_augmentation_nothing_changes() -> None:
    batch = {"image": torch.randn(4, 3, 8, 8)}
    assert augment(batch, AugmentSettings(symmetries=False, shift_pixels=0))["image"] is batch["image"]


def test_a_shift_alone_does_not_rotate() -> None:
    image = torch.randn(40, 1, 8, 8)
    made = augment({"image": image}, AugmentSettings(symmetries=False, shift_pixels=3))["image"]
    assert any(torch.equal(made, image.roll((y, x), (2, 3))) for y in range(-3, 4) for x in range(-3, 4))


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("side", [8, 9])
def test_resampling_by_a_quarter_turn_is_rot90(side: int, nearest: bool) -> None:
    maps = torch.randn(4, 2, side, side)
    angle = torch.tensor([0.0, 0.5, 1.0, -0.5]) * torch.pi
    turned = resample(maps, angle, torch.ones(4), nearest=nearest)
    for row, quarters in enumerate((0, 1, 2, -1)):
        torch.testing.assert_close(turned[row], torch.rot90(maps[row], quarters, (-2, -1)), atol=1e-5, rtol=0)


def test_a_zoom_of_two_keeps_the_centre_and_halves_the_slope() -> None:
    slope = torch.arange(33.0).expand(1, 1, 33, 33)
    enlarged = resample(slope, torch.zeros(1), torch.tensor([2.0]))
    torch.testing.assert_close(enlarged, 16 + (slope - 16) / 2)


def test_rotation_and_zoom_are_the_same_for_all_maps_and_masks_stay_binary() -> None:
    image = galaxies()
    batch = {"image": image, "light": image[:, 0].clone(), "mask": (image[:, 0] > 0.5).float()}
    made = transform_maps(batch, AugmentSettings(rotate=180, zoom=0.3))
    torch.testing.assert_close(made["image"][:, 0], made["light"])
    assert set(made["mask"].unique().tolist()) == {0.0, 1.0}
    assert float(((made["light"] > 0.5) == made["mask"].bool()).float().mean()) > 0.98
    assert not torch.equal(made["mask"], batch["mask"])


def test_blur_conserves_the_flux_and_adds_its_variance() -> None:
    side = 65
    point = torch.zeros(3, 2, side, side)
    point[:, :, 32, 32] = 5.0
    sigma = torch.tensor([0.0, 1.0, 3.0])
    blurred = blur(point, sigma)
    torch.testing.assert_close(blurred.sum((-2, -1)), point.sum((-2, -1)))
    torch.testing.assert_close(blurred[0], point[0], atol=1e-6, rtol=0)
    variance = (blurred[:, 0] * (torch.arange(side) - 32.0) ** 2).sum((-2, -1)) / 5
    torch.testing.assert_close(variance[1:], sigma[1:] ** 2, atol=2e-3, rtol=0)
    made = degrade({"image": galaxies()}, AugmentSettings(blur=2), STRETCH)["image"]
    flux = [torch.sinh(STRETCH * image).sum((-2, -1)) for image in (galaxies(), made)]
    torch.testing.assert_close(*flux, rtol=1e-4, atol=0)
    assert (made.amax((-2, -1)) < galaxies().amax((-2, -1))).all()


def test_the_noise_level_is_uniform_up_to_the_setting_in_units_of_the_sky_noise() -> None:
    for brightness in (0.0, 3.0):
        image = torch.full((400, 2, 32, 32), brightness)
        made = degrade({"image": image}, AugmentSettings(noise=1.5), STRETCH)["image"]
        added = torch.sinh(STRETCH * made.double()) - torch.sinh(STRETCH * image.double())
        level = added.flatten(1).std(1) * N_SIGMA
        assert 1.4 < float(level.max()) < 1.6
        assert float(level.mean()) == pytest.approx(0.75, abs=4 * 1.5 / 12**0.5 / 20)
        assert abs(float(added.mean())) < 0.01


def test_pixels_without_data_stay_zero() -> None:
    coverage = torch.ones(4, 2, 16, 16)
    coverage[:, 1] = 0
    batch = {"image": torch.randn(4, 2, 16, 16) * coverage, "coverage": coverage}
    made = degrade(batch, AugmentSettings(noise=1, blur=2), STRETCH)
    assert not made["image"][:, 1].any()
    assert made["coverage"] is coverage


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_square_hides_the_same_area_of_all_bands_at_uniform_positions(share: float) -> None:
    hidden = draw_square(torch.zeros(4000, 20, 20), share)
    assert (hidden.float().mean((1, 2)) - share**2).abs().max() < 1e-6
    chances = hidden.float().mean(0)
    assert float((chances - share**2).abs().max()) < 5 * (share / 4000**0.5)
    made = degrade({"image": torch.ones(6, 3, 20, 20)}, AugmentSettings(cutout=share), STRETCH)["image"]
    assert torch.equal(made[:, 0], made[:, 2])
    assert float(made.mean()) == pytest.approx(1 - share**2)


def test_at_least_one_available_band_is_kept() -> None:
    available = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]).repeat(2000, 1)
    kept = draw_kept_bands(available, 0.6)
    assert ((kept * available).sum(1) > 0).all()
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    # kept as drawn, or because all three were lost
    assert float(kept[0::2].mean()) == pytest.approx(0.4 + 0.6**3, abs=0.02)
    assert draw_kept_bands(available, 0.0).all()


def test_mixup_returns_partners_and_shares() -> None:
    batch = {"image": torch.randn(8, 2, 4, 4), "features": torch.randn(8, 5), "label": torch.arange(8)}
    made = mixup(batch, 0.4)
    share, partner = made["share"], made["partner"]
    assert sorted(partner.tolist()) == list(range(8))
    assert (partner != torch.arange(8)).all()
    for name in ("image", "features"):
        own, other = batch[name], batch[name][partner]
        s = share.view(-1, *[1] * (own.ndim - 1))
        torch.testing.assert_close(made[name], s * own + (1 - s) * other)
    assert made["label"] is batch["label"]


def test_about_half_of_the_objects_are_mirrored_and_exchange_their_class() -> None:
    batch = {"image": torch.rand(400, 2, 8, 8), "target": torch.eye(3)[torch.arange(400) % 3], "id": torch.arange(400)}
    changed = mirror_randomly(batch, [1, 0, 2])
    flipped = (changed["image"] == batch["image"].flip(-1)).flatten(1).all(1)
    assert 140 < flipped.sum() < 260
    assert torch.equal(changed["image"][~flipped], batch["image"][~flipped])
    expected = torch.where(flipped[:, None], batch["target"][:, [1, 0, 2]], batch["target"])
    assert torch.equal(changed["target"], expected)
    assert changed["id"] is batch["id"]


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0])
def test_shares_of_mixup_follow_the_beta_distribution(alpha: float) -> None:
    share = mixup({"image": torch.zeros(20000, 1)}, alpha)["share"]
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(share.var()) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.05)


def test_two_ranks_augment_like_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        torch.manual_seed(9)
        made = mixup(augment(mirror_randomly(batch, [1, 0]), EVERYTHING), 0.4)
        return {**made, "kept": draw_kept_bands(torch.ones(len(made["image"]), 3), 0.5)}

    batch = {"image": galaxies(16) + torch.randn(16, 3, 32, 32), "mask": torch.randn(16, 32, 32)}
    batch["target"] = torch.eye(2)[torch.arange(16) % 2]
    whole = change(batch)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        part = change({name: tensor[rank::2] for name, tensor in batch.items()})
        for name in ("image", "mask", "target", "share", "kept"):
            torch.testing.assert_close(part[name], whole[name][rank::2])
        assert torch.equal(2 * part["partner"] + rank, whole["partner"][rank::2])


def test_an_augmentation_without_effect_is_an_error() -> None:
    assert parse(TaskSettings, {"augment": {"rotate": 10}}).augment.rotate == 10
    with pytest.raises(ConfigError, match=r"augment\.mixup has no effect on this task"):
        parse(TaskSettings, {"augment": {"mixup": 0.2}})

    class Mixing(TaskSettings):
        unused_augmentations = ()

    assert parse(Mixing, {"augment": {"mixup": 0.2}}).augment.mixup == 0.2


def test_resampling_shifts_after_rotation_and_zoom() -> None:
    axis = torch.arange(33.0) - 16
    image = torch.exp(-0.5 * ((axis - 4) ** 2 + (axis[:, None] + 2) ** 2) / 2).expand(1, 1, -1, -1)
    shift = torch.tensor([[1.5, -0.5]])
    moved = resample(image, torch.full((1,), torch.pi / 2), torch.ones(1), shift=shift)
    total = moved.sum()
    centre = (float((moved * axis).sum() / total), float((moved * axis[:, None]).sum() / total))
    # (4, -2) turned like torch.rot90 lies at (-2, -4)
    assert centre == pytest.approx((-2 + 1.5, -4 - 0.5), abs=0.02)
    plain = resample(image, torch.full((1,), 0.3), torch.full((1,), 1.1))
    assert torch.equal(plain, resample(image, torch.full((1,), 0.3), torch.full((1,), 1.1), shift=torch.zeros(1, 2)))
