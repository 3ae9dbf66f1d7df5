"""Morphological classes: symmetries, calibration, and the ways to train them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from astrodl.calibration.levels import conformal_threshold
from astrodl.config import parse
from astrodl.data.batches import Cutouts, ResidentDataset
from astrodl.errors import ConfigError, DataError
from astrodl.models.symmetries import apply_symmetry
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.tasks.base import Evaluation
from astrodl.tasks.model import Model
from astrodl.tasks.morphology import Morphology
from tests.small_store import N_OBJECTS
from tests.small_task import make_task, read_batch, read_cutouts, train_model

SMALL: dict[str, Any] = {"widths": [8, 16], "apertures": 2, "joint": [16], "train": {"epochs": 2, "batch_size": 16}}
MIRROR: dict[str, Any] = {"mirror": {"early": "late"}, "augment": {"symmetries": False}}


@pytest.fixture(scope="module")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return train_model("morphology", store, tmp_path_factory.mktemp("model"), SMALL)


def make_morphology(store: Path, **settings: Any) -> Morphology:
    return make_task("morphology", store, {**SMALL, **settings})


def train(store: Path, folder: Path, **settings: Any) -> Model:
    return train_model("morphology", store, folder, {**SMALL, "train": {"epochs": 1, "batch_size": 16}, **settings})


def predict_transformed(model: Model, cutouts: Cutouts, element: int) -> dict[str, np.ndarray]:
    """Predict images that are flipped and turned: elements 0 to 3 are turns, 4 to 7 are flips."""
    images = apply_symmetry(torch.from_numpy(cutouts.images), element).contiguous().numpy()
    return model.raw(Cutouts(images, cutouts.sky_sigma, cutouts.features))


@pytest.mark.parametrize("photometry", [False, True])
def test_probabilities_are_invariant_under_flips_and_quarter_turns(
    store: Path, tmp_path: Path, photometry: bool
) -> None:
    model = train(store, tmp_path, photometry=photometry)
    cutouts = read_cutouts(store, 12)
    expected = model.raw(cutouts)["probability"]
    for element in range(1, 8):
        predicted = predict_transformed(model, cutouts, element)["probability"]
        np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6, err_msg=f"element {element}")


def test_with_four_views_probabilities_are_invariant_under_turns_and_not_under_flips(
    store: Path, tmp_path: Path
) -> None:
    model = train(store, tmp_path, views=4)
    cutouts = read_cutouts(store, 12)
    expected = model.raw(cutouts)["probability"]
    for element, invariant in ((1, True), (4, False)):
        predicted = predict_transformed(model, cutouts, element)["probability"]
        assert np.allclose(predicted, expected, rtol=0, atol=1e-6) == invariant


def test_a_flip_exchanges_the_probabilities_of_mirror_classes(store: Path, tmp_path: Path) -> None:
    model = train(store, tmp_path, **MIRROR)
    cutouts = read_cutouts(store, 12)
    before = model.raw(cutouts)["uncalibrated"]
    assert not np.allclose(before[:, 0], before[:, 1], atol=1e-3)
    for element in range(8):
        after = predict_transformed(model, cutouts, element)["uncalibrated"]
        expected = before[:, ::-1] if element >= 4 else before
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6, err_msg=f"element {element}")


@pytest.mark.parametrize("wrong", [{"augment": {}}, {"loss": "triplet"}])
def test_mirror_classes_require_suitable_augmentation_and_loss(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="mirror"):
        parse(Morphology.Settings, {**MIRROR, **wrong})


@pytest.mark.parametrize("pairs", [{"early": "early"}, {"early": "late", "middle": "late"}, {"a": "b", "b": "c"}])
def test_a_class_in_two_mirror_pairs_is_an_error(pairs: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="twice; each belongs to one pair"):
        parse(Morphology.Settings, {**MIRROR, "mirror": pairs})


def test_an_unknown_mirror_class_is_an_error(store: Path) -> None:
    with pytest.raises(ConfigError, match="no class 'left'; the classes are early, late"):
        make_morphology(store, **{**MIRROR, "mirror": {"left": "late"}})


def test_mixed_objects_have_mixed_targets(store: Path) -> None:
    task = make_morphology(store, augment={"mixup": 1.0, "symmetries": False, "shift_pixels": 0})
    batch = read_batch(task, store, 6)
    mixed = task.augment(batch)
    share, partner = mixed["share"], mixed["partner"]
    expected = share[:, None] * batch["target"] + (1 - share[:, None]) * batch["target"][partner]
    torch.testing.assert_close(mixed["target"], expected)
    assert torch.isfinite(task.loss(task.build(), mixed, "main", 0.0)[0])


def test_prediction_sets_contain_the_most_probable_class_and_grow_with_the_level(model: Model, store: Path) -> None:
    predicted = model.task.finish(model.raw(read_cutouts(store, N_OBJECTS)))
    best = predicted["probability"].argmax(1)
    for level in (90, 95):
        assert predicted[f"set_{level}"][np.arange(N_OBJECTS), best].all()
    assert (predicted["set_95"] >= predicted["set_90"]).all()
    columns = {column.name: column.values for column in model.task.columns(predicted)}
    assert set(np.unique(columns["morphology_set95"])) <= {"early", "late", "early late"}


def test_prediction_sets_of_an_uncalibrated_network_contain_all_classes(store: Path) -> None:
    task = make_morphology(store)
    predicted = Model(task, task.build()).raw(read_cutouts(store, 12))
    assert task.finish(predicted)["set_90"].all()


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "mse", "l1", "triplet"])
def test_a_network_learns_the_classes_with_every_loss(store: Path, tmp_path: Path, loss: str) -> None:
    training = {"epochs": 30, "batch_size": 18, "ema": 0.0}
    model = train(store, tmp_path, loss=loss, train=training, dropout=0.0, apertures=4)
    predicted = model.task.finish(model.raw(read_cutouts(store, N_OBJECTS)))["probability"]
    np.testing.assert_allclose(predicted.sum(1), 1, rtol=1e-5)
    with open_store(store) as reader:
        label = model.task.truth(reader, np.arange(N_OBJECTS))["label"]
    assert (predicted.argmax(1) == label).mean() > 0.75


@pytest.mark.parametrize("network", ["none", "resnet18", "d4"])
def test_a_network_of_every_kind_trains_and_predicts(store: Path, tmp_path: Path, network: str) -> None:
    model = train(store, tmp_path, network=network, share=0.05, photometry=network == "none")
    assert np.isfinite(model.raw(read_cutouts(store, 12))["probability"]).all()


def test_sampling_balances_the_classes(store: Path) -> None:
    task = make_morphology(store, sampling=1.0)
    with open_store(store) as reader:
        train = objects.labelled(Morphology, task.settings, reader, "train")
        frequency, label = task.sampling(reader, train), task.truth(reader, train)["label"]
        assert make_morphology(store).sampling(reader, train) is None
    assert frequency is not None
    sums = [frequency[label == k].sum() for k in (0, 1)]
    assert sums[0] == pytest.approx(sums[1])


def test_a_student_trains_on_the_predictions_of_its_teacher_for_unlabelled_objects(store: Path, tmp_path: Path) -> None:
    few_labels = Path(shutil.copy(store, tmp_path / "few_labels.h5"))
    with h5py.File(few_labels, "r+") as file:
        labels = file["catalog/class"][:]
        labels[20:] = b""
        file["catalog/class"][:] = labels
    teacher = train(few_labels, tmp_path / "teacher")
    settings = {"teacher": str(tmp_path / "teacher" / "model.safetensors")}
    task = make_morphology(few_labels, **settings)
    with open_store(few_labels) as reader:
        labelled = objects.labelled(Morphology, task.settings, reader, "train")
        trainable = objects.trainable(Morphology, task.settings, reader)
        target = task.targets(reader, trainable)["target"]
        probability = teacher.raw(Cutouts.from_store(reader, trainable))["probability"]
    has_label = np.isin(trainable, labelled)
    assert 0 < has_label.sum() < len(trainable)
    assert set(np.unique(target[has_label])) == {0.0, 1.0}
    np.testing.assert_allclose(target[~has_label], probability[~has_label], atol=1e-5)
    train(few_labels, tmp_path / "student", **settings)


def test_a_teacher_of_other_classes_is_an_error(store: Path, trained_model: Callable[[str], Path]) -> None:
    task = make_morphology(store, teacher=str(trained_model("photoz") / "model.safetensors"))
    with pytest.raises(DataError, match="has classes None"):
        task._pseudo_labels(read_cutouts(store, 2))


def test_a_network_without_suitable_input_is_an_error(store: Path) -> None:
    with pytest.raises(ConfigError, match="network = dieleman: size 32 is not accepted"):
        make_morphology(store, network="dieleman", share=0.05).build()
    with pytest.raises(ConfigError, match="has no input"):
        make_morphology(store, network="none").build()


def test_the_confusion_matrix_of_the_best_baseline_is_drawn(model: Model, store: Path) -> None:
    rows = np.arange(12)
    with open_store(store) as reader:
        predictions = model.task.finish(model.raw(Cutouts.from_store(reader, rows)))
        truth = model.task.truth(reader, rows)
        right = np.eye(len(model.task.context.constants["classes"]))[truth["label"]]
        baselines = {"weak": {"probability": right[:, ::-1]}, "strong": {"probability": right}}
        report = Evaluation({"ece": {"value": 0.0, "error": 0.0}}, baselines)
        figure = model.task.figures(reader, rows, predictions, truth, report)["confusion"]
    titles = [axes.get_title("left") + axes.get_title() for axes in figure.axes]
    assert any(title.startswith("strong") for title in titles)
    assert not any(title.startswith("weak") for title in titles)


def test_sets_are_those_of_the_probabilities_that_the_same_objects_have_not_fitted(model: Model, store: Path) -> None:
    task, batch = model.task, read_batch(model.task, store, N_OBJECTS)
    split = ResidentDataset({name: tensor.numpy() for name, tensor in batch.items()}, torch.device("cpu"))
    with torch.no_grad():
        constants = task.calibrate(model.network, split, split)
        before = type(task)(task.settings, replace(task.context, constants={**task.context.constants, **constants}))
        predicted = before.predict(model.network, batch)
    assert constants["temperature"] != 1.0
    label, uncalibrated = batch["target"].argmax(1).numpy(), predicted["uncalibrated"].double().numpy()
    for level, least in zip((90, 95), constants["least"], strict=True):
        assert least == pytest.approx(conformal_threshold(uncalibrated, label, level / 100), rel=1e-5)
        sets = uncalibrated >= least * (1 - 1e-5)
        np.testing.assert_array_equal(predicted[f"excess_{level}"].numpy() >= -1e-5, sets)


def test_thresholds_of_older_models_are_those_of_the_calibrated_probabilities(model: Model, store: Path) -> None:
    task = model.task
    older = {**task.context.constants, "temperature": 2.0, "least": [0.4, 0.3]}
    older.pop("set_temperature", None)
    old = type(task)(task.settings, replace(task.context, constants=older))
    with torch.no_grad():
        predicted = old.predict(model.network, read_batch(old, store, 20))
    np.testing.assert_array_equal(predicted["excess_90"] >= 0, predicted["probability"] >= 0.4)
