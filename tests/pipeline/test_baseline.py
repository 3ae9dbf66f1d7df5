"""Baselines of a survey, trained on its own training split or on that of another survey."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import astrodl
from astrodl import cli
from astrodl.baselines.networks import fit_predict_ensemble
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.store import open_store
from astrodl.tasks import NAMES
from tests.small_store import write_store
from tests.small_task import make_task, small_settings

Capture = pytest.CaptureFixture[str]
OF_TEST = np.flatnonzero(np.arange(90) % 10 > 6)
"""Test objects of the small store, in another store of the same objects that are all test objects."""


@pytest.fixture(autouse=True)
def _short_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fit_predict_ensemble.__kwdefaults__, "min_updates", 10)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The objects of the small store as another survey, whose objects are all test objects."""
    return write_store(tmp_path / "other.h5", survey="other", all_test=True)


def run(name: str, store: Path, **options: Any) -> dict[str, Any]:
    return astrodl.baseline(name, store, store.with_name("baseline.json"), settings=small_settings(name), **options)


@pytest.mark.parametrize("name", NAMES)
def test_baselines_of_another_survey_predict_what_they_do_at_home(name: str, store: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other.h5", survey="other", all_test=True, order=(2, 0, 1))
    home = astrodl.baseline(name, store, tmp_path / "home.json", settings=small_settings(name))
    away = run(name, other, train_store=store)
    assert away["n_objects"] == 90
    assert (away["train_survey"], away["train_store"]) == ("tiny", home["store"])
    assert away["store"] not in (home["store"], None)
    assert away["predictions"].keys() == home["predictions"].keys()
    assert all(away["baselines"].values())
    for method, arrays in home["predictions"].items():
        for key, values in arrays.items():
            found = np.array(away["predictions"][method][key])[OF_TEST]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5, err_msg=f"{method} {key}")


def test_the_own_store_as_training_store_changes_nothing(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to(store)
    own = astrodl.baseline("outliers", store, tmp_path / "own.json")
    same = astrodl.baseline("outliers", store, tmp_path / "same.json", train_store=tmp_path / "link.h5")
    assert own == same == json.loads((tmp_path / "own.json").read_text())


def test_the_truth_of_a_segmentation_does_not_depend_on_the_order_of_the_bands(store: Path, tmp_path: Path) -> None:
    task = make_task("segmentation", store, {**small_settings("segmentation"), "reference_band": "i"})
    truths = []
    for order in ((0, 1, 2), (2, 0, 1)):
        path = write_store(tmp_path / f"{order[0]}.h5", order=order, noise=(0.2, 0.1, 0.4))
        with open_store(path) as reader:
            truths.append(task.truth(reader, np.arange(9)))
    assert all(np.array_equal(truths[0][key], truths[1][key], equal_nan=True) for key in truths[0])


def test_surveys_without_common_inputs_or_truth_are_one_message(store: Path, other: Path, tmp_path: Path) -> None:
    two = write_store(tmp_path / "two.h5", order=(0, 1))
    with pytest.raises(StoreError, match=r"two.h5: band 'i' is not in the store \(has g, r\), .*store.h5 has g, r, i"):
        run("photoz", two, train_store=store)
    without = write_store(tmp_path / "without.h5", without=["catalog/z"])
    with pytest.raises(DataError, match=r"without.h5: task photoz needs the column 'z'"):
        run("photoz", other, train_store=without)
    with pytest.raises(DataError, match=r"other.h5: no training objects that task latent can use"):
        run("latent", store, train_store=other)
    with pytest.raises(ConfigError, match="is an input of this step"):
        astrodl.baseline("photoz", other, store, train_store=store)
    assert not (tmp_path / "baseline.json").exists()


def test_a_survey_without_truth_has_no_baselines_and_says_so(store: Path, tmp_path: Path, capsys: Capture) -> None:
    without = write_store(tmp_path / "without.h5", survey="other", all_test=True, without=["catalog/z"])
    found = run("photoz", without, train_store=store)
    assert (found["n_objects"], found["baselines"]) == (0, {})
    error = capsys.readouterr().err
    assert "without.h5: task photoz needs the column 'z'" in error
    assert error.rstrip().endswith(": no baselines")


def test_other_units_scales_and_features_are_warned_of(store: Path, tmp_path: Path, capsys: Capture) -> None:
    path = write_store(tmp_path / "other.h5", survey="other", all_test=True, unit="relative", scale=None)
    run("outliers", path, train_store=store)
    unit, features = capsys.readouterr().err.splitlines()
    assert unit.endswith("other.h5: unit relative, the baselines are trained in uJy")
    assert "r50_arcsec, r50_pixels, rms_arcsec, rms_pixels: not in both this store and" in features
    path = write_store(tmp_path / "other.h5", survey="other", all_test=True, scale=0.2)
    run("outliers", path, train_store=store)
    assert "0.200 arcsec per pixel, the baselines are trained at 0.100" in capsys.readouterr().err


def test_test_objects_that_baselines_were_trained_on_are_warned_of(
    store: Path, tmp_path: Path, capsys: Capture
) -> None:
    again = write_store(tmp_path / "again.h5", all_test=True)
    run("outliers", again, train_store=store)
    assert "the baselines are trained on 54 of 90 test objects" in capsys.readouterr().err


def test_evaluate_shows_the_baselines_of_the_other_survey_beside_its_networks(
    store: Path, other: Path, tmp_path: Path, capsys: Capture
) -> None:
    settings = small_settings("morphology", epochs=1)
    model = astrodl.train("morphology", store, tmp_path / "m", settings=settings, progress=False)
    predictions, baseline = tmp_path / "p.h5", tmp_path / "b.json"
    astrodl.predict("morphology", other, [model], predictions)
    words = ["baseline", "morphology", other, "--train-store", store, "--out", baseline]
    assert cli.main([str(word) for word in words]) == 0
    capsys.readouterr()
    report = astrodl.evaluate("morphology", other, predictions, baseline, tmp_path / "m.json", figures=tmp_path / "f")
    assert "trained on survey" not in capsys.readouterr().err
    assert report["n_objects"] == 90
    assert report["network"].keys() >= report["baselines"]["forest"].keys()
    assert (tmp_path / "f" / "reliability.png").is_file()
    written = json.loads(baseline.read_text())
    baseline.write_text(json.dumps({**written, "train_survey": "third"}))
    astrodl.evaluate("morphology", other, predictions, baseline, tmp_path / "m.json")
    assert "the baselines are trained on survey 'third', the networks on 'tiny'" in capsys.readouterr().err
