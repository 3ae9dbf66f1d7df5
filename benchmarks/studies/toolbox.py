"""Tables and figures of the study in docs/toolbox.md; toolbox.yaml lists the trainings."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from figures import compare_curves
from matplotlib.figure import Figure
from study import Metrics, load, main, mean_and_spread, read_runs, read_test, show, table, train_seconds

from astrodl import open_store
from astrodl.data.batches import Cutouts
from astrodl.losses import ssim
from astrodl.pipeline.objects import labelled
from astrodl.plots.images import sheet_of_rows
from astrodl.training.diagnosis import judge

STORE, TEST = "surveys/main/store.h5", "surveys/main/test.h5"
N_DRAWN = 9
"""Test galaxies in the figure of reconstructions."""
Curves = dict[str, np.ndarray]
runs_of = partial(read_runs, __file__)


def optimizers() -> str:
    """Compare the optimizers, and name those whose trials have a lower validation loss at another learning rate."""
    rates = {name: learning_rate(run) for name, (run, *_) in runs_of("optimizers").items()}
    trials = [(trial.split()[0], run) for trial, (run,) in runs_of("trials").items()]
    found = [(name, read_curves(run)["validation_loss"][-1], learning_rate(run)) for name, run in trials]
    best = {name: min((loss, rate) for other, loss, rate in found if other == name)[1] for name in rates}
    others = [f"{name} ({best[name]:.2g})" for name in rates if best[name] != rates[name]]
    note = f"\n\nAnother rate was better in the trials of {', '.join(others)}." if others else ""
    return compare("optimizers", {name: f"{rate:.2g}" for name, rate in rates.items()}) + note


def learning_rate(run: Path) -> float:
    return json.loads((run / "config.json").read_text())["train"]["learning_rate"]


def compare(part: str, rates: dict[str, str] | None = None) -> str:
    """Draw the learning curves of the choices of a part, and tabulate what each reached."""
    runs, rows = runs_of(part), []
    curves = {name: [read_curves(run) for run in folders] for name, folders in runs.items()}
    for name, folders in runs.items():
        reached = [read_quality(run) for run in folders]
        cells = [mean_and_spread([each[key] for each in reached], 3) for key in ("accuracy", "cross_entropy")]
        seconds = np.mean([train_seconds(run) for run in folders])
        rows.append([name, *([rates[name]] if rates else []), *cells, diagnoses(curves[name]), f"{seconds:.0f}"])
    head = ["choice", *(["learning rate"] if rates else []), "accuracy", "cross-entropy", "diagnosis", "seconds"]
    panels = {
        label.replace("_", " "): {name: [each[label] for each in found] for name, found in curves.items()}
        for label in ("validation_loss", "validation_accuracy")
    }
    figure = compare_curves(panels, heading=f"Choices of {part}")
    return table(head, rows) + "\n" + show(f"Learning curves: {part}", f"toolbox-{part}.png", figure, "images")


def read_curves(run: Path) -> Curves:
    """Read the learning curves of a training."""
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    kinds = [(part, term) for part in ("train", "validation") for term in ("loss", "accuracy")]
    return {f"{part}_{term}": np.array([row[part][term] for row in rows]) for part, term in kinds}


def read_quality(run: Path) -> Metrics:
    """Measure accuracy and cross-entropy on the test objects."""
    predicted, truth = read_test(run, "main")
    probability, label = predicted["probability"], truth["label"]
    likelihood = probability[np.arange(len(label)), label]
    return {
        "accuracy": float((probability.argmax(1) == label).mean()),
        "cross_entropy": float(-np.log(likelihood + 1e-12).mean()),
    }


def diagnoses(curves: list[Curves]) -> str:
    """Count the diagnoses of the seeds."""
    judged = [judge(each["train_loss"], each["validation_loss"]) for each in curves]
    kinds = [diagnosis.kind for diagnosis in judged if diagnosis is not None]
    if len(set(kinds)) == 1:
        return kinds[0]
    return ", ".join(f"{kind} ({kinds.count(kind)} of {len(kinds)})" for kind in dict.fromkeys(kinds))


def reconstructions() -> str:
    """Draw views of test objects beside their reconstructions, and tabulate how similar they are."""
    runs, rows, tiles = runs_of("reconstructions"), [], {}
    for name, folders in runs.items():
        found = [reconstruct(run) for run in folders]
        tiles |= {"view": found[0][1], name: found[0][2]}
        digits = {"ssim": 3, "chi2": 2, "knn_recall": 3}
        cells = [mean_and_spread([metrics[key] for metrics, *_ in found], digits[key]) for key in digits]
        rows.append([name, *cells, mean_and_spread([train_seconds(run) for run in folders], 0)])
    return (
        table(["choice", "ssim", "chi2", "knn_recall", "seconds"], rows)
        + "\n"
        + show("Reconstructions", "toolbox-reconstructions.png", draw_views(tiles), "images")
    )


def reconstruct(run: Path) -> tuple[Metrics, np.ndarray, np.ndarray]:
    """Measure the reconstructions of a latent map; return also views and reconstructions of the first test objects."""
    model = load(run)
    task = model.task
    with open_store(STORE) as store, open_store(TEST) as test:
        train, rows = labelled(type(task), task.settings, store, "train"), np.arange(len(test))
        known, predicted = (
            model.raw(Cutouts.from_store(reader, part)) for reader, part in ((store, train), (test, rows))
        )
        classes = {f"truth_{name}": values for name, values in task.truth(store, train).items()}
        scores = task.score(predicted, task.truth(test, rows), {**known, **classes})
        view = torch.from_numpy(task.inputs(Cutouts.from_store(test, rows))["image"])
        bands = [len(test.bands) - 1, len(test.bands) // 2, 0]
    with torch.no_grad():
        made = model.network.decoder(torch.from_numpy(predicted["latent"]))
    similarity = float(ssim(made, view, view.amax((1, 2, 3), keepdim=True).clamp(min=1)).mean())
    metrics = {"ssim": similarity, **{name: scores[name]["value"] for name in ("chi2", "knn_recall")}}
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
    names = ("initializations", "activations", "norms", "regularizers", "augmentations", "losses", "poolings")
    parts = {name: partial(compare, name) for name in names}
    main(parts | {"optimizers": optimizers, "reconstructions": reconstructions})
