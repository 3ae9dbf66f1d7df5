"""Classes, their calibration, and the ways to train them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import astrodl
from astrodl.config import parse
from astrodl.data.augment import apply_symmetry
from astrodl.data.batches import Cutouts
from astrodl.errors import ConfigError, DataError
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.tasks.base import Evaluation
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.morphology import Morphology

SMALL: dict[str, Any] = {"widths": [8, 16], "apertures": 2, "joint": [16], "train": {"epochs": 2, "batch_size": 16}}


@pytest.fixture(scope="module")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return trained(store, tmp_path_factory.mktemp("model"))


def trained(store: Path, folder: Path, **settings: Any) -> Model:
    path = astrodl.train("morphology", store, folder, settings={**SMALL, **settings}, progress=False)
    return load_model(path, device="cpu")


def some(store: Path, n: int = 12) -> Cutouts:
    with open_store(store) as reader:
        return Cutouts.from_store(reader, np.arange(n))


@pytest.mark.parametrize("element", range(1, 8))
@pytest.mark.parametrize("photometry", [False, True])
def test_probabilities_are_invariant_under_flips_and_quarter_turns(
    store: Path, tmp_path: Path, element: int, photometry: bool
) -> None:
    model = trained(store, tmp_path, photometry=photometry, train={"epochs": 1, "batch_size": 16})
    cutouts = some(store)
    images = apply_symmetry(torch.from_numpy(cutouts.images), element).contiguous().numpy()
    moved = model.raw(Cutouts(images, cutouts.sky_sigma, cutouts.features))
    np.testing.assert_allclose(moved["probability"], model.raw(cutouts)["probability"], rtol=0, atol=1e-6)


def test_handedness_can_be_told_with_quarter_turns_alone(store: Path, tmp_path: Path) -> None:
    model = trained(store, tmp_path, views=4, train={"epochs": 1, "batch_size": 16})
    cutouts = some(store)
    before = model.raw(cutouts)["probability"]
    for element, same in ((1, True), (4, False)):
        images = apply_symmetry(torch.from_numpy(cutouts.images), element).contiguous().numpy()
        after = model.raw(Cutouts(images, cutouts.sky_sigma, cutouts.features))["probability"]
        assert np.allclose(after, before, rtol=0, atol=1e-6) == same


MIRROR: dict[str, Any] = {"mirror": {"early": "late"}, "augment": {"symmetries": False}}


@pytest.mark.parametrize("element", range(8))
def test_a_mirror_exchanges_the_probabilities_of_the_pair(store: Path, tmp_path: Path, element: int) -> None:
    model = trained(store, tmp_path, **MIRROR, train={"epochs": 1, "batch_size": 16})
    cutouts = some(store)
    images = apply_symmetry(torch.from_numpy(cutouts.images), element).contiguous().numpy()
    before, after = (
        model.raw(Cutouts(maps, cutouts.sky_sigma, cutouts.features))["uncalibrated"]
        for maps in (cutouts.images, images)
    )
    assert not np.allclose(before[:, 0], before[:, 1], atol=1e-3)
    np.testing.assert_allclose(after, before[:, ::-1] if element >= 4 else before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"augment": {}}, {"loss": "triplet"}])
def test_a_mirror_that_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="mirror"):
        parse(Morphology.Settings, {**MIRROR, **wrong})


@pytest.mark.parametrize("pairs", [{"early": "early"}, {"early": "late", "middle": "late"}, {"a": "b", "b": "c"}])
def test_a_mirror_with_a_class_in_two_pairs_is_refused(pairs: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="twice; each belongs to one pair"):
        parse(Morphology.Settings, {**MIRROR, "mirror": pairs})


def test_a_mirror_of_an_unknown_class_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no class 'left'; the classes are early, late"):
        trained(store, tmp_path, **{**MIRROR, "mirror": {"left": "late"}})


def test_mixed_objects_have_mixed_targets(store: Path) -> None:
    settings = parse(Morphology.Settings, {**SMALL, "augment": {"mixup": 1.0, "symmetries": False, "shift_pixels": 0}})
    with open_store(store) as reader:
        task = Morphology(settings, objects.fit_context(Morphology, settings, reader))
        arrays = objects.training_arrays(task, reader, np.arange(6))
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    mixed = task.augment(batch)
    share, partner = mixed["share"], mixed["partner"]
    expected = share[:, None] * batch["target"] + (1 - share[:, None]) * batch["target"][partner]
    torch.testing.assert_close(mixed["target"], expected)
    assert torch.isfinite(task.loss(task.build(), mixed, "main", 0.0)[0])


def test_sets_hold_the_best_class_and_grow_with_the_level(model: Model, store: Path) -> None:
    predicted = model.task.finish(model.raw(some(store, 90)))
    best = predicted["probability"].argmax(1)
    for level in (90, 95):
        assert predicted[f"set_{level}"][np.arange(90), best].all()
    assert (predicted["set_95"] >= predicted["set_90"]).all()
    columns = {column.name: column.values for column in model.task.columns(predicted)}
    assert set(np.unique(columns["morphology_set95"])) <= {"early", "late", "early late"}


def test_a_network_without_validation_promises_nothing(store: Path) -> None:
    with open_store(store) as reader:
        settings = parse(Morphology.Settings, SMALL)
        task = Morphology(settings, objects.fit_context(Morphology, settings, reader))
    predicted = Model(task, task.build()).raw(some(store))
    assert task.finish(predicted)["set_90"].all()


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "mse", "l1", "triplet"])
def test_every_loss_learns_the_classes(store: Path, tmp_path: Path, loss: str) -> None:
    training = {"epochs": 30, "batch_size": 18, "ema": 0.0}
    model = trained(store, tmp_path, loss=loss, train=training, dropout=0.0, apertures=4)
    predicted = model.task.finish(model.raw(some(store, 90)))["probability"]
    np.testing.assert_allclose(predicted.sum(1), 1, rtol=1e-5)
    with open_store(store) as reader:
        label = model.task.truth(reader, np.arange(90))["label"]
    assert (predicted.argmax(1) == label).mean() > 0.75


@pytest.mark.parametrize("network", ["none", "resnet18", "d4"])
def test_networks_are_built_by_name(store: Path, tmp_path: Path, network: str) -> None:
    model = trained(
        store,
        tmp_path,
        network=network,
        share=0.05,
        photometry=network == "none",
        train={"epochs": 1, "batch_size": 16},
    )
    assert np.isfinite(model.raw(some(store))["probability"]).all()


def test_rare_classes_are_drawn_more_often(store: Path) -> None:
    settings = parse(Morphology.Settings, {**SMALL, "sampling": 1.0})
    with open_store(store) as reader:
        task = Morphology(settings, objects.fit_context(Morphology, settings, reader))
        train = objects.labelled(Morphology, settings, reader, "train")
        weight, label = task.sampling(reader, train), task.truth(reader, train)["label"]
    assert weight is not None
    sums = [weight[label == k].sum() for k in (0, 1)]
    assert sums[0] == pytest.approx(sums[1])
    plain = parse(Morphology.Settings, SMALL)
    with open_store(store) as reader:
        assert Morphology(plain, task.context).sampling(reader, train) is None


def test_a_student_is_trained_on_what_its_teacher_says_of_unlabelled_objects(
    model: Model, store: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.h5"
    few.write_bytes(store.read_bytes())
    with h5py.File(few, "r+") as file:
        labels = file["catalog/class"][:]
        labels[20:] = b""
        file["catalog/class"][:] = labels
    teacher = trained(few, tmp_path / "teacher")
    path = str(tmp_path / "teacher" / "model.safetensors")
    settings = parse(Morphology.Settings, {**SMALL, "teacher": path})
    with open_store(few) as reader:
        context = objects.fit_context(Morphology, settings, reader)
        task = Morphology(settings, context)
        labelled, both = (
            objects.labelled(Morphology, settings, reader, "train"),
            objects.trainable(Morphology, settings, reader),
        )
        target = task.targets(reader, both)["target"]
        said = teacher.raw(Cutouts.from_store(reader, both))["probability"]
    known = np.isin(both, labelled)
    assert 0 < known.sum() < len(both)
    assert set(np.unique(target[known])) == {0.0, 1.0}
    np.testing.assert_allclose(target[~known], said[~known], atol=1e-5)
    trained(few, tmp_path / "student", teacher=path)


def test_a_teacher_of_other_classes_is_refused(model: Model, store: Path, tmp_path: Path) -> None:
    astrodl.train(
        "photoz", store, tmp_path, settings={"n_bins": 9, "train": {"epochs": 1, "batch_size": 16}}, progress=False
    )
    settings = parse(Morphology.Settings, {**SMALL, "teacher": str(tmp_path / "model.safetensors")})
    with open_store(store) as reader:
        task = Morphology(settings, model.task.context)
        with pytest.raises(DataError, match="has classes None"):
            task._pseudo_labels(Cutouts.from_store(reader, np.arange(2)))


def test_a_network_that_cannot_look_at_the_images_is_one_line(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="network = dieleman: size 32 is not accepted"):
        trained(store, tmp_path, network="dieleman", share=0.05)
    with pytest.raises(ConfigError, match="has no input"):
        trained(store, tmp_path, network="none")


def test_the_confusion_of_the_strongest_baseline_is_drawn(model: Model, store: Path) -> None:
    rows = np.arange(12)
    with open_store(store) as reader:
        predictions = model.task.finish(model.raw(Cutouts.from_store(reader, rows)))
        truth = model.task.truth(reader, rows)
        right = np.eye(len(model.task.context.constants["classes"]))[truth["label"]]
        rivals = {"weak": {"probability": right[:, ::-1]}, "strong": {"probability": right}}
        report = Evaluation({"ece": {"value": 0.0, "error": 0.0}}, rivals)
        figure = model.task.figures(reader, rows, predictions, truth, report)["confusion"]
    titles = [axes.get_title("left") + axes.get_title() for axes in figure.axes]
    assert any(title.startswith("strong") for title in titles)
    assert not any(title.startswith("weak") for title in titles)
