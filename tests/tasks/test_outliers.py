"""Residuals of the outlier network."""

from pathlib import Path

import numpy as np
import torch

from astrodl import tasks
from astrodl.config import parse
from astrodl.data.batches import Cutouts, ResidentDataset
from astrodl.pipeline import objects
from astrodl.store import open_store


def test_pixels_that_were_not_observed_leave_no_residual(store: Path) -> None:
    kind = tasks.get("outliers")
    settings = parse(kind.Settings, {"latent": 4, "widths": [8, 16], "critic_widths": [8, 16]})
    with open_store(store) as reader:
        task = kind(settings, objects.fit_context(kind, settings, reader))
        cutouts = Cutouts.from_store(reader, np.array([5]))
    cutouts.images[:, 1] = np.nan
    network = task.build().eval()
    batch = next(ResidentDataset(task.inputs(cutouts), torch.device("cpu")).in_order(1))
    with torch.no_grad():
        numbers, _ = task._residuals(network, batch)
    # regions first, bands second; the logarithm of nothing is that of the floor
    of_band = numbers.reshape(3, 3)[:, 1]
    assert torch.equal(of_band, torch.full((3,), float(np.log(np.float32(1e-4)))))
