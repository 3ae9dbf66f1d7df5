"""Injection of clumps: known flux and place, no overlap with clumps that are there, found and missed ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

import astrodl
from astrodl.data.batches import Cutouts
from astrodl.errors import DataError, StoreError
from astrodl.photometry.clumps import Clumps
from astrodl.pipeline import inject
from astrodl.tasks.model import load_model

WIDTHS = {"reference": 1, "clump_widths": [1.0, 1.2]}
NONE = Clumps(*(np.zeros(0) for _ in range(4)))


def galaxies(n: int = 60, size: int = 48, **planes: np.ndarray) -> Cutouts:
    axis = np.arange(size) - (size - 1) / 2
    light = np.exp(-np.hypot(axis[:, None], axis) / 5)
    images = np.stack([np.stack([50 * light, 100 * light])] * n).astype(np.float32)
    return Cutouts(images, np.full((n, 2), 0.1, np.float32), np.zeros((n, 0), np.float32), planes)


def test_injected_clumps_have_their_flux_and_place() -> None:
    cutouts, radius = galaxies(300), np.full(300, 8.0)
    placed = inject._draw(np.random.default_rng(0), cutouts, radius, NONE, WIDTHS, "galaxy")
    assert len(placed["image"]) == 300
    added = (placed["images"] - cutouts.images).astype(np.float64)
    axis = np.arange(48) - 23.5
    inside = np.hypot(axis[:, None], axis) < 24
    total = np.where(inside, cutouts.images, 0).sum((2, 3), dtype=np.float64)
    np.testing.assert_allclose(added.sum((2, 3)), placed["share"][:, None] * total, rtol=5e-3)
    y, x = np.unravel_index(added[:, 1].reshape(300, -1).argmax(1), (48, 48))
    np.testing.assert_array_equal(np.stack([y, x]), np.stack([placed["y"], placed["x"]]))
    assert ((placed["distance"] > 0.5) & (placed["distance"] < 2)).all()
    np.testing.assert_allclose(placed["snr"], np.sqrt((added[:, 1] ** 2).sum((1, 2))) / 0.1, rtol=1e-3)
    # shares are even in their logarithm, positions follow the light
    assert np.median(placed["share"]) == pytest.approx(np.sqrt(0.005 * 0.2), rel=0.5)
    assert np.median(placed["distance"]) < 1.2


def test_young_clumps_have_the_same_flux_in_all_bands() -> None:
    cutouts = galaxies(5)
    placed = inject._draw(np.random.default_rng(0), cutouts, np.full(5, 8.0), NONE, WIDTHS, "young")
    added = (placed["images"] - cutouts.images).astype(np.float64).sum((2, 3))
    np.testing.assert_allclose(added[:, 0], added[:, 1], rtol=5e-3)


def test_injected_clumps_have_the_shape_of_the_point_spread_function() -> None:
    axis = np.arange(11) - 5
    psf = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / 2.0**2)
    cutouts = galaxies(3, psf=np.stack([np.stack([psf, psf])] * 3))
    placed = inject._draw(np.random.default_rng(0), cutouts, np.full(3, 8.0), NONE, WIDTHS, "galaxy")
    for number, (y, x) in enumerate(zip(placed["y"].astype(int), placed["x"].astype(int), strict=True)):
        added = (placed["images"] - cutouts.images)[number, 0, y - 3 : y + 4, x - 3 : x + 4]
        np.testing.assert_allclose(added / added.max(), psf[2:-2, 2:-2], atol=2e-3)


def test_injected_clumps_keep_away_from_those_that_are_there() -> None:
    present = Clumps(np.arange(60), np.full(60, 20.0), np.full(60, 26.0), np.ones(60))
    placed = inject._draw(np.random.default_rng(0), galaxies(), np.full(60, 8.0), present, WIDTHS, "young")
    assert (np.hypot(placed["y"] - 20, placed["x"] - 26) >= 4).all()


def test_galaxies_without_flux_or_size_have_no_clump() -> None:
    cutouts = galaxies(4)
    cutouts.images[0] = 0
    radius = np.array([8, np.nan, 8, 0.2])
    assert list(inject._draw(np.random.default_rng(0), cutouts, radius, NONE, WIDTHS, "galaxy")["image"]) == [2]


def test_completeness_is_reported_in_bins() -> None:
    placed = {"snr": np.array([1, 4, 4, 30.0]), "share": np.array([0.006, 0.02, 0.02, 0.1])}
    lines = inject._report(placed, np.array([False, True, False, True])).splitlines()
    assert lines[1].startswith("S/N 3 to 5: completeness 0.50 (")
    assert lines[1].endswith("2 clumps")
    assert lines[-1].startswith("share of the flux 0.08 to 0.2: completeness 1.00")


def test_the_table_is_the_same_for_the_same_seed(
    trained_model: Callable[[str], Path], store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(trained_model("segmentation") / "model.safetensors", device="cpu")
    tables = [Table.read(astrodl.inject(model, store, tmp_path / f"{k}.fits", n=20, device="cpu")) for k in (0, 1)]
    other = Table.read(astrodl.inject(model, store, tmp_path / "2.fits", n=20, seed=1, device="cpu"))
    assert "completeness" in capsys.readouterr().out
    assert list(tables[0]["contrast"]) == list(tables[1]["contrast"])
    assert set(tables[0].colnames) == {"object_id", "x", "y", "contrast", "snr", "distance", "found"}
    assert list(other["contrast"]) != list(tables[0]["contrast"])
    assert tables[0]["found"].dtype == bool


def test_other_models_and_empty_splits_are_refused(
    trained_model: Callable[[str], Path], store: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="not of segmentation"):
        astrodl.inject(trained_model("photoz") / "model.safetensors", store, tmp_path / "out.fits", device="cpu")
    model = load_model(trained_model("segmentation") / "model.safetensors", device="cpu")
    with pytest.raises(DataError, match="no galaxy is in split 'rest'"):
        astrodl.inject(model, store, tmp_path / "out.fits", split="rest", device="cpu")
