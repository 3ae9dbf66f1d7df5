"""Classes and votes of every kind: text, numbers, booleans, with spaces, and classes that a split does not have."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import astrodl
from astrodl import tasks
from astrodl.baselines import morphology as classical
from astrodl.baselines.networks import fit_predict_ensemble
from astrodl.config import parse
from astrodl.errors import ConfigError, DataError
from astrodl.metrics.bootstrap import bootstrap
from astrodl.pipeline.baseline import baseline
from astrodl.pipeline.evaluate import evaluate
from astrodl.pipeline.objects import fit_context
from astrodl.pipeline.predictions import Predictions
from astrodl.store import open_store
from astrodl.tasks.catalog_columns import class_names, name_kinds
from astrodl.tasks.morphology.settings import MorphologySettings
from tests.small_store import N_OBJECTS
from tests.small_task import make_task, small_settings

SPLIT = np.where(np.arange(N_OBJECTS) % 10 < 6, 0, np.where(np.arange(N_OBJECTS) % 10 < 7, 1, 2))
Change = Callable[[str, Any], Path]


@pytest.fixture
def with_column(store: Path, tmp_path: Path) -> Change:
    """A function that replaces a column of a copy of the store."""

    def change(name: str, values: Any) -> Path:
        path = tmp_path / "changed.h5"
        if not path.exists():
            shutil.copy(store, path)
        with h5py.File(path, "r+") as file:
            if f"catalog/{name}" in file:
                attributes = dict(file[f"catalog/{name}"].attrs)
                del file[f"catalog/{name}"]
            else:
                attributes = dict(file["catalog/z"].attrs)
            array = np.asarray(values)
            array = array.astype(object) if array.dtype.kind == "U" else array
            kind = h5py.string_dtype() if array.dtype == object else None
            file.create_dataset(f"catalog/{name}", data=array, dtype=kind).attrs.update(attributes)
        return path

    return change


def run(store: Path, folder: Path, name: str = "morphology", **settings: Any) -> dict[str, Any]:
    """Train, predict, fit the baselines, evaluate with figures."""
    settings = {**small_settings(name, epochs=1), **settings}
    model = astrodl.train(name, store, folder, settings=settings, progress=False)
    astrodl.predict(name, store, [model], folder / "p.h5", progress=False)
    baseline(name, store, folder / "b.json", settings=settings)
    files = (folder / "p.h5", folder / "b.json", folder / "m.json")
    return evaluate(name, store, *files, figures=folder / "f", settings=settings)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    short = ((fit_predict_ensemble, "min_updates", 2), (classical.forest, "n_trees", 5), (bootstrap, "n_draws", 10))
    for function, name, value in short:
        monkeypatch.setitem(function.__kwdefaults__, name, value)
    monkeypatch.setattr(classical, "_COSTS", (10.0,))
    monkeypatch.setattr(classical, "_GAMMAS", (0.2,))


def of_two(store: Path) -> np.ndarray:
    with open_store(store) as reader:
        return (reader.column("bt") > 0.5).astype(int)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["S0/a", "edge-on", "", "Sb"], ["S0/a", "edge-on", "", "Sb"]),
        ([1, 10, 2], ["1", "10", "2"]),
        ([1.0, np.nan, -5.0, 0.5], ["1", "", "-5", "0.5"]),
        (np.float32([0.1, np.inf]), ["0.1", ""]),
        ([True, False], ["1", "0"]),
        (np.ma.masked_equal([3, -99], -99), ["3", ""]),
        (np.uint64([2**63 + 1]), [str(2**63 + 1)]),
    ],
)
def test_names_of_classes(given: Any, expected: list[str]) -> None:
    assert class_names(given).tolist() == expected


def test_zero_and_false_are_no_kind_of_oddity_but_text_is() -> None:
    assert name_kinds([0, 2, 0]).tolist() == ["", "2", ""]
    assert name_kinds([False, True]).tolist() == ["", "1"]
    assert name_kinds([0.0, np.nan, 1.0]).tolist() == ["", "", "1"]
    assert name_kinds(["0", "", "ring"]).tolist() == ["0", "", "ring"]


@pytest.mark.parametrize("kind", ["text", "integer", "float"])
def test_classes_of_every_type_go_through_all_verbs(
    kind: str, store: Path, with_column: Change, tmp_path: Path
) -> None:
    late = of_two(store)
    columns = {
        "text": np.where(late, "edge-on Sb/c", "S0/a"),
        "integer": np.where(late, 10, 2),
        "float": np.where(np.arange(N_OBJECTS) % 11 == 0, np.nan, np.where(late, 10.0, 2.0)),
    }
    expected = {"text": ["S0/a", "edge-on Sb/c"], "integer": ["2", "10"], "float": ["2", "10"]}
    report = run(with_column("class", columns[kind]), tmp_path / "out")
    assert Predictions(tmp_path / "out/p.h5").task().classes == expected[kind]
    assert report["network"]["accuracy"]["value"] >= 0
    assert set(report["baselines"]) == {"forest", "svm", "mlp", "forest_no_colour"}
    json.dumps(report)


def test_names_in_a_set_are_told_apart_where_they_have_spaces(store: Path, with_column: Change) -> None:
    path = with_column("class", np.where(of_two(store), "edge on", "smooth"))
    task = make_task("morphology", path, small_settings("morphology"))
    assert task._named(np.ones((1, 2), np.uint8)).tolist() == ["edge on; smooth"]


@pytest.mark.parametrize("split", [1, 2])
@pytest.mark.parametrize("loss", ["cross_entropy", "triplet"])
def test_a_class_that_only_validation_or_test_has_goes_through_all_verbs(
    split: int, loss: str, store: Path, with_column: Change, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = np.where(of_two(store), "late", "early").astype("U9")
    names[np.flatnonzero(split == SPLIT)[:2]] = "merger"
    report = run(with_column("class", names), tmp_path / "out", loss=loss)
    assert Predictions(tmp_path / "out/p.h5").task().classes == ["early", "late", "merger"]
    assert np.isfinite(Predictions(tmp_path / "out/p.h5").read()["probability"]).all()
    assert report["n_objects"] == (SPLIT == 2).sum()
    assert all(np.isfinite(entry["value"]) for entry in report["network"].values())
    assert (
        "class 'merger' of column 'class' has no training objects (2 for validation or test)" in capsys.readouterr().err
    )


def test_all_folds_have_the_same_classes(store: Path, with_column: Change) -> None:
    fold = np.where(SPLIT == 2, -1, np.arange(N_OBJECTS) % 2)
    names = np.where(of_two(store), "late", "early").astype("U9")
    names[np.flatnonzero(fold == 1)[:1]] = "merger"
    path = with_column("class", names)
    with h5py.File(path, "r+") as file:
        file["fold"][:] = fold
        file["split"][:] = np.where(SPLIT == 2, 2, 0)
    settings = parse(MorphologySettings, small_settings("morphology"))
    with open_store(path) as reader:
        constants = [fit_context(tasks.get("morphology"), settings, reader, fold).constants for fold in (0, 1)]
    assert constants[0]["classes"] == constants[1]["classes"] == ["early", "late", "merger"]


def test_the_classes_of_a_survey_whose_splits_have_them_all_are_those_of_the_training_split(store: Path) -> None:
    task = make_task("morphology", store, small_settings("morphology"))
    counts = np.bincount(1 - of_two(store)[SPLIT == 0])
    assert task.classes == ["early", "late"]
    assert task.context.constants["rarity"] == (counts.mean() / counts).tolist()


def test_a_class_that_no_object_has_is_an_error(store: Path) -> None:
    with pytest.raises(DataError, match="no object of 'merger' in any split"):
        make_task("morphology", store, {**small_settings("morphology"), "classes": ["early", "late", "merger"]})


@pytest.mark.parametrize("classes", [["a", "a"], ["a", ""], ["a"]])
def test_classes_that_cannot_be_are_an_error(classes: list[str]) -> None:
    with pytest.raises(ConfigError, match="classes"):
        parse(MorphologySettings, {"classes": classes})


def test_classes_may_be_numbers_in_the_settings() -> None:
    assert parse(MorphologySettings, {"classes": [0, 1.0, 2.5, "a"]}).classes == ("0", "1", "2.5", "a")
    assert parse(MorphologySettings, {"classes": [False, True]}).classes == ("0", "1")
    mirrored = {"mirror": {0: 1}, "augment": {"symmetries": False}}
    assert parse(MorphologySettings, mirrored).mirror == {"0": "1"}


def test_objects_of_a_class_that_the_network_does_not_know_are_left_out_with_a_line(
    trained_model: Callable[[str], Path], with_column: Change, store: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    names = np.where(of_two(store), "late", "early").astype("U9")
    names[np.flatnonzero(SPLIT == 2)[:3]] = "merger"
    path = with_column("class", names)
    report = evaluate(
        "morphology", path, trained_model("morphology") / "predictions.h5", None, tmp_path / "m.json",
        figures=tmp_path / "f",
    )  # fmt: skip
    assert 0 <= report["network"]["accuracy"]["value"] <= 1
    assert "3 of 27 objects have a class that the network does not know" in capsys.readouterr().err


@pytest.mark.parametrize("split", [0, 1, 2])
def test_votes_of_a_hyphenated_tree_with_an_answer_or_a_question_that_a_split_lacks(
    split: int, store: Path, with_column: Change, tmp_path: Path
) -> None:
    with open_store(store) as reader:
        early = reader.column("votes_early")
    counts = {"how-round_very": early, "how-round_not-so": 20 - early, "bar_yes": early // 2, "bar_no": early // 4}
    for name, values in counts.items():
        path = with_column(name, np.where(split == SPLIT, 0 if name.startswith("bar") else 1, values))
    tree = {
        "questions": [{"name": "how-round", "answers": ["very", "not-so"]}, {"name": "bar", "answers": ["yes", "no"]}]
    }
    report = run(path, tmp_path / "out", "votes", tree=tree)
    assert np.isfinite(report["network"]["vote_rmse"]["value"])
    assert all(np.isfinite(scores["vote_rmse"]["value"]) for scores in report["baselines"].values())


@pytest.mark.parametrize(
    ("column", "split", "lost"),
    [
        ("class", 0, {"knn_recall", "map_recall"}),
        ("class", 2, {"knn_recall", "map_recall"}),
        ("bt", 0, {"rho_bt", "hubble_rho_bt"}),
        ("bt", 2, {"rho_bt", "hubble_rho_bt"}),
        ("class", None, {"knn_recall", "map_recall"}),
    ],
)
def test_the_latent_map_leaves_out_metrics_whose_truth_a_split_lacks(
    column: str, split: int | None, lost: set[str], trained_model: Callable[[str], Path], store: Path,
    with_column: Change, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with open_store(store) as reader:
        values = reader.column(column)
    values[slice(None) if split is None else split == SPLIT] = "" if column == "class" else np.nan
    path = with_column(column, values)
    settings = small_settings("latent")
    baseline("latent", path, tmp_path / "b.json", settings=settings)
    report = evaluate(
        "latent", path, trained_model("latent") / "predictions.h5", tmp_path / "b.json", tmp_path / "m.json",
        figures=tmp_path / "f",
    )  # fmt: skip
    described = set(report["metrics"])
    assert described - set(report["network"]) == lost
    of_baselines = {name for name in described if not name.startswith("hubble")}
    assert of_baselines - set(report["baselines"]["pca"]) == lost & of_baselines
    first = "knn_recall" if column == "class" else f"rho_{column}"
    assert f"have the truth for {first}" in capsys.readouterr().err


def test_oddities_may_be_marked_by_numbers(store: Path, with_column: Change) -> None:
    with open_store(store) as reader:
        odd = reader.column("oddity") != ""
    path = with_column("oddity", odd.astype(int))
    task = make_task("outliers", path, small_settings("outliers"))
    with open_store(path) as reader:
        truth = task.truth(reader, np.arange(N_OBJECTS))
    np.testing.assert_array_equal(truth["oddity"] != "", odd)
    scores = task.score({"score": odd.astype(float)}, truth, {})
    assert scores["auc"]["value"] == 1.0
