"""Contract of all tasks; a new task is tested by being listed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import astrodl
from astrodl import tasks
from astrodl.baselines.networks import fit_predict_ensemble
from astrodl.config import AugmentSettings, parse
from astrodl.data.batches import Dataset, ResidentDataset
from astrodl.pipeline import objects
from astrodl.pipeline.baseline import baseline
from astrodl.pipeline.evaluate import evaluate
from astrodl.pipeline.predictions import Predictions
from astrodl.store import open_store
from astrodl.tasks.base import AnyTask
from astrodl.tasks.model import load_model
from astrodl.training import loop
from tests.small_task import CPU, interrupt_training, make_task, read_cutouts, read_split, small_settings


@pytest.fixture(params=tasks.NAMES)
def trained(request: pytest.FixtureRequest, trained_model: Callable[[str], Path]) -> tuple[str, Path]:
    """Name of a task, and the folder of its model and predictions."""
    return request.param, trained_model(request.param)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_parameter_of_a_phase_gets_a_gradient(name: str, store: Path) -> None:
    task = make_task(name, store, small_settings(name))
    network = task.build().train()
    batch = read_split(task, store, "train").batch(torch.arange(16))
    for phase in task.phases:
        parameters = list(task.parameters(network, phase))
        network.zero_grad(set_to_none=True)
        # Two updates: a branch that is initialised with zeros has no gradient before the first one.
        optimizer = torch.optim.SGD(parameters, 1e-3)
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            task.loss(network, task.augment(batch), phase, 1.0)[0].backward()
            optimizer.step()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)
        assert sum(float(p.grad.abs().sum()) > 0 for p in parameters) > 0.9 * len(parameters)


AUGMENTED = [name for name in tasks.NAMES if "rotate" not in tasks.get(name).Settings.unused_augmentations]


@pytest.mark.parametrize("name", AUGMENTED)
def test_augmentation_keeps_shapes_and_drops_whole_bands(name: str, store: Path) -> None:
    task = make_task(name, store, small_settings(name))
    everything = {"rotate": 180, "zoom": 0.2, "noise": 1, "blur": 1, "band_dropout": 0.5, "cutout": 0.25}
    task.settings = task.settings.model_copy(update={"augment": AugmentSettings.model_validate(everything)})
    batch = read_split(task, store, "train").batch(torch.arange(8, 40))
    batch["coverage"] = torch.ones_like(batch["image"])
    augmented = task.augment(batch)
    assert {key: value.shape for key, value in augmented.items()} == {key: value.shape for key, value in batch.items()}
    assert all(torch.isfinite(tensor).all() for tensor in augmented.values())
    dropped = ~augmented["image"].flatten(2).any(2)
    assert 0.2 < float(dropped.float().mean()) < 0.6
    assert not dropped.all(1).any()
    assert torch.equal(dropped, ~augmented["coverage"].flatten(2).any(2))
    if name == "photoz":
        assert torch.equal(dropped, augmented["features"][:, -len(task.context.bands) :] == 0)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_network_overfits_eight_objects(name: str, store: Path, tmp_path: Path) -> None:
    task = make_task(name, store, small_settings(name, epochs=80, batch_size=8, ema=0.0, learning_rate=3e-3))
    split = read_split(task, store, "train")
    eight = ResidentDataset({key: value[8:16].numpy() for key, value in split.tensors.items()}, CPU)
    network = task.build()
    before = compute_loss(task, network, eight)
    loop.fit(task, network, eight, None, task.settings.train, tmp_path, seed=0, fingerprint="", progress=False)
    assert compute_loss(task, network, eight) < before - 0.2 * abs(before)


@torch.no_grad()
def compute_loss(task: AnyTask, network: nn.Module, data: Dataset) -> float:
    return float(task.validate(network.eval(), data.batch(torch.arange(len(data))))["loss"])


def test_a_loaded_model_predicts_arrays_as_the_store_was_predicted(trained: tuple[str, Path], store: Path) -> None:
    _, folder = trained
    model = load_model(folder / "model.safetensors", device="cpu")
    stored = Predictions(folder / "predictions.h5").read(np.arange(10))
    cutouts = read_cutouts(store, 10)
    predicted = model.predict(cutouts.images, sky_sigma=cutouts.sky_sigma, features=cutouts.features)
    assert set(predicted) == set(stored)
    for key, values in predicted.items():
        np.testing.assert_allclose(values, stored[key], rtol=2e-3, atol=2e-3)


def test_predictions_do_not_depend_on_the_batch_size(trained: tuple[str, Path], store: Path) -> None:
    _, folder = trained
    model = load_model(folder / "model.safetensors", device="cpu")
    cutouts = read_cutouts(store, 12)
    one_batch, one_by_one = model.raw(cutouts), model.raw(cutouts, batch_size=1)
    for key in one_batch:
        np.testing.assert_allclose(one_batch[key], one_by_one[key], rtol=1e-3, atol=1e-4)


def test_columns_are_finite_and_described(trained: tuple[str, Path]) -> None:
    name, folder = trained
    predictions = Predictions(folder / "predictions.h5")
    columns = predictions.task().columns(predictions.read())
    assert columns
    for column in columns:
        assert column.name.startswith(name)
        assert column.description
        assert len(column.values) == len(predictions)
        if column.values.dtype.kind == "f":
            assert np.isfinite(column.values).all(), column.name


def test_evaluation_gives_all_metrics_and_figures(
    trained: tuple[str, Path], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = trained
    settings = small_settings(name)
    # Short: tests/baselines tests how well the networks of the baselines learn.
    monkeypatch.setitem(fit_predict_ensemble.__kwdefaults__, "min_updates", 10)
    baseline(name, store, tmp_path / "baseline.json", settings=settings)
    report = evaluate(
        name,
        store,
        folder / "predictions.h5",
        tmp_path / "baseline.json",
        tmp_path / "metrics.json",
        figures=tmp_path / "figures",
        history=[folder / "history.jsonl"],
        settings=settings,
    )
    described = astrodl.load_model(folder / "model.safetensors", device="cpu").task.describe_metrics()
    names = {metric.name for metric in described}
    assert report == json.loads((tmp_path / "metrics.json").read_text())
    assert set(report["network"]) == set(report["metrics"]) == names
    assert set(report["headline"]) <= names
    assert set(report["constant_baselines"]) <= set(report["baselines"])
    assert report["n_objects"] == 27
    assert report["baselines"]
    baseline_metrics = {metric.name for metric in described if not metric.network_only}
    assert all(baseline_metrics <= set(scores) <= names for scores in report["baselines"].values())
    figures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"learning_curves", *tasks.get(name).page_figures} <= figures


def test_an_interrupted_and_resumed_training_ends_in_the_same_weights(
    trained: tuple[str, Path], store: Path, tmp_path: Path
) -> None:
    name, folder = trained
    settings = small_settings(name)
    with interrupt_training(4), pytest.raises(KeyboardInterrupt):
        astrodl.train(name, store, tmp_path, settings=settings, progress=False)
    assert (tmp_path / "last.pt").exists()
    astrodl.train(name, store, tmp_path, settings=settings, progress=False)
    whole, resumed = (load_file(part / "model.safetensors") for part in (folder, tmp_path))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert not (tmp_path / "last.pt").exists()


def test_a_smaller_training_set_is_a_subset_of_a_larger_one_and_the_test_split_stays(store: Path) -> None:
    task_class = tasks.get("photoz")
    with open_store(store) as reader:
        selected = {
            n: objects.labelled(task_class, parse(task_class.Settings, {"n_train": n}), reader, "train")
            for n in (10, 30, None)
        }
        test = objects.labelled(task_class, parse(task_class.Settings, {"n_train": 10}), reader, "test")
        assert len(test) == len(reader.select("test"))
    assert [len(indices) for indices in selected.values()] == [10, 30, 54]
    assert set(selected[10]) < set(selected[30]) < set(selected[None])
