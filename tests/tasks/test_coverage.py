"""Where a survey has gaps, image networks see them; a gap is not a dark sky."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from astrodl import tasks
from astrodl.config import parse
from astrodl.data.batches import Cutouts
from astrodl.pipeline.objects import fit_context
from astrodl.store import FLAGS, open_store
from astrodl.tasks.inputs import network_input, select_columns
from tests.small_store import write_store

IMAGE_TASKS = ("photoz", "morphology", "segmentation")


@pytest.fixture(scope="module")
def with_gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_store(tmp_path_factory.mktemp("gaps") / "store.h5")
    with h5py.File(path, "r+") as file:
        file["flags"][0] = FLAGS["missing_band"]
    return path


def task_for(name: str, store: Path) -> tasks.base.Task:
    kind = tasks.get(name)
    settings = parse(kind.Settings, {})
    with open_store(store) as reader:
        return kind(settings, fit_context(kind, settings, reader))


@pytest.mark.parametrize("name", IMAGE_TASKS)
def test_networks_get_a_map_of_coverage_only_where_there_are_gaps(name: str, store: Path, with_gaps: Path) -> None:
    whole, gappy = task_for(name, store), task_for(name, with_gaps)
    n_bands = len(whole.context.bands)
    assert (whole.n_channels, gappy.n_channels) == (n_bands, 2 * n_bands)
    with open_store(with_gaps) as reader:
        cutouts = Cutouts.from_store(reader, np.arange(2))
    assert "coverage" not in whole.inputs(cutouts)
    coverage = gappy.inputs(cutouts)["coverage"]
    np.testing.assert_array_equal(coverage, np.isfinite(cutouts.images))
    assert coverage[0, 0].max() == 0
    assert coverage[0, 1:].min() == 1


@pytest.mark.parametrize("name", IMAGE_TASKS)
def test_a_missing_band_and_a_dark_one_are_not_the_same_to_the_network(name: str, with_gaps: Path) -> None:
    task = task_for(name, with_gaps)
    torch.manual_seed(0)
    network = task.build().eval()
    with open_store(with_gaps) as reader:
        cutouts = Cutouts.from_store(reader, np.array([0]))
    dark = Cutouts(np.nan_to_num(cutouts.images), cutouts.sky_sigma, cutouts.features)
    results = []
    for one in (cutouts, dark):
        batch = {key: torch.from_numpy(value) for key, value in task.inputs(one).items()}
        if "features" in batch:
            batch["features"] = torch.zeros_like(batch["features"])  # the features tell them apart in their own way
        results.append(task.predict(network, batch))
    assert any(not torch.allclose(results[0][key], results[1][key]) for key in results[0])


def test_seen_is_the_image_where_nothing_is_missing() -> None:
    image = torch.rand(2, 3, 4, 4)
    assert network_input({"image": image}) is image
    assert network_input({"image": image, "coverage": image}).shape == (2, 6, 4, 4)


def test_features_that_a_survey_does_not_have_are_unknown() -> None:
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    chosen = select_columns(features, [2, 0, 3])
    np.testing.assert_array_equal(chosen[:, :2], features[:, [2, 0]])
    assert np.isnan(chosen[:, 2]).all()
