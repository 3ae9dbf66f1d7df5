"""What the morphology study writes: tables, figures and lines of its page."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from morphology_work import (
    ARCHITECTURES,
    ARMS,
    BUDGET_SECONDS,
    HANDS,
    MOVES,
    NOISES,
    NOISY,
    NOISY_NETWORKS,
    PIXELS,
    RIVALS,
    ZOO,
    asked,
    measured,
    truth,
)
from study import Arrays, Job, keep, mean_and_spread, read

from astrodl.data.batches import Cutouts, Direct
from astrodl.metrics import classification
from astrodl.plots.morphology import class_gallery, confusion_matrix, reliability_diagram
from astrodl.plots.robustness import Architecture, accuracy_against_snr, noise_robustness, set_sizes
from astrodl.plots.robustness import architectures as architectures_figure
from astrodl.tasks.colour import colour
from astrodl.tasks.model import load_model
from astrodl.tasks.morphology import Morphology


def headline(folder: Path) -> str:
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


def noise(folder: Path) -> str:
    """Draw and tabulate the accuracy against the noise that is added."""
    names = (*NOISY_NETWORKS, *NOISY)
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


def centring(folder: Path) -> str:
    """Tabulate the accuracy on images that are off their centre."""
    runs = {name: read(folder, f"moved {name}")[0]["metrics"] for name in MOVES}
    with Direct(folder / "main.h5") as store:
        n_test = len(store.select("test"))
    lines = [f"| pixels | {' | '.join(runs)} |", "| --- |" + " --- |" * len(runs)]
    for pixels in PIXELS:
        found = [run[f"accuracy_{pixels}"] for run in runs.values()]
        cells = [f"{accuracy:.3f} ± {np.sqrt(accuracy * (1 - accuracy) / n_test):.3f}" for accuracy in found]
        lines.append(f"| {pixels} | {' | '.join(cells)} |")
    return "\n".join(lines)


def architectures(folder: Path) -> str:
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


def rows(prefix: str, metrics: Sequence[str]) -> Callable[[Path], str]:
    """Give a writer of a table with a row per kind of training."""

    def write(folder: Path) -> str:
        found: dict[str, list[dict[str, float]]] = {}
        for path in sorted((folder / "results").glob(f"{prefix}_*-[0-9].json")):
            name = json.loads(path.read_text())["job"]["name"].removeprefix(f"{prefix} ")
            found.setdefault(name, []).append(json.loads(path.read_text())["metrics"])
        rows = [
            f"| training | {' | '.join(f'`{m}`' for m in metrics)} | seeds |",
            "| --- |" + " --- |" * (len(metrics) + 1),
        ]
        for name, runs in found.items():
            cells = [mean_and_spread([run_[m] for run_ in runs], 3) if m in runs[0] else "" for m in metrics]
            rows.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
        return "\n".join(rows)

    return write


def zoo(folder: Path) -> str:
    """Tabulate Galaxy Zoo, with the mistakes."""
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
    images = "\n![Confusion matrix](../images/morphology-zoo-confusion.png)"
    images += "\n\n![The surest of each class, and the worst mistakes](../images/morphology-zoo-gallery.png)"
    return "\n".join([about, *table(columns, metrics), images])


def hands(folder: Path) -> str:
    """Tabulate which way spirals wind, of simulated ones and of real ones, and show the real ones."""
    lines = []
    for prefix, ways, survey in (("arms", ARMS, "simulated spirals"), ("hand", HANDS, "spirals of Galaxy Zoo 1")):
        runs = {name: read(folder, f"{prefix} {name}") for name in ways}
        first = runs[ways[0]][0]
        with Direct(folder / f"{first['job']['survey']}.h5") as store:
            job = Job("", first["job"]["survey"], 0, first["job"]["settings"])
            classes, test = asked(store, job)
            label, rgb = truth(store, job, classes, test), colour(store, test)
        larger = np.bincount(label).max() / len(label)
        lines.append(
            f"{first['metrics']['n_train']:,.0f} training and {len(label):,} test {survey}, of which the commoner "
            f"sense has {larger:.3f}; chance has an error of {0.5 / np.sqrt(len(label)):.3f}.\n"
        )
        metrics = {name: [run["metrics"] for run in found] for name, found in runs.items()}
        lines += [*table(metrics, ("accuracy", "auc", "ece")), ""]
    probability = np.mean([run["arrays"]["probability"] for run in runs["exchanged"]], 0)
    figure = class_gallery(rgb, probability, label, ["anticlockwise", "clockwise"])
    keep(folder, figure, "morphology-hands-gallery.png")
    together = measured({"probability": probability}, label)["accuracy"]
    lines.append(f"The {len(runs['exchanged'])} networks of `exchanged` together: accuracy {together:.3f}.\n")
    return "\n".join([*lines, "![Spirals of both senses](../images/morphology-hands-gallery.png)"])
