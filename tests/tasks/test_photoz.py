"""What photo-z promises beside the contract of all tasks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import astrodl
from astrodl.config import parse
from astrodl.data.batches import Cutouts
from astrodl.pipeline import objects
from astrodl.pipeline.predictions import Predictions
from astrodl.products.pdfs import read_pdfs
from astrodl.store import open_store
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.photoz import FLAGS, Photoz
from astrodl.tasks.photoz.settings import PhotozSettings
from tests.small_store import N_OBJECTS, write_store

SMALL: dict[str, Any] = {"n_bins": 20, "widths": [8, 16], "joint": [16], "train": {"epochs": 2, "batch_size": 16}}
KINDS: list[dict[str, Any]] = [
    {},
    {"photometry": True, "band_dropout": 0.3},
    {"network": "resnet", "head": "mixture", "n_components": 3},
    {"network": "branches", "bins": "quantile", "balance": 0.5},
    {"network": "inception", "inception_share": 0.05, "crps_weight": 0.0},
    {"network": "none", "photometry": True, "likelihood_weight": 0.0, "band_dropout": 0.2},
]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def model(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("photoz")
    astrodl.train("photoz", store, folder, settings={**SMALL, **request.param}, progress=False)
    return load_model(folder / "model.safetensors", device="cpu")


@pytest.fixture
def cutouts(store: Path) -> Cutouts:
    with open_store(store) as reader:
        return Cutouts.from_store(reader, np.arange(12))


def predicted(model: Model, cutouts: Cutouts) -> dict[str, np.ndarray]:
    return model.task.finish(model.raw(cutouts))


def test_every_pdf_is_finite_positive_and_normalised(model: Model, cutouts: Cutouts) -> None:
    found = predicted(model, cutouts)
    edges = np.asarray(model.task.context.constants["edges"])
    assert (np.diff(edges) > 0).all()
    assert (found["pdf"] > 0).all()
    np.testing.assert_allclose(found["pdf"] @ np.diff(edges), 1, atol=1e-4)
    for name, values in found.items():
        assert np.isfinite(values).all(), name
    assert (found["z_low95"] <= found["z_low68"] + 1e-6).all()
    assert (found["z_high68"] <= found["z_high95"] + 1e-6).all()


@pytest.mark.parametrize("awkward", ["nothing", "huge", "negative", "zero", "no features"])
def test_awkward_images_give_pdfs_all_the_same(model: Model, cutouts: Cutouts, awkward: str) -> None:
    images, features = cutouts.images.copy(), cutouts.features.copy()
    images[:] = {"nothing": np.nan, "huge": 1e12, "negative": -1e12, "zero": 0.0}.get(awkward, images)
    if awkward == "no features":
        features[:] = np.nan
    found = predicted(model, Cutouts(images, cutouts.sky_sigma, features))
    edges = np.asarray(model.task.context.constants["edges"])
    assert (found["pdf"] > 0).all()
    np.testing.assert_allclose(found["pdf"] @ np.diff(edges), 1, atol=1e-4)


def test_predictions_do_not_change_under_flips_and_quarter_turns(model: Model, cutouts: Cutouts) -> None:
    turned = Cutouts(np.rot90(cutouts.images, 1, (-2, -1))[..., ::-1].copy(), cutouts.sky_sigma, cutouts.features)
    before, after = predicted(model, cutouts), predicted(model, turned)
    for name in ("pdf", "z_median", "z_low68", "z_high95"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-4, atol=1e-5)


def test_calibration_is_saved_with_the_model(model: Model) -> None:
    constants = model.task.context.constants
    assert len(constants["levels"]) == 4
    assert len(constants["pit_beta"]) == 2
    assert float(model.network.space.n_validation) > 0


def test_missing_bands_are_flagged_and_look_like_bands_that_were_taken_away(model: Model, store: Path) -> None:
    with open_store(store) as reader:
        cutouts = Cutouts.from_store(reader, np.arange(3))
        arrays = model.task.inputs(cutouts)
        images = cutouts.images.copy()
        images[:, 1] = np.nan
        features = cutouts.features.copy()
        features[:, ["_r_" in f"{name}_" for name in reader.feature_names]] = np.nan
    missing = model.task.inputs(Cutouts(images, cutouts.sky_sigma, features))
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    taken = model.task.without_bands(batch, torch.tensor([[1.0, 0.0, 1.0]]).expand(3, -1))
    for name, array in missing.items():
        np.testing.assert_array_equal(taken[name].numpy(), array, err_msg=name)
    flags = predicted(model, Cutouts(images, cutouts.sky_sigma, features))["flags"]
    assert (flags & FLAGS["missing_band"] > 0).all()


def test_quantile_bins_hold_like_numbers_and_linear_ones_like_widths(store: Path) -> None:
    with open_store(store) as reader:
        z = reader.column("z", np.flatnonzero(reader.fold >= 0))
        edges = {
            kind: np.asarray(
                Photoz.fit_constants(
                    parse(PhotozSettings, {"bins": kind, "n_bins": 6, "z_max": 3.0}), reader, reader.select("train")
                )["edges"]
            )
            for kind in ("linear", "quantile")
        }
    np.testing.assert_allclose(np.diff(edges["linear"]), 0.5)
    counts = np.histogram(z, edges["quantile"])[0]
    assert counts.max() < 0.3 * len(z)
    assert edges["quantile"][-1] == 3.0


def test_weights_against_n_of_z_favour_rare_redshifts(store: Path) -> None:
    settings = parse(PhotozSettings, {"balance": 1.0})
    with open_store(store) as reader:
        train = reader.select("train")
        z = reader.column("z", train)
        task = Photoz(settings, objects.fit_context(Photoz, settings, reader))
        weight = task.targets(reader, train)["weight"]
    place = (z / task.context.constants["edges"][-1] * 20).astype(int)
    counts = np.bincount(place)[place]
    assert weight.mean() == pytest.approx(1, rel=1e-5)
    assert weight[counts.argmin()] > weight[counts.argmax()]


def test_a_bright_field_far_from_the_training_set_is_out_of_distribution(store: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "train": {"epochs": 10, "batch_size": 16}}
    astrodl.train("photoz", store, tmp_path, settings=settings, progress=False)
    model = load_model(tmp_path / "model.safetensors", device="cpu")
    with open_store(store) as reader:
        cutouts = Cutouts.from_store(reader, reader.select("test"))
    usual = predicted(model, cutouts)["ood"]
    random = np.random.default_rng(0)
    noise = (50 * random.standard_normal(cutouts.images.shape)).astype(np.float32)
    odd = predicted(model, Cutouts(noise, cutouts.sky_sigma, np.full_like(cutouts.features, np.nan)))["ood"]
    assert np.median(odd) < 0.5 * np.median(usual)


def test_every_object_is_predicted_by_networks_that_never_saw_it(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store.h5")
    import h5py

    with h5py.File(store, "r+") as file:
        split = file["split"][:]
        file["fold"][:] = np.where(split == 2, -1, np.arange(N_OBJECTS) % 3)
    models = []
    for fold in range(3):
        astrodl.train("photoz", store, tmp_path / str(fold), settings=SMALL, fold=fold, progress=False)
        models.append(tmp_path / str(fold) / "model.safetensors")
    astrodl.predict("photoz", store, models, tmp_path / "all.h5")
    together = Predictions(tmp_path / "all.h5")
    assert together.held_out(0, N_OBJECTS).all()
    pdfs = together.read()["pdf"]
    for fold in range(3):
        astrodl.predict("photoz", store, [models[fold]], tmp_path / "one.h5")
        alone = Predictions(tmp_path / "one.h5")
        own = (split != 2) & (np.arange(N_OBJECTS) % 3 == fold)
        np.testing.assert_allclose(pdfs[own], alone.read()["pdf"][own], rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(alone.unseen(0, N_OBJECTS), own | (split == 2))
        assert np.abs(pdfs[split == 2] - alone.read()["pdf"][split == 2]).max() > 1e-3
    out = astrodl.catalog(store, [tmp_path / "all.h5"], tmp_path / "catalog.fits")
    written = astrodl.product("photoz", store, tmp_path / "all.h5", tmp_path / "photoz_pdf.hdf5")
    from astropy.table import Table

    table = Table.read(out)
    assert table["photoz_unseen"].all()
    np.testing.assert_array_equal(read_pdfs(written)[2], pdfs)
