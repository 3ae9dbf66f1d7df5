"""Study of docs/vectors.md: what a trained network is worth for another task, against the number of labels.

    python benchmarks/studies/transfer.py FOLDER

keeps everything in FOLDER and continues there after a kill; `--record` copies table and figure into docs/. Networks are
trained on one task (without labels: the latent map), and their vectors or weights used for another one. About 40 CPU
minutes of training; `--tiny` tries it in minutes, and its numbers mean nothing.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import copy_to_docs
import numpy as np
import study
import torch
from figures import score_against_labels
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from surveys import copy_objects

import astrodl
from astrodl import tasks
from astrodl.atomic import write_json, write_text
from astrodl.baselines import morphology as classical
from astrodl.config import IngestSettings, SimulateSettings, parse
from astrodl.data.batches import Cutouts
from astrodl.metrics.classification import balanced_accuracy
from astrodl.metrics.neighbours import METRICS as METRICS_OF_DISTANCE
from astrodl.metrics.neighbours import Moments, nearest
from astrodl.metrics.photoz import sigma_mad
from astrodl.photometry.features import photometric_features
from astrodl.pipeline.objects import labelled
from astrodl.products import Vectors
from astrodl.simulator.survey import data_settings
from astrodl.store import open_store
from astrodl.tasks.inputs import scale_free_features
from astrodl.tasks.model import finish, load_model
from astrodl.tasks.photoz.report import METHODS, summaries

DOCS = Path(__file__).resolve().parents[2] / "docs"
REBIN = 2
"""Pixels that are summed along an axis, for networks that train four times as fast."""
WIDTHS = [16, 32, 64, 128]
SETTINGS: Mapping[str, Any] = {
    "latent": {"widths": WIDTHS},
    "morphology": {"network": "compact", "widths": WIDTHS},
    "photoz": {"network": "resnet", "widths": WIDTHS},
}
"""Networks with the same image network, so that weights of one fit another."""
EPOCHS = {100: 80, 300: 40, 1000: 16, 3000: 8}
"""Number of labels -> epochs; small samples get more, so that all have enough updates."""
TARGETS = {"morphology": "class", "photoz": "z"}
METRICS = {"morphology": "balanced accuracy", "photoz": "σ_MAD"}
OTHER = {"morphology": "photoz", "photoz": "morphology"}
NOTHING, MEASURED, FINE_TUNED = "network from nothing", "forest of measurements", "fine-tuned"
SOURCES = {"latent": "latent", "photoz": "photo-z", "morphology": "morphology"}
N_NEIGHBOURS, N_SEARCHED = 15, 10

Probe = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Plan(NamedTuple):
    """Sizes of the study."""

    n_objects: int = 10_000
    n_test: int = 1000
    epochs: Mapping[int, int] = EPOCHS
    source_epochs: Mapping[str, int] = {"morphology": 10, "photoz": 10}
    seeds: tuple[int, ...] = (0, 1, 2)
    n_seeds: Mapping[int, int] = {3000: 2}
    """Number of labels -> seeds, where it is not all of them."""

    def seeds_of(self, size: int) -> tuple[int, ...]:
        """Return the seeds that are measured with some number of labels."""
        return self.seeds[: self.n_seeds.get(size, len(self.seeds))]


TINY = Plan(400, 60, {30: 1, 100: 1}, {"latent": 1, "morphology": 1, "photoz": 1}, (0, 1))


class Transfer:
    """The study in the working directory; results are kept in `results.json`, a number per method, size and seed."""

    def __init__(self, plan: Plan, without: Sequence[str] = ()):
        self.plan, self.without = plan, without
        self.path = Path("results.json")
        self.results: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def run(self) -> None:
        """Measure what has not been measured yet; what takes a training comes last."""
        self.prepare()
        every = [
            (method == NOTHING or method.startswith(FINE_TUNED), f"{task}/{method}/{size}/{seed}", measure)
            for seed, size, task in product(self.plan.seeds, self.plan.epochs, TARGETS)
            if seed in self.plan.seeds_of(size)
            for method, measure in self.methods(task, size, seed).items()
        ]
        for _, key, measure in sorted(every, key=lambda entry: entry[0]):
            if key not in self.results:
                self.results[key] = measure()
                write_json(self.path, self.results)
                print(f"{key}: {self.results[key]:.4f}", flush=True)

    def methods(self, task: str, size: int, seed: int) -> dict[str, Callable[[], float]]:
        """Return a function for each method that gives its score on the test objects."""
        found: dict[str, Callable[[], float]] = {
            NOTHING: partial(self.network, task, size, seed, None),
            MEASURED: partial(self.forest, task, size, seed),
        }
        for source in [source for source in ("latent", OTHER[task]) if source not in self.without]:
            name = SOURCES[source]
            found[f"{FINE_TUNED}, {name}"] = partial(self.network, task, size, seed, source)
            found[f"linear probe, {name}"] = partial(self.probe, task, size, seed, source, LINEAR[task])
            found[f"nearest neighbours, {name}"] = partial(self.probe, task, size, seed, source, NEIGHBOURS[task])
        return found

    def prepare(self) -> None:
        """Simulate the survey; copy the test objects and, for each seed, those with labels."""
        if not Path("main.h5").exists():
            settings = SimulateSettings(n_objects=self.plan.n_objects, seed=1)
            if not Path("sky/catalog.fits").exists():
                astrodl.simulate(settings, "sky", progress=False)
            data = data_settings(settings, Path("sky")).model_copy(update={"rebin": REBIN})
            astrodl.ingest(IngestSettings(survey="candels", data=data), "main.h5")
        with open_store("main.h5") as store:
            train, test = store.select("train"), store.select("test")[: self.plan.n_test]
        copies = {Path("test.h5"): test}
        for seed in self.plan.seeds:
            chosen = np.random.default_rng(seed).choice(train, max(self.plan.epochs), replace=False)
            copies[Path(f"labelled{seed}.h5")] = np.sort(chosen)
        for path, rows in copies.items():
            if not path.exists():
                copy_objects(Path("main.h5"), rows, path)

    def train(self, task: str, store: str, out: str, settings: Mapping[str, Any], seed: int = 0) -> Path:
        """Train a network, or find it trained."""
        return astrodl.train(task, store, out, settings=settings, seed=seed, device="cpu", threads=1, progress=False)

    def source(self, name: str) -> Path:
        """Return the network that another task starts from, trained on all training objects."""
        settings = dict(SETTINGS[name])
        if name in self.plan.source_epochs:
            settings["train"] = {"epochs": self.plan.source_epochs[name], "batch_size": 32}
        return self.train(name, "main.h5", f"sources/{name}", settings)

    def network(self, task: str, size: int, seed: int, source: str | None) -> float:
        """Train a network with few labels, from nothing or from the weights of another one."""
        training = {"epochs": self.plan.epochs[size], "batch_size": 16, "validate_every": 100}
        settings = {**SETTINGS[task], "n_train": size, "train": training}
        if source is not None:
            settings["init_from"] = str(self.source(source))
        path = self.train(task, f"labelled{seed}.h5", f"{task}/{source or 'nothing'}-{size}-{seed}", settings, seed)
        model = load_model(path, device="cpu")
        raw = model.raw(self.test_cutouts)
        predicted = finish(model.task, raw, raw["input_flags"])
        if task == "photoz":
            return score(task, predicted["z_median"], self.truth(task))
        return score(task, np.array(model.task.classes)[predicted["probability"].argmax(1)], self.truth(task))

    def probe(self, task: str, size: int, seed: int, source: str, fit: Probe) -> float:
        """Predict from the vectors of another network."""
        rows, y = self.labels(task, size, seed)
        predicted = fit(self.vectors(source, f"labelled{seed}.h5")[rows], y, self.vectors(source, "test.h5"))
        return score(task, predicted, self.truth(task))

    def forest(self, task: str, size: int, seed: int) -> float:
        """Predict with the random forest of measured features."""
        rows, y = self.labels(task, size, seed)
        select = photometric_features if task == "photoz" else scale_free_features
        with open_store(f"labelled{seed}.h5") as store, open_store("test.h5") as test:
            train_x, test_x = (one.features(select(one.feature_names)) for one in (store, test))
        if task == "photoz":
            edges = np.linspace(0, 1.05 * y.max(), 151)
            return score(
                task,
                summaries(METHODS["forest"](train_x[rows], y, test_x, edges)["pdf"], edges)["z_median"],
                self.truth(task),
            )
        names, codes = np.unique(y, return_inverse=True)
        return score(task, names[classical.forest(train_x[rows], codes, test_x).argmax(1)], self.truth(task))

    def labels(self, task: str, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and labels of the objects that a network is trained on."""
        task_class = tasks.get(task)
        with open_store(f"labelled{seed}.h5") as store:
            rows = labelled(task_class, parse(task_class.Settings, {"n_train": size}), store, "train")
            return rows, store.column(TARGETS[task], rows)

    def vectors(self, source: str, store: str) -> np.ndarray:
        """Embed a store."""
        path = Path("vectors", f"{source}-{Path(store).stem}.fits")
        if not path.exists():
            astrodl.embed(self.source(source), store, path, device="cpu", threads=1, progress=False)
        return Vectors(path).read()[1]

    @cached_property
    def test_cutouts(self) -> Cutouts:
        """Test objects."""
        with open_store("test.h5") as store:
            return Cutouts.from_store(store, np.arange(len(store)))

    def truth(self, task: str) -> np.ndarray:
        """Read the labels of the test objects."""
        with open_store("test.h5") as store:
            return store.column(TARGETS[task])

    def scores(self, task: str) -> dict[str, np.ndarray]:
        """Return the scores of each method, (sizes, seeds); NaN for seeds that are not measured."""
        methods = self.methods(task, min(self.plan.epochs), 0)
        return {
            name: np.array(
                [
                    [
                        self.results[f"{task}/{name}/{n}/{s}"] if s in self.plan.seeds_of(n) else np.nan
                        for s in self.plan.seeds
                    ]
                    for n in self.plan.epochs
                ]
            )
            for name in methods
        }

    def page(self) -> str:
        """Write tables and figure."""
        sizes, n_seeds = list(self.plan.epochs), len(self.plan.seeds)
        fewer = "".join(f" ({n} with {size:,})" for size, n in self.plan.n_seeds.items() if size in self.plan.epochs)
        parts = [
            f"{self.plan.n_objects:,} simulated galaxies, pixels summed {REBIN} by {REBIN}; {self.plan.n_test:,} test "
            f"objects; mean and standard deviation over {n_seeds} draws of the labels{fewer}, also the seeds of the "
            "networks. Bold: better than the network from nothing by more than twice the standard error of the "
            "difference."
        ]
        panels = {}
        for task, metric in METRICS.items():
            found = self.scores(task)
            rows = [[name, *(self.cell(task, found, name, i) for i in range(len(sizes)))] for name in found]
            head = [f"{metric} with labels of", *(f"{size:,}" for size in sizes)]
            parts += ["", study.table(head, rows)]
            label = metric.replace("σ_MAD", r"redshift: $\sigma_\mathrm{MAD}$")
            panels[label] = {name: (np.nanmean(value, 1), np.nanstd(value, 1, ddof=1)) for name, value in found.items()}
        parts += [
            "",
            f"Of the {N_SEARCHED} nearest test objects: share of the same class, and median \\|Δz\\| / (1 + z).",
            "",
            self.search(),
        ]
        parts.append(
            study.show(
                "Scores against the number of labels", "transfer.png", score_against_labels(sizes, panels), "images"
            )
        )
        return "\n".join(parts)

    def search(self) -> str:
        """Tabulate how alike the nearest test objects are, by vectors and metric of the distance."""
        kinds, z = self.truth("morphology"), self.truth("photoz")
        rows = []
        for source in [source for source in SOURCES if source not in self.without]:
            vectors = self.vectors(source, "test.h5")
            cells = [SOURCES[source], f"{vectors.shape[1]}"]
            for metric in METRICS_OF_DISTANCE:
                moments = Moments(vectors.shape[1], metric)
                moments.add(vectors)
                found, _ = nearest([vectors], vectors, N_SEARCHED, moments.scaling(), exclude=np.arange(len(vectors)))
                alike = (kinds[found] == kinds[:, None]).mean()
                off = np.median(np.abs(z[found] - z[:, None]) / (1 + z[:, None]))
                cells.append(f"{alike:.1%}, {off:.3f}")
            rows.append(cells)
        return study.table(["vectors of", "dimensions", *METRICS_OF_DISTANCE], rows)

    def cell(self, task: str, found: Mapping[str, np.ndarray], name: str, place: int) -> str:
        """Write the mean and spread of a method at one size; bold where it is better than a network from nothing."""
        values, nothing = (found[method][place] for method in (name, NOTHING))
        values, nothing = values[np.isfinite(values)], nothing[np.isfinite(nothing)]
        gain = (values - nothing) * (1 if task == "morphology" else -1)
        text = study.mean_and_spread(values.tolist(), 3)
        return f"**{text}**" if gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain)) and gain.mean() > 0 else text


def score(task: str, predicted: np.ndarray, truth: np.ndarray) -> float:
    if task == "photoz":
        return float(sigma_mad(predicted, truth))
    codes = np.unique(np.concatenate([predicted, truth]), return_inverse=True)[1]
    return float(balanced_accuracy(*np.split(codes, 2)))


def classify_linearly(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    search = LogisticRegressionCV(
        Cs=np.geomspace(1e-3, 10, 9),
        cv=5,
        max_iter=1000,
        l1_ratios=(0,),
        scoring="accuracy",
        use_legacy_attributes=False,
    )
    return make_pipeline(StandardScaler(), search).fit(x, y).predict(other)


def regress_linearly(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    model = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1e-2, 1e4, 25))).fit(x, np.log1p(y))
    return np.expm1(model.predict(other))


def classify_nearby(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    return make_pipeline(StandardScaler(), KNeighborsClassifier(N_NEIGHBOURS)).fit(x, y).predict(other)


def regress_nearby(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(N_NEIGHBOURS)).fit(x, np.log1p(y))
    return np.expm1(model.predict(other))


LINEAR: Mapping[str, Probe] = {"morphology": classify_linearly, "photoz": regress_linearly}
NEIGHBOURS: Mapping[str, Probe] = {"morphology": classify_nearby, "photoz": regress_nearby}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("--record", action="store_true", help="copy table and figure into docs/")
    parser.add_argument("--tiny", action="store_true", help="try the study in minutes")
    parser.add_argument("--without", nargs="+", default=[], choices=SOURCES, help="leave out these networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    transfer = Transfer(TINY if options.tiny else Plan(), options.without)
    transfer.run()
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / "transfer.md", transfer.page() + "\n")
    if options.record:
        copy_to_docs.main(str(DOCS), "vectors.md=transfer")


if __name__ == "__main__":
    main()
