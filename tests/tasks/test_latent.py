"""The latent map: how views are compared with their reconstructions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from astrodl.config import parse
from astrodl.errors import ConfigError
from astrodl.losses import ssim
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.tasks.latent import Latent

SMALL: dict[str, Any] = {"view": 16, "widths": [8, 16], "effective_pixels": 1.0, "beta": 0.0, "noise_floor": 0.5}
N = 24


def task_and_batch(store: Path, kind: str) -> tuple[Latent, dict[str, torch.Tensor]]:
    settings = parse(Latent.Settings, {**SMALL, "reconstruction": kind})
    with open_store(store) as reader:
        task = Latent(settings, objects.fit_context(Latent, settings, reader))
        arrays = objects.training_arrays(task, reader, np.arange(N))
    return task, {name: torch.from_numpy(array) for name, array in arrays.items()}


class Fixed(torch.nn.Module):
    """Answers the same reconstruction for everything."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.full_like(image, 0.25), torch.zeros(len(image), 2), torch.zeros(len(image), 2)


@pytest.mark.parametrize("kind", ["gaussian", "mse", "l1", "ssim"])
def test_a_reconstruction_is_compared_as_asked(store: Path, kind: str) -> None:
    task, batch = task_and_batch(store, kind)
    apart = (batch["image"] - 0.25).double()
    sigma = torch.sqrt(batch["error"].double() ** 2 + 0.25)
    expected = {
        "gaussian": 0.5 * (apart / sigma).square().mean(),
        "mse": 0.5 * (apart / 0.5).square().mean(),
        "l1": (apart.abs() / sigma).mean(),
        "ssim": torch.stack(
            [
                1 - ssim(image[None], torch.full_like(image[None], 0.25), max(1.0, float(image.max())))[0]
                for image in batch["image"]
            ]
        ).mean(),
    }
    assert float(task.loss(Fixed(), batch, "main", 1.0)[0]) == pytest.approx(float(expected[kind]), rel=1e-4)


@pytest.mark.parametrize("kind", ["gaussian", "mse", "l1", "ssim"])
def test_every_comparison_learns(store: Path, kind: str) -> None:
    task, batch = task_and_batch(store, kind)
    torch.manual_seed(0)
    network = task.build()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.loss(network, batch, "main", 1.0)[0]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_a_view_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="set view to 16 or more"):
        parse(Latent.Settings, {"view": 8, "reconstruction": "ssim"})
