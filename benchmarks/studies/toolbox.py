"""The study of docs/toolbox.md: what each choice of training a network changes, on the classes of simulated galaxies.

`python benchmarks/studies/toolbox.py FOLDER --jobs 2 --record` simulates a survey of 10,000 galaxies of `candels`,
trains a small network on 1,500 of them with each choice and three seeds, on CPUs with one thread each (a latent map for
each way to compare reconstructions), measures all on the test split, and writes tables and figures into the page. What
is done is kept in FOLDER: run it again to go on. It needs about an hour of CPU time.

Each optimizer is first tried with one seed at three learning rates, a third, once and three times its usual one; the
rate of the lowest validation loss is taken. The test split has no part in that.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import DOCS, Arrays, Job, keep, make_survey, mean_and_spread, read, run_jobs, write_page

import astrodl
from astrodl.config import parse
from astrodl.config.training import LEARNING_RATES
from astrodl.data.batches import Cutouts, Direct
from astrodl.losses import ssim
from astrodl.pipeline import objects
from astrodl.plots.images import blue_to_red, sheet_of_rows
from astrodl.plots.studies import compared_curves
from astrodl.tasks.latent import Latent
from astrodl.tasks.model import load_model
from astrodl.tasks.morphology import Morphology
from astrodl.training.diagnosis import judge

Settings = Mapping[str, Any]

SURVEY = {"n_objects": 10000, "seed": 1}
SEEDS = range(3)
FACTORS = (1 / 3, 1.0, 3.0)
"""Learning rates that an optimizer is tried at, in units of its usual one."""
N_TEST, N_DRAWN = 1000, 9
BASE: Settings = {
    "network": "compact",
    "widths": [8, 16, 32],
    "photometry": False,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "balance": 0.0,
    "n_train": 1500,
    "train": {"epochs": 8, "weight_decay": 0.0, "ema": 0.0},
}
"""What trainings on classes share: nothing that is compared is switched on, but flips, quarter turns and shifts."""
PLAIN: Settings = {"augment": {"symmetries": False, "shift_pixels": 0}}


def styles(key: str, *names: str) -> dict[str, Settings]:
    """Give one choice of the network's style each."""
    return {name.replace("_", " "): {"style": {key: name}} for name in names}


def augmented(**changed: Any) -> Settings:
    """Add an augmentation to the symmetries, without the shift."""
    return {"augment": {"shift_pixels": 0, **changed}}


GROUPS: Mapping[str, Mapping[str, Settings]] = {
    "optimizers": {
        name: {"train": {"optimizer": name, "weight_decay": 0.05 if name == "adamw" else 0.0}}
        for name in LEARNING_RATES
    },
    "initializations": styles("initialization", "he", "glorot", "normal", "constant"),
    "activations": styles("activation", "relu", "leaky_relu", "prelu", "elu", "selu", "silu", "tanh", "sigmoid"),
    "norms": styles("norm", "batch", "group", "layer", "instance", "none"),
    # without augmentation, which would hide what they do
    "regularizers": {
        "none": PLAIN,
        "L1": {**PLAIN, "train": {"l1": 1e-4}},
        "L2": {**PLAIN, "train": {"l2": 1e-3}},
        "weight decay": {**PLAIN, "train": {"weight_decay": 0.1}},
        "max-norm": {**PLAIN, "train": {"max_norm": 1.0}},
        "dropout": {**PLAIN, "dropout": 0.5},
        "early stopping": {**PLAIN, "train": {"patience": 3}},
    },
    "augmentations": {
        "none": PLAIN,
        "symmetries": augmented(),
        "+ shift": augmented(shift_pixels=4),
        "+ rotation": augmented(rotate=45),
        "+ zoom": augmented(zoom=0.2),
        "+ noise": augmented(noise=0.5),
        "+ blur": augmented(blur=1.0),
        "+ band dropout": augmented(band_dropout=0.15),
        "+ cutout": augmented(cutout=0.25),
        "+ mixup": augmented(mixup=0.2),
        "all": augmented(
            shift_pixels=4, rotate=45, zoom=0.2, noise=0.5, blur=1.0, band_dropout=0.15, cutout=0.25, mixup=0.2
        ),
    },
    "losses": {
        "cross-entropy": {},
        "weighted": {"balance": 1.0},
        "focal": {"loss": "focal", "focal_gamma": 2.0},
        "label smoothing": {"label_smoothing": 0.1},
        "squared error": {"loss": "mse"},
        "absolute error": {"loss": "l1"},
    },
    "poolings": styles("pooling", "mean", "max", "lp", "mean_max"),
    "reconstructions": {
        "Gaussian": {"reconstruction": "gaussian"},
        "squared error": {"reconstruction": "mse"},
        "absolute error": {"reconstruction": "l1"},
        "structural similarity": {"reconstruction": "ssim"},
    },
}
VIEWS = "reconstructions"
"""The group that is tried on the latent map, not on the classes."""
OF_VIEWS: Settings = {"n_train": 1500, "dimensions": 8, "train": {"epochs": 40}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where survey, models and results are kept (2 GB)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="what to compare")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help=f"seeds of each choice (default: {len(SEEDS)})")
    parser.add_argument("--record", action="store_true", help="write tables and figures of these groups into docs/")
    options = parser.parse_args()
    make_survey(options.folder, "main", SURVEY, options.jobs)
    shown = ("accuracy", "cross_entropy", "cpu_seconds")
    if "optimizers" in options.groups:
        run_jobs(options.folder, list(trials()), work, options.jobs, shown)
    jobs = [
        job(f"{group} {name}", settings, seed, OF_VIEWS if group == VIEWS else BASE)
        for group in options.groups
        for name, settings in choices(options.folder, group).items()
        for seed in range(options.seeds)
    ]
    run_jobs(options.folder, jobs, work, options.jobs, shown)
    if options.record:
        made = {group: (views if group == VIEWS else table)(options.folder, group) for group in options.groups}
        write_page(DOCS / "toolbox.md", made)


def job(name: str, changed: Settings, seed: int = 0, base: Settings = BASE) -> Job:
    """Give a training: what all share, with something changed."""
    return Job(f"toolbox {name}", "main", seed, merged(base, changed))


def merged(settings: Settings, changed: Settings) -> dict[str, Any]:
    """Change settings, key by key of their sections."""
    both = {key: merged(settings.get(key, {}), value) for key, value in changed.items() if isinstance(value, Mapping)}
    return {**settings, **changed, **both}


def trials() -> list[Job]:
    """List the trainings that find a learning rate for each optimizer."""
    return [
        job(f"trial {name} {number}", at_rate(name, factor))
        for name in LEARNING_RATES
        for number, factor in enumerate(FACTORS)
    ]


def at_rate(name: str, factor: float) -> dict[str, Any]:
    """Give the settings of an optimizer at a multiple of its usual learning rate."""
    return merged(GROUPS["optimizers"][name], {"train": {"learning_rate": factor * LEARNING_RATES[name]}})


def choices(folder: Path, group: str) -> Mapping[str, Settings]:
    """Give the choices of a group; optimizers at the learning rate of the lowest validation loss."""
    if group != "optimizers":
        return GROUPS[group]
    chosen = {}
    for name in LEARNING_RATES:
        losses = [read(folder, f"toolbox trial {name} {number}")[0]["metrics"]["validation"] for number in range(3)]
        chosen[name] = at_rate(name, FACTORS[int(np.argmin(losses))])
    return chosen


def work(folder: Path, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train a network and measure it on test objects, as the task predicts: averaged over views, with a temperature."""
    out = folder / "models" / job.label
    store_path = folder / f"{job.survey}.h5"
    if job.name.startswith(f"toolbox {VIEWS}"):
        return redrawn(out, store_path, job)
    path = astrodl.train("morphology", store_path, out, settings=job.settings, seed=job.seed, threads=1, progress=False)
    model = load_model(path, device="cpu")
    with Direct(store_path) as store:
        settings = parse(Morphology.Settings, job.settings, job.name)
        test = objects.labelled(Morphology, settings, store, "test")[:N_TEST]
        probability = model.raw(Cutouts.from_store(store, test))["probability"]
        label = model.task.truth(store, test)["label"]
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    curves = {
        f"{part}_{term}": np.array([row[part][term] for row in rows])
        for part in ("train", "validation")
        for term in ("loss", "accuracy")
    }
    metrics = {
        "accuracy": float((probability.argmax(1) == label).mean()),
        "cross_entropy": float(-np.log(probability[np.arange(len(label)), label] + 1e-12).mean()),
        "validation": float(curves["validation_loss"][-1]),
    }
    return metrics, curves


def redrawn(out: Path, store_path: Path, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train a latent map and measure what it makes of the views of test objects."""
    path = astrodl.train("latent", store_path, out, settings=job.settings, seed=job.seed, threads=1, progress=False)
    model = load_model(path, device="cpu")
    with Direct(store_path) as store:
        train, test = objects.labelled(Latent, model.task.settings, store, "train"), store.select("test")[:N_TEST]
        theirs, ours = (model.raw(Cutouts.from_store(store, part)) for part in (train, test))
        classes = {f"truth_{name}": values for name, values in model.task.truth(store, train).items()}
        scores = model.task.score(ours, model.task.truth(store, test), {**theirs, **classes})
        view = torch.from_numpy(model.task.inputs(Cutouts.from_store(store, test))["image"])
        blue, *_, red = order = blue_to_red(store.bands)
        bands = [red, order[len(order) // 2], blue]
    with torch.no_grad():
        made = model.network.decoder(torch.from_numpy(ours["latent"]))  # type: ignore[operator,union-attr]
    alike = ssim(made, view, view.amax((1, 2, 3), keepdim=True).clamp(min=1)).mean()
    metrics = {"ssim": float(alike), **{name: scores[name]["value"] for name in ("chi2", "knn_recall")}}
    return metrics, {"view": view[:N_DRAWN, bands].numpy(), "made": made[:N_DRAWN, bands].numpy()}


# -- what is written ---------------------------------------------------------------------------------------------------


def table(folder: Path, group: str) -> str:
    """Draw the learning curves of a group, and tabulate what each choice reached."""
    found = {name: read(folder, f"toolbox {group} {name}") for name in GROUPS[group]}
    found = {name: runs for name, runs in found.items() if runs}
    head = ["choice", *(["learning rate"] if group == "optimizers" else []), "accuracy", "cross-entropy"]
    rows = [[*head, "diagnosis", "CPU s"], ["---"] * (len(head) + 2)]
    for name, runs in found.items():
        cells = [f"{runs[0]['job']['settings']['train']['learning_rate']:.2g}"] if group == "optimizers" else []
        cells += [mean_and_spread([each["metrics"][key] for each in runs], 3) for key in ("accuracy", "cross_entropy")]
        seconds = np.mean([each["metrics"]["cpu_seconds"] for each in runs])
        rows.append([name, *cells, diagnoses([each["arrays"] for each in runs]), f"{seconds:.0f}"])
    panels = {
        label: {name: [each["arrays"][key] for each in runs] for name, runs in found.items()}
        for label, key in (("validation loss", "validation_loss"), ("validation accuracy", "validation_accuracy"))
    }
    file = f"toolbox-{group}.png"
    keep(folder, compared_curves(panels, heading=f"Choices of {group}"), file)
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", f"![Learning curves: {group}](images/{file})"])


def views(folder: Path, group: str) -> str:
    """Draw views of test objects beside their reconstructions, and tabulate how alike they are."""
    found = {name: read(folder, f"toolbox {group} {name}") for name in GROUPS[group]}
    metrics = ("ssim", "chi2", "knn_recall", "cpu_seconds")
    rows = [f"| choice | {' | '.join(metrics[:3])} | CPU s |", "| --- |" + " --- |" * len(metrics)]
    for name, runs in found.items():
        digits = {"cpu_seconds": 0, "chi2": 2}
        cells = [mean_and_spread([each["metrics"][key] for each in runs], digits.get(key, 3)) for key in metrics]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    arrays = {name: runs[0]["arrays"] for name, runs in found.items()}
    tiles = np.concatenate([next(iter(arrays.values()))["view"], *(each["made"] for each in arrays.values())])
    rgb = (tiles / tiles[:N_DRAWN].max((1, 2, 3)).mean()).clip(0, 1).transpose(0, 2, 3, 1)
    figure = sheet_of_rows(
        rgb,
        np.arange(len(tiles)).reshape(-1, N_DRAWN).tolist(),
        ["view", *arrays],
        title=lambda i: "",
        frame=lambda i: None,
        n_columns=N_DRAWN,
        heading="Test galaxies in canonical view, redrawn from eight numbers",
    )
    keep(folder, figure, f"toolbox-{group}.png")
    return "\n".join([*rows, "", f"![Reconstructions](images/toolbox-{group}.png)"])


def diagnoses(curves: list[Arrays]) -> str:
    """Count the diagnoses of the seeds."""
    judged = [judge(each["train_loss"], each["validation_loss"]) for each in curves]
    kinds = [diagnosis.kind for diagnosis in judged if diagnosis is not None]
    if len(set(kinds)) == 1:
        return kinds[0]
    return ", ".join(f"{kind} ({kinds.count(kind)} of {len(kinds)})" for kind in dict.fromkeys(kinds))


if __name__ == "__main__":
    main()
