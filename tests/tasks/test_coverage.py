"""Image networks see which pixels have no data: a gap is not a dark sky."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from astrodl.data.batches import Cutouts
from astrodl.store import FLAGS
from astrodl.tasks.inputs import network_input, select_columns
from tests.small_task import make_task, read_cutouts

IMAGE_TASKS = ("photoz", "morphology", "segmentation")


@pytest.fixture(scope="module")
def store_with_gaps(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose first object lacks a band and says so in its flags."""
    path = Path(shutil.copy(store, tmp_path_factory.mktemp("gaps")))
    with h5py.File(path, "r+") as file:
        file["flags"][0] = FLAGS["missing_band"]
    return path


@pytest.mark.parametrize("name", IMAGE_TASKS)
def test_networks_take_coverage_maps_only_if_the_survey_has_gaps(name: str, store: Path, store_with_gaps: Path) -> None:
    complete, gappy = make_task(name, store, {}), make_task(name, store_with_gaps, {})
    n_bands = len(complete.context.bands)
    assert (complete.n_channels, gappy.n_channels) == (n_bands, 2 * n_bands)
    cutouts = read_cutouts(store_with_gaps, 2)
    assert "coverage" not in complete.inputs(cutouts)
    coverage = gappy.inputs(cutouts)["coverage"]
    np.testing.assert_array_equal(coverage, np.isfinite(cutouts.images))
    assert coverage[0, 0].max() == 0
    assert coverage[0, 1:].min() == 1


@pytest.mark.parametrize("name", IMAGE_TASKS)
def test_a_network_tells_a_missing_band_from_a_dark_one(name: str, store_with_gaps: Path) -> None:
    task = make_task(name, store_with_gaps, {})
    torch.manual_seed(0)
    network = task.build().eval()
    missing = read_cutouts(store_with_gaps, 1)
    dark = Cutouts(np.nan_to_num(missing.images), missing.sky_sigma, missing.features)
    results = []
    for cutouts in (missing, dark):
        batch = {key: torch.from_numpy(value) for key, value in task.inputs(cutouts).items()}
        if "features" in batch:
            batch["features"] = torch.zeros_like(batch["features"])  # only the maps may differ
        results.append(task.predict(network, batch))
    assert any(not torch.allclose(results[0][key], results[1][key]) for key in results[0])


def test_the_network_input_is_the_image_and_the_coverage_if_there_is_one() -> None:
    image = torch.rand(2, 3, 4, 4)
    assert network_input({"image": image}) is image
    assert network_input({"image": image, "coverage": image}).shape == (2, 6, 4, 4)


def test_features_that_a_survey_lacks_are_nan() -> None:
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    selected = select_columns(features, [2, 0, 3])
    np.testing.assert_array_equal(selected[:, :2], features[:, [2, 0]])
    assert np.isnan(selected[:, 2]).all()
