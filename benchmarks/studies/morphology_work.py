"""What the morphology study does: networks and classical methods that are trained, and what is measured of them."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import Arrays, Job

import astrodl
from astrodl.baselines import morphology as methods
from astrodl.config import parse
from astrodl.data.batches import Cutouts, Direct
from astrodl.metrics import classification
from astrodl.models.blocks import count_parameters
from astrodl.photometry.measure import measure, structural_features
from astrodl.pipeline import objects
from astrodl.store import Reader
from astrodl.tasks.base import scale_free_features
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.morphology import COVERAGES, Morphology
from astrodl.tasks.votes import Votes

SEEDS = range(5)
RIVALS = {
    "forest": (methods.forest, scale_free_features),
    "svm": (methods.svm, scale_free_features),
    "mlp": (methods.mlp, scale_free_features),
    "forest_no_colour": (methods.forest, structural_features),
}
SEEDED = ("forest", "mlp", "forest_no_colour")
NOISES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
"""Noise of the sky in units of what it is."""
ARCHITECTURES = (
    *("lenet5", "alexnet", "vgg11", "vgg16", "googlenet", "resnet18", "resnet34", "xception", "efficientnet_b0"),
    *("spp", "dilated", "dieleman", "d4", "compact", "apertures"),
)
BUDGET_SECONDS = 75.0
"""CPU seconds of training for each architecture."""
SHOTS = (1, 5, 20)
NOISY_NETWORKS = {"network": "default-0", "trained on noise": "more_noise-0"}
"""Networks that are tried on noisier images, and their models."""
NOISY = ("forest", "mlp")
"""Classical methods that are tried on noisier images."""
MOVES = {"default": "default-0", "no shift": "no_shift-0"}
"""Networks that are tried on images off their centre, and their models."""
PIXELS = (0, 1, 2, 3)
ZOO = ("network", "images alone", "transferred")
"""Networks on Galaxy Zoo: with measured features, without, and started from the network of the simulated survey."""

ARMS = ("mirrored", "not mirrored")
HANDS = (*ARMS, "exchanged", "from nothing")
"""Handedness asked of networks whose images are mirrored, are not, or are mirrored and change their class; the last
is as the second, but did not start from simulated spirals."""


def work(folder: Path, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train a network or fit a classical method, and measure it on the test objects."""
    with Direct(folder / f"{job.survey}.h5") as store:
        if job.name.startswith("votes "):
            return of_votes(folder, store, job)
        classes, test = asked(store, job)
        label = truth(store, job, classes, test)
        if job.name.startswith("moved "):
            return off_centre(folder, store, job, test, label), {}
        if job.name.startswith("noise "):
            return under_noise(folder, store, job, test, label), {}
        if job.rival:
            train = store.select("train")
            known = truth(store, job, classes, train)
            names = RIVALS[job.rival][1](store.feature_names)
            x = store.features(names, train[known >= 0])
            predicted = classical(job, x, known[known >= 0], store.features(names, test), len(classes))
            return {**measured(predicted, label), "n_train": float((known >= 0).sum())}, predicted
        return network(folder, store, job, test, label)


def asked(store: Reader, job: Job) -> tuple[list[str], np.ndarray]:
    """Give the classes in question, and the test objects that are of one."""
    kinds = store.column(_measured_by(job))
    classes = job.settings.get("classes") or sorted(set(kinds) - {""})
    test = store.select("test")
    return classes, test[np.isin(kinds[test], classes)]


def _measured_by(job: Job) -> str:
    return "hand" if job.settings.get("target") == "hand" else "class"


def truth(store: Reader, job: Job, classes: Sequence[str], indices: np.ndarray) -> np.ndarray:
    """Give the index of the class, -1 for others."""
    kinds = store.column(_measured_by(job), indices)
    return np.array([classes.index(kind) if kind in classes else -1 for kind in kinds])


def network(
    folder: Path, store: Reader, job: Job, test: np.ndarray, label: np.ndarray
) -> tuple[dict[str, float], Arrays]:
    """Train a network and measure it."""
    settings = dict(job.settings)
    for key in settings.keys() & {"teacher", "init_from"}:
        settings[key] = str(folder / settings[key])
    if job.name.startswith("network "):
        settings["train"] = {"epochs": affordable(store, settings)}
    model, cost = trained("morphology", folder, store, job, settings)
    cutouts = Cutouts.from_store(store, test)
    started = time.process_time()
    predicted = model.task.finish(model.raw(cutouts))
    rate = len(test) / (time.process_time() - started)
    before = classification.ece(predicted["uncalibrated"], label)
    metrics = {**measured(predicted, label), **cost, "ece_before": before, "predicted_per_second": rate}
    if job.name == "few triplets":
        metrics |= seen_once(model, store, job.seed)
    return metrics, predicted


def trained(
    task: str, folder: Path, store: Reader, job: Job, settings: Mapping[str, Any]
) -> tuple[Model, dict[str, float]]:
    """Train a network; give it, and what it cost."""
    started, out = time.process_time(), folder / "models" / job.label
    path = astrodl.train(task, store.path, out, settings=settings, seed=job.seed, threads=1, progress=False)
    model = load_model(path, device="cpu")
    n_epochs = len((out / "history.jsonl").read_text().splitlines())
    return model, {
        "train_seconds": time.process_time() - started,
        "epochs": float(n_epochs),
        "n_train": float(len(objects.trainable(type(model.task), model.task.settings, store))),
        "parameters": float(count_parameters(model.network)),
    }


def seen_once(model: Model, store: Reader, seed: int, n_trials: int = 20) -> dict[str, float]:
    """Measure nearest prototypes made of one, five and twenty labelled galaxies of each class."""
    job = Job("", "main")
    classes, test = asked(store, job)
    label, some = truth(store, job, classes, test), store.select("train")
    known, rng = truth(store, job, classes, some), np.random.default_rng(seed)
    theirs = vectors_of(model, store, test)
    metrics = {}
    for n_shots in SHOTS:
        found = []
        for _ in range(n_trials):
            shots = [rng.choice(some[known == k], n_shots, replace=False) for k in range(len(classes))]
            ours = vectors_of(model, store, np.concatenate(shots)).reshape(len(classes), n_shots, -1).mean(1)
            apart = ((theirs[:, None] - ours[None]) ** 2).sum(2)
            found.append(classification.accuracy(apart.argmin(1), label))
        metrics[f"shots_{n_shots}"] = float(np.mean(found))
    return metrics


def vectors_of(model: Model, store: Reader, indices: np.ndarray) -> np.ndarray:
    """Give the vector of each object, averaged over the views."""
    order = np.argsort(indices)
    parts = []
    for rows in np.array_split(indices[order], max(1, len(indices) // 256)):
        arrays = model.task.inputs(Cutouts.from_store(store, rows))
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.no_grad():
            parts.append(model.task.vectors(model.network, batch).mean(0).numpy())  # type: ignore[attr-defined]
    found = np.concatenate(parts)
    return found[np.argsort(order)]


def of_votes(folder: Path, store: Reader, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train on votes, or fit a classical method to them, and measure it."""
    settings = parse(Votes.Settings, {} if job.rival else job.settings)
    task = Votes(settings, objects.fit_context(Votes, settings, store))
    test = objects.labelled(Votes, settings, store, "test")
    cost: dict[str, float] = {}
    if job.rival:
        train = objects.labelled(Votes, parse(Votes.Settings, job.settings), store, "train")
        predicted, _ = task.baselines(store, train, test)[job.rival]
        cost["n_train"] = float(len(train))
    else:
        model, cost = trained("votes", folder, store, job, job.settings)
        predicted = model.task.finish(model.raw(Cutouts.from_store(store, test)))
    metrics = task.score(predicted, task.truth(store, test), {})
    return {**{name: entry["value"] for name, entry in metrics.items()}, **cost}, predicted


def affordable(store: Reader, settings: Mapping[str, Any]) -> int:
    """Give the epochs that the budget pays for, from the CPU seconds of a few updates."""
    parsed = parse(Morphology.Settings, settings)
    task = Morphology(parsed, objects.fit_context(Morphology, parsed, store))
    train = objects.labelled(Morphology, parsed, store, "train")
    arrays = objects.arrays(task, store, train[: 4 * parsed.train.batch_size])
    return max(1, int(BUDGET_SECONDS / (seconds_per_object(task, arrays) * len(train))))


def seconds_per_object(task: Morphology, arrays: Arrays) -> float:
    """Time forward and backward passes, the first left out."""
    from astrodl.data.batches import Resident
    from astrodl.device import arranged, autocast, layout

    data, size = Resident(arrays, torch.device("cpu")), task.settings.train.batch_size
    net = task.build()
    net = net.to(memory_format=layout(net)).train()
    seconds = []
    for batch in data.in_order(size):
        started = time.process_time()
        with autocast(data.device, "auto"):
            loss, _ = task.loss(net, arranged(task.augment(batch), layout(net)), "main", 0.5)
        loss.backward()
        seconds.append(time.process_time() - started)
    return float(np.median(seconds[1:])) / size


def noisier(store: Reader, indices: np.ndarray, factor: float) -> Cutouts:
    """Add noise to the images, until that of the sky is `factor` times what it was, and measure the features anew."""
    images, sky = store.images(indices), store.sky_sigma[indices]
    extra = np.sqrt(factor**2 - 1) * sky
    rng = np.random.default_rng(0)
    images = images + extra[..., None, None] * rng.standard_normal(images.shape, dtype=np.float32)
    features, _ = measure(images, sky_sigma=factor * sky, pixel_scale_arcsec=store.pixel_scale_arcsec)
    return Cutouts(images, factor * sky, features)


def under_noise(folder: Path, store: Reader, job: Job, test: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Measure a network, or a classical method that is fitted once, on test objects of growing noise."""
    noisy = [noisier(store, test, factor) for factor in NOISES]
    if job.rival:
        names = RIVALS[job.rival][1](store.feature_names)
        columns = [store.feature_names.index(name) for name in names]
        train = store.select("train")
        known = truth(store, job, asked(store, job)[0], train)
        every = np.concatenate([cutouts.features[:, columns] for cutouts in noisy])
        predicted = classical(job, store.features(names, train), known, every, known.max() + 1)["probability"]
        found = np.split(predicted, len(NOISES))
    else:
        name = NOISY_NETWORKS[job.name.removeprefix("noise ")]
        model = load_model(folder / "models" / name / "model.safetensors", device="cpu")
        found = [model.task.finish(model.raw(cutouts))["probability"] for cutouts in noisy]
    accuracies = [classification.accuracy(probability.argmax(1), label) for probability in found]
    return {f"accuracy_{factor:g}": accuracy for factor, accuracy in zip(NOISES, accuracies, strict=True)}


def off_centre(folder: Path, store: Reader, job: Job, test: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Measure a network on test objects whose images are moved along y."""
    model = load_model(folder / "models" / MOVES[job.name.removeprefix("moved ")] / "model.safetensors", device="cpu")
    cutouts, found = Cutouts.from_store(store, test), {}
    for pixels in PIXELS:
        images = np.ascontiguousarray(np.roll(cutouts.images, pixels, 2))
        probability = model.raw(Cutouts(images, cutouts.sky_sigma, cutouts.features))["probability"]
        found[f"accuracy_{pixels}"] = classification.accuracy(probability.argmax(1), label)
    return found


def classical(job: Job, x: np.ndarray, label: np.ndarray, other: np.ndarray, n_classes: int) -> Arrays:
    """Fit a classical method and predict other objects."""
    options = {"seed": 10 * job.seed} if job.rival in SEEDED else {}
    return {"probability": RIVALS[job.rival][0](x, label, other, n_classes=n_classes, **options)}


def measured(predicted: Arrays, label: np.ndarray) -> dict[str, float]:
    """Measure class probabilities."""
    probability = predicted["probability"]
    best = probability.argmax(1)
    metrics = {
        "accuracy": classification.accuracy(best, label),
        "balanced_accuracy": classification.balanced_accuracy(best, label),
        "macro_f1": classification.macro_f1(best, label),
        "auc": classification.auc(probability, label),
        "ece": classification.ece(probability, label),
        "brier": classification.brier(probability, label),
    }
    for level in COVERAGES if "set_90" in predicted else ():
        metrics[f"conformal_{level}"] = classification.set_coverage(predicted[f"set_{level}"] > 0, label)
        metrics[f"set_size_{level}"] = classification.set_size(predicted[f"set_{level}"] > 0)
    return metrics
