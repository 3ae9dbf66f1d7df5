"""Every size that the configuration accepts trains in every task."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from astrodl import tasks
from astrodl.data.batches import Batch, Cutouts
from astrodl.errors import ConfigError
from astrodl.models.architectures import TRUNKS
from astrodl.models.autoencoders import Decoder, Encoder
from astrodl.tasks.base import AnyTask
from astrodl.tasks.image_network import NETWORKS
from astrodl.tasks.photoz.settings import NETWORKS as PHOTOZ_NETWORKS
from tests.small_store import SIZE
from tests.small_task import make_task, read_batch

SIZES = (16, 24, 32, 40, 56, 72)
CHOICES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in tasks.NAMES),
    *(("photoz", {"network": name, "photometry": True}) for name in PHOTOZ_NETWORKS),
    *(("morphology", {"network": name, "share": 0.1, "photometry": True}) for name in NETWORKS),
    ("latent", {"view": 8, "widths": [4, 8, 8, 8]}),
    ("latent", {"view": 24, "widths": [4, 8, 8, 8]}),
    ("outliers", {"widths": [4, 8], "critic_widths": [4, 8, 8, 8, 8]}),
]
SMALLEST = {name: trunk.smallest for name, trunk in TRUNKS.items() if name != "compact"}
"""Architecture -> smallest size that it takes."""


def resize(task: AnyTask, store: Path, size: int) -> tuple[AnyTask, Batch]:
    """Return the task for cutouts of another size, and a batch of noise with the targets of the store."""
    changed = type(task)(task.settings, replace(task.context, size=size))
    random, n_bands = np.random.default_rng(0), len(task.context.bands)
    images = random.normal(size=(4, n_bands, size, size)).astype(np.float32)
    features = random.normal(size=(4, 200)).astype(np.float32)
    inputs = changed.inputs(Cutouts(images, np.ones((4, n_bands), np.float32), features))
    batch = {name: torch.from_numpy(array) for name, array in inputs.items()}
    for name, target in read_batch(task, store, 4).items():
        if name not in batch:
            maps = target.ndim >= 3 and target.shape[-1] == SIZE
            batch[name] = target.new_ones((*target.shape[:-2], size, size)) if maps else target
    return changed, batch


@pytest.mark.parametrize(("name", "settings"), CHOICES)
def test_every_size_trains_and_predicts(name: str, settings: dict[str, Any], store: Path) -> None:
    small = {} if name in ("outliers", "latent") else tasks.get(name).small
    fitted = make_task(name, store, {**small, **settings})
    for size in SIZES:
        task, batch = resize(fitted, store, size)
        if size < SMALLEST.get(settings.get("network", ""), 0):
            with pytest.raises(ConfigError, match="not accepted"):
                task.build()
            continue
        network = task.build().train()
        for phase in task.phases:
            task.loss(network, task.augment(batch), phase, 0.5)[0].backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None), size
        assert torch.isfinite(task.validate(network.eval(), batch)["loss"]), size


@pytest.mark.parametrize("size", [8, 9, 15, 16, 24, 31])
@pytest.mark.parametrize("widths", [(4,), (4, 8), (4, 8, 8, 8, 8)])
def test_a_decoder_returns_the_size_that_the_encoder_took(size: int, widths: tuple[int, ...]) -> None:
    image = torch.randn(2, 3, size, size)
    latent = Encoder(3, 5, size=size, widths=widths)(image)
    assert latent.shape == (2, 5)
    assert Decoder(5, 3, size=size, widths=widths[::-1])(latent).shape == image.shape
