"""The morphology study of docs/tasks/morphology.md: accuracy over seeds, architectures, noise, few labels, votes.

`python benchmarks/morphology.py FOLDER --jobs 2 --record` simulates a survey of 10,000 galaxies of `candels` on which
volunteers vote, trains every network of the study on CPUs, one thread each, measures all on the test split beside the
classical methods, and writes tables and figures into the documentation. What is done is kept in FOLDER: run it again to
go on. It needs about two CPU hours.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astrodl.plots.robustness import architectures_figure, noise_robustness, signal_to_noise
from astropy.table import Table
from study import DOCS, Arrays, Job, keep, make_survey, mean_and_spread, read, run_jobs, write_page

from astrodl.baselines import morphology as methods
from astrodl.config import parse
from astrodl.dataset import Cutouts, Direct
from astrodl.metrics import classification
from astrodl.models.blocks import count_parameters
from astrodl.store import Reader
from astrodl.survey.photometry import measure, structural_features
from astrodl.tasks import run
from astrodl.tasks.base import scale_free_features
from astrodl.tasks.model import load_model
from astrodl.tasks.morphology import COVERAGES, Morphology

SURVEYS = {"main": {"n_objects": 10000, "seed": 1, "votes": 40}}
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
FEW = 300
"""Training objects with a label, where labels are few."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where surveys, models and results are kept (2 GB)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run (default: all)")
    parser.add_argument("--record", action="store_true", help="write tables and figures of these parts into docs/")
    options = parser.parse_args()
    for survey, simulate in SURVEYS.items():
        make_survey(options.folder, survey, simulate, options.jobs, labels=few_labels)
    for part in options.parts:
        for jobs in PARTS[part][0]():  # what a later list needs, an earlier one makes
            run_jobs(options.folder, jobs, work, options.jobs, ("accuracy", "ece"))
    if options.record:
        write_page(DOCS / "tasks" / "morphology.md", {part: PARTS[part][1](options.folder) for part in options.parts})


def few_labels(catalog: Table) -> None:
    """Add the column `class_few`: the class of a few objects chosen at random, nothing for the others."""
    catalog["class_few"] = catalog["class"]
    catalog["class_few"][np.random.default_rng(0).permutation(len(catalog))[FEW * 10 // 7 :]] = ""


# -- what is run -------------------------------------------------------------------------------------------------------


def headline() -> list[list[Job]]:
    """List the default network and all classical methods, over seeds."""
    networks = [Job("default", "main", seed) for seed in SEEDS]
    rivals = [Job(name, "main", seed, rival=name) for name in RIVALS for seed in SEEDS if seed == 0 or name in SEEDED]
    return [rivals, networks]


def noise() -> list[list[Job]]:
    """List predictions of the default network and of two classical methods on noisier images."""
    return [
        [Job(f"noise {factor}", "main", 0, {"noise": factor}) for factor in NOISES]
        + [Job(f"noise {factor} {name}", "main", 0, {"noise": factor}, name) for factor in NOISES for name in NOISY]
    ]


NOISY = ("forest", "mlp")


def architectures() -> list[list[Job]]:
    """List all architectures by name, on images alone, each as long as the budget lasts."""
    return [[Job(f"network {name}", "main", 0, {"network": name, "joint": [128]}) for name in ARCHITECTURES]]


def few() -> list[list[Job]]:
    """List what can be done with few labels: the plain network, a noisy student, triplets, transfer."""
    common = {"target": "class_few", "train": {"epochs": 60}}
    teacher = "models/few_plain-{seed}/model.safetensors"
    seeds = SEEDS[:3]
    first = [Job("few plain", "main", seed, common) for seed in seeds]
    first += [Job("few triplets", "main", seed, {**common, "loss": "triplet"}) for seed in seeds]
    student = {"target": "class_few", "train": {"epochs": 12}, "dropout": 0.5}
    second = [Job("few student", "main", seed, {**student, "teacher": teacher.format(seed=seed)}) for seed in seeds]
    return [first, second]


def options() -> list[list[Job]]:
    """List other ways to train: losses, weights, sampling, transfer from half of the bands."""
    common = {"train": {"epochs": 8}, "n_train": 3000}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"balance": 0.0},
        "class weights": {"balance": 1.0},
        "balanced sampling": {"balance": 0.0, "sampling": 1.0},
        "focal loss": {"balance": 0.0, "loss": "focal"},
        "triplets": {"balance": 0.0, "loss": "triplet"},
    }
    return [
        [Job(f"option {name}", "main", seed, {**common, **kind}) for name, kind in kinds.items() for seed in SEEDS[:2]]
    ]


def work(folder: Path, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train a network or fit a classical method, and measure it on the test objects."""
    with Direct(folder / f"{job.survey}.h5") as store:
        test = store.select("test")
        label = truth(store, test)
        if job.rival:
            predicted = classical(store, job, test)
            return {**measured(predicted, label), "n_train": len(store.select("train"))}, predicted
        if "noise" in job.settings:
            model = load_model(folder / "models" / "default-0" / "model.safetensors", device="cpu")
            return measured(model.task.finish(model.raw(noisier(store, test, job.settings["noise"]))), label), {}
        return network(folder, store, job, test, label)


def truth(store: Reader, indices: np.ndarray) -> np.ndarray:
    """Give the index of the class among all, sorted."""
    kinds = store.column("class")
    return np.searchsorted(np.unique(kinds), kinds[indices])


def network(
    folder: Path, store: Reader, job: Job, test: np.ndarray, label: np.ndarray
) -> tuple[dict[str, float], Arrays]:
    """Train a network and measure it."""
    settings, out = dict(job.settings), folder / "models" / job.label
    if "teacher" in settings:
        settings["teacher"] = str(folder / settings["teacher"])
    if job.name.startswith("network "):
        settings["train"] = {"epochs": affordable(store, settings)}
    started = time.process_time()
    path = run.train("morphology", store.path, out, settings=settings, seed=job.seed, threads=1, progress=False)
    spent = time.process_time() - started
    model = load_model(path, device="cpu")
    cutouts = Cutouts.from_store(store, test)
    started = time.process_time()
    raw = model.raw(cutouts)
    rate = len(test) / (time.process_time() - started)
    predicted = model.task.finish(raw)
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    metrics = measured(predicted, label) | {
        "ece_before": classification.ece(predicted["uncalibrated"], label),
        "n_train": float(len(run.trainable(Morphology, model.task.settings, store))),
        "train_seconds": spent,
        "epochs": float(len(history)),
        "parameters": float(count_parameters(model.network)),
        "predicted_per_second": rate,
    }
    return metrics, predicted


def affordable(store: Reader, settings: Mapping[str, Any]) -> int:
    """Give the epochs that the budget pays for, from the CPU seconds of a few updates."""
    parsed = parse(Morphology.Settings, settings)
    task = Morphology(parsed, run.fit_context(Morphology, parsed, store))
    train = run.labelled(Morphology, parsed, store, "train")
    arrays = run.arrays(task, store, train[: 4 * parsed.train.batch_size])
    return max(1, int(BUDGET_SECONDS / (seconds_per_object(task, arrays) * len(train))))


def seconds_per_object(task: Morphology, arrays: Arrays) -> float:
    """Time forward and backward passes, the first left out."""
    from astrodl.dataset import Resident
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


def classical(store: Reader, job: Job, test: np.ndarray) -> Arrays:
    """Fit a classical method and predict the test objects."""
    method, pick = RIVALS[job.rival]
    names = pick(store.feature_names)
    columns = [store.feature_names.index(name) for name in names]
    train = store.select("train")
    other = noisier(store, test, job.settings.get("noise", 1.0)).features[:, columns]
    x = store.features(names, train)
    n_classes = len(np.unique(store.column("class")))
    probability = method(x, truth(store, train), other, n_classes=n_classes, seed=10 * job.seed)
    return {"probability": probability}


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


# -- what is written ---------------------------------------------------------------------------------------------------


def record_headline(folder: Path) -> str:
    """Compare network, its ensemble and the classical methods on 10,000 galaxies."""
    runs = read(folder, "default")
    with Direct(folder / "main.h5") as store:
        label = truth(store, store.select("test"))
        snr = store.features(["snr"], store.select("test"))[:, 0]
    together = pooled(folder, runs)
    columns = {"network": [found["metrics"] for found in runs]}
    columns[f"ensemble of {len(runs)}"] = [measured(together, label)]
    columns |= {name: [found["metrics"] for found in read(folder, name)] for name in RIVALS}
    rows = table(columns, (*Morphology.metric_names, "train_seconds"))
    lowest = min(1 - np.mean([run["accuracy"] for run in columns[name]]) for name in RIVALS)
    error = [1 - np.mean([run["accuracy"] for run in columns[name]]) for name in list(columns)[:2]]
    before = mean_and_spread([run["ece_before"] for run in columns["network"]], 3)
    floor = perfect_ece(together["probability"])
    about = (
        f"{runs[0]['metrics']['n_train']:,.0f} training and {len(label):,} test objects; mean and standard deviation "
        f"over seeds. Error rate over that of the best classical method: {error[0] / lowest:.2f} "
        f"({error[1] / lowest:.2f} the ensemble). ECE before calibration {before}; perfect "
        f"probabilities would have {floor:.3f} on so many objects.\n"
    )
    correct = {"network": together["probability"].argmax(1) == label}
    for name in ("mlp", "forest"):
        found = read(folder, name)
        if found and "probability" in found[0]["arrays"]:
            correct[name] = found[0]["arrays"]["probability"].argmax(1) == label
    keep(folder, signal_to_noise(snr, correct), "morphology-study-snr.png")
    return "\n".join([about, *rows, "\n![Accuracy against signal to noise](../images/morphology-study-snr.png)"])


def pooled(folder: Path, runs: Sequence[Mapping[str, Any]]) -> Arrays:
    """Average what the networks of all seeds say, as the workflow does."""
    raws = []
    with Direct(folder / "main.h5") as store:
        cutouts = Cutouts.from_store(store, store.select("test"))
        for found in runs:
            path = folder / "models" / f"default-{found['job']['seed']}" / "model.safetensors"
            model = load_model(path, device="cpu")
            kept = folder / "results" / f"raw-{found['job']['seed']}.npz"
            if not kept.exists():
                np.savez(kept, **model.raw(cutouts))
            with np.load(kept) as arrays:
                raws.append(dict(arrays))
    return model.task.finish({key: np.mean([raw[key] for raw in raws], 0) for key in raws[0]})


def perfect_ece(probability: np.ndarray, n_draws: int = 200) -> float:
    """Give the mean ECE of labels that are drawn from the stated probabilities."""
    rng = np.random.default_rng(0)
    total = probability.cumsum(1) / probability.sum(1, keepdims=True)
    draws = [(rng.random((len(total), 1)) > total).sum(1).clip(0, total.shape[1] - 1) for _ in range(n_draws)]
    return float(np.mean([classification.ece(probability, drawn) for drawn in draws]))


def table(columns: Mapping[str, Sequence[Mapping[str, float]]], metrics: Sequence[str]) -> list[str]:
    """Write a table with a row per metric."""
    rows = [f"| metric | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for metric in metrics:
        digits = 0 if metric.endswith("seconds") else 4
        cells = [
            mean_and_spread([run[metric] for run in found], digits) if all(metric in run for run in found) else ""
            for found in columns.values()
        ]
        rows.append(f"| `{metric}` | {' | '.join(cells)} |")
    return rows


def record_noise(folder: Path) -> str:
    """Draw and tabulate the accuracy against the noise that is added."""
    names = {"network": "", **{name: f" {name}" for name in NOISY}}
    runs = {
        name: [read(folder, f"noise {factor}{end}")[0]["metrics"] for factor in NOISES] for name, end in names.items()
    }
    with Direct(folder / "main.h5") as store:
        n_test = len(store.select("test"))
    values = {name: [run["accuracy"] for run in found] for name, found in runs.items()}
    errors = {name: [np.sqrt(a * (1 - a) / n_test) for a in found] for name, found in values.items()}
    keep(folder, noise_robustness(NOISES, values, errors), "morphology-study-noise.png")
    rows = [f"| noise | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for i, factor in enumerate(NOISES):
        cells = [f"{values[name][i]:.3f} ± {errors[name][i]:.3f}" for name in names]
        rows.append(f"| {factor:g} | {' | '.join(cells)} |")
    return "\n".join([*rows, "\n![Accuracy against noise](../images/morphology-study-noise.png)"])


def record_architectures(folder: Path) -> str:
    """Tabulate and draw all architectures at equal budget."""
    runs = {name: read(folder, f"network {name}")[0]["metrics"] for name in ARCHITECTURES}
    with Direct(folder / "main.h5") as store:
        n_test = len(store.select("test"))
    rows = ["| network | accuracy | ECE | parameters | images/s (training) | images/s (8 views) | epochs |"]
    rows.append("| --- |" + " --- |" * 6)
    for name, run_ in sorted(runs.items(), key=lambda pair: -pair[1]["accuracy"]):
        error = np.sqrt(run_["accuracy"] * (1 - run_["accuracy"]) / n_test)
        speed = run_["n_train"] * run_["epochs"] / run_["train_seconds"]
        rows.append(
            f"| `{name}` | {run_['accuracy']:.3f} ± {error:.3f} | {run_['ece']:.3f} | {run_['parameters']:,.0f} "
            f"| {speed:.0f} | {run_['predicted_per_second']:.0f} | {run_['epochs']:.0f} |"
        )
    figure = architectures_figure(
        list(runs),
        [run_["accuracy"] for run_ in runs.values()],
        [run_["predicted_per_second"] for run_ in runs.values()],
        [run_["parameters"] for run_ in runs.values()],
    )
    keep(folder, figure, "morphology-study-networks.png")
    return "\n".join([*rows, "\n![Accuracy against speed](../images/morphology-study-networks.png)"])


def record_rows(prefix: str, metrics: Sequence[str]) -> Any:
    """Give a writer of a table with a row per kind of training."""

    def write(folder: Path) -> str:
        found: dict[str, list[dict[str, float]]] = {}
        for path in sorted((folder / "results").glob(f"{prefix}_*-[0-9].json")):
            name = json.loads(path.read_text())["job"]["name"].removeprefix(f"{prefix} ")
            found.setdefault(name, []).append(json.loads(path.read_text())["metrics"])
        rows = [
            f"| {prefix} | {' | '.join(f'`{m}`' for m in metrics)} | seeds |",
            "| --- |" + " --- |" * (len(metrics) + 1),
        ]
        for name, runs in found.items():
            cells = [mean_and_spread([run_[m] for run_ in runs], 3) for m in metrics]
            rows.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
        return "\n".join(rows)

    return write


PARTS = {
    "headline": (headline, record_headline),
    "noise": (noise, record_noise),
    "architectures": (architectures, record_architectures),
    "few": (few, record_rows("few", ("accuracy", "balanced_accuracy", "ece"))),
    "options": (options, record_rows("option", ("accuracy", "balanced_accuracy", "macro_f1", "ece"))),
}
"""What is run, and what writes it down."""


if __name__ == "__main__":
    main()
