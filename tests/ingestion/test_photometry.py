"""Surveys without images: what the columns of a catalogue become, by the conventions of catalogues."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

import astrodl
from astrodl.config import DataSettings, IngestSettings, parse
from astrodl.errors import ConfigError, DataError
from astrodl.fits.units import unit_zero_point
from astrodl.ingestion.shard import shard
from astrodl.photometry.features import asinh_magnitude
from astrodl.store import BAND_FLAGS, FLAGS, Reader, check, open_store

N = 40


def ingest(folder: Path, table: Table, bands: list[dict[str, Any]], **data: Any) -> Reader:
    """Ingest a table, in which the rows beyond its own are ordinary."""
    table.write(folder / "catalog.fits", overwrite=True)
    values = {"root": str(folder), "catalog": "catalog.fits", "layout": "table", "id_column": None, "bands": bands}
    settings = parse(IngestSettings, {"survey": "toy", "data": {**values, **data}})
    astrodl.ingest(settings, folder / "store.h5")
    assert check(folder / "store.h5") == []
    return open_store(folder / "store.h5")


def magnitudes(first: list[float], errors: list[float] | None = None) -> Table:
    """Return a table with the columns g, r and their errors; `first` are the first rows of g."""
    table = Table({"g": np.linspace(20, 22, N), "r": np.linspace(19, 21, N)})
    table["eg"], table["er"] = np.full(N, 0.1), np.full(N, 0.05)
    table["g"][: len(first)] = first
    if errors is not None:
        table["eg"][: len(errors)] = errors
    return table


MAGNITUDES = [{"name": "g", "magnitude": "g", "error": "eg"}, {"name": "r", "magnitude": "r", "error": "er"}]
FLUXES = [{"name": "g", "flux": "g", "error": "eg"}, {"name": "r", "flux": "r", "error": "er"}]


def test_magnitudes_are_kept_and_become_microjansky_with_colours_and_signal_to_noise(tmp_path: Path) -> None:
    with ingest(tmp_path, magnitudes([23.9]), MAGNITUDES) as store:
        assert (store.has_images, store.size, store.unit, store.n_objects) == (False, 0, "uJy", N)
        names = ["flux_g_total", "magnitude_g_total", "colour_g_r_total", "snr"]
        flux, magnitude, colour, snr = store.features(names)[0]
        assert store.object_id[:2].tolist() == ["1", "2"]
        error = store.sky_sigma[0]
    assert (flux, magnitude, colour) == pytest.approx((1.0, 23.9, 4.9), rel=1e-5)
    red = 10 ** (0.4 * 4.9)
    assert error == pytest.approx([0.1 * np.log(10) / 2.5, red * 0.05 * np.log(10) / 2.5], rel=1e-4)
    weight = 1 / np.square(error.astype(float))
    assert snr == pytest.approx((weight @ [1.0, red]) / np.sqrt(weight.sum()), rel=1e-4)


def test_objects_that_are_not_detected_and_bands_that_are_not_observed_differ(tmp_path: Path) -> None:
    table = magnitudes([99.0, 99.0, -99.0, 0.0, np.nan, 37.5, 21.0, -9999.0], [25.0, 99.0, 0.1, 0.1, 0.1, 0.1, 0.5, 0])
    with ingest(tmp_path, table, MAGNITUDES) as store:
        flux, magnitude = store.features(["flux_g_total", "magnitude_g_total"])[:8].T
        sigma, flags, band_flags = store.sky_sigma[:8, 0], store.flags[:8], store.band_flags[:8, 0]
    limit = 10 ** (-0.4 * (25.0 - 23.9))
    assert (flux[0], sigma[0]) == pytest.approx((0.0, limit), rel=1e-5)
    assert magnitude[0] == pytest.approx(float(asinh_magnitude(0.0, limit)), rel=1e-6)
    assert np.isnan(magnitude[[1, 2, 3, 4, 5, 7]]).all()
    lost, below = BAND_FLAGS["not_observed"], BAND_FLAGS["not_detected"]
    assert band_flags.tolist() == [below, below, lost, lost, lost, below, below, lost]  # 0.5 mag is S/N 2.2
    assert (flags[[2, 3, 4, 7]] == FLAGS["missing_band"]).all()
    assert (flags[[0, 1, 5, 6]] == FLAGS["band_not_detected"]).all()


def test_fluxes_may_be_negative_and_their_unit_is_converted(tmp_path: Path) -> None:
    table = magnitudes([])
    table["g"][:4], table["eg"][:4] = [-2.0, 10.0, 0.0, -99.0], [1.0, 1.0, 0.0, -99.0]
    for name in ("g", "r", "eg", "er"):
        table[name].unit = "nJy"
    with ingest(tmp_path, table, FLUXES) as store:
        flux, magnitude = store.features(["flux_g_total", "magnitude_g_total"])[:4].T
        assert store.unit == "uJy"
        lost = store.band_flags[:4, 0] & BAND_FLAGS["not_observed"]
    unit = 1e-3
    assert flux[:2] == pytest.approx([-2 * unit, 10 * unit], rel=1e-5)
    assert magnitude[:2] == pytest.approx(asinh_magnitude(np.array([-2, 10]) * unit, unit), rel=1e-6)
    assert np.isnan(flux[2:]).all()
    assert [unit_zero_point(name) for name in ("nanomaggy", "nmgy", "counts")] == [22.5, 22.5, None]
    assert lost.tolist() == [0, 0, 1, 1]


def test_inverse_variances_are_errors(tmp_path: Path) -> None:
    table = magnitudes([5.0, 5.0])
    table["eg"][:2] = [4.0, 0.0]
    bands = [{**band, "zero_point": 23.9} for band in FLUXES]
    with ingest(tmp_path, table, bands, error_kind="weight") as store:
        assert store.sky_sigma[0, 0] == pytest.approx(0.5)
        assert np.isnan(store.sky_sigma[1, 0])
        assert store.band_flags[1, 0] == BAND_FLAGS["not_observed"]


def test_extinction_is_a_column_or_follows_from_the_reddening(tmp_path: Path) -> None:
    table = magnitudes([22.0, 22.0])
    table["a"], table["ebv"] = np.full(N, 0.4), np.full(N, 0.1)
    table["a"][1] = np.nan
    bands = [{**MAGNITUDES[0], "extinction": "a"}, {**MAGNITUDES[1], "extinction": 2.0}]
    with ingest(tmp_path, table, bands, ebv_column="ebv") as store:
        names = ["magnitude_g_total", "magnitude_r_total", "flux_g_total", "ebv"]
        corrected = store.features(names)[0]
        assert np.isnan(store.features(["magnitude_g_total"])[1])
        assert store.band_flags[:2, 0].tolist() == [0, BAND_FLAGS["not_observed"]]
    assert corrected == pytest.approx([21.6, 18.8, 10 ** (-0.4 * (21.6 - 23.9)), 0.1], rel=1e-5)


def test_an_object_without_any_value_is_refused(tmp_path: Path) -> None:
    table = magnitudes([-99.0])
    table["r"][0] = -99.0
    with ingest(tmp_path, table, MAGNITUDES) as store:
        assert store.n_objects == N - 1
        assert store.object_id[0] == "2"
    assert "no band has a usable value" in (tmp_path / "quarantine.ecsv").read_text()


def test_shards_have_the_objects_of_the_survey(tmp_path: Path) -> None:
    table = magnitudes([99.0], [25.0])
    with ingest(tmp_path, table, MAGNITUDES) as store:
        whole = dict(zip(store.object_id, store.features(), strict=True))
        settings = parse(IngestSettings, {"survey": "toy", "data": {**DATA, "root": str(tmp_path)}})
    shard(settings, tmp_path / "shards", 2)
    found = {}
    for number in range(2):
        astrodl.ingest(settings, tmp_path / "part.h5", shard=tmp_path / "shards" / f"{number:04d}" / "objects.fits")
        with open_store(tmp_path / "part.h5") as store:
            found |= dict(zip(store.object_id, store.features(), strict=True))
    assert found.keys() == whole.keys()
    assert all(np.array_equal(found[name], whole[name], equal_nan=True) for name in whole)


def test_bands_of_different_units_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"band 'r': its fluxes have no unit such as uJy .* give its zero_point"):
        ingest(tmp_path, magnitudes([]), [MAGNITUDES[0], FLUXES[1]])
    table = magnitudes([])
    table["g"].unit, table["eg"].unit = "uJy", "nJy"
    with pytest.raises(DataError, match="column 'eg' is in nJy, 'g' in uJy, one unit is accepted"):
        ingest(tmp_path, table, FLUXES)


DATA: dict[str, Any] = {"catalog": "catalog.fits", "layout": "table", "id_column": None, "bands": MAGNITUDES}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": [{"name": "g"}]}, "give band g a `magnitude` or a `flux` column"),
        ({"bands": [{"name": "g", "flux": "g", "magnitude": "g"}]}, "a `magnitude` or a `flux`"),
        ({"bands": [{"name": "g", "magnitude": "g", "zero_point": 25.0}]}, "goes with `flux`"),
        ({"bands": [{"name": "g", "magnitude": "g", "extinction": 3.1}]}, "needs `ebv_column`"),
        ({"bands": [{"name": "g", "magnitude": "m"}, {"name": "r", "magnitude": "m"}]}, "the same column"),
        ({"bands": [{"name": "g", "magnitude": "g", "plane": 1}]}, "`bands.0.plane` belongs to images"),
        ({"path": "{id}.fits"}, "`path` belongs to images"),
        ({"size": 32}, "`size` belongs to images"),
        ({"layout": "files", "path": "{g}.fits", "id_column": "id"}, "`magnitude` of band g belongs to layout table"),
        ({"layout": "files", "path": "{g}.fits", "bands": [{"name": "g"}]}, "`id_column: null` belong to layout table"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(DataSettings, {**DATA, **change})
