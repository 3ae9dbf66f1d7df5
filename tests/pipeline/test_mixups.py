"""Files that do not belong together are refused, and objects unlike the training objects are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import astrodl
from astrodl import cli
from astrodl.baselines.networks import fit_predict_ensemble
from astrodl.calibration.training_range import INPUT_FLAGS
from astrodl.errors import ConfigError, StoreError
from astrodl.photometry.features import measure
from astrodl.pipeline.predictions import Predictions
from astrodl.pipeline.shares import write_shares
from astrodl.products import read_catalog
from astrodl.store import open_store
from astrodl.store.layout import dataset_digest
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.photoz import FLAGS
from tests.small_store import BANDS
from tests.small_task import small_settings


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, predictions and baselines of photoz and outliers."""
    folder = tmp_path_factory.mktemp("mixups")
    for name in ("photoz", "latent"):
        astrodl.train(name, store, folder / name, settings=small_settings(name, epochs=1), progress=False)
        astrodl.predict(name, store, [folder / name / "model.safetensors"], folder / f"{name}.h5")
    astrodl.train(
        "photoz", store, folder / "seed1", settings=small_settings("photoz", epochs=1), seed=1, progress=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fit_predict_ensemble.__kwdefaults__, "min_updates", 10)
        for name in ("photoz", "latent"):
            astrodl.baseline(name, store, folder / f"{name}.json", settings=small_settings(name))
    return folder


@pytest.fixture
def _short_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fit_predict_ensemble.__kwdefaults__, "min_updates", 10)


def change(store: Path, out: Path, **datasets: Any) -> Path:
    """Copy a store with other content, as another ingestion of the same objects would give it."""
    shutil.copy(store, out)
    with h5py.File(out, "r+") as file:
        for name, values in datasets.items():
            file[name][...] = values
            file[name].attrs["sha256"] = dataset_digest(file[name])
    return out


@pytest.fixture
def newer(store: Path, tmp_path: Path) -> Path:
    with open_store(store) as reader:
        images = 2 * reader.images()
    return change(store, tmp_path / "newer.h5", image=images)


def test_predictions_of_another_store_with_the_same_objects_are_refused(
    newer: Path, folder: Path, tmp_path: Path
) -> None:
    predictions = folder / "photoz.h5"
    match = r"photoz.h5: made from another store, or from an older version of .*newer.h5 .*run 'astrodl predict photoz'"
    with pytest.raises(StoreError, match=match):
        astrodl.catalog(newer, [predictions], tmp_path / "out.fits")
    with pytest.raises(StoreError, match=match):
        astrodl.product("photoz", newer, predictions, tmp_path / "photoz_pdf.hdf5")
    with pytest.raises(StoreError, match=match):
        astrodl.evaluate("photoz", newer, predictions, None, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["newer.h5"]


def test_baselines_of_another_task_or_store_are_refused(store: Path, newer: Path, folder: Path, tmp_path: Path) -> None:
    for task in ("photoz", "latent"):
        report = astrodl.evaluate(
            task, store, folder / f"{task}.h5", folder / f"{task}.json", tmp_path / "metrics.json"
        )
        assert report["store"] == Predictions(folder / f"{task}.h5").attributes["store"]
        assert len(report["models"]) == 1
    with pytest.raises(StoreError, match=r"latent.json: baselines of task latent, not of photoz"):
        astrodl.evaluate("photoz", store, folder / "photoz.h5", folder / "latent.json", tmp_path / "out")
    with pytest.raises(StoreError, match=r"metrics.json: does not hold baselines"):
        astrodl.evaluate("latent", store, folder / "latent.h5", tmp_path / "metrics.json", tmp_path / "out")
    astrodl.predict("latent", newer, [folder / "latent" / "model.safetensors"], tmp_path / "newer-latent.h5")
    with pytest.raises(StoreError, match=r"latent.json: measured on another store"):
        astrodl.evaluate("latent", newer, tmp_path / "newer-latent.h5", folder / "latent.json", tmp_path / "out")
    old = json.loads((folder / "latent.json").read_text())
    del old["store"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    astrodl.evaluate("latent", store, folder / "latent.h5", tmp_path / "old.json", tmp_path / "metrics.json")
    old["n_objects"] = 3
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(StoreError, match=r"old.json: measured on 3 test objects, the predictions on 27"):
        astrodl.evaluate("latent", store, folder / "latent.h5", tmp_path / "old.json", tmp_path / "out")


def test_predictions_of_another_task_are_refused(store: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"latent.h5: predictions of task latent, not of photoz"):
        astrodl.evaluate("photoz", store, folder / "latent.h5", None, tmp_path / "out")
    shutil.copy(folder / "photoz.h5", tmp_path / "again.h5")
    with pytest.raises(StoreError, match=r"again.h5: predictions of task photoz, as in .*photoz.h5; give one file"):
        astrodl.catalog(store, [folder / "photoz.h5", tmp_path / "again.h5"], tmp_path / "out.fits")


def test_an_output_that_is_an_input_is_refused(store: Path, folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copy(store, tmp_path / "store.h5"))
    (tmp_path / "link.h5").symlink_to(own)
    model, predictions = folder / "photoz" / "model.safetensors", folder / "photoz.h5"
    before = own.read_bytes(), model.read_bytes(), predictions.read_bytes()
    match = "is an input of this step and would be replaced; give another output"
    for out in (own, tmp_path / "link.h5", model):
        with pytest.raises(ConfigError, match=match):
            astrodl.predict("photoz", own, [model], out)
    for out in (own, predictions):
        with pytest.raises(ConfigError, match=match):
            astrodl.catalog(own, [predictions], out)
        with pytest.raises(ConfigError, match=match):
            astrodl.evaluate("photoz", own, predictions, None, out)
        with pytest.raises(ConfigError, match=match):
            astrodl.product("photoz", own, predictions, out)
    with pytest.raises(ConfigError, match=match):
        astrodl.baseline("photoz", own, own)
    assert (own.read_bytes(), model.read_bytes(), predictions.read_bytes()) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda out: astrodl.catalog("store.h5", ["predictions.h5"], out),
        lambda out: write_shares("model.safetensors", "store.h5", out),
        lambda out: astrodl.inject("model.safetensors", "store.h5", out),
        lambda out: astrodl.segment("model.safetensors", ["image.fits"], out),
    ],
)
def test_a_name_that_promises_another_format_is_refused_before_the_work(write: Callable[[str], Any]) -> None:
    with pytest.raises(ConfigError, match=r"table\.csv: must end in \.fits or \.fit or \.fts; choose another name"):
        write("table.csv")


def test_a_folder_as_file_and_a_file_as_folder_are_refused_before_the_work(
    store: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder / "photoz" / "model.safetensors"
    with pytest.raises(IsADirectoryError):
        astrodl.predict("photoz", store, [model], tmp_path)
    assert cli.main(["predict", "photoz", str(store), str(model), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"astrodl: {tmp_path}: is a directory; give the path of a file"
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="taken: is a file, must be a folder for the model"):
        astrodl.train("photoz", store, tmp_path / "taken")


def altered(path: Path, out: Path, fingerprint: str, **context: Any) -> Path:
    """Save a model with another context."""
    model = load_model(path, device="cpu")
    values = model.task.context.to_dict()
    constants = {**values["constants"], **context.pop("constants", {})}
    task = type(model.task)(
        model.task.settings, model.task.context.from_dict({**values, **context, "constants": constants})
    )
    Model(task, model.network, {**model.metadata, "fingerprint": fingerprint}).save(out)
    return out


def test_every_model_is_checked_not_the_first_alone(store: Path, folder: Path, tmp_path: Path) -> None:
    first, second = folder / "photoz" / "model.safetensors", folder / "seed1" / "model.safetensors"
    edges = [0.9 * edge for edge in load_model(second, device="cpu").task.context.constants["edges"]]
    normalization = load_model(second, device="cpu").task.context.to_dict()["normalization"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"size": 64}, r"cutouts of 32 pixels, .*second.safetensors takes 64"),
        (
            {"bands": ("g", "r", "y"), "normalization": {**normalization, "bands": ("g", "r", "y")}},
            "band 'y' is not in",
        ),
        (
            {"bands": ("i", "r", "g"), "normalization": {**normalization, "bands": ("i", "r", "g")}},
            r"second.safetensors: bands i, r, g, .*model.safetensors has g, r, i",
        ),
        ({"unit": "relative"}, "unit relative, .* has uJy, so that they cannot be averaged"),
        ({"constants": {"edges": edges}}, "edges .* cannot be averaged"),
    ]
    for context, message in cases:
        path = altered(second, tmp_path / "second.safetensors", "other", **context)
        with pytest.raises(StoreError, match=message):
            astrodl.predict("photoz", store, [first, path], tmp_path / "out.h5")
    with pytest.raises(ConfigError, match="the same training as"):
        astrodl.predict(
            "photoz", store, [first, shutil.copy(first, tmp_path / "copy.safetensors")], tmp_path / "out.h5"
        )
    with pytest.raises(ConfigError, match="none is given"):
        astrodl.predict("photoz", store, [], tmp_path / "out.h5")
    with pytest.raises(StoreError, match="a model of task latent"):
        astrodl.predict("photoz", store, [first, folder / "latent" / "model.safetensors"], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_objects_of_a_survey_that_was_divided_anew_are_not_called_unseen(
    store: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = altered(folder / "photoz" / "model.safetensors", tmp_path / "m.safetensors", "m", split="0123")
    astrodl.predict("photoz", store, [model], tmp_path / "p.h5")
    assert "'tiny' has been divided in another way since" in capsys.readouterr().err
    predicted = Predictions(tmp_path / "p.h5")
    assert not predicted.held_out(0, len(predicted)).any()
    astrodl.evaluate("photoz", store, tmp_path / "p.h5", None, tmp_path / "metrics.json")
    assert "may have been trained on 27 of 27 test objects" in capsys.readouterr().err


def test_a_subset_of_the_training_split_is_known_in_its_own_store_alone(store: Path, tmp_path: Path) -> None:
    settings = {**small_settings("latent", epochs=1), "n_train": 10}
    model = astrodl.train("latent", store, tmp_path / "m", settings=settings, progress=False)
    other = change(store, tmp_path / "other.h5", background=np.ones((90, 3)))
    n_seen = []
    for path in (store, other):
        astrodl.predict("latent", path, [model], tmp_path / "p.h5")
        n_seen.append(int((~Predictions(tmp_path / "p.h5").held_out(0, 90)).sum()))
    assert n_seen == [10, 54]


def test_a_shard_with_objects_of_one_fold_is_predicted_out_of_fold(store: Path, tmp_path: Path) -> None:
    folds = np.where(np.arange(90) % 10 < 7, np.arange(90) % 3, -1)
    whole = change(store, tmp_path / "whole.h5", fold=folds)
    shard = change(store, tmp_path / "shard.h5", fold=np.where(folds > 0, 0, folds))
    for path in (whole, shard):
        with h5py.File(path, "r+") as file:
            file.attrs["settings"] = json.dumps({"split": {"folds": 3, "sample": None}})
    with open_store(shard) as reader:
        assert reader.n_folds == 3
        assert len(reader.select("train", 0)) == 0
        assert np.array_equal(reader.select("validation", 0), np.flatnonzero(folds >= 0))
    settings = small_settings("latent", epochs=1)
    models = []
    for fold in range(3):
        models.append(
            astrodl.train("latent", whole, tmp_path / str(fold), settings=settings, fold=fold, progress=False)
        )
    astrodl.predict("latent", shard, models, tmp_path / "shard-p.h5")
    astrodl.predict("latent", shard, models[:1], tmp_path / "own-p.h5")
    predicted, own = (Predictions(tmp_path / name).read() for name in ("shard-p.h5", "own-p.h5"))
    in_fold = folds >= 0
    assert np.array_equal(predicted["latent"][in_fold], own["latent"][in_fold])
    assert not np.array_equal(predicted["latent"][~in_fold], own["latent"][~in_fold])


def write_changed(store: Path, out: Path, factor: float = 1.0, order: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Write the images of a store in another unit or order of the bands."""
    with open_store(store) as reader:
        images, sky = factor * reader.images()[:, order], factor * reader.sky_sigma[:, order]
    features = measure(images, sky_sigma=sky, pixel_scale_arcsec=0.1, bands=BANDS)[0]
    return change(store, out, image=images, sky_sigma=sky, features=features)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [({"factor": 1 / 3.63}, ["magnitudes", "noise"]), ({"order": (2, 1, 0)}, ["magnitudes", "colours"]), ({}, [])],
)
def test_other_units_and_bands_in_another_order_are_named_on_the_command_line(
    changes: dict[str, Any],
    kinds: list[str],
    store: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = write_changed(store, tmp_path / "other.h5", **changes)
    out = tmp_path / "p.h5"
    words = ["predict", "photoz", other, folder / "photoz" / "model.safetensors", "--out", out]
    assert cli.main([str(word) for word in words]) == 0
    printed = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(printed) == len(kinds)
    for line, kind in zip(printed, kinds, strict=True):
        assert f"photoz: {kind} unlike those of the training objects" in line
    assert cli.main(["catalog", str(other), str(out), "--out", str(tmp_path / "c.fits")]) == 0
    table = read_catalog(tmp_path / "c.fits")
    flagged = np.asarray(table["photoz_input_flags"])
    assert (flagged > INPUT_FLAGS["missing_band"]).mean() > 0.9 if kinds else (flagged > 3).mean() < 0.2
    outside = flagged & (INPUT_FLAGS["magnitude"] | INPUT_FLAGS["colour"] | INPUT_FLAGS["snr"]) > 0
    assert np.array_equal(np.asarray(table["photoz_flags"]) & FLAGS["outside_training_range"] > 0, outside)


@pytest.mark.usefixtures("_short_baselines")
def test_an_object_without_data_in_the_bands_of_the_network_has_no_class_and_is_not_scored(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(store) as reader:
        images = reader.images()
        lost = reader.select("test")[3]
    model = astrodl.train(
        "morphology", store, tmp_path / "m", settings=small_settings("morphology", epochs=1), progress=False
    )
    images[lost] = np.nan
    other = change(store, tmp_path / "other.h5", image=images)
    astrodl.predict("morphology", other, [model], tmp_path / "p.h5")
    assert "1 of 90 objects have no pixel with data, and get no value" in capsys.readouterr().err
    assert astrodl.check(tmp_path / "p.h5") == []
    settings = small_settings("morphology")
    astrodl.baseline("morphology", other, tmp_path / "baseline.json", settings=settings)
    files = tmp_path / "p.h5", tmp_path / "baseline.json", tmp_path / "m.json"
    report = astrodl.evaluate("morphology", other, *files, figures=tmp_path / "figures")
    assert report["n_objects"] == 26
    assert "1 of 27 test objects have no data" in capsys.readouterr().err
    astrodl.catalog(other, [tmp_path / "p.h5"], tmp_path / "c.fits")
    row = read_catalog(tmp_path / "c.fits")[int(lost)]
    assert row["morphology_class"] == ""
    assert np.isnan(row["morphology_confidence"])


def test_light_in_another_unit_is_not_divided_unless_forced(store: Path, tmp_path: Path) -> None:
    astrodl.train("segmentation", store, tmp_path, settings=small_settings("segmentation", epochs=1), progress=False)
    pictures = change(store, tmp_path / "pictures.h5")
    with h5py.File(pictures, "r+") as file:
        file.attrs["unit"] = "relative"
    arguments = ("segmentation", pictures, tmp_path / "model.safetensors", tmp_path / "predictions.h5")
    with pytest.raises(StoreError, match=r"unit relative, .* was trained in uJy"):
        astrodl.predict(*arguments)
    assert astrodl.predict(*arguments, force=True).exists()
