"""The morphology study of docs/tasks/morphology.md: accuracy over seeds, architectures, noise, few labels, handedness.

`python benchmarks/studies/morphology.py FOLDER --jobs 2 --record` simulates a survey of 10,000 galaxies of `candels` on
which volunteers vote, trains every network of the study on CPUs, one thread each, measures all on the test split beside
the classical methods, and writes tables and figures into the documentation. What is done is kept in FOLDER: run it
again to go on. It needs about three and a half CPU hours.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import morphology_pages as pages
import numpy as np
from astropy.table import Table
from morphology_work import ARCHITECTURES, MOVES, NOISY, NOISY_NETWORKS, RIVALS, SEEDED, SEEDS, SHOTS, work
from study import DOCS, ROOT, Job, make_survey, run_jobs, write_page

from astrodl.config import IngestSettings, parse, read_yaml
from astrodl.ingestion.run import ingest

SURVEY = {"n_objects": 10000, "seed": 1, "votes": 40}
SPIRALS = {"n_objects": 20000, "seed": 2, "bands": ("F775W",), "magnitude_limit": 22.0, "oddity_fraction": 0.0}
"""Bright galaxies, whose spirals show which way they wind."""
STEEPEST = 60.0
"""Inclination in degrees up to which one sees how arms wind."""
FEW = 300
"""Training objects with a label, where labels are few."""
RARE = ("elliptical", "lenticular", "merger")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where surveys, models and results are kept (2 GB)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run (default: all)")
    parser.add_argument("--record", action="store_true", help="write tables and figures of these parts into docs/")
    options = parser.parse_args()
    make_survey(options.folder, "main", SURVEY, options.jobs, labels=other_labels)
    if "hands" in options.parts:
        make_survey(options.folder, "spirals", SPIRALS, options.jobs, labels=handedness)
    if {"zoo", "hands"} & set(options.parts):
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


def handedness(catalog: Table) -> None:
    """Add `hand`: how the arms wind, where the disk is not seen too much from the side."""
    seen = np.asarray(catalog["inclination"]) < STEEPEST
    catalog["hand"] = np.where(seen, catalog["winding"].astype(str), "")


def ingest_zoo(folder: Path, workers: int) -> None:
    """Ingest Galaxy Zoo 1 as config/examples/galaxyzoo.yaml does, with the handedness of spirals kept apart."""
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
    """List predictions on noisier images: the default network, one that trained on such, and two classical methods."""
    networks = [headline()[1][0], Job("more noise", "main", 0, {"augment": {"noise": 2.0}})]
    jobs = [Job(f"noise {name}", "main") for name in NOISY_NETWORKS]
    return [networks, jobs + [Job(f"noise {name}", "main", rival=name) for name in NOISY]]


def centring() -> list[list[Job]]:
    """List the default network and one that never saw a shifted image, both on images that are off their centre."""
    alone = Job("no shift", "main", 0, {"augment": {"shift_pixels": 0}})
    return [[headline()[1][0], alone], [Job(f"moved {name}", "main") for name in MOVES]]


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
    """List the likelihoods of the votes, and the classical methods."""
    common = {"train": {"epochs": 12, "validate_every": 6}, "n_train": 4000}
    kinds: dict[str, dict[str, Any]] = {
        "Dirichlet-multinomial": {},
        "Dirichlet-multinomial, no warm-up": {"warm_up": 0.0},
        "squared error": {"likelihood": "mse"},
    }
    jobs = [
        Job(f"votes {name}", "main", seed, {**common, **kind}) for name, kind in kinds.items() for seed in SEEDS[:2]
    ]
    return [jobs + [Job(f"votes {name}", "main", 0, {"n_train": 4000}, name) for name in ("forest", "mean")]]


def zoo() -> list[list[Job]]:
    """List networks and classical methods on the pictures of Galaxy Zoo 1."""
    train = {"epochs": 50, "validate_every": 10}
    turned = {"rotate": 180, "zoom": 0.15}
    chosen = {"classes": ["edge_on", "elliptical", "spiral"], "photometry": True}
    jobs = [Job("zoo network", "zoo", seed, {**chosen, "train": train, "augment": turned}) for seed in SEEDS]
    jobs += [
        Job(f"zoo {name}", "zoo", seed, chosen, name) for name in RIVALS for seed in SEEDS[: 1 if name == "svm" else 5]
    ]
    start = {
        "init_from": "models/default-0/model.safetensors",
        "init_bands": {"g": "F435W", "r": "F606W", "i": "F775W"},
    }
    settings = {**chosen, "photometry": False, "train": train, "augment": turned}
    jobs += [Job("zoo images alone", "zoo", seed, settings) for seed in SEEDS[:2]]
    moved = [Job("zoo transferred", "zoo", seed, {**settings, **start}) for seed in SEEDS[:2]]
    return [[*headline()[1][:1], *jobs], moved]


def hands() -> list[list[Job]]:
    """List ways to ask which way spirals wind: of simulated ones, and then of real ones with what was learnt there."""
    common = {"target": "hand", "network": "resnet18", "photometry": False}
    turning = {"rotate": 180, "symmetries": False}
    sides: dict[str, dict[str, Any]] = {
        "mirrored": {"augment": {"rotate": 180}},
        "not mirrored": {"augment": turning, "views": 4},
    }
    simulated = {**common, "classes": ["anticlockwise", "clockwise"], "train": {"epochs": 40, "validate_every": 10}}
    ways = {name: {**simulated, **side} for name, side in sides.items()}
    first = [Job(f"arms {name}", "spirals", seed, way) for name, way in ways.items() for seed in SEEDS[:2]]
    train = {"epochs": 80, "batch_size": 16, "learning_rate": 1e-3, "validate_every": 20}
    real = {**common, "classes": ["spiral_acw", "spiral_cw"], "dropout": 0.2, "train": train}
    start = {
        "init_from": "models/arms_not_mirrored-0/model.safetensors",
        "init_bands": dict.fromkeys(("g", "r", "i"), "F775W"),
    }
    ways = {name: {**real, **side, **start} for name, side in sides.items()}
    ways["exchanged"] = {**real, **start, "augment": turning, "mirror": {"spiral_acw": "spiral_cw"}}
    ways["from nothing"] = {**real, **sides["not mirrored"]}
    return [first, [Job(f"hand {name}", "zoo", seed, way) for name, way in ways.items() for seed in SEEDS[:3]]]


PARTS = {
    "headline": (headline, pages.headline),
    "noise": (noise, pages.noise),
    "centring": (centring, pages.centring),
    "architectures": (architectures, pages.architectures),
    "few": (few, pages.rows("few", ("accuracy", "balanced_accuracy", "ece", *(f"shots_{n}" for n in SHOTS)))),
    "rare": (rare, pages.rows("rare", ("accuracy", "balanced_accuracy", "macro_f1", "ece"))),
    "votes": (votes, pages.rows("votes", ("vote_rmse", "agreement", "nll", "coverage_68"))),
    "zoo": (zoo, pages.zoo),
    "hands": (hands, pages.hands),
}
"""What is run, and what writes it down."""
PAGES = {"votes": "votes.md"}


if __name__ == "__main__":
    main()
