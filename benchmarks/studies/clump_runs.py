"""Runs of the study of clumps, bulge and disk: survey, networks, fits, limits, classical methods, predictions."""

import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import clump_limits
import numpy as np
import profile_fit

import astrodl
from astrodl.atomic import write_json
from astrodl.config import IngestSettings, SimulateSettings
from astrodl.pipeline.objects import labelled
from astrodl.simulator.survey import data_settings
from astrodl.store import open_store
from astrodl.tasks.base import Arrays
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.segmentation import Segmentation, SegmentationSettings

__all__ = ["TINY", "Plan", "Study"]


class Plan(NamedTuple):
    """Size of the study."""

    n_objects: int = 10_000
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    epochs: int = 10
    n_fits: int = 240
    n_limits: int = 1500


TINY = Plan(400, (0, 1), 1, 6, 60)


class Study:
    """The study, in the working directory."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    # -- runs -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do what is not there yet."""
        if not Path("store.h5").exists():
            settings = SimulateSettings(n_objects=self.plan.n_objects, seed=1)
            astrodl.simulate(settings, "simulated", progress=False)
            data = data_settings(settings, Path("simulated"))
            astrodl.ingest(IngestSettings(survey="candels", data=data), "store.h5")
        for seed in self.plan.seeds:
            self.train(seed)
        if not Path("fits.npz").exists():
            numbers = [int(name[3:]) for name in self.identifiers[self.fitted]]
            np.savez("fits.npz", **profile_fit.fit_all(Path("simulated"), numbers, self.reference))
        if not Path("limits.json").exists():
            numbers = [int(name[3:]) for name in self.identifiers[: self.plan.n_limits]]
            limits = clump_limits.measure_limits(Path("simulated"), numbers, self.reference)
            write_json("limits.json", limits._asdict())
        if not Path("baselines.npz").exists():
            self.run_baselines()
        for seed in self.plan.seeds:
            if not Path(f"predicted{seed}.npz").exists():
                self.predict(seed)
        if not Path("predicted.npz").exists():
            self.predict_together()
        if not Path("one_view.npz").exists():
            self.predict_one_view()
        if not Path("validation.npz").exists():
            self.predict_validation()

    def train(self, seed: int) -> Path:
        """Train a network, or find it trained, by an earlier version, too."""
        path = Path(f"seed{seed}", "model.safetensors")
        if path.exists():
            return path
        settings = {"train": {"epochs": self.plan.epochs, "batch_size": 16}}
        return astrodl.train(
            "segmentation",
            "store.h5",
            f"seed{seed}",
            settings=settings,
            seed=seed,
            device="cpu",
            threads=1,
            progress=False,
        )

    @cached_property
    def model(self) -> Model:
        """Network of the first seed."""
        return load_model(self.train(self.plan.seeds[0]), device="cpu")

    @property
    def reference(self) -> int:
        """Index of the reference band, the default of simulation and task."""
        with open_store("store.h5") as store:
            return len(store.bands) // 2

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the test galaxies."""
        with open_store("store.h5") as store:
            return labelled(Segmentation, SegmentationSettings(), store, "test")

    @cached_property
    def identifiers(self) -> np.ndarray:
        """Names of the test galaxies."""
        with open_store("store.h5") as store:
            return np.array([str(name) for name in store.object_id[self.rows]])

    @cached_property
    def fitted(self) -> np.ndarray:
        """Positions of the fitted galaxies among the test galaxies."""
        return np.sort(np.random.default_rng(0).permutation(len(self.rows))[: self.plan.n_fits])

    @cached_property
    def truth(self) -> Arrays:
        """Truth of the test galaxies."""
        with open_store("store.h5") as store:
            return self.model.task.truth(store, self.rows)

    def predict(self, seed: int) -> None:
        """Predict the test galaxies; keep what the tables need, and the metrics."""
        model = load_model(self.train(seed), device="cpu")
        with open_store("store.h5") as store:
            cutouts = model.task.read(store, self.rows)
        start = time.process_time()
        raw = model.raw(cutouts)
        predicted = model.task.finish(raw)
        seconds = (time.process_time() - start) / len(self.rows)
        scores = model.task.score(predicted, self.truth, {})
        small = {name: values for name, values in predicted.items() if values.ndim <= 2}
        np.savez(f"raw{seed}.npz", **{name: values.astype(np.float16) for name, values in raw.items()})
        np.savez(f"predicted{seed}.npz", seconds=seconds, scores=json.dumps(scores), **small)

    def predict_together(self) -> None:
        """Score the mean of the networks, as `astrodl predict` averages them."""
        total: Arrays = {}
        for seed in self.plan.seeds:
            for name, values in np.load(f"raw{seed}.npz").items():
                total[name] = total.get(name, 0) + values.astype(np.float32) / len(self.plan.seeds)
        predicted = self.model.task.finish(total)
        scores = self.model.task.score(predicted, self.truth, {})
        np.savez("predicted.npz", scores=json.dumps(scores), bt=predicted["bt"], n=len(self.plan.seeds))

    def predict_one_view(self) -> None:
        """Predict the fitted galaxies from one view instead of eight."""
        model = load_model(self.train(self.plan.seeds[0]), device="cpu")
        model.task.settings = model.task.settings.model_copy(update={"views": 1})
        with open_store("store.h5") as store:
            cutouts = model.task.read(store, self.rows[self.fitted])
        model.raw(cutouts.slice(0, 8))
        start = time.process_time()
        predicted = model.task.finish(model.raw(cutouts))
        np.savez("one_view.npz", bt=predicted["bt"], seconds=(time.process_time() - start) / len(self.fitted))

    def predict_validation(self) -> None:
        """Predict the ratios of the validation galaxies with the first network."""
        task = self.model.task
        with open_store("store.h5") as store:
            rows = labelled(type(task), task.settings, store, "validation")
            raw = self.model.raw(task.read(store, rows))
            bt, magnitude = task.truth(store, rows)["bt"], store.column("magnitude", rows)
        np.savez("validation.npz", bt_bins=raw["bt_bins"], bt=bt, magnitude=magnitude)

    def run_baselines(self) -> None:
        """Fit and score the classical methods."""
        task = self.model.task
        with open_store("store.h5") as store:
            train = labelled(type(task), task.settings, store, "train")
            found = task.baselines(store, train, store, self.rows)
        kept: dict[str, Any] = {}
        for name, (arrays, _) in found.items():
            kept[f"{name}/scores"] = json.dumps(task.score(arrays, self.truth, {}))
            kept |= {f"{name}/{key}": values for key, values in arrays.items() if values.ndim <= 2}
        np.savez("baselines.npz", **kept)

    # -- results --------------------------------------------------------------------------------------------------

    @cached_property
    def predicted(self) -> list[Arrays]:
        """Predictions of all seeds."""
        return [dict(np.load(f"predicted{seed}.npz")) for seed in self.plan.seeds]

    @cached_property
    def baselines(self) -> dict[str, Arrays]:
        """Predictions and scores of the classical methods."""
        found: dict[str, Arrays] = {}
        for key, values in np.load("baselines.npz").items():
            name, entry = key.split("/")
            found.setdefault(name, {})[entry] = values
        return found

    @cached_property
    def fits(self) -> Arrays:
        """Results of the profile fits."""
        return dict(np.load("fits.npz"))
