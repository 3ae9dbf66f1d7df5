"""Truth of simulated objects: segmentation, clumps, neighbours, tables."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astrodl.config import SimulateSettings
from astrodl.simulator import survey as module
from astrodl.simulator.objects import Observation, Simulator
from astrodl.simulator.survey import data_settings, simulate
from astrodl.simulator.truth import AB_ZERO_FLUX_UJY, segment

SETTINGS = SimulateSettings(
    n_objects=24,
    size=32,
    bands=("F606W", "F775W", "F160W"),
    oddity_fraction=0.2,
    neighbours_per_arcmin2=400.0,
    correlated_noise=True,
    variance=True,
    votes=20,
    seed=11,
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("survey")
    simulate(SETTINGS, out, progress=False)
    return out


@pytest.fixture(scope="module")
def objects() -> list[Observation]:
    simulator = Simulator(SimulateSettings(oddity_fraction=0.0, seed=2))
    return [simulator.make(number) for number in range(60)]


def test_segments_belong_to_the_brightest_source_above_the_threshold() -> None:
    galaxy = np.array([[5.0, 2.0, 0.5, 3.0]], np.float32)
    other = np.array([[1.0, 4.0, 0.4, 2.9]], np.float32)
    np.testing.assert_array_equal(segment(np.stack([galaxy, other]), [1, 7], 1.0), [[1, 7, 0, 1]])


def test_the_galaxy_fills_its_segment_down_to_the_isophote(objects: list[Observation]) -> None:
    simulator = Simulator(SimulateSettings(oddity_fraction=0.0, seed=2))
    threshold = 10 ** (0.4 * (simulator.zero_points[2] - 26.0)) * 0.06**2
    for observation in objects:
        galaxy = observation.maps.sum(axis=0)
        assert observation.segmentation.dtype == np.int16
        # The segment of the galaxy covers its pixels above the threshold, except where others are brighter.
        assert np.all(galaxy[observation.segmentation == 1] > 0.99 * threshold)
        assert np.all(observation.segmentation[galaxy > threshold] > 0)
        if observation.row["class"] == "elliptical":
            assert observation.segmentation[31, 31] == 1
        assert (observation.segmentation.max() > 1) <= (observation.row["n_others"] > 0)
    assert any(observation.segmentation.max() > 1 for observation in objects)


def test_a_fainter_isophote_is_larger(objects: list[Observation]) -> None:
    shallow = Simulator(SimulateSettings(oddity_fraction=0.0, seed=2, isophote=24.0))
    for number in range(6):
        bright, deep = shallow.make(number).segmentation == 1, objects[number].segmentation == 1
        assert np.all(deep[bright])
        assert deep.sum() > 1.3 * bright.sum()


def test_neighbours_have_the_given_density_and_are_not_in_the_truth_maps() -> None:
    crowded = Simulator(SimulateSettings(neighbours_per_arcmin2=500.0, oddity_fraction=0.0, seed=2))
    isolated = Simulator(SimulateSettings(neighbours_per_arcmin2=0.0, oddity_fraction=0.0, seed=2))
    n_others = []
    for number in range(60):
        observation, alone = crowded.make(number), isolated.make(number)
        n_others.append(observation.row["n_others"])
        assert alone.row["n_others"] == 0
        np.testing.assert_allclose(observation.maps, alone.maps, atol=1e-5 * alone.maps.max())
        assert observation.row["magnitude"] == alone.row["magnitude"]
    expected = 500.0 * (64 * 0.06 / 60) ** 2
    assert np.mean(n_others) == pytest.approx(expected, abs=4 * np.sqrt(expected / 60))


def test_template_scatter_changes_colours_but_not_the_magnitude_in_the_truth_band() -> None:
    exact, real = (Simulator(SimulateSettings(template_scatter=s, oddity_fraction=0.0)) for s in (0.0, 0.1))
    shifts = []
    for number in range(40):
        first, second = exact.make(number).row, real.make(number).row
        assert first["magnitude"] == pytest.approx(second["magnitude"], abs=1e-9)
        shifts.append(second["magnitude_F606W"] - first["magnitude_F606W"])
    # Two bands, each with an error of 0.1 mag at 5000 Angstrom at rest and more bluewards.
    assert 0.05 < np.std(shifts) < 0.5


def test_the_table_of_clumps_agrees_with_the_catalogue_and_the_clump_maps(survey: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clumps, catalog = Table.read(survey / "clumps.fits"), Table.read(survey / "catalog.fits")
    assert clumps["flux_F775W"].unit == "uJy"
    assert len(clumps) == catalog["n_clumps"].sum() > 5
    for row in catalog:
        own = clumps[clumps["object_id"] == row["object_id"]]
        assert len(own) == row["n_clumps"]
        with fits.open(survey / "truth" / f"{row['object_id']}.fits") as hdus:
            counts = hdus["CLUMP"].data.sum()
            flux = counts * 10 ** (-0.4 * hdus["CLUMP"].header["MAGZERO"]) * AB_ZERO_FLUX_UJY
        # Clumps at the edge of the cutout lose light.
        assert 0.55 * own["flux_F775W"].sum() <= flux * 1.001 <= 1.02 * own["flux_F775W"].sum() + 1e-12
        assert np.all((own["x"] > 0) & (own["x"] < 31) & (own["y"] > 0) & (own["y"] < 31))


def test_truth_in_every_band_is_finite_and_consistent(survey: Path) -> None:
    table = Table.read(survey / "catalog.fits")
    np.testing.assert_allclose(table["bt"], table["bt_F775W"], atol=1e-9)
    np.testing.assert_allclose(table["magnitude"], table["magnitude_F775W"], atol=1e-9)
    for band in SETTINGS.bands:
        assert np.all(np.isfinite(table[f"magnitude_{band}"]))
        assert np.all((table[f"bt_{band}"] >= 0) & (table[f"bt_{band}"] <= 1))
    assert np.all((table["absolute_magnitude"] > -25) & (table["absolute_magnitude"] < -12))
    assert np.all(sum(table[name] for name in table.colnames if name.startswith("votes_")) == 20)


def test_segmentation_is_written_as_integers_with_its_isophote(survey: Path) -> None:
    with fits.open(survey / "truth" / "SIM000002.fits") as hdus:
        assert hdus["SEGMENTATION"].data.dtype == np.dtype(">i2")
        assert hdus["SEGMENTATION"].header["ISOPHOTE"] == 26.0
        assert 1 in hdus["SEGMENTATION"].data


def test_files_with_all_options_do_not_depend_on_the_block_size(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    simulate(SETTINGS, tmp_path, progress=False)
    for path in survey.rglob("*.fits"):
        assert (tmp_path / path.relative_to(survey)).read_bytes() == path.read_bytes(), path.name


def test_a_survey_without_clumps_has_an_empty_table(tmp_path: Path) -> None:
    for seed in range(30):
        settings = SimulateSettings(n_objects=1, size=16, bands=("F606W",), oddity_fraction=0.0, seed=seed)
        if Simulator(settings).make(0).row["n_clumps"] == 0:
            break
    simulate(settings, tmp_path, progress=False)
    table = Table.read(tmp_path / "clumps.fits")
    assert (len(table), table.colnames) == (0, ["object_id", "x", "y", "flux_F606W"])


def test_truth_maps_of_all_bands_have_the_ratios_of_the_catalogue() -> None:
    settings = SimulateSettings(n_objects=1, band_truth=True, oddity_fraction=0.0)
    plain = Simulator(SimulateSettings(n_objects=1, oddity_fraction=0.0))
    simulator = Simulator(settings)
    assert [settings.bands[band] for band in simulator.map_bands] == ["F775W", "F435W", "F606W", "F850LP", "F160W"]
    for number in range(6):
        observation = simulator.make(number)
        np.testing.assert_allclose(observation.images, plain.make(number).images, atol=1e-4)
        np.testing.assert_allclose(observation.maps[:3], plain.make(number).maps, rtol=1e-5, atol=1e-7)
        for position, band in enumerate(simulator.map_bands):
            flux = observation.maps[3 * position : 3 * position + 3].sum((1, 2), dtype=float)
            expected = observation.row[f"bt_{settings.bands[band]}"]
            # light beyond the border of the cutout, of the disk above all
            assert flux[0] / flux.sum() == pytest.approx(expected, abs=0.05)


def test_light_of_bars_and_arms_is_part_of_the_disk() -> None:
    settings = SimulateSettings(n_objects=1, structure_truth=True, oddity_fraction=0.0)
    plain, simulator = Simulator(SimulateSettings(n_objects=1, oddity_fraction=0.0)), Simulator(settings)
    share: dict[str, list[float]] = {"spiral": [], "elliptical": []}
    for number in range(24):
        observation = simulator.make(number)
        if number < 3:
            np.testing.assert_array_equal(observation.images, plain.make(number).images)
            assert plain.make(number).features == {}
        bar, arm, disk = observation.features["bar"], observation.features["arm"], observation.maps[1]
        assert (bar + arm).max() <= disk.max() * 1.001 + 1e-6
        if observation.row["class"] in share:
            share[observation.row["class"]].append(float(arm.sum() / max(disk.sum(), 1e-9)))
    assert max(share["elliptical"]) == 0
    # a quarter to a half of the disk's light, less where it is seen from the side
    assert 0.005 < min(share["spiral"]) < max(share["spiral"]) < 0.7
    labels = data_settings(settings, Path(".")).labels
    assert labels is not None
    assert labels.extensions["segment"] == "SEGMENTATION"
    assert labels.extensions["bar"] == "BAR"
