"""Every task keeps the same contract; a new one is tested by being listed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import astrodl
from astrodl import tasks
from astrodl.config import AugmentSettings, parse
from astrodl.data.batches import Cutouts, Dataset, ResidentDataset
from astrodl.pipeline import objects
from astrodl.pipeline.baseline import baseline
from astrodl.pipeline.evaluate import evaluate
from astrodl.pipeline.predictions import Predictions
from astrodl.store import open_store
from astrodl.tasks.model import load_model
from astrodl.training import loop

CPU = torch.device("cpu")


def small(name: str, **training: Any) -> dict[str, Any]:
    return {**tasks.get(name).small, "train": {"epochs": 2, "batch_size": 16, **training}}


def job(name: str, store: Path, **training: Any) -> tuple[Any, Dataset]:
    kind = tasks.get(name)
    settings = parse(kind.Settings, small(name, **training))
    with open_store(store) as reader:
        task = kind(settings, objects.fit_context(kind, settings, reader))
        indices = objects.labelled(kind, settings, reader, "train")
        arrays = {**task.inputs(Cutouts.from_store(reader, indices)), **task.targets(reader, indices)}
    return task, ResidentDataset(arrays, CPU)


@pytest.fixture(scope="session", params=tasks.NAMES)
def trained(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A model of each task and its predictions."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    astrodl.train(name, store, folder, settings=small(name), progress=False)
    astrodl.predict(name, store, [folder / "model.safetensors"], folder / "predictions.h5")
    return name, folder


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_parameter_of_a_phase_gets_a_gradient(name: str, store: Path) -> None:
    task, data = job(name, store)
    network = task.build().train()
    batch = data.batch(torch.arange(16))
    for phase in task.phases:
        parameters = list(task.parameters(network, phase))
        network.zero_grad(set_to_none=True)
        # twice: a branch that starts at zero passes no gradient through before its first update
        optimizer = torch.optim.SGD(parameters, 1e-3)
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            task.loss(network, task.augment(batch), phase, 1.0)[0].backward()
            optimizer.step()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)
        assert sum(float(p.grad.abs().sum()) > 0 for p in parameters) > 0.9 * len(parameters)


AUGMENTED = [name for name in tasks.NAMES if "rotate" not in tasks.get(name).Settings.unused_augmentations]


@pytest.mark.parametrize("name", AUGMENTED)
def test_all_augmentations_at_once_leave_shapes_and_lose_bands_whole(name: str, store: Path) -> None:
    task, data = job(name, store)
    some = {"rotate": 180, "zoom": 0.2, "noise": 1, "blur": 1, "band_dropout": 0.5, "cutout": 0.25}
    task.settings = task.settings.model_copy(update={"augment": AugmentSettings.model_validate(some)})
    batch = data.batch(torch.arange(8, 40))
    batch["coverage"] = torch.ones_like(batch["image"])
    made = task.augment(batch)
    assert {key: tensor.shape for key, tensor in made.items()} == {key: tensor.shape for key, tensor in batch.items()}
    assert all(torch.isfinite(tensor).all() for tensor in made.values())
    lost = ~made["image"].flatten(2).any(2)
    assert 0.2 < float(lost.float().mean()) < 0.6
    assert not lost.all(1).any()
    assert torch.equal(lost, ~made["coverage"].flatten(2).any(2))
    if name == "photoz":
        assert torch.equal(lost, made["features"][:, -len(task.context.bands) :] == 0)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_eight_objects_are_learnt_by_heart(name: str, store: Path, tmp_path: Path) -> None:
    task, data = job(name, store, epochs=80, batch_size=8, ema=0.0, learning_rate=3e-3)
    eight = ResidentDataset({key: value[8:16].numpy() for key, value in data.tensors.items()}, CPU)
    network = task.build()
    before = loss_of(task, network, eight)
    loop.fit(task, network, eight, None, task.settings.train, tmp_path, seed=0, fingerprint="", progress=False)
    assert loss_of(task, network, eight) < before - 0.2 * abs(before)


@torch.no_grad()
def loss_of(task: Any, network: Any, data: Dataset) -> float:
    return float(task.validate(network.eval(), data.batch(torch.arange(len(data))))["loss"])


def test_model_loads_and_predicts_as_the_store_was_predicted(trained: tuple[str, Path], store: Path) -> None:
    _, folder = trained
    model = load_model(folder / "model.safetensors", device="cpu")
    stored = Predictions(folder / "predictions.h5").read(np.arange(10))
    with open_store(store) as reader:
        images, sky, features = reader.images(np.arange(10)), reader.sky_sigma[:10], reader.features()[:10]
    fresh = model.predict(images, sky_sigma=sky, features=features)
    assert set(fresh) == set(stored)
    for key, values in fresh.items():
        np.testing.assert_allclose(values, stored[key], rtol=2e-3, atol=2e-3)


def test_predictions_do_not_depend_on_the_company(trained: tuple[str, Path], store: Path) -> None:
    _, folder = trained
    model = load_model(folder / "model.safetensors", device="cpu")
    with open_store(store) as reader:
        cutouts = Cutouts.from_store(reader, np.arange(12))
    together, alone = model.raw(cutouts), model.raw(cutouts, batch_size=1)
    for key in together:
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-3, atol=1e-4)


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


def test_evaluation_measures_all_metrics_and_draws_figures(trained: tuple[str, Path], store: Path) -> None:
    name, folder = trained
    baseline(name, store, folder / "baseline.json", settings=small(name))
    report = evaluate(
        name,
        store,
        folder / "predictions.h5",
        folder / "baseline.json",
        folder / "metrics.json",
        figures=folder / "figures",
        history=[folder / "history.jsonl"],
        settings=small(name),
    )
    described = tasks.get(name).metrics
    names = {metric.name for metric in described}
    assert report == json.loads((folder / "metrics.json").read_text())
    assert set(report["network"]) == set(report["metrics"]) == names
    assert set(report["headline"]) <= names
    assert set(report["constant_baselines"]) <= set(report["baselines"])
    assert report["n_objects"] == 27
    assert report["baselines"]
    by_all = {metric.name for metric in described if not metric.network_only}
    assert all(by_all <= set(scores) <= names for scores in report["baselines"].values())
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {"learning_curves", *tasks.get(name).page_figures} <= drawn


@pytest.mark.parametrize("name", tasks.NAMES)
def test_killed_and_resumed_run_ends_in_the_same_weights(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(name, epochs=3)
    astrodl.train(name, store, tmp_path / "whole", settings=settings, progress=False)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    original, calls = loop.update, []

    def killed(*args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        original(*args, **options)

    monkeypatch.setattr(loop, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        astrodl.train(name, store, tmp_path / "broken", settings=settings, progress=False)
    assert (tmp_path / "broken" / "last.pt").exists()
    monkeypatch.setattr(loop, "update", original)
    astrodl.train(name, store, tmp_path / "broken", settings=settings, progress=False)
    whole, resumed = (load_file(tmp_path / part / "model.safetensors") for part in ("whole", "broken"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert not (tmp_path / "broken" / "last.pt").exists()


def test_a_smaller_training_set_is_part_of_a_larger_one_and_leaves_the_other_splits(store: Path) -> None:
    kind = tasks.get("photoz")
    with open_store(store) as reader:
        chosen = {
            n: objects.labelled(kind, parse(kind.Settings, {"n_train": n}), reader, "train") for n in (10, 30, None)
        }
        test = objects.labelled(kind, parse(kind.Settings, {"n_train": 10}), reader, "test")
        assert len(test) == len(reader.select("test"))
    assert [len(indices) for indices in chosen.values()] == [10, 30, 54]
    assert set(chosen[10]) < set(chosen[30]) < set(chosen[None])
