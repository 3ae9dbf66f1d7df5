"""All tables and curves of docs/explain.md, for the networks of the demo.

    python benchmarks/studies/explanation_study.py RESULTS FOLDER

RESULTS is the folder of a finished run of the demo. FOLDER keeps what is made, and what is there is not made again.
Votes are learned on the survey of the demo, simulated again with votes. An hour and a half on one core; `--record`
copies tables and figures into docs/.
"""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

import copy_to_docs
import explanation
import explanation_bands
import explanation_choice
import explanation_cost
import explanation_paths
import study
import yaml

import astrodl
from astrodl.config import IngestSettings, SimulateSettings
from astrodl.simulator.survey import data_settings

ROOT = Path(__file__).resolve().parents[2]
VOTES = {
    "network": "compact",
    "widths": [16, 32, 64, 128],
    "train": {"epochs": 20, "batch_size": 16, "learning_rate": 0.003},
}
N_VOTES = 40
LIMITS = ("3500-4900", "4700-7200", "6900-8600", "8000-10500", "11000-17000")
"""Wavelengths between which the bands of the demo see."""


class Trial(NamedTuple):
    """A table of the attribution methods."""

    task: str
    target: str
    options: str = ""

    @property
    def page(self) -> str:
        """Name of the table."""
        return f"explain-{self.task}-{self.target}{'-validation' if 'validation' in self.options else ''}"


CHOICES = (
    Trial("outliers", "residual", "--split validation --objects 48 --few 8 --without integrated_gradients occlusion"),
    Trial("segmentation", "bt", "--split validation --objects 64 --few 12 --without integrated_gradients occlusion"),
    Trial("segmentation", "clump", "--split validation --objects 64 --few 12 --without integrated_gradients occlusion"),
)
"""Defaults are chosen on validation objects."""
TABLES = (
    Trial("morphology", "class", "--few 12"),
    Trial("morphology", "logit_merger", "--few 12"),
    Trial("photoz", "z_mean"),
    Trial("segmentation", "clump", "--few 12"),
    Trial("segmentation", "bt", "--few 12 --costly integrated_gradients occlusion --costly-objects 32"),
    Trial(
        "outliers",
        "residual",
        "--few 8 --costly smooth_gradient --costly-objects 24 --without integrated_gradients occlusion",
    ),
    Trial("outliers", "score", "--few 8 --without integrated_gradients occlusion smooth_gradient"),
    Trial(
        "latent",
        "hubble",
        "--few 8 --costly smooth_gradient integrated_gradients gradient_shap --costly-objects 16 --without occlusion",
    ),
    Trial("votes", "answer", "--few 12 --costly integrated_gradients occlusion --costly-objects 32"),
)
PATHS = (("segmentation", "bt"), ("outliers", "residual"))
BANDS = ("z_mean", "z_width")
COST = ("photoz", "morphology", "segmentation", "outliers", "latent")


class Networks:
    """The networks of the demo, and one of votes."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def find(self, task: str) -> tuple[str, str]:
        """Return model and store of a task."""
        if task == "votes":
            return str(self.train_votes()), "votes/store.h5"
        return str(self.results / task / "fold0-seed0" / "model.safetensors"), str(self.results / "store.h5")

    def train_votes(self) -> Path:
        """Simulate the survey of the demo with votes, and train on it what is not trained."""
        store, path = Path("votes/store.h5"), Path("votes/trained/model.safetensors")
        if not store.exists():
            demo = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))["surveys"]["demo"]
            settings = SimulateSettings(**demo["simulate"], votes=N_VOTES)
            astrodl.simulate(settings, "votes/simulated", progress=False)
            data = data_settings(settings, Path("votes/simulated"))
            astrodl.ingest(IngestSettings(survey="demo", data=data), store)
        if not path.exists():
            astrodl.train("votes", store, path.parent, settings=VOTES, device="cpu", threads=1, progress=False)
        return path


def is_there(page: str) -> bool:
    """Return whether a table was made."""
    return (study.PAGES / f"{page}.md").exists()


def make_table(networks: Networks, trial: Trial) -> str:
    """Test the attribution methods, unless that was done; return the name of the table."""
    if not is_there(trial.page):
        explanation.main([*networks.find(trial.task), "--target", trial.target, *trial.options.split()])
    return trial.page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of a finished run of the demo")
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("--record", action="store_true", help="copy tables and figures into docs/")
    options = parser.parse_args()
    networks = Networks(options.results.resolve())
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    pages = [make_table(networks, trial) for trial in (*CHOICES, *TABLES)][len(CHOICES) :]
    explanation_choice.main([])
    pages.append("explain-choice")
    for task, target in PATHS:
        pages.append(f"explain-paths-{task}-{target}")
        if not is_there(pages[-1]):
            explanation_paths.main([*networks.find(task), "--target", target])
    for target in BANDS:
        pages.append(f"explain-bands-{target}")
        if not is_there(pages[-1]):
            explanation_bands.main([*networks.find("photoz"), "--target", target, "--limits", *LIMITS])
    pages.append("explain-cost")
    if not is_there(pages[-1]):
        models, (_, store) = [networks.find(task)[0] for task in COST], networks.find("photoz")
        explanation_cost.main([store, *models])
    if options.record:
        copy_to_docs.main(str(ROOT / "docs"), *(f"explain.md={page}" for page in pages))


if __name__ == "__main__":
    main()
