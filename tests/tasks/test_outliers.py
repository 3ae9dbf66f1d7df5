"""Residuals of the outlier network."""

from pathlib import Path

import numpy as np
import torch

from tests.small_task import make_task, read_cutouts, small_settings


def test_pixels_without_data_have_no_residual(store: Path) -> None:
    task = make_task("outliers", store, small_settings("outliers"))
    cutouts = read_cutouts(store, 6).slice(5, 6)
    cutouts.images[:, 1] = np.nan
    batch = {name: torch.from_numpy(array) for name, array in task.inputs(cutouts).items()}
    with torch.no_grad():
        residuals, _ = task._residuals(task.build().eval(), batch)
    # Three regions of three bands each; the logarithm of a zero residual is that of the floor.
    band_residuals = residuals.reshape(3, 3)[:, 1]
    assert torch.equal(band_residuals, torch.full((3,), float(np.log(np.float32(1e-4)))))
