"""Objects cut from mosaics: by sky position or by pixel, across the edge, from other pixel grids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astrodl.errors import ConfigError, DataError
from astrodl.ingestion.ingest import ingest
from astrodl.store import BAND_FLAGS, FLAGS, check, open_store
from tests.ingestion.toy import quarantine, settings

SHAPE = (150, 210)
SCALE = 0.2
POSITIONS = np.array([[60.0, 50.0], [120.3, 99.6], [30.2, 110.4], [205.0, 75.0]])
"""Column and row of the objects; the last one is near the edge."""
SIZE = 32


def make_wcs(scale: float = SCALE, rotation: float = 0.0, centre: tuple[float, float] = (105.5, 75.5)) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = centre
    angle = np.radians(rotation)
    rotation_matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = scale / 3600 * np.diag([-1, 1]) @ rotation_matrix
    return wcs


def draw_sky(wcs: WCS, shape: tuple[int, int] = SHAPE, sigma_arcsec: float = 0.6, noise: float = 0.0) -> np.ndarray:
    """Draw Gaussian galaxies of flux 1000 at the positions of the objects on the grid of `wcs`."""
    image = np.random.default_rng(0).normal(0, noise, shape) if noise else np.zeros(shape)
    y, x = np.indices(shape)
    scale = np.sqrt(abs(np.linalg.det(wcs.wcs.cd))) * 3600
    ra, dec = make_wcs().all_pix2world(POSITIONS, 0).T
    for cx, cy in zip(*wcs.all_world2pix(ra, dec, 0), strict=True):
        sigma = sigma_arcsec / scale
        image += 1000 / (2 * np.pi * sigma**2) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return image.astype(np.float32)


def write(root: Path, band: str, image: np.ndarray, wcs: WCS | None, compressed: bool = False, **cards: Any) -> None:
    header = wcs.to_header() if wcs is not None else fits.Header()
    header.update(cards)
    if compressed:
        hdu = fits.CompImageHDU(image, header, compression_type="GZIP_2", quantize_level=0.0, tile_shape=(16, 210))
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(root / f"{band}.fits.fz")
    else:
        fits.PrimaryHDU(image, header).writeto(root / f"{band}.fits")


def write_catalog(root: Path) -> None:
    ra, dec = make_wcs().all_pix2world(POSITIONS, 0).T
    names = [f"M{k}" for k in range(len(POSITIONS))]
    columns = {"objid": names, "ra": ra, "dec": dec, "x": POSITIONS[:, 0] + 1, "y": POSITIONS[:, 1] + 1}
    Table(columns).write(root / "catalog.fits")


def mosaic_settings(root: Path, **data: Any) -> Any:
    values = {"layout": "mosaic", "path": "{band}.fits", "bands": [{"name": "g"}], "size": SIZE}
    position = {} if "x_column" in data else {"ra_column": "ra", "dec_column": "dec"}
    return settings(root, **{**values, **position, **data, "split": {"test": 0, "validation": 0}})


def make_store(root: Path, **data: Any) -> Path:
    store = root / "out" / "store.h5"
    ingest(mosaic_settings(root, **data), store)
    assert check(store) == []
    return store


@pytest.mark.parametrize("compressed", [False, True])
def test_cutouts_are_the_pixels_around_the_object(compressed: bool, tmp_path: Path) -> None:
    write_catalog(tmp_path)
    image = draw_sky(make_wcs(), noise=1.0)
    write(tmp_path, "g", image, make_wcs(), compressed, MAGZERO=25.0)
    with open_store(make_store(tmp_path, path="{band}.fits.fz" if compressed else "{band}.fits")) as store:
        factor = np.float32(10 ** (-0.4 * (25.0 - 23.9)))
        np.testing.assert_allclose(store.images([0])[0, 0], image[34:66, 44:76] * factor, rtol=1e-6)
        np.testing.assert_allclose(store.images([1])[0, 0], image[84:116, 104:136] * factor, rtol=1e-6)
        assert store.pixel_scale_arcsec == pytest.approx(SCALE, rel=1e-5)
        assert (store.unit, list(store.zero_points)) == ("uJy", [25.0])


def test_pixels_beyond_the_edge_are_nan_and_flagged(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    image = draw_sky(make_wcs(), noise=1.0)
    write(tmp_path, "g", image, make_wcs())
    with open_store(make_store(tmp_path)) as store:
        cutout = store.images([3])[0, 0]
        assert np.isnan(cutout[:, 21:]).all()
        np.testing.assert_array_equal(cutout[:, :21], image[59:91, 189:210])
        assert [bool(flag & FLAGS["padded"]) for flag in store.flags] == [False, False, False, True]
        assert not (store.flags & FLAGS["partial_coverage"]).any()


def test_pixel_positions_need_no_wcs_and_count_from_the_configured_origin(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    image = draw_sky(make_wcs(), noise=1.0)
    write(tmp_path, "g", image, None)
    options = {"x_column": "x", "y_column": "y", "pixel_origin": 1}
    with open_store(make_store(tmp_path, **options)) as store:
        np.testing.assert_array_equal(store.images([0])[0, 0], image[34:66, 44:76])


def test_a_grid_shifted_by_whole_pixels_is_not_reprojected(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    image = draw_sky(make_wcs(), noise=1.0)
    write(tmp_path, "g", image, make_wcs())
    write(tmp_path, "r", image[7:, 12:], make_wcs(centre=(93.5, 68.5)))
    with open_store(make_store(tmp_path, bands=[{"name": "g"}, {"name": "r"}])) as store:
        np.testing.assert_array_equal(store.images([1])[0, 0], store.images([1])[0, 1])
        assert not (store.flags & FLAGS["reprojected"]).any()


@pytest.mark.parametrize(
    ("scale", "rotation"), [(0.2, 30.0), (0.13, -20.0), (0.34, 0.0)], ids=["rotated", "finer", "coarser"]
)
def test_reprojection_conserves_flux_and_position(scale: float, rotation: float, tmp_path: Path) -> None:
    write_catalog(tmp_path)
    other = make_wcs(scale, rotation, centre=(210.2, 210.7))
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    write(tmp_path, "r", draw_sky(other, (420, 420)), other)
    with open_store(make_store(tmp_path, bands=[{"name": "g"}, {"name": "r"}])) as store:
        images = store.images([0, 1, 2]).astype(np.float64)
        np.testing.assert_allclose(images.sum((2, 3)), 1000, rtol=1e-3)
        y, x = np.indices((SIZE, SIZE))
        for axis in (x, y):
            centroid = (images * axis).sum((2, 3)) / images.sum((2, 3))
            np.testing.assert_allclose(centroid[:, 1], centroid[:, 0], atol=0.02)
        assert (store.band_flags[:3] == [0, BAND_FLAGS["reprojected"]]).all()
        assert (store.flags[:3] & FLAGS["reprojected"]).all()


def test_the_reference_band_can_be_configured(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    other = make_wcs(0.1, 0.0, centre=(210.5, 150.5))
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    write(tmp_path, "r", draw_sky(other, (300, 420)), other)
    bands = [{"name": "g"}, {"name": "r"}]
    with open_store(make_store(tmp_path, bands=bands, reference_band="r", size=64)) as store:
        assert store.pixel_scale_arcsec == pytest.approx(0.1, rel=1e-5)
        assert (store.band_flags[:3] == [BAND_FLAGS["reprojected"], 0]).all()
    with pytest.raises(ConfigError, match="not among the bands"):
        mosaic_settings(tmp_path, reference_band="z")


def test_weights_and_masks_are_reprojected_with_the_image(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    other = make_wcs(0.2, 45.0, centre=(160.2, 160.7))
    image = draw_sky(other, (320, 320))
    bad = np.zeros((320, 320), np.int16)
    column, row = (round(value) for value in np.ravel(other.all_world2pix(make_wcs().all_pix2world([[64, 53]], 0), 0)))
    bad[row, column] = 1
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    write(tmp_path, "r", image, other)
    for band, wcs, shape in (("g", make_wcs(), SHAPE), ("r", other, (320, 320))):
        write(tmp_path, f"{band}_wht", np.full(shape, 4.0, np.float32), wcs)
        write(tmp_path, f"{band}_msk", bad if band == "r" else np.zeros(shape, np.int16), wcs)
    more = {"noise": {"path": "{band}_wht.fits", "kind": "weight"}, "masks": [{"path": "{band}_msk.fits"}]}
    with open_store(make_store(tmp_path, bands=[{"name": "g"}, {"name": "r"}], **more)) as store:
        variance, mask = store.plane("variance", [0])[0], store.plane("mask", [0])[0]
        np.testing.assert_allclose(np.nanmedian(variance, axis=(1, 2)), 0.25, rtol=1e-3)
        assert mask[0].sum() == 0
        assert mask[1, 19, 20] == 1
        assert 1 <= mask[1].sum() <= 9
        assert np.isnan(store.images([0])[0, 1][mask[1] > 0]).all()


def test_an_object_outside_the_mosaic_is_quarantined(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    table = Table.read(tmp_path / "catalog.fits")
    table["ra"][1], table["ra"][2] = 333.0, np.nan
    table.write(tmp_path / "catalog.fits", overwrite=True)
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    make_store(tmp_path)
    reasons = list(quarantine(tmp_path / "out")["reason"])
    assert any("no place" in reason or "outside" in reason for reason in reasons[:1])
    assert "no place" in reasons[1]


def test_a_band_that_does_not_cover_the_object_is_not_observed(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    image = draw_sky(make_wcs(), noise=1.0)
    write(tmp_path, "g", image, make_wcs())
    write(tmp_path, "r", image[:, :80], make_wcs())
    with open_store(make_store(tmp_path, bands=[{"name": "g"}, {"name": "r"}])) as store:
        assert [bool(flags & BAND_FLAGS["not_observed"]) for flags in store.band_flags[:, 1]] == [
            False,
            True,
            False,
            True,
        ]


@pytest.mark.parametrize("as_cube", [False, True])
def test_mosaics_may_be_cubes_or_arrays(as_cube: bool, tmp_path: Path) -> None:
    write_catalog(tmp_path)
    image = draw_sky(make_wcs(), noise=1.0)
    cube = np.stack([image, 2 * image])
    options = {"bands": [{"name": "g"}, {"name": "r"}]}
    if as_cube:
        write(tmp_path, "cube", cube, make_wcs())
        options["path"] = "cube.fits"
    else:
        np.savez(tmp_path / "cube.npz", images=cube)
        options |= {"path": "cube.npz", "extension": "images", "x_column": "x", "y_column": "y", "pixel_origin": 1}
    with open_store(make_store(tmp_path, **options)) as store:
        np.testing.assert_array_equal(store.images([0])[0], cube[:, 34:66, 44:76])


def test_a_mosaic_without_wcs_needs_pixel_positions(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    write(tmp_path, "g", draw_sky(make_wcs()), None)
    with pytest.raises(DataError, match="no celestial coordinates"):
        make_store(tmp_path)


def test_a_truncated_mosaic_is_refused(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    path = tmp_path / "g.fits"
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(DataError, match="cannot be"):
        make_store(tmp_path)


def test_neighbours_on_a_mosaic_without_wcs_get_the_same_split(tmp_path: Path) -> None:
    positions = np.random.default_rng(4).uniform(20, 130, (60, 2))
    positions[1::2] = positions[::2] + 3
    columns = {"objid": [f"M{k}" for k in range(60)], "x": positions[:, 0], "y": positions[:, 1]}
    Table(columns).write(tmp_path / "catalog.fits")
    write(tmp_path, "g", draw_sky(make_wcs(), noise=1.0), None)
    options = {"layout": "mosaic", "path": "g.fits", "x_column": "x", "y_column": "y", "pixel_scale_arcsec": 0.2}
    split = {"test": 0.3, "validation": 0.3, "separation_arcsec": 1.0, "nside": 1 << 18}
    ingest(settings(tmp_path, bands=[{"name": "g"}], split=split, **options), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert set(store.split) == {0, 1, 2}
        np.testing.assert_array_equal(store.split[::2], store.split[1::2])


def test_the_checksum_includes_the_weights(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    write(tmp_path, "g", draw_sky(make_wcs(), noise=1.0), make_wcs())
    checksums = []
    for weight in (4.0, 5.0):
        fits.PrimaryHDU(np.full(SHAPE, weight, np.float32)).writeto(tmp_path / "wht.fits", overwrite=True)
        values = mosaic_settings(tmp_path, noise={"path": "wht.fits", "kind": "weight"})
        checksums.append(ingest(values, tmp_path / "out" / "store.h5")["source_checksum"])
    assert checksums[0] != checksums[1]
