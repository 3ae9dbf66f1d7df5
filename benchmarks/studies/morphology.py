"""Tables and figures of the studies in docs/tasks/morphology.md and votes.md; morphology.yaml lists the trainings."""

import time
from functools import partial

import numpy as np
import study
import torch
from classical import MORPHOLOGY, fit_classes
from figures import Speed, accuracy_against_noise, accuracy_against_speed

from astrodl import open_store
from astrodl.data.batches import Cutouts
from astrodl.metrics import classification
from astrodl.models.blocks import count_parameters
from astrodl.photometry.features import measure
from astrodl.store import Reader
from astrodl.tasks.model import Model

STORE, TEST = "surveys/main/store.h5", "surveys/main/test.h5"
NOISE_FACTORS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
"""Noise of the sky in units of that of the survey."""
SHIFTS = (0, 1, 2, 3)
"""Pixels by which test images are moved."""
SHOTS = (1, 5, 20)
"""Galaxies of each class that a prototype is made of."""
runs_of = partial(study.read_runs, __file__)


def metrics_of(part: str) -> dict[str, list[study.Metrics]]:
    return {name: [study.read_metrics(run) for run in runs] for name, runs in runs_of(part).items()}


def headline() -> str:
    """Compare the network, its ensemble and the classical methods on 10,000 galaxies."""
    runs, ensemble, columns = study.read_headline(__file__)
    network, together, *others = (1 - np.mean([run["accuracy"] for run in found]) for found in columns.values())
    predicted, truth = study.read_test(ensemble, "main")
    n_train, n_test = study.count_training(runs[0], "main"), len(truth["label"])
    stated = [study.read_test(run, "main")[0]["uncalibrated"] for run in runs]
    before = study.mean_and_spread([classification.ece(each, truth["label"]) for each in stated], 3)
    about = (
        f"{n_train:,} training and {n_test:,} test objects; mean and standard deviation over seeds. Error rate over "
        f"that of the best classical method: {network / min(others):.2f} ({together / min(others):.2f} the ensemble). "
        f"ECE before calibration {before}; perfect probabilities would have "
        f"{perfect_ece(predicted['probability']):.3f} on so many objects.\n"
    )
    images = study.show_ensemble(
        ensemble,
        "morphology-study",
        snr="Accuracy against signal to noise",
        reliability="Reliability before and after calibration",
        sets="Sets of classes",
        gallery="The most confident of each class, and the worst mistakes",
    )
    return "\n".join([about, study.metric_table(columns, *columns["network"][0]), *images])


def perfect_ece(probability: np.ndarray, n_draws: int = 200) -> float:
    """Compute the mean ECE of labels that are drawn from the probabilities themselves."""
    rng = np.random.default_rng(0)
    total = probability.cumsum(1) / probability.sum(1, keepdims=True)
    draws = [(rng.random((len(total), 1)) > total).sum(1).clip(0, total.shape[1] - 1) for _ in range(n_draws)]
    return float(np.mean([classification.ece(probability, drawn) for drawn in draws]))


def noise() -> str:
    """Measure networks and classical methods on test images with noise added; nothing is trained again."""
    folders = {"network": "headline/default/seed0", "trained on noise": "noise/more_noise/seed0"}
    models = {name: study.load(folder) for name, folder in folders.items()}
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
            best = fit_classes(name, store, train, known, x, n_classes=known.max() + 1).argmax(1)
            accuracy[name] = [classification.accuracy(part, label) for part in np.split(best, len(NOISE_FACTORS))]
    errors = {name: [binomial_error(value, len(label)) for value in values] for name, values in accuracy.items()}
    figure = accuracy_against_noise(NOISE_FACTORS, accuracy, errors, n_objects=len(label))
    image = study.show("Accuracy against noise", "morphology-study-noise.png", figure)
    return disturbance_table("noise", NOISE_FACTORS, accuracy, len(label)) + "\n" + image


def centring() -> str:
    """Measure networks on test images that are moved along y."""
    models = {"default": study.load("headline/default/seed0"), "no shift": study.load("centring/no_shift/seed0")}
    with open_store(TEST) as test:
        label, images, sky, features = class_index(test), test.images(), test.sky_sigma, test.features()
    moved = [Cutouts(np.ascontiguousarray(np.roll(images, pixels, 2)), sky, features) for pixels in SHIFTS]
    accuracy = {name: [accuracy_of(model, cutouts, label) for cutouts in moved] for name, model in models.items()}
    return disturbance_table("pixels", SHIFTS, accuracy, len(label))


def class_index(store: Reader) -> np.ndarray:
    """Return the class of each object of a simulated survey, as an index into the sorted names."""
    return np.unique(store.column("class"), return_inverse=True)[1]


def accuracy_of(model: Model, cutouts: Cutouts, label: np.ndarray) -> float:
    return classification.accuracy(model.raw(cutouts)["probability"].argmax(1), label)


def binomial_error(fraction: float, n: int) -> float:
    return float(np.sqrt(fraction * (1 - fraction) / n))


def disturbance_table(head: str, values: tuple[float, ...], accuracy: dict[str, list[float]], n_test: int) -> str:
    """Write a table with a row per strength of a disturbance and a column per method."""
    rows = [[f"{value:g}"] for value in values]
    for found in accuracy.values():
        for row, fraction in zip(rows, found, strict=True):
            row.append(f"{fraction:.3f} ± {binomial_error(fraction, n_test):.3f}")
    return study.table([head, *accuracy], rows)


def architectures() -> str:
    """Compare all architectures at equal budget."""
    rows, points = [], {}
    with open_store(TEST) as test:
        cutouts, n_test = Cutouts.from_store(test, np.arange(min(len(test), 256))), len(test)
    for name, (run,) in runs_of("architectures").items():
        model, metrics, history = study.load(run), study.read_metrics(run), study.read_history(run)
        started = time.process_time()
        model.raw(cutouts)
        rate = len(cutouts) / (time.process_time() - started)
        accuracy, error = metrics["accuracy"], binomial_error(metrics["accuracy"], n_test)
        speed, n_parameters = history[-1]["images_per_second"], count_parameters(model.network)
        points[name] = Speed(accuracy, error, speed, n_parameters)
        cells = [f"`{name}`", f"{accuracy:.3f} ± {error:.3f}", f"{metrics['ece']:.3f}", f"{n_parameters:,}"]
        rows.append((accuracy, [*cells, f"{speed:.0f}", f"{rate:.0f}", f"{len(history)}"]))
    head = ["network", "accuracy", "ECE", "parameters", "images/s (training)", "images/s (8 views)", "epochs"]
    figure = accuracy_against_speed(points, heading="Accuracy after 75 CPU seconds of training")
    image = study.show("Accuracy against speed", "morphology-study-networks.png", figure)
    return study.table(head, (cells for _, cells in sorted(rows, key=lambda row: -row[0]))) + "\n" + image


def few() -> str:
    """Tabulate trainings with few labels, and nearest prototypes after the triplet loss."""
    found = metrics_of("few")
    for seed, run in enumerate(runs_of("few")["triplets"]):
        found["triplets"][seed] |= prototype_accuracy(study.load(run), seed)
    return study.run_table(found, "accuracy", "balanced_accuracy", "ece", *(f"shots_{n}" for n in SHOTS))


def prototype_accuracy(model: Model, seed: int, n_trials: int = 20) -> study.Metrics:
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
    return study.run_table(metrics_of("rare"), "accuracy", "balanced_accuracy", "macro_f1", "ece")


def votes() -> str:
    """Tabulate the likelihoods of the votes, and the classical methods."""
    baselines = study.read_json("votes/Dirichlet-multinomial/baseline.json")["baselines"]
    classical = {name: [study.values_of(entries)] for name, entries in baselines.items()}
    return study.run_table(metrics_of("votes") | classical, "vote_rmse", "agreement", "nll", "coverage_68")


def zoo() -> str:
    """Compare networks and classical methods on Galaxy Zoo, and show the mistakes."""
    (runs,) = runs_of("zoo").values()
    ensemble, folder = runs[0].with_name("ensemble"), runs[0].parent
    columns = metrics_of("zoo") | metrics_of("zoo_images") | study.read_classical(folder)
    predicted, truth = study.read_test(ensemble, "zoo")
    label, best, together = truth["label"], predicted["probability"].argmax(1), study.read_metrics(ensemble)
    forests = [study.read_json(path)["predictions"]["forest"] for path in folder.glob("classical-seed*.json")]
    agree = np.mean([forest["probability"] for forest in forests], 0).argmax(1) == best
    about = (
        f"{study.count_training(runs[0], 'zoo'):,} training and {len(label):,} test galaxies; mean and standard "
        f"deviation over seeds. The {len(runs)} networks together: accuracy {together['accuracy']:.3f}, balanced "
        f"{together['balanced_accuracy']:.3f}. Networks and forest, which see images and numbers, give the same class "
        f"to {agree.mean():.0%} of the galaxies, {(best != label)[agree].mean():.0%} of them with another label.\n"
    )
    images = study.show_ensemble(
        ensemble,
        "morphology-zoo",
        confusion="Confusion matrix",
        gallery="The most confident of each class, and the worst mistakes",
    )
    return "\n".join([about, study.metric_table(columns, "accuracy", "balanced_accuracy", "ece"), *images])


def hands() -> str:
    """Tabulate which way spirals wind, simulated and real ones, and show the real ones."""
    lines = []
    for part, survey, what in (("arms", "spirals", "simulated spirals"), ("hands", "zoo", "spirals of Galaxy Zoo 1")):
        run, *_ = next(iter(runs_of(part).values()))
        label = study.read_test(run, survey)[1]["label"]
        n_train, n_test = study.count_training(run, survey), len(label)
        lines.append(
            f"{n_train:,} training and {n_test:,} test {what}, of which the commoner sense has "
            f"{np.bincount(label).max() / n_test:.3f}; chance has an error of {0.5 / np.sqrt(n_test):.3f}.\n"
        )
        lines += [study.metric_table(metrics_of(part), "accuracy", "auc", "ece"), ""]
    runs = runs_of("hands")["exchanged"]
    ensemble = runs[0].with_name("ensemble")
    together = study.read_metrics(ensemble)["accuracy"]
    lines.append(f"The {len(runs)} networks of `exchanged` together: accuracy {together:.3f}.")
    return "\n".join([*lines, *study.show_ensemble(ensemble, "morphology-hands", gallery="Spirals of both senses")])


if __name__ == "__main__":
    parts = (headline, noise, centring, architectures, few, rare, votes, zoo, hands)
    study.main({part.__name__: part for part in parts})
