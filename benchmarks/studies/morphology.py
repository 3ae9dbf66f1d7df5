"""Tables and figures of the studies in docs/tasks/morphology.md and votes.md; morphology.yaml lists the trainings."""

import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from astrodl.photometry.measure import measure
from classical import MORPHOLOGY, fit_classes
from figures import Speed, accuracy_against_noise, accuracy_against_speed
from study import (
    Metrics,
    count_training,
    load,
    main,
    mean_and_spread,
    metric_table,
    read_classical,
    read_metrics,
    read_runs,
    read_test,
    show,
    table,
    train_seconds,
)

from astrodl import open_store
from astrodl.data.batches import Cutouts
from astrodl.metrics import classification
from astrodl.models.blocks import count_parameters
from astrodl.store import Reader
from astrodl.tasks.model import Model
from astrodl.tasks.morphology import Morphology

STORE, TEST = "surveys/main/store.h5", "surveys/main/test.h5"
NOISE_FACTORS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
"""Noise of the sky in units of that of the survey."""
SHIFTS = (0, 1, 2, 3)
"""Pixels by which test images are moved."""
SHOTS = (1, 5, 20)
"""Galaxies of each class that a prototype is made of."""
runs_of = partial(read_runs, __file__)


def headline() -> str:
    """Compare the network, its ensemble and the classical methods on 10,000 galaxies."""
    (runs,) = runs_of("headline").values()
    ensemble, methods = runs[0].with_name("ensemble"), read_classical(runs[0].parent)
    networks = [{**read_metrics(run), "seconds": train_seconds(run)} for run in runs]
    columns = {"network": networks, f"ensemble of {len(runs)}": [read_metrics(ensemble)], **methods}
    network, together, *others = (1 - np.mean([run["accuracy"] for run in found]) for found in columns.values())
    stated = [read_test(run, "main")[0]["uncalibrated"] for run in runs]
    predicted, truth = read_test(ensemble, "main")
    before = [classification.ece(probability, truth["label"]) for probability in stated]
    about = (
        f"{count_training(runs[0], 'main'):,} training and {len(truth['label']):,} test objects; mean and standard "
        f"deviation over seeds. Error rate over that of the best classical method: {network / min(others):.2f} "
        f"({together / min(others):.2f} the ensemble). ECE before calibration {mean_and_spread(before, 3)}; perfect "
        f"probabilities would have {perfect_ece(predicted['probability']):.3f} on so many objects.\n"
    )
    captions = {
        "snr": "Accuracy against signal to noise",
        "reliability": "Reliability before and after calibration",
        "sets": "Sets of classes",
        "gallery": "The most confident of each class, and the worst mistakes",
    }
    figures = ensemble / "figures"
    images = [show(text, f"morphology-study-{name}.png", figures / f"{name}.png") for name, text in captions.items()]
    return "\n".join([about, metric_table(columns, (*Morphology.metric_names, "seconds")), *images])


def perfect_ece(probability: np.ndarray, n_draws: int = 200) -> float:
    """Compute the mean ECE of labels that are drawn from the probabilities themselves."""
    rng = np.random.default_rng(0)
    total = probability.cumsum(1) / probability.sum(1, keepdims=True)
    draws = [(rng.random((len(total), 1)) > total).sum(1).clip(0, total.shape[1] - 1) for _ in range(n_draws)]
    return float(np.mean([classification.ece(probability, drawn) for drawn in draws]))


def noise() -> str:
    """Measure networks and classical methods on test images with noise added; nothing is trained again."""
    models = {"network": load("headline/default/seed0"), "trained on noise": load("noise/more_noise/seed0")}
    accuracy: dict[str, list[float]] = {name: [] for name in models}
    features = []
    with open_store(TEST) as test:
        label, images, sky, scale = class_index(test), test.images(), test.sky_sigma, test.pixel_scale_arcsec
    for factor in NOISE_FACTORS:
        extra = np.sqrt(factor**2 - 1) * sky
        rng = np.random.default_rng(0)
        noisy = images + extra[..., None, None] * rng.standard_normal(images.shape, dtype=np.float32)
        features.append(measure(noisy, sky_sigma=factor * sky, pixel_scale_arcsec=scale)[0])
        for name, model in models.items():
            accuracy[name].append(accuracy_of(model, Cutouts(noisy, factor * sky, features[-1]), label))
    with open_store(STORE) as store:
        train, names = store.select("train"), store.feature_names
        known = class_index(store)[train]
        for name in ("forest", "mlp"):
            columns = [names.index(feature) for feature in MORPHOLOGY[name][1](names)]
            x = np.concatenate(features)[:, columns]
            probability = fit_classes(name, store, train, known, x, n_classes=known.max() + 1)
            parts = np.split(probability.argmax(1), len(NOISE_FACTORS))
            accuracy[name] = [classification.accuracy(part, label) for part in parts]
    errors = {name: [binomial_error(value, len(label)) for value in values] for name, values in accuracy.items()}
    figure = accuracy_against_noise(NOISE_FACTORS, accuracy, errors, n_objects=len(label))
    image = show("Accuracy against noise", "morphology-study-noise.png", figure)
    return robustness_table("noise", NOISE_FACTORS, accuracy, len(label)) + "\n" + image


def centring() -> str:
    """Measure networks on test images that are moved along y."""
    models = {"default": load("headline/default/seed0"), "no shift": load("centring/no_shift/seed0")}
    with open_store(TEST) as test:
        label, images, sky, features = class_index(test), test.images(), test.sky_sigma, test.features()
    moved = [Cutouts(np.ascontiguousarray(np.roll(images, pixels, 2)), sky, features) for pixels in SHIFTS]
    accuracy = {name: [accuracy_of(model, cutouts, label) for cutouts in moved] for name, model in models.items()}
    return robustness_table("pixels", SHIFTS, accuracy, len(label))


def class_index(store: Reader) -> np.ndarray:
    """Return the class of each object of a simulated survey, as an index into the sorted names."""
    return np.unique(store.column("class"), return_inverse=True)[1]


def accuracy_of(model: Model, cutouts: Cutouts, label: np.ndarray) -> float:
    return classification.accuracy(model.raw(cutouts)["probability"].argmax(1), label)


def binomial_error(fraction: float, n: int) -> float:
    return float(np.sqrt(fraction * (1 - fraction) / n))


def robustness_table(head: str, values: tuple[float, ...], accuracy: dict[str, list[float]], n_test: int) -> str:
    """Write a table with a row per disturbance and a column per method."""
    cells = [
        [f"{a:.3f} ± {binomial_error(a, n_test):.3f}" for a in row] for row in zip(*accuracy.values(), strict=True)
    ]
    return table([head, *accuracy], ([f"{value:g}", *row] for value, row in zip(values, cells, strict=True)))


def architectures() -> str:
    """Compare all architectures at equal budget."""
    rows, points = [], {}
    with open_store(TEST) as test:
        cutouts, n_test = Cutouts.from_store(test, np.arange(min(len(test), 256))), len(test)
    for name, (run,) in runs_of("architectures").items():
        model, metrics, *history = load(run), read_metrics(run), *(run / "history.jsonl").read_text().splitlines()
        started = time.process_time()
        model.raw(cutouts)
        rate = len(cutouts) / (time.process_time() - started)
        accuracy, error = metrics["accuracy"], binomial_error(metrics["accuracy"], n_test)
        speed, n_parameters = json.loads(history[-1])["images_per_second"], count_parameters(model.network)
        points[name] = Speed(accuracy, error, speed, n_parameters)
        cells = [f"`{name}`", f"{accuracy:.3f} ± {error:.3f}", f"{metrics['ece']:.3f}", f"{n_parameters:,}"]
        rows.append((accuracy, [*cells, f"{speed:.0f}", f"{rate:.0f}", f"{len(history)}"]))
    head = ["network", "accuracy", "ECE", "parameters", "images/s (training)", "images/s (8 views)", "epochs"]
    figure = accuracy_against_speed(points, heading="Accuracy after 75 CPU seconds of training")
    image = show("Accuracy against speed", "morphology-study-networks.png", figure)
    return table(head, (cells for _, cells in sorted(rows, key=lambda row: -row[0]))) + "\n" + image


def run_table(found: dict[str, list[Metrics]], *metrics: str) -> str:
    """Write a table with a row per kind of training."""
    rows = []
    for name, seeds in found.items():
        cells = [mean_and_spread([run[metric] for run in seeds], 3) if metric in seeds[0] else "" for metric in metrics]
        rows.append([name, *cells, str(len(seeds))])
    return table(["training", *(f"`{metric}`" for metric in metrics), "seeds"], rows)


def metrics_of(part: str) -> dict[str, list[Metrics]]:
    return {name: [read_metrics(run) for run in runs] for name, runs in runs_of(part).items()}


def few() -> str:
    """Tabulate trainings with few labels, and nearest prototypes after the triplet loss."""
    found = metrics_of("few")
    for seed, run in enumerate(runs_of("few")["triplets"]):
        found["triplets"][seed] |= prototype_accuracy(load(run), seed)
    return run_table(found, "accuracy", "balanced_accuracy", "ece", *(f"shots_{n}" for n in SHOTS))


def prototype_accuracy(model: Model, seed: int, n_trials: int = 20) -> Metrics:
    """Classify by the nearest prototype, the mean vector of a few labelled galaxies of a class."""
    rng, metrics = np.random.default_rng(seed), {}
    with open_store(STORE) as store, open_store(TEST) as test:
        train, label, other = store.select("train"), class_index(test), vectors_of(model, test, test.select("all"))
        known = class_index(store)[train]
        for n_shots in SHOTS:
            found = []
            for _ in range(n_trials):
                chosen = [rng.choice(train[known == k], n_shots, replace=False) for k in range(known.max() + 1)]
                vectors = vectors_of(model, store, np.concatenate(chosen))
                prototypes = vectors.reshape(len(chosen), n_shots, -1).mean(1)
                squares = ((other[:, None] - prototypes[None]) ** 2).sum(2)
                found.append(classification.accuracy(squares.argmin(1), label))
            metrics[f"shots_{n_shots}"] = float(np.mean(found))
    return metrics


def vectors_of(model: Model, store: Reader, rows: np.ndarray) -> np.ndarray:
    """Compute the vector of each object, averaged over the views."""
    parts = []
    for part in np.array_split(rows, max(1, len(rows) // 256)):
        arrays = model.task.inputs(Cutouts.from_store(store, part))
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.no_grad():
            parts.append(model.task.vectors(model.network, batch).mean(0).numpy())
    return np.concatenate(parts)


def rare() -> str:
    """Tabulate ways to deal with rare classes."""
    return run_table(metrics_of("rare"), "accuracy", "balanced_accuracy", "macro_f1", "ece")


def votes() -> str:
    """Tabulate the likelihoods of the votes, and the classical methods."""
    baselines = json.loads(Path("votes/Dirichlet-multinomial/baseline.json").read_text())["baselines"]
    classical = {name: [{key: entry["value"] for key, entry in found.items()}] for name, found in baselines.items()}
    return run_table(metrics_of("votes") | classical, "vote_rmse", "agreement", "nll", "coverage_68")


def zoo() -> str:
    """Compare networks and classical methods on Galaxy Zoo, and show the mistakes."""
    (runs,) = runs_of("zoo").values()
    ensemble, folder = runs[0].with_name("ensemble"), runs[0].parent
    columns = metrics_of("zoo") | metrics_of("zoo_images") | read_classical(folder)
    predicted, truth = read_test(ensemble, "zoo")
    label, best, together = truth["label"], predicted["probability"].argmax(1), read_metrics(ensemble)
    reports = [json.loads(path.read_text()) for path in folder.glob("classical-seed*.json")]
    forest = np.mean([report["predictions"]["forest"]["probability"] for report in reports], 0).argmax(1)
    agree = forest == best
    about = (
        f"{count_training(runs[0], 'zoo'):,} training and {len(label):,} test galaxies; mean and standard deviation "
        f"over seeds. The {len(runs)} networks together: accuracy {together['accuracy']:.3f}, balanced "
        f"{together['balanced_accuracy']:.3f}. Networks and forest, which see images and numbers, give the same class "
        f"to {agree.mean():.0%} of the galaxies, {(best != label)[agree].mean():.0%} of them with another label.\n"
    )
    captions = {"confusion": "Confusion matrix", "gallery": "The most confident of each class, and the worst mistakes"}
    figures = ensemble / "figures"
    images = [show(text, f"morphology-zoo-{name}.png", figures / f"{name}.png") for name, text in captions.items()]
    return "\n".join([about, metric_table(columns, ("accuracy", "balanced_accuracy", "ece")), *images])


def hands() -> str:
    """Tabulate which way spirals wind, simulated and real ones, and show the real ones."""
    lines = []
    for part, survey, what in (("arms", "spirals", "simulated spirals"), ("hands", "zoo", "spirals of Galaxy Zoo 1")):
        run, *_ = next(iter(runs_of(part).values()))
        label = read_test(run, survey)[1]["label"]
        lines.append(
            f"{count_training(run, survey):,} training and {len(label):,} test {what}, of which the commoner sense has "
            f"{np.bincount(label).max() / len(label):.3f}; chance has an error of {0.5 / np.sqrt(len(label)):.3f}.\n"
        )
        lines += [metric_table(metrics_of(part), ("accuracy", "auc", "ece")), ""]
    runs = runs_of("hands")["exchanged"]
    ensemble = runs[0].with_name("ensemble")
    together = read_metrics(ensemble)["accuracy"]
    lines.append(f"The {len(runs)} networks of `exchanged` together: accuracy {together:.3f}.")
    image = show("Spirals of both senses", "morphology-hands-gallery.png", ensemble / "figures" / "gallery.png")
    return "\n".join([*lines, image])


if __name__ == "__main__":
    parts = (headline, noise, centring, architectures, few, rare, votes, zoo, hands)
    main({part.__name__: part for part in parts})
