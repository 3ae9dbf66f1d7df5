"""Redshift distributions: normalisation, bins, calibration, missing bands and folds."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import astrodl
from astrodl.config import parse
from astrodl.data.batches import Cutouts
from astrodl.pipeline.predictions import Predictions
from astrodl.products import read_catalog
from astrodl.products.pdfs import read_pdfs
from astrodl.store import open_store
from astrodl.tasks.model import Model
from astrodl.tasks.photoz import FLAGS, Photoz
from astrodl.tasks.photoz.settings import PhotozSettings
from tests.small_store import N_OBJECTS
from tests.small_task import make_task, read_cutouts, train_model

SMALL: dict[str, Any] = {"n_bins": 20, "widths": [8, 16], "joint": [16], "train": {"epochs": 2, "batch_size": 16}}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"photometry": True, "band_dropout": 0.3},
    {"network": "resnet", "head": "mixture", "n_components": 3},
    {"network": "branches", "bins": "quantile", "balance": 0.5},
    {"network": "inception", "inception_share": 0.05, "crps_weight": 0.0},
    {"network": "none", "photometry": True, "likelihood_weight": 0.0, "band_dropout": 0.2},
]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def model(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return train_model("photoz", store, tmp_path_factory.mktemp("photoz"), {**SMALL, **request.param})


@pytest.fixture
def cutouts(store: Path) -> Cutouts:
    return read_cutouts(store, 12)


def predict(model: Model, cutouts: Cutouts) -> dict[str, np.ndarray]:
    return model.task.finish(model.raw(cutouts))


def assert_normalised(model: Model, pdf: np.ndarray) -> None:
    edges = np.asarray(model.task.context.constants["edges"])
    assert (np.diff(edges) > 0).all()
    assert (pdf > 0).all()
    np.testing.assert_allclose(pdf @ np.diff(edges), 1, atol=1e-4)


def test_pdfs_are_positive_and_normalised_and_intervals_nested(model: Model, cutouts: Cutouts) -> None:
    predicted = predict(model, cutouts)
    assert_normalised(model, predicted["pdf"])
    for name, values in predicted.items():
        assert np.isfinite(values).all(), name
    assert (predicted["z_low95"] <= predicted["z_low68"] + 1e-6).all()
    assert (predicted["z_high68"] <= predicted["z_high95"] + 1e-6).all()


@pytest.mark.parametrize("extreme", ["no data", "huge", "negative", "zero", "no features"])
def test_pdfs_of_extreme_images_are_normalised(model: Model, cutouts: Cutouts, extreme: str) -> None:
    images, features = cutouts.images.copy(), cutouts.features.copy()
    images[:] = {"no data": np.nan, "huge": 1e12, "negative": -1e12, "zero": 0.0}.get(extreme, images)
    if extreme == "no features":
        features[:] = np.nan
    assert_normalised(model, predict(model, Cutouts(images, cutouts.sky_sigma, features))["pdf"])


def test_predictions_are_invariant_under_flips_and_quarter_turns(model: Model, cutouts: Cutouts) -> None:
    images = np.rot90(cutouts.images, 1, (-2, -1))[..., ::-1].copy()
    before, after = predict(model, cutouts), predict(model, Cutouts(images, cutouts.sky_sigma, cutouts.features))
    for name in ("pdf", "z_median", "z_low68", "z_high95"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-4, atol=1e-5)


def test_the_calibration_is_saved_with_the_model(model: Model) -> None:
    constants = model.task.context.constants
    assert len(constants["levels"]) == 4
    assert len(constants["pit_beta"]) == 2
    assert float(model.network.space.n_validation) > 0


def test_a_missing_band_is_flagged_and_equals_a_dropped_band(model: Model, store: Path) -> None:
    cutouts = read_cutouts(store, 3)
    with open_store(store) as reader:
        of_band = ["_r_" in f"{name}_" for name in reader.feature_names]
    images, features = cutouts.images.copy(), cutouts.features.copy()
    images[:, 1] = np.nan
    features[:, of_band] = np.nan
    without_band = Cutouts(images, cutouts.sky_sigma, features)
    batch = {name: torch.from_numpy(array) for name, array in model.task.inputs(cutouts).items()}
    dropped = model.task.without_bands(batch, torch.tensor([[1.0, 0.0, 1.0]]).expand(3, -1))
    for name, array in model.task.inputs(without_band).items():
        np.testing.assert_array_equal(dropped[name].numpy(), array, err_msg=name)
    assert (predict(model, without_band)["flags"] & FLAGS["missing_band"] > 0).all()


def test_linear_bins_have_equal_widths_and_quantile_bins_similar_counts(store: Path) -> None:
    edges = {}
    with open_store(store) as reader:
        z = reader.column("z", np.flatnonzero(reader.fold >= 0))
        for bins in ("linear", "quantile"):
            settings = parse(PhotozSettings, {"bins": bins, "n_bins": 6, "z_max": 3.0})
            edges[bins] = np.asarray(Photoz.fit_constants(settings, reader, reader.select("train"))["edges"])
    np.testing.assert_allclose(np.diff(edges["linear"]), 0.5)
    counts = np.histogram(z, edges["quantile"])[0]
    assert counts.max() < 0.3 * len(z)
    assert edges["quantile"][-1] == 3.0


def test_balanced_weights_favour_rare_redshifts(store: Path) -> None:
    task = make_task("photoz", store, {"balance": 1.0})
    with open_store(store) as reader:
        train = reader.select("train")
        z = reader.column("z", train)
        weight = task.targets(reader, train)["weight"]
    bins = (z / task.context.constants["edges"][-1] * 20).astype(int)
    counts = np.bincount(bins)[bins]
    assert weight.mean() == pytest.approx(1, rel=1e-5)
    assert weight[counts.argmin()] > weight[counts.argmax()]


def test_images_of_strong_noise_are_out_of_distribution(store: Path, tmp_path: Path) -> None:
    model = train_model("photoz", store, tmp_path, {**SMALL, "train": {"epochs": 10, "batch_size": 16}})
    with open_store(store) as reader:
        cutouts = Cutouts.from_store(reader, reader.select("test"))
    noise = (50 * np.random.default_rng(0).standard_normal(cutouts.images.shape)).astype(np.float32)
    noisy = Cutouts(noise, cutouts.sky_sigma, np.full_like(cutouts.features, np.nan))
    assert np.median(predict(model, noisy)["ood"]) < 0.5 * np.median(predict(model, cutouts)["ood"])


def test_networks_of_three_folds_predict_every_object_out_of_fold(store: Path, tmp_path: Path) -> None:
    folds = Path(shutil.copy(store, tmp_path / "store.h5"))
    fold_of = np.arange(N_OBJECTS) % 3
    with h5py.File(folds, "r+") as file:
        is_test = file["split"][:] == 2
        file["fold"][:] = np.where(is_test, -1, fold_of)
    models = []
    for fold in range(3):
        models.append(astrodl.train("photoz", folds, tmp_path / str(fold), settings=SMALL, fold=fold, progress=False))
    astrodl.predict("photoz", folds, models, tmp_path / "all.h5")
    combined = Predictions(tmp_path / "all.h5")
    assert combined.held_out(0, N_OBJECTS).all()
    pdf = combined.read()["pdf"]
    for fold in range(3):
        astrodl.predict("photoz", folds, [models[fold]], tmp_path / "one.h5")
        single = Predictions(tmp_path / "one.h5")
        held_out = ~is_test & (fold_of == fold)
        np.testing.assert_allclose(pdf[held_out], single.read()["pdf"][held_out], rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(single.held_out(0, N_OBJECTS), held_out | is_test)
        assert np.abs(pdf[is_test] - single.read()["pdf"][is_test]).max() > 1e-3
    catalog = astrodl.catalog(folds, [tmp_path / "all.h5"], tmp_path / "catalog.fits")
    assert read_catalog(catalog)["photoz_unseen"].all()
    product = astrodl.product("photoz", folds, tmp_path / "all.h5", tmp_path / "photoz_pdf.hdf5")
    np.testing.assert_array_equal(read_pdfs(product)[2], pdf)
