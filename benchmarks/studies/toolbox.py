"""Tables and figures of the study in docs/toolbox.md; toolbox.yaml lists the trainings."""

from functools import partial
from pathlib import Path

import numpy as np
import study
import torch
from figures import compare_curves
from matplotlib.figure import Figure

from astrodl import open_store
from astrodl.data.batches import Cutouts
from astrodl.losses import ssim
from astrodl.pipeline.objects import labelled
from astrodl.plots.images import sheet_of_rows
from astrodl.training.diagnosis import diagnose_curves

STORE, TEST = "surveys/main/store.h5", "surveys/main/test.h5"
N_DRAWN = 9
"""Test galaxies in the figure of reconstructions."""
runs_of = partial(study.read_runs, __file__)


def optimizers() -> str:
    """Compare the optimizers, and name those whose trials have a lower validation loss at another learning rate."""
    rates = {name: learning_rate(run) for name, (run, *_) in runs_of("optimizers").items()}
    trials = [(trial.split()[0], run) for trial, (run,) in runs_of("trials").items()]
    found = [(name, read_curve(run, "validation", "loss")[-1], learning_rate(run)) for name, run in trials]
    best = {name: min((loss, rate) for other, loss, rate in found if other == name)[1] for name in rates}
    others = [f"{name} ({best[name]:.2g})" for name in rates if best[name] != rates[name]]
    note = f"\n\nAnother rate was better in the trials of {', '.join(others)}." if others else ""
    return compare("optimizers", {name: f"{rate:.2g}" for name, rate in rates.items()}) + note


def learning_rate(run: Path) -> float:
    return study.read_json(run / "config.json")["train"]["learning_rate"]


def read_curve(run: Path, part: str, term: str) -> np.ndarray:
    return np.array([row[part][term] for row in study.read_history(run)])


def compare(part: str, rates: dict[str, str] | None = None) -> str:
    """Draw the learning curves of the choices of a part, and tabulate what each reached."""
    rows, runs = [], runs_of(part)
    for name, folders in runs.items():
        reached = [read_quality(run) for run in folders]
        cells = [study.cell(reached, key, 3) for key in ("accuracy", "cross_entropy")]
        seconds = np.mean([each["seconds"] for each in reached])
        rows.append([name, *([rates[name]] if rates else []), *cells, count_diagnoses(folders), f"{seconds:.0f}"])
    head = ["choice", *(["learning rate"] if rates else []), "accuracy", "cross-entropy", "diagnosis", "seconds"]
    panels = {
        f"validation {term}": {
            name: [read_curve(run, "validation", term) for run in folders] for name, folders in runs.items()
        }
        for term in ("loss", "accuracy")
    }
    figure = compare_curves(panels, heading=f"Choices of {part}")
    image = study.show(f"Learning curves: {part}", f"toolbox-{part}.png", figure, "images")
    return study.table(head, rows) + "\n" + image


def read_quality(run: Path) -> study.Metrics:
    """Measure accuracy and cross-entropy on the test objects."""
    predicted, truth = study.read_test(run, "main")
    probability, label = predicted["probability"], truth["label"]
    likelihood = probability[np.arange(len(label)), label]
    accuracy, cross_entropy = (probability.argmax(1) == label).mean(), -np.log(likelihood + 1e-12).mean()
    return {**study.read_metrics(run), "accuracy": float(accuracy), "cross_entropy": float(cross_entropy)}


def count_diagnoses(runs: list[Path]) -> str:
    """Count the diagnoses of the seeds."""
    judged = [diagnose_curves(read_curve(run, "train", "loss"), read_curve(run, "validation", "loss")) for run in runs]
    kinds = [diagnosis.kind for diagnosis in judged if diagnosis is not None]
    if len(set(kinds)) == 1:
        return kinds[0]
    return ", ".join(f"{kind} ({kinds.count(kind)} of {len(kinds)})" for kind in dict.fromkeys(kinds))


def reconstructions() -> str:
    """Draw views of test objects beside their reconstructions, and tabulate how similar they are."""
    rows, tiles = [], {}
    for name, folders in runs_of("reconstructions").items():
        found = [reconstruct(run) for run in folders]
        tiles |= {"view": found[0][1], name: found[0][2]}
        metrics, digits = [each[0] for each in found], {"ssim": 3, "chi2": 2, "knn_recall": 3, "seconds": 0}
        rows.append([name, *(study.cell(metrics, key, n) for key, n in digits.items())])
    image = study.show("Reconstructions", "toolbox-reconstructions.png", draw_views(tiles), "images")
    return study.table(["choice", "ssim", "chi2", "knn_recall", "seconds"], rows) + "\n" + image


def reconstruct(run: Path) -> tuple[study.Metrics, np.ndarray, np.ndarray]:
    """Measure the reconstructions of a latent map; return also views and reconstructions of the first test objects."""
    model = study.load(run)
    task = model.task
    with open_store(STORE) as store, open_store(TEST) as test:
        train, rows = labelled(type(task), task.settings, store, "train"), test.select("all")
        known, predicted = (model.raw(Cutouts.from_store(*part)) for part in ((store, train), (test, rows)))
        classes = {f"truth_{name}": values for name, values in task.truth(store, train).items()}
        scores = study.values_of(task.score(predicted, task.truth(test, rows), {**known, **classes}))
        view = torch.from_numpy(task.inputs(Cutouts.from_store(test, rows))["image"])
        bands = [len(test.bands) - 1, len(test.bands) // 2, 0]
    with torch.no_grad():
        made = model.network.decode(torch.from_numpy(predicted["latent"]))
    similarity = ssim(made, view, view.amax((1, 2, 3), keepdim=True).clamp(min=1)).mean()
    metrics = {**study.read_metrics(run), **scores, "ssim": float(similarity)}
    return metrics, view[:N_DRAWN, bands].numpy(), made[:N_DRAWN, bands].numpy()


def draw_views(tiles: dict[str, np.ndarray]) -> Figure:
    """Draw views, a row for each kind of reconstruction; the first row sets the brightness."""
    stacked = np.concatenate(list(tiles.values()))
    rgb = (stacked / stacked[:N_DRAWN].max((1, 2, 3)).mean()).clip(0, 1).transpose(0, 2, 3, 1)
    return sheet_of_rows(
        rgb,
        np.arange(len(rgb)).reshape(len(tiles), -1).tolist(),
        list(tiles),
        title=lambda i: "",
        frame=lambda i: None,
        n_columns=N_DRAWN,
        heading="Test galaxies in canonical view, and their reconstructions from eight numbers",
    )


if __name__ == "__main__":
    compared = {part: partial(compare, part) for part in study.read_yaml(__file__)["parts"]}
    study.main({**compared, "optimizers": optimizers, "reconstructions": reconstructions})
