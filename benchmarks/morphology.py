"""The morphology study of docs/tasks/morphology.md: accuracy over seeds, architectures, noise, few labels, votes.

`python benchmarks/morphology.py FOLDER --jobs 2 --record` simulates a survey of 10,000 galaxies of `candels` on which
volunteers vote, trains every network of the study on CPUs, one thread each, measures all on the test split beside the
classical methods, and writes tables and figures into the documentation. What is done is kept in FOLDER: run it again to
go on. It needs about two CPU hours.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from study import DOCS, ROOT, Arrays, Job, keep, make_survey, mean_and_spread, read, run_jobs, write_page

from astrodl.baselines import morphology as methods
from astrodl.config import IngestSettings, parse, read_yaml
from astrodl.dataset import Cutouts, Direct
from astrodl.metrics import classification
from astrodl.models.blocks import count_parameters
from astrodl.plots.morphology import class_gallery, confusion_matrix, reliability_diagram
from astrodl.plots.robustness import Architecture, accuracy_against_snr, noise_robustness, set_sizes
from astrodl.plots.robustness import architectures as architectures_figure
from astrodl.store import Reader
from astrodl.survey.ingest import ingest
from astrodl.survey.photometry import measure, structural_features
from astrodl.tasks import run
from astrodl.tasks.base import scale_free_features
from astrodl.tasks.colour import colour
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.morphology import COVERAGES, Morphology
from astrodl.tasks.votes import Votes

SURVEY = {"n_objects": 10000, "seed": 1, "votes": 40}
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
RARE = ("elliptical", "lenticular", "merger")
SHOTS = (1, 5, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where surveys, models and results are kept (2 GB)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run (default: all)")
    parser.add_argument("--record", action="store_true", help="write tables and figures of these parts into docs/")
    options = parser.parse_args()
    if set(options.parts) != {"zoo"}:
        make_survey(options.folder, "main", SURVEY, options.jobs, labels=other_labels)
    if "zoo" in options.parts:
        ingest_zoo(options.folder, options.jobs)
    for part in options.parts:
        for jobs in PARTS[part][0]():  # what a later list needs, an earlier one makes
            run_jobs(options.folder, jobs, work, options.jobs, ("accuracy", "ece"))
    if options.record:
        for part in options.parts:
            write_page(DOCS / "tasks" / PAGES.get(part, "morphology.md"), {part: PARTS[part][1](options.folder)})


def other_labels(catalog: Table) -> None:
    """Add `class_few`, the class of a few objects, and `class_rare`, that of all but nine in ten of `RARE` ones."""
    order = np.random.default_rng(0).permutation(len(catalog))
    catalog["class_few"], catalog["class_rare"] = catalog["class"], catalog["class"]
    catalog["class_few"][order[FEW * 10 // 7 :]] = ""
    thinned = np.isin(catalog["class"].astype(str), RARE)
    thinned[order[: len(catalog) // 10]] = False
    catalog["class_rare"][thinned] = ""


def ingest_zoo(folder: Path, workers: int) -> None:
    """Ingest the pictures of Galaxy Zoo 1 as config/galaxyzoo.yaml does, with the handedness of spirals kept apart."""
    if (folder / "zoo.h5").exists():
        return
    os.environ.setdefault("ASTRODL_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    data = read_yaml(ROOT / "config" / "galaxyzoo.yaml")["surveys"]["galaxyzoo"]["data"]
    data["columns"]["hand"] = "class_name"
    data["replace"]["hand"] = dict.fromkeys(("elliptical", "edge_on", "merger", "dont_know"), "")
    ingest(parse(IngestSettings, {"survey": "galaxyzoo", "data": data}), folder / "zoo.h5", workers=workers)


# -- what is run -------------------------------------------------------------------------------------------------------


def headline() -> list[list[Job]]:
    """List the default network and all classical methods, over seeds."""
    networks = [Job("default", "main", seed) for seed in SEEDS]
    rivals = [Job(name, "main", seed, rival=name) for name in RIVALS for seed in SEEDS if seed == 0 or name in SEEDED]
    return [rivals, networks]


def noise() -> list[list[Job]]:
    """List predictions of the default network and of two classical methods on noisier images."""
    jobs = [Job("noise network", "main")] + [Job(f"noise {name}", "main", rival=name) for name in NOISY]
    return [headline()[1][:1], jobs]


NOISY = ("forest", "mlp")


def architectures() -> list[list[Job]]:
    """List all architectures by name, on images alone, each as long as the budget lasts."""
    return [[Job(f"network {name}", "main", 0, {"network": name, "joint": [128]}) for name in ARCHITECTURES]]


def few() -> list[list[Job]]:
    """List what can be done with few labels: the plain network, triplets, a noisy student, a class seen once."""
    common = {"target": "class_few", "train": {"epochs": 60, "validate_every": 10}}
    seeds = SEEDS[:2]
    first = [Job("few plain", "main", seed, common) for seed in seeds]
    first += [Job("few triplets", "main", seed, {**common, "loss": "triplet"}) for seed in seeds]
    taught = {"target": "class_few", "train": {"epochs": 6}, "dropout": 0.5}
    second = [
        Job("few noisy student", "main", seed, {**taught, "teacher": f"models/few_plain-{seed}/model.safetensors"})
        for seed in seeds
    ]
    return [first, second]


def rare() -> list[list[Job]]:
    """List ways to deal with rare classes, with a small network on images alone."""
    small = {"network": "compact", "widths": [16, 32, 64], "joint": [64]}
    common = {**small, "train": {"epochs": 12, "validate_every": 6}, "target": "class_rare"}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"balance": 0.0},
        "class weights": {"balance": 1.0},
        "balanced sampling": {"balance": 0.0, "sampling": 1.0},
        "focal loss": {"balance": 0.0, "loss": "focal"},
    }
    return [
        [Job(f"rare {name}", "main", seed, {**common, **kind}) for name, kind in kinds.items() for seed in SEEDS[:2]]
    ]


def votes() -> list[list[Job]]:
    """List the two likelihoods of the votes, and the classical methods."""
    common = {"train": {"epochs": 12, "validate_every": 6}, "n_train": 4000}
    kinds = {"Dirichlet-multinomial": "dirichlet_multinomial", "squared error": "mse"}
    jobs = [Job(f"votes {name}", "main", 0, {**common, "likelihood": kind}) for name, kind in kinds.items()]
    return [jobs + [Job(f"votes {name}", "main", 0, {"n_train": 4000}, name) for name in ("forest", "mean")]]


ZOO = ("network", "images alone", "transferred")
"""Networks on Galaxy Zoo: with measured features, without, and started from the network of the simulated survey."""

HANDS = ("mirrored", "not mirrored", "exchanged")
"""Handedness asked of a network whose images are mirrored, are not, or are mirrored and change their class."""


def zoo() -> list[list[Job]]:
    """List networks and classical methods on the pictures of Galaxy Zoo 1, and both ways to ask for handedness."""
    train = {"epochs": 50, "validate_every": 10}
    turned = {"rotate": 180, "zoom": 0.15}
    chosen = {"classes": ["edge_on", "elliptical", "spiral"], "photometry": True}
    jobs = [Job("zoo network", "zoo", seed, {**chosen, "train": train, "augment": turned}) for seed in SEEDS]
    jobs += [
        Job(f"zoo {name}", "zoo", seed, chosen, name) for name in RIVALS for seed in SEEDS[: 1 if name == "svm" else 5]
    ]
    longer = {"epochs": 120, "batch_size": 16, "learning_rate": 1e-3, "validate_every": 20}
    hands = {"target": "hand", "classes": ["spiral_acw", "spiral_cw"], "dropout": 0.2, "train": longer}
    turning = {"rotate": 180, "symmetries": False}
    sides = {
        "mirrored": {**hands, "augment": {"rotate": 180}},
        "not mirrored": {**hands, "augment": turning, "views": 4},
        "exchanged": {**hands, "augment": turning, "mirror": {"spiral_acw": "spiral_cw"}},
    }
    jobs += [Job(f"hand {name}", "zoo", seed, settings) for name, settings in sides.items() for seed in SEEDS[:2]]
    start = {
        "init_from": "models/default-0/model.safetensors",
        "init_bands": {"g": "F435W", "r": "F606W", "i": "F775W"},
    }
    settings = {**chosen, "photometry": False, "train": train, "augment": turned}
    jobs += [Job("zoo images alone", "zoo", seed, settings) for seed in SEEDS[:2]]
    moved = [Job("zoo transferred", "zoo", seed, {**settings, **start}) for seed in SEEDS[:2]]
    return [[*headline()[1][:1], *jobs], moved]


def work(folder: Path, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train a network or fit a classical method, and measure it on the test objects."""
    with Direct(folder / f"{job.survey}.h5") as store:
        if job.name.startswith("votes "):
            return of_votes(folder, store, job)
        classes, test = asked(store, job)
        label = truth(store, job, classes, test)
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
    path = run.train(task, store.path, out, settings=settings, seed=job.seed, threads=1, progress=False)
    model = load_model(path, device="cpu")
    n_epochs = len((out / "history.jsonl").read_text().splitlines())
    return model, {
        "train_seconds": time.process_time() - started,
        "epochs": float(n_epochs),
        "n_train": float(len(run.trainable(type(model.task), model.task.settings, store))),
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
    task = Votes(settings, run.fit_context(Votes, settings, store))
    test = run.labelled(Votes, settings, store, "test")
    cost: dict[str, float] = {}
    if job.rival:
        train = run.labelled(Votes, parse(Votes.Settings, job.settings), store, "train")
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
        model = load_model(folder / "models" / "default-0" / "model.safetensors", device="cpu")
        found = [model.task.finish(model.raw(cutouts))["probability"] for cutouts in noisy]
    accuracies = [classification.accuracy(probability.argmax(1), label) for probability in found]
    return {f"accuracy_{factor:g}": accuracy for factor, accuracy in zip(NOISES, accuracies, strict=True)}


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


# -- what is written ---------------------------------------------------------------------------------------------------


def record_headline(folder: Path) -> str:
    """Compare network, its ensemble and the classical methods on 10,000 galaxies."""
    runs = read(folder, "default")
    with Direct(folder / "main.h5") as store:
        classes, test = asked(store, Job("default", "main"))
        label, snr = truth(store, Job("default", "main"), classes, test), store.features(["snr"], test)[:, 0]
        rgb = colour(store, test)
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
    best = together["probability"].argmax(1)
    others = {name: read(folder, name)[0]["arrays"]["probability"].argmax(1) == label for name in NOISY}
    keep(folder, accuracy_against_snr(snr, best == label, baselines=others), "morphology-study-snr.png")
    keep(folder, set_sizes(together["set_90"], label, nominal=0.9), "morphology-study-sets.png")
    stated = together["uncalibrated"]
    figure = reliability_diagram(
        together["probability"].max(1), best == label, ece=classification.ece(together["probability"], label),
        before=(stated.max(1), stated.argmax(1) == label), before_ece=classification.ece(stated, label),
    )  # fmt: skip
    keep(folder, figure, "morphology-study-reliability.png")
    keep(folder, class_gallery(rgb, together["probability"], label, classes), "morphology-study-gallery.png")
    captions = {
        "snr": "Accuracy against signal to noise",
        "reliability": "Reliability before and after calibration",
        "sets": "Sets of classes",
        "gallery": "The surest of each class, and the worst mistakes",
    }
    images = [f"\n![{caption}](../images/morphology-study-{name}.png)" for name, caption in captions.items()]
    return "\n".join([about, *rows, *images])


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
    names = ("network", *NOISY)
    runs = {name: read(folder, f"noise {name}")[0]["metrics"] for name in names}
    with Direct(folder / "main.h5") as store:
        n_test = len(store.select("test"))
    values = {name: [found[f"accuracy_{factor:g}"] for factor in NOISES] for name, found in runs.items()}
    errors = {name: [np.sqrt(a * (1 - a) / n_test) for a in found] for name, found in values.items()}
    figure = noise_robustness(NOISES, values, errors=errors, n_objects=n_test)
    keep(folder, figure, "morphology-study-noise.png")
    rows = [f"| noise | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for i, factor in enumerate(NOISES):
        cells = [f"{values[name][i]:.3f} ± {errors[name][i]:.3f}" for name in names]
        rows.append(f"| {factor:g} | {' | '.join(cells)} |")
    return "\n".join([*rows, "\n![Accuracy against noise](../images/morphology-study-noise.png)"])


def record_architectures(folder: Path) -> str:
    """Tabulate and draw all architectures at equal budget."""
    found = {name: read(folder, f"network {name}") for name in ARCHITECTURES}
    runs = {name: jobs[0]["metrics"] for name, jobs in found.items() if jobs}
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
    points = {
        name: Architecture(
            run_["accuracy"],
            float(np.sqrt(run_["accuracy"] * (1 - run_["accuracy"]) / n_test)),
            run_["n_train"] * run_["epochs"] / run_["train_seconds"],
            int(run_["parameters"]),
        )
        for name, run_ in runs.items()
    }
    figure = architectures_figure(points, heading=f"Accuracy after {BUDGET_SECONDS:.0f} CPU seconds of training")
    keep(folder, figure, "morphology-study-networks.png")
    return "\n".join([*rows, "\n![Accuracy against speed](../images/morphology-study-networks.png)"])


def record_rows(prefix: str, metrics: Sequence[str], text: str = "") -> Any:
    """Give a writer of a table with a row per kind of training, below a heading and some lines."""

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
            cells = [mean_and_spread([run_[m] for run_ in runs], 3) if m in runs[0] else "" for m in metrics]
            rows.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
        return "\n".join([text, *rows])

    return write


def record_zoo(folder: Path) -> str:
    """Tabulate Galaxy Zoo, with the mistakes and the two ways to ask for handedness."""
    columns = {name: [found["metrics"] for found in read(folder, f"zoo {name}")] for name in (*ZOO, *RIVALS)}
    runs = read(folder, "zoo network")
    with Direct(folder / "zoo.h5") as store:
        job = Job("zoo", "zoo", 0, runs[0]["job"]["settings"])
        classes, test = asked(store, job)
        label, rgb = truth(store, job, classes, test), colour(store, test)
    probability = np.mean([found["arrays"]["probability"] for found in runs], 0)
    names = [name.replace("_", " ") for name in classes]
    keep(folder, class_gallery(rgb, probability, label, names), "morphology-zoo-gallery.png")
    figure = confusion_matrix(classification.confusion(probability.argmax(1), label, len(names)), names)
    keep(folder, figure, "morphology-zoo-confusion.png")
    together = measured({"probability": probability}, label)
    forest = np.mean([found["arrays"]["probability"] for found in read(folder, "zoo forest")], 0).argmax(1)
    agree = forest == probability.argmax(1)
    metrics = ("accuracy", "balanced_accuracy", "ece")
    about = (
        f"{runs[0]['metrics']['n_train']:,.0f} training and {len(label):,} test galaxies; mean and standard deviation "
        f"over seeds. The five networks together: accuracy {together['accuracy']:.3f}, balanced "
        f"{together['balanced_accuracy']:.3f}. Networks and forest, which see images and numbers, give the same class "
        f"to {agree.mean():.0%} of the galaxies, {(forest != label)[agree].mean():.0%} of them with another label.\n"
    )
    hands = {name: [found["metrics"] for found in read(folder, f"hand {name}")] for name in HANDS}
    images = "\n![Confusion matrix](../images/morphology-zoo-confusion.png)"
    images += "\n\n![The surest of each class, and the worst mistakes](../images/morphology-zoo-gallery.png)"
    return "\n".join(
        [OF_ZOO, about, *table(columns, metrics), images, "", "Handedness of spirals:\n", *table(hands, ("accuracy",))]
    )


OF_FEW = """### Few labels

Three hundred training galaxies have a class, the other 6,800 have none. `shots_N`: nearest of prototypes that are made
of N galaxies of each class.
"""
OF_ZOO = """### Galaxy Zoo

Pictures of real galaxies in `gz1_morphology`, three classes, a held-out fifth; see [real data](../real_data.md).
`network` also has measured features, `transferred` starts from the network of the simulated survey
(g, r, i from F435W, F606W, F775W).
"""
OF_RARE = """### Rare classes

Nine in ten of the ellipticals, lenticulars and mergers have lost their label; test objects have kept theirs.
"""
PARTS = {
    "headline": (headline, record_headline),
    "noise": (noise, record_noise),
    "architectures": (architectures, record_architectures),
    "few": (few, record_rows("few", ("accuracy", "balanced_accuracy", "ece", *(f"shots_{n}" for n in SHOTS)), OF_FEW)),
    "rare": (rare, record_rows("rare", ("accuracy", "balanced_accuracy", "macro_f1", "ece"), OF_RARE)),
    "votes": (votes, record_rows("votes", ("vote_rmse", "agreement", "nll", "coverage_68"))),
    "zoo": (zoo, record_zoo),
}
"""What is run, and what writes it down."""
PAGES = {"votes": "votes.md"}


if __name__ == "__main__":
    main()
