"""Every setting of the networks has an effect: a setting that is read and never applied fails.

A task is described by all that its settings decide before and in a training: objects, constants, inputs, targets,
weights, phases, losses, gradients, predictions and metrics. Another value of any setting must change the description.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from astrodl import tasks
from astrodl.config import AugmentSettings, Section, TaskSettings, TrainSettings, parse
from astrodl.errors import AstrodlError
from astrodl.pipeline.objects import fit_context, labelled, trainable
from astrodl.store import open_store
from astrodl.tasks.base import AnyTask
from astrodl.tasks.image_network import StyleSettings
from astrodl.training import loop
from tests.small_task import make_task, read_batch, read_split, small_settings
from tests.training.test_loop import Line, data

Settings = dict[str, Any]
NETWORKS = {"network": "compact", "widths": [8, 16]}
SILU = {"activation": "silu"}
TREE = {"questions": [{"name": "votes", "answers": ["late", "early"]}]}

OTHERS: dict[str, dict[str, Any]] = {
    "photoz": {
        "target": "bt", "network": "resnet", "widths": [16, 16], "apertures": 4,
        "band_subset": (1, {"network": "branches"}), "inception_share": (0.05, {"network": "inception"}),
        "photometry": True, "joint": [8, 16], "head": "mixture",
        "n_components": (2, {"head": "mixture"}), "bins": "quantile", "n_bins": 10, "z_max": 3.0, "smear": 0.1,
        "likelihood_weight": 0.5, "crps_weight": 1.0, "balance": 0.5, "band_dropout": 0.5, "dropout": 0.6,
        "feature_noise": 0.5, "views": 4,
    },
    "morphology": {
        "network": "compact", "widths": [16, 16], "share": (0.2, {"network": "resnet18"}), "style": SILU,
        "apertures": 4, "photometry": True, "joint": [8], "views": 4, "dropout": 0.6, "target": "oddity",
        "classes": ["late", "early"], "loss": "focal", "focal_gamma": (1.0, {"loss": "focal"}),
        "margin": (0.6, {"loss": "triplet"}), "label_smoothing": 0.2, "balance": 1.0, "sampling": 0.5,
        "mirror": ({"early": "late"}, {"augment": {"symmetries": False}}), "teacher": "no-such-model",
    },
    "votes": {
        "network": "compact", "widths": [16, 16], "share": (0.2, {"network": "resnet18"}), "style": SILU,
        "apertures": 4, "photometry": True, "joint": [8], "views": 4, "dropout": 0.6, "tree": TREE, "likelihood": "mse",
        "warm_up": 0.9,
    },
    "segmentation": {
        "clump_sigma": 50.0, "clump_contrast": 3.0, "widths": [16, 16], "dropout": 0.6, "views": 1,
        "reference_band": "g", "unet": {"skips": "none"}, "losses": {"bce": 1.0}, "max_clumps": 2, "n_bins": 4,
        "photometry": False, "shape": {"sersic_index": None},
    },
    "latent": {
        "dimensions": 3, "view": 24, "extent": 2.0, "beta": (2.0, {"method": "variational"}),
        "softening": 0.3, "noise_floor": 0.5,
        "reconstruction": "l1", "effective_pixels": 100.0, "classes": "oddity", "properties": {"bt": "bt"},
        "widths": [16, 16], "method": "autoencoder", "free_bits": (9.0, {"method": "variational"}),
        "nuisances": {"noise": 2.0}, "view_weight": (5.0, {"method": "anchored"}),
    },
    "outliers": {
        "latent": 5, "autoencoder": 3, "critic": 2, "generator": 2, "penalty": 1.0, "adversarial": 0.5, "moments": 0.5,
        "parts": ["residual", "structure"], "exclude": ["ring"], "target": "class", "widths": [16, 16],
        "critic_widths": [16, 16], "method": "wgan", "spectral_norm": True, "weight_limit": (0.5, {"method": "wgan"}),
        "information": (9.0, {"method": "infogan"}),
        "representation": ("no-such-model", {"parts": ["features", "representation"]}),
    },
}  # fmt: skip
"""Task -> setting -> another value, perhaps with settings that let it have an effect."""
SHARED: dict[str, Any] = {"n_train": 20, "init_from": "no-such-model", "freeze": ["no-such-part"]}
ELSEWHERE = {"folds", "seeds", "init_bands", "augment", "train"}
"""Settings of `TaskSettings` with tests of their own: jobs (tests/workflow), warm start, sections below."""

NEED_MORE = {"segmentation": {"psf", "purity"}}
"""Settings that need a point-spread function, or a network that finds clumps: see tests/tasks/test_segmentation.py."""


def describe(name: str, store: Path, settings: Settings) -> str:
    """Return a digest of what the settings of a task decide, or the message with which they are refused."""
    task_class = tasks.get(name)
    try:
        parsed = parse(task_class.Settings, settings)
        with open_store(store) as reader:
            chosen = [trainable(task_class, parsed, reader), labelled(task_class, parsed, reader, "test")]
            task = task_class(parsed, fit_context(task_class, parsed, reader))
            found: list[Any] = [chosen, task.context.constants, task.models_used(parsed), dict(task.phases)]
            truth = task.truth(reader, chosen[1])
            found += [task.sampling(reader, chosen[0]), truth, parsed.freeze]
        found += list(_trained(task, store))
        found += [[metric.name for metric in task.describe_metrics()]]
        predicted = _predict(task, store)
        found += [predicted, [column.name for column in task.columns(predicted)]]
    except AstrodlError as error:
        return str(error)
    return hashlib.sha256(repr([_plain(part) for part in found]).encode()).hexdigest()


def _trained(task: AnyTask, store: Path) -> Iterator[Any]:
    """Yield inputs, first weights, and losses and gradients of each phase at the start and the end."""
    batch = read_batch(task, store, 12)
    torch.manual_seed(3)
    network = task.build().train()
    yield batch
    yield network.state_dict()
    for done in (0.3, 1.0):
        for phase in task.phases:
            torch.manual_seed(5)
            loss, _ = task.loss(network, task.augment(batch), phase, done)
            network.zero_grad()
            loss.backward()
            yield loss.detach()
            yield {key: p.grad for key, p in network.named_parameters() if p.grad is not None}


def _predict(task: AnyTask, store: Path) -> dict[str, np.ndarray]:
    torch.manual_seed(3)
    network = task.build().eval()
    train, validation = (read_split(task, store, split) for split in ("train", "validation"))
    with torch.no_grad():
        task.context.constants.update(task.calibrate(network, train, validation))
        predicted = task.predict(network, validation.batch(torch.arange(len(validation))))
    return task.finish({key: value.numpy() for key, value in predicted.items()})


def _plain(value: Any) -> Any:
    """Return what `repr` shows in full."""
    if isinstance(value, dict):
        return sorted((key, _plain(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Tensor | np.ndarray):
        return (
            hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            if value.dtype != object
            else value.tolist()
        )
    return value


@cache
def _describe(name: str, store: Path, settings: str) -> str:
    return describe(name, store, json.loads(settings))


def differs(name: str, store: Path, base: Settings, key: str, other: Any) -> bool:
    return _describe(name, store, json.dumps(base)) != describe(name, store, {**base, key: other})


CASES = [(name, key, other) for name, others in OTHERS.items() for key, other in {**others, **SHARED}.items()]


@pytest.mark.parametrize(("name", "key", "other"), CASES, ids=[f"{name}-{key}" for name, key, _ in CASES])
def test_a_setting_of_a_task_has_an_effect(name: str, key: str, other: Any, store: Path) -> None:
    value, needed = other if isinstance(other, tuple) else (other, {})
    assert differs(name, store, {**small_settings(name), **needed}, key, value)


@pytest.mark.parametrize("name", OTHERS)
def test_every_setting_of_a_task_is_tried(name: str) -> None:
    own = set(tasks.get(name).Settings.model_fields)
    assert own == (set(OTHERS[name]) | NEED_MORE.get(name, set()) | set(SHARED) | ELSEWHERE) & own
    assert set(TaskSettings.model_fields) == set(SHARED) | ELSEWHERE


STYLE = {"activation": "silu", "norm": "group", "initialization": "glorot", "pooling": "max", "dropout": 0.5}


@pytest.mark.parametrize("key", StyleSettings.model_fields)
def test_a_setting_of_the_style_has_an_effect(key: str, store: Path) -> None:
    base = {**small_settings("morphology"), **NETWORKS, "dropout": 0.1}
    assert differs("morphology", store, base, "style", {key: STYLE[key]})


AUGMENT: dict[str, Any] = {
    "symmetries": False, "shift_pixels": 5, "rotate": 45, "zoom": 0.3, "noise": 1.0, "blur": 1.5, "band_dropout": 0.5,
    "cutout": 0.3, "mixup": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("key", AugmentSettings.model_fields)
def test_a_setting_of_the_augmentation_has_an_effect(key: str, store: Path) -> None:
    tried = {name: {**small_settings(name), "augment": {key: AUGMENT[key]}} for name in tasks.NAMES}
    for name, settings in tried.items():
        if key in tasks.get(name).Settings.unused_augmentations:
            with pytest.raises(AstrodlError, match=f"augment.{key} has no effect"):
                parse(tasks.get(name).Settings, settings)
            continue
        changed = []
        for chosen in (small_settings(name), settings):
            task = make_task(name, store, chosen)
            torch.manual_seed(1)
            changed.append(_plain(task.augment(read_split(task, store, "train").batch(torch.arange(16)))))
        assert changed[0] != changed[1], name


TRAIN: dict[str, Any] = {
    "epochs": 3, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.3, "weight_decay": 0.5, "l1": 0.3, "l2": 0.3,
    "max_norm": 0.1, "betas": [0.5, 0.9], "schedule": "constant", "warmup": 0.5, "clip": 0.01, "ema": 0.9,
    "patience": 1, "validate_every": 3, "precision": "bfloat16", "compile": True,
}  # fmt: skip


class Rising(Line):
    """A line whose validation loss rises in training, so that patience and plateaus have an effect."""

    def validate(self, network: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": network.weight.detach().abs().sum()}


def fit(folder: Path, settings: Settings) -> Any:
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Linear(4, 1))
    network.weight = network[0].weight  # type: ignore[assignment]
    chosen = TrainSettings.model_validate(
        {"epochs": 6, "batch_size": 16, "learning_rate": 0.05, "precision": "float32", **settings}
    )
    options: dict[str, Any] = {"seed": 3, "fingerprint": "", "progress": False}
    history = loop.fit(Rising(), network, data(), data(20, 1), chosen, folder, **options)
    return _plain(network.state_dict()), [{**row, "images_per_second": 0} for row in history]


@pytest.mark.parametrize("key", TrainSettings.model_fields)
def test_a_setting_of_the_training_has_an_effect(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if key == "compile":
        monkeypatch.setattr(torch, "compile", lambda network, mode: (_ for _ in ()).throw(NotImplementedError))
        with pytest.raises(NotImplementedError):
            fit(tmp_path / "compiled", {key: TRAIN[key]})
        return
    assert fit(tmp_path / "base", {}) != fit(tmp_path / "other", {key: TRAIN[key]})


def test_the_plateau_schedule_is_not_the_constant_one(tmp_path: Path) -> None:
    assert fit(tmp_path / "constant", {"schedule": "constant"}) != fit(tmp_path / "plateau", {"schedule": "plateau"})


@pytest.mark.parametrize(
    ("section", "others"), [(StyleSettings, STYLE), (AugmentSettings, AUGMENT), (TrainSettings, TRAIN)]
)
def test_every_setting_of_a_section_is_tried(section: type[Section], others: dict[str, Any]) -> None:
    assert set(section.model_fields) == set(others)
