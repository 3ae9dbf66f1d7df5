"""Planes that go with mosaics: they must lie on the grid of the image, and are reprojected with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from astrodl.errors import DataError
from astrodl.store import open_store
from tests.ingestion.test_mosaic import SHAPE, draw_sky, make_store, make_wcs, write, write_catalog


def test_a_reprojected_band_has_a_reprojected_point_spread_function(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    other = make_wcs(0.1, 30.0, centre=(210.2, 210.7))
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    write(tmp_path, "r", draw_sky(other, (420, 420)), other)
    y, x = np.indices((41, 41)) - 20
    for band, scale in (("g", 0.2), ("r", 0.1)):
        psf = np.exp(-((x * scale) ** 2 + (y * scale) ** 2) / (2 * 0.6**2))
        fits.writeto(tmp_path / f"{band}_psf.fits", (psf / psf.sum()).astype(np.float32))
    with open_store(
        make_store(tmp_path, bands=[{"name": "g"}, {"name": "r"}], psf={"path": "{band}_psf.fits"})
    ) as store:
        native, reprojected = store.plane("psf", [0])[0]
    assert native.shape == reprojected.shape == (41, 41)
    np.testing.assert_allclose([native.sum(), reprojected.sum()], 1, rtol=2e-3)
    np.testing.assert_allclose(reprojected, native, atol=0.05 * native.max())
    assert abs(reprojected.sum(axis=0) @ (np.arange(41) - 20)) < 0.02


def test_a_mask_of_a_mosaic_on_another_grid_is_refused(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    write(tmp_path, "g", draw_sky(make_wcs()), make_wcs())
    bad = np.zeros(SHAPE, np.int16)
    options: dict[str, Any] = {"bands": [{"name": "g"}], "masks": [{"replace": [".fits", "_msk.fits"]}]}
    write(tmp_path, "g_msk", bad, make_wcs())
    make_store(tmp_path, **options)
    (tmp_path / "g_msk.fits").unlink()
    write(tmp_path, "g_msk", bad, make_wcs(centre=(108.5, 75.5)))
    with pytest.raises(DataError, match=r"lie 3 pixels from those of the image"):
        make_store(tmp_path, **options)


def test_two_bands_from_one_image_and_cubes_with_the_bands_last_are_refused(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    write(tmp_path, "sky", draw_sky(make_wcs()), make_wcs())
    options: dict[str, Any] = {"path": "sky.fits", "bands": [{"name": "g"}, {"name": "r"}]}
    with pytest.raises(DataError, match="bands g and r would be the same image"):
        make_store(tmp_path, **options)
    np.savez(tmp_path / "sky.npz", np.stack([draw_sky(make_wcs())] * 2, -1))
    with pytest.raises(DataError, match=r"write it as \(bands, y, x\)"):
        make_store(tmp_path, **options | {"path": "sky.npz"}, x_column="x", y_column="y")
