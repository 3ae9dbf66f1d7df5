"""Surveys without images: photo-z, latent map and outliers run on magnitudes, what needs pixels says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.table import Table

import astrodl
from astrodl import tasks
from astrodl.config import IngestSettings, parse
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.photometry.features import catalogue_features, feature_names
from astrodl.pipeline.train import train
from astrodl.tasks.model import load_model

BANDS = ("g", "r", "i", "z")
RUNNING = ("photoz", "latent", "outliers")
N = 240


def make_catalogue(folder: Path) -> Path:
    """Write a table of galaxies that redden with redshift; a few are odd, not detected, or not observed in a band."""
    random = np.random.default_rng(1)
    z = random.uniform(0.02, 0.6, N)
    red = random.uniform(18, 20, N)
    slope = np.array([2.5, 0.0, -0.8, -1.2])
    magnitude = red[:, None] + np.outer(z, slope) + 0.02 * random.standard_normal((N, 4))
    magnitude[::11, 0] += 1.5
    magnitude[5, 0], magnitude[6, 3] = 99.0, -99.0
    error = np.full((N, 4), 0.02)
    error[5, 0] = 24.0
    table = Table({"id": np.arange(1, N + 1), "zspec": z, "oddity": np.where(np.arange(N) % 11 == 0, "odd", "")})
    for number, band in enumerate(BANDS):
        table[f"mag_{band}"], table[f"magerr_{band}"] = magnitude[:, number], error[:, number]
    table.write(folder / "galaxies.csv", overwrite=True)
    return folder / "galaxies.csv"


def data(folder: Path, bands: tuple[str, ...] = BANDS) -> dict[str, Any]:
    columns = [{"name": band, "magnitude": f"mag_{band}", "error": f"magerr_{band}"} for band in bands]
    kept = {"z": "zspec", "oddity": "oddity"}
    values = {"root": str(folder), "catalog": "galaxies.csv", "layout": "table", "id_column": "id"}
    return {**values, "bands": columns, "columns": kept}


def ingest(folder: Path, out: Path, bands: tuple[str, ...] = BANDS) -> Path:
    astrodl.ingest(parse(IngestSettings, {"survey": "table", "data": data(folder, bands)}), out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    make_catalogue(folder)
    return folder


@pytest.fixture(scope="module")
def table_store(folder: Path) -> Path:
    return ingest(folder, folder / "store.h5")


@pytest.fixture(scope="module", params=RUNNING)
def trained(request: pytest.FixtureRequest, table_store: Path, folder: Path) -> tuple[str, Path]:
    name = request.param
    settings = {"train": {"epochs": 2, "batch_size": 32}}
    train(name, table_store, folder / name, settings=settings, progress=False)
    astrodl.predict(name, table_store, folder / name / "model.safetensors", folder / name / "predictions.h5")
    return name, folder / name


def test_a_task_runs_from_the_table_to_figures_and_catalogue(trained: tuple[str, Path], table_store: Path) -> None:
    name, out = trained
    baseline = None
    if name != "photoz":  # which takes twenty seconds
        baseline = out / "baseline.json"
        assert astrodl.baseline(name, table_store, baseline)["baselines"]
    metrics = astrodl.evaluate(
        name, table_store, out / "predictions.h5", baseline, out / "metrics.json", figures=out / "figures"
    )
    assert metrics["network"]
    assert list((out / "figures").glob("*.png"))
    assert astrodl.check(out / "predictions.h5") == astrodl.check(out / "model.safetensors") == []
    catalog = Table.read(astrodl.catalog(table_store, [out / "predictions.h5"], out / "catalog.fits"))
    main = {"photoz": "photoz_z_median", "latent": "latent_map_x", "outliers": "outliers_score"}[name]
    assert np.isfinite(catalog[main]).all()
    assert len(np.unique(catalog[main])) > N // 2


def test_bands_in_another_order_give_the_same(trained: tuple[str, Path], folder: Path, table_store: Path) -> None:
    name, out = trained
    other = ingest(folder, folder / "other.h5", BANDS[::-1])
    astrodl.predict(name, other, out / "model.safetensors", out / "other.h5")
    first, second = (
        Table.read(astrodl.catalog(source, [out / file], out / "compared.fits"))
        for source, file in ((table_store, "predictions.h5"), (other, "other.h5"))
    )
    for column in first.colnames:
        if first[column].dtype.kind == "f":
            np.testing.assert_allclose(first[column], second[column], rtol=2e-3, atol=5e-3)


def test_the_python_path_gives_the_numbers_of_the_command_line(trained: tuple[str, Path], table_store: Path) -> None:
    name, out = trained
    model = load_model(out / "model.safetensors")
    with astrodl.open_store(table_store) as reader:
        features, sigma = reader.features(), reader.sky_sigma
        raw = model.predict(np.empty((N, 4, 0, 0), np.float32), features=features, sky_sigma=sigma)
    key = {"photoz": "z_median", "latent": "latent", "outliers": "score"}[name]
    from astrodl.pipeline.predictions import Predictions

    with astrodl.open_store(table_store) as reader:
        expected = Predictions(out / "predictions.h5").checked_block(reader, 0, N)[1][key]
    np.testing.assert_allclose(raw[key], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="a model of a survey without images needs them"):
        model.predict(np.empty((N, 4, 0, 0), np.float32))


def test_photoz_learns_from_magnitudes(table_store: Path, tmp_path: Path) -> None:
    settings = {"train": {"epochs": 60, "batch_size": 32}, "n_bins": 40, "joint": [64, 32], "dropout": 0.0}
    path = train("photoz", table_store, tmp_path, settings=settings, progress=False)
    astrodl.predict("photoz", table_store, path, tmp_path / "predictions.h5")
    metrics = astrodl.evaluate("photoz", table_store, tmp_path / "predictions.h5", None, tmp_path / "metrics.json")
    assert metrics["network"]["sigma_mad"]["value"] < 0.03  # n(z) for every object: 0.15
    assert load_model(path).task.settings.network == "none"


@pytest.mark.slow
def test_the_baselines_of_photoz_take_the_table(table_store: Path, tmp_path: Path) -> None:
    baselines = astrodl.baseline("photoz", table_store, tmp_path / "baseline.json")["baselines"]
    assert baselines["knn"]["sigma_mad"]["value"] < 0.2 * baselines["trainz"]["sigma_mad"]["value"]


@pytest.mark.parametrize("name", sorted(set(tasks.NAMES) - set(RUNNING)))
def test_a_task_that_needs_pixels_says_so(name: str, table_store: Path, tmp_path: Path) -> None:
    for verb in (train, astrodl.baseline):
        with pytest.raises(ConfigError, match=rf"tasks.{name}: needs pixels, and the survey has no images"):
            verb(name, table_store, tmp_path / "out")
    assert not (tmp_path / "out").is_file()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("photoz", {"network": "resnet"}, "network = resnet: needs pixels"),
        ("photoz", {"photometry": False}, "photometry = false: leaves no input"),
        ("photoz", {"augment": {"blur": 1.0}}, "augment.blur: changes images"),
        ("outliers", {"critic": 3}, "critic: belongs to images"),
        ("latent", {"view": 16}, "view: belongs to images"),
        ("latent", {"dimensions": 4}, "dimensions = 4: more than the 3 colours of 4 bands"),
    ],
)
def test_settings_that_need_pixels_are_refused(
    name: str, settings: dict[str, Any], message: str, table_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(name, table_store, tmp_path, settings=settings)


def test_check_says_what_needs_pixels_before_any_work(folder: Path, tmp_path: Path) -> None:
    config = {"surveys": {"table": {"data": data(folder)}}, "tasks": {"photoz": {}, "segmentation": {}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    (problem,) = astrodl.check(tmp_path / "run.yaml")
    assert "surveys.table: tasks.segmentation: needs pixels" in problem
    config["surveys"]["table"]["tasks"] = ["photoz"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert astrodl.check(tmp_path / "run.yaml") == []


def test_models_of_images_do_not_fit(table_store: Path, trained_model: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a survey without images, .* was trained on a survey with images"):
        astrodl.predict("photoz", table_store, trained_model("photoz") / "model.safetensors", tmp_path / "p.h5")


def test_the_store_is_described_and_drawn_without_pixels(table_store: Path, tmp_path: Path) -> None:
    text = astrodl.inspect(table_store, tmp_path / "sheet.png")
    assert "no images, photometry of a table" in text
    assert "1 not detected in one of the bands" in text
    astrodl.overview(table_store, [], tmp_path / "figures")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["splits.png"]
    with astrodl.open_store(table_store) as reader, pytest.raises(StoreError, match="has no images"):
        reader.images([0])


def test_names_and_columns_of_catalogue_features_agree() -> None:
    flux = np.array([[1.0, 2.0, np.nan]])
    features = catalogue_features(flux, 0.1 * flux, 23.9 - 2.5 * np.log10(flux))
    names = feature_names(["a", "b", "c"], 0, None)
    assert features.shape == (1, len(names))
    assert features[0, names.index("colour_a_b_total")] == pytest.approx(2.5 * np.log10(2), rel=1e-5)
    assert np.isnan(features[0, names.index("magnitude_c_total")])
    assert features[0, names.index("snr")] == pytest.approx((1 / 0.01 + 2 / 0.04) / np.sqrt(1 / 0.01 + 1 / 0.04))
