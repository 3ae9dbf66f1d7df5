"""Fewer objects than a batch, than neighbours and trees of the baselines, and than validation needs."""

import math
from pathlib import Path
from typing import Any

import pytest

import astrodl
from astrodl.baselines.networks import fit_predict_ensemble
from astrodl.errors import AstrodlError
from astrodl.tasks import NAMES
from tests.small_store import write_store
from tests.small_task import small_settings


@pytest.fixture(autouse=True)
def _short_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fit_predict_ensemble.__kwdefaults__, "min_updates", 10)


def settings_of(name: str) -> dict[str, Any]:
    return small_settings(name, epochs=1, batch_size=64)


@pytest.mark.filterwarnings("ignore:.*the Hubble coordinate may run the wrong way:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_survey_smaller_than_a_batch_runs_from_training_to_metrics(name: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store.h5", 9)  # 6 train, 1 validation, 2 test
    model = astrodl.train(name, store, tmp_path / "m", settings=settings_of(name), progress=False)
    predictions = astrodl.predict(name, store, [model], tmp_path / "p.h5")
    found = astrodl.baseline(name, store, tmp_path / "b.json", settings=settings_of(name))
    report = astrodl.evaluate(name, store, predictions, tmp_path / "b.json", tmp_path / "m.json")
    assert report["n_objects"] == 2
    assert found["baselines"]
    if name != "outliers":  # no oddity among so few
        assert any(math.isfinite(value["value"]) for value in report["network"].values())


@pytest.mark.parametrize("name", NAMES)
def test_a_single_object_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store.h5", 1)
    with pytest.raises(AstrodlError, match=r"needs at least 2|at least two classes"):
        astrodl.train(name, store, tmp_path / "m", settings=settings_of(name), progress=False)


@pytest.mark.parametrize("name", NAMES)
def test_two_training_objects_of_another_survey_are_enough_for_baselines(name: str, tmp_path: Path) -> None:
    few = write_store(tmp_path / "few.h5", 2)
    store = write_store(tmp_path / "store.h5", 20, survey="other", all_test=True)
    found = astrodl.baseline(name, store, tmp_path / "b.json", train_store=few, settings=settings_of(name))
    assert found["n_objects"] == 20
    assert found["predictions"]
