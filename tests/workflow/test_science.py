"""Every network beside its baselines: the demo with fewer galaxies, in float32, which every machine computes alike."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.run import run_workflow, write_config

pytestmark = pytest.mark.slow

N_OBJECTS = 1500
EPOCHS = 2
"""Factor on the epochs of the demo, which has more galaxies."""

LEAST: dict[tuple[str, str], float] = {
    ("photoz", "sigma_mad"): 1.0,
    ("photoz", "crps"): 1.0,
    ("morphology", "accuracy"): 1.0,
    ("morphology", "auc"): 0.98,
    ("segmentation", "clump_dice"): 1.5,
    ("segmentation", "fraction_mae"): 2.0,
    ("segmentation", "bt_rmse"): 0.9,
    ("latent", "knn_recall"): 0.8,
    ("outliers", "auc"): 0.9,
}
"""Smallest ratio of network to best baseline, or of best baseline to network where low values are best. It allows for
the bootstrap error of some 250 test objects; latent map and outlier score are known to lose on this survey."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the demo with fewer galaxies."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    values["surveys"]["demo"]["simulate"]["n_objects"] = N_OBJECTS
    for task in values["tasks"].values():
        task["train"] |= {"epochs": EPOCHS * task["train"]["epochs"], "precision": "float32"}
    folder = tmp_path_factory.mktemp("science")
    run_workflow(folder, write_config(folder / "config.yaml", **values))
    return folder / "results" / "demo"


@pytest.mark.parametrize(("task", "metric"), LEAST)
def test_the_network_is_as_good_as_its_baselines(results: Path, task: str, metric: str) -> None:
    report = json.loads((results / task / "metrics.json").read_text())
    network = report["network"][metric]["value"]
    baselines = [entry[metric]["value"] for entry in report["baselines"].values() if metric in entry]
    ratio = network / max(baselines) if report["metrics"][metric]["best"] == "high" else min(baselines) / network
    assert ratio >= LEAST[task, metric], f"network {network:.4g}, baselines {baselines}"
