"""Fluxes in microjansky whatever the unit of the files; implausible zero points are refused per object."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits

from astrodl.errors import ConfigError, DataError
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.zeros import find_empty_borders
from astrodl.store import check, open_store
from tests.ingestion.toy import SIZE, N, catalog, galaxy, quarantine, settings

CGS = 1e-29
"""One microjansky in erg/s/cm2/Hz."""
FILES: dict[str, Any] = {"layout": "files", "path": "{objid}.fits", "bands": [{"name": "g"}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    catalog().write(tmp_path / "catalog.fits")
    return tmp_path


def write(root: Path, number: int, image: np.ndarray, noise: np.ndarray | None = None, **cards: Any) -> None:
    hdus = [fits.PrimaryHDU(image, fits.Header(cards))]
    if noise is not None:
        hdus.append(fits.ImageHDU(noise, name="NOISE"))
    fits.HDUList(hdus).writeto(root / f"{catalog()['objid'][number]}.fits", overwrite=True)


def make_store(root: Path, **data: Any) -> Path:
    path = root / "store.h5"
    ingest(settings(root, **{**FILES, **data}), path)
    assert check(path) == []
    with open_store(path) as store:
        assert not np.isinf(store.images()).any()
        assert not np.isinf(store.features()).any()
    return path


def test_hst_images_are_calibrated_with_the_exposure_time_of_the_primary_header(root: Path) -> None:
    for number, name in enumerate(catalog()["objid"]):
        photometry = fits.Header({"PHOTFLAM": 7.033186e-20, "PHOTPLAM": 8045.49, "BUNIT": "ELECTRONS"})
        image = fits.ImageHDU(1000 * galaxy(number), photometry, name="SCI")
        start = fits.PrimaryHDU(header=fits.Header({"EXPTIME": 1000.0}))
        fits.HDUList([start, image]).writeto(root / f"{name}.fits")
    with open_store(make_store(root, extension="SCI")) as store:
        assert store.zero_points[0] == pytest.approx(25.946 + 7.5, abs=0.005)
        expected = galaxy(0) * 10 ** (-0.4 * (25.946 - 23.9))
        np.testing.assert_allclose(store.images([0])[0, 0], expected, rtol=0.005)


def test_implausible_zero_points_are_refused_per_object(root: Path) -> None:
    values = [25.0, -99.0, 99.0, 0.0, "N/A", -1.0, 9999, 25.0, 25.0, 25.0, 25.0, 25.0]
    for number, value in enumerate(values):
        write(root, number, galaxy(number), MAGZERO=value)
    with open_store(make_store(root, max_bad_fraction=0.6)) as store:
        assert list(store.object_id) == [str(catalog()["objid"][k]) for k, value in enumerate(values) if value == 25.0]
        assert list(store.zero_points) == [25.0]
    reasons = list(quarantine(root)["reason"])
    assert [reason.split(",")[0] for reason in reasons[:2]] == ["MAGZERO is -99.0", "MAGZERO is 99.0"]
    assert "with the zero point 0 a typical pixel has AB magnitude" in reasons[2]
    assert "MAGZERO is 'N/A'" in reasons[3]
    assert "with the zero point -1" in reasons[4]


def test_a_zero_point_of_zero_is_right_for_fluxes_in_maggies(root: Path) -> None:
    for number in range(N):
        write(root, number, galaxy(number) * np.float32(1e-11), MAGZERO=0.0)
    with open_store(make_store(root)) as store:
        np.testing.assert_allclose(store.images([0])[0, 0], galaxy(0) * 10 ** (0.4 * 23.9) * 1e-11, rtol=1e-6)


@pytest.mark.parametrize("only_first", [True, False])
def test_zero_points_of_some_objects_only_are_told(only_first: bool, root: Path) -> None:
    for number in range(N):
        cards = {"MAGZERO": 25.0} if (number == 0) == only_first else {}
        write(root, number, galaxy(number), **cards)
    match = (
        "no zero point .* other objects have one" if only_first else "a zero point, though the first object has none"
    )
    with pytest.raises(DataError, match=match):
        make_store(root)


def noise_plane(kind: str, scale: float, value: float = 4.0) -> np.ndarray:
    """Return a plane whose variance is `value` in microjansky, of pixels in units of 1 / `scale` microjansky."""
    plane = {"variance": value * scale**2, "sigma": value**0.5 * scale, "weight": 1 / (value * scale**2)}[kind]
    return np.full((SIZE, SIZE), plane, np.float32 if kind == "sigma" else np.float64)


@pytest.mark.parametrize("kind", ["variance", "sigma", "weight"])
@pytest.mark.parametrize("unit", ["erg/s/cm2/Hz", "W m-2 Hz-1"])
def test_fluxes_in_cgs_keep_their_pixels_and_variances(unit: str, kind: str, root: Path) -> None:
    scale = CGS if unit.startswith("erg") else 1e-3 * CGS
    for number in range(N):
        write(root, number, galaxy(number).astype(np.float64) * scale, noise_plane(kind, scale), BUNIT=unit)
    noise = {"extension": "NOISE", "kind": kind}
    bands = [{"name": "g", "background": 2 * scale}]
    with open_store(make_store(root, noise=noise, rebin=2, size=16, bands=bands)) as store:
        assert store.unit == "uJy"
        assert store.zero_points[0] == pytest.approx(-48.6 if unit.startswith("erg") else -56.1)
        blocks = (galaxy(0) - 2).reshape(16, 2, 16, 2).sum((1, 3))
        np.testing.assert_allclose(store.images([0])[0, 0], blocks, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(store.plane("variance"), 16, rtol=1e-5)
        np.testing.assert_allclose(store.background, 8, rtol=1e-5)


@pytest.mark.parametrize("mosaic", [False, True])
def test_fluxes_of_arrays_and_mosaics_are_scaled_before_float32(mosaic: bool, root: Path) -> None:
    table = catalog()
    table["x"], table["y"] = 16.0 + SIZE * np.arange(N), 16.0
    table.write(root / "catalog.fits", overwrite=True)
    images = np.stack([galaxy(k) for k in range(N)]).astype(np.float64) * CGS
    variance = np.full_like(images, 4 * CGS**2)
    with h5py.File(root / "all.h5", "w") as file:
        arrays = {"images": images, "variance": variance}
        for name, values in arrays.items():
            file[name] = np.concatenate(values, axis=1) if mosaic else values
    bands = [{"name": "g", "zero_point": -48.6}]
    more: dict[str, Any] = {"layout": "mosaic", "x_column": "x", "y_column": "y"} if mosaic else {"layout": "arrays"}
    noise = {"extension": "variance"}
    path = make_store(root, path="all.h5", extension="images", bands=bands, noise=noise, **more)
    with open_store(path) as store:
        np.testing.assert_allclose(store.images([3])[0, 0], galaxy(3), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(store.plane("variance"), 4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["variance", "sigma", "weight"])
def test_variances_that_float32_cannot_hold_are_refused_with_the_reason(kind: str, root: Path) -> None:
    for number in range(N):
        write(root, number, galaxy(number).astype(np.float64) * CGS, noise_plane(kind, CGS))
    with pytest.raises(DataError, match="variances, such as 4e-58, do not fit into float32; give the zero_point"):
        make_store(root, noise={"extension": "NOISE", "kind": kind})


def test_fluxes_that_are_calibrated_in_one_band_only_are_refused_if_they_are_too_small(root: Path) -> None:
    for number in range(N):
        write(root, number, galaxy(number).astype(np.float64) * CGS, noise_plane("variance", CGS))
    bands = [{"name": "g", "zero_point": -48.6}, {"name": "r", "path": "r/{objid}.fits"}]
    (root / "r").mkdir()
    for name in catalog()["objid"]:
        planes = [fits.PrimaryHDU(galaxy(0)), fits.ImageHDU(np.ones((SIZE, SIZE)), name="NOISE")]
        fits.HDUList(planes).writeto(root / "r" / f"{name}.fits")
    with pytest.raises(DataError, match="variances are too small or too large for float32"):
        make_store(root, bands=bands, noise={"extension": "NOISE"})


def test_fluxes_beyond_float32_are_refused(root: Path) -> None:
    for number in range(N):
        write(root, number, galaxy(number), MAGZERO=25.0)
    write(root, 2, 1e25 * galaxy(2).astype(np.float64), BUNIT="W/m2/Hz")
    write(root, 3, np.float32(1e33) * galaxy(3), MAGZERO=8.5)
    make_store(root)
    assert [("too large" in reason, "too small or too large" in reason) for reason in quarantine(root)["reason"]] == [
        (True, False),
        (True, True),
    ]


@pytest.mark.parametrize("value", [-99.0, 99.0, 1e6])
def test_implausible_zero_points_of_the_settings_are_refused(value: float, root: Path) -> None:
    with pytest.raises(ConfigError, match="zero_point"):
        settings(root, **{**FILES, "bands": [{"name": "g", "zero_point": value}]})


def test_only_zeros_in_regions_at_the_border_are_missing(root: Path) -> None:
    rng = np.random.default_rng(1)
    scattered, regions = rng.random((SIZE, SIZE)) < 0.36, np.zeros((SIZE, SIZE), bool)
    y, x = np.indices((SIZE, SIZE))
    regions[(x + 2 * y < 20) | (x == SIZE - 1)] = True
    scattered[y + x < 40] = False  # none beside a region, which could be either
    scattered[:, -4:] = False
    for number in range(N):
        write(root, number, np.where(regions | scattered, 0, galaxy(number)).astype(np.float32))
    with open_store(make_store(root, zero_is_missing=True)) as store:
        for image in store.images()[:, 0]:
            np.testing.assert_array_equal(np.isnan(image), regions)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.36])
def test_scattered_zeros_are_values(share: float) -> None:
    rng = np.random.default_rng(2)
    images = rng.poisson(-np.log(share), (20, 64, 64)).astype(np.float32)
    assert (images == 0).mean() == pytest.approx(share, rel=0.1)
    assert find_empty_borders(images).mean() < 1e-3


@pytest.mark.parametrize("angle", [0, 5, 17, 45, 80, 90])
def test_an_empty_half_is_found_at_any_angle(angle: float) -> None:
    y, x = np.indices((64, 48))
    empty = np.cos(np.radians(angle)) * x + np.sin(np.radians(angle)) * y < 20
    image = np.where(empty, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(find_empty_borders(image), empty)
    assert find_empty_borders(0 * image).all()
    image[20:30, 25:35] = 0  # a hole inside
    np.testing.assert_array_equal(find_empty_borders(image)[:20], empty[:20])


def test_an_empty_region_beside_missing_pixels_reaches_the_border() -> None:
    image = np.ones((32, 32), np.float32)
    image[:, :4], image[:, 4:10] = np.nan, 0
    found = find_empty_borders(image)
    assert found[:, 4:10].all()
    assert found.sum() == 6 * 32
