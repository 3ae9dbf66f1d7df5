"""Variational autoencoder of images as a classical outlier method."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from astrodl.baselines.features import Array
from astrodl.losses import kl_standard_normal
from astrodl.models.autoencoders import VAE

__all__ = ["variational_autoencoder"]

_BLOCK = 256


def variational_autoencoder(
    train_images: ArrayLike,
    test_images: ArrayLike,
    n_dimensions: int = 32,
    *,
    widths: tuple[int, ...] = (16, 32, 64),
    n_updates: int = 2000,
    batch_size: int = 64,
    rate: float = 2e-3,
    noise: float = 0.3,
    seed: int = 0,
) -> tuple[tuple[Array, Array], Array]:
    """Train a variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) and encode and redraw images.

    Parameters
    ----------
    train_images, test_images
        Images, (n, bands, y, x).
    n_dimensions
        Number of dimensions of the code.
    widths
        Channels of the encoder, in reverse those of the decoder.
    n_updates, batch_size, rate
        Training with Adam; the rate rises for a tenth of the updates and falls to zero.
    noise
        Standard deviation of a pixel about the redrawn image, in the likelihood.
    seed
        Seed of weights and batches.

    Returns
    -------
    codes : tuple of arrays
        Means of the posteriors of training and test objects.
    residual : array
        Root mean square of what the redrawn test images leave, (n_test,).
    """
    train, test = (torch.from_numpy(np.asarray(images, np.float32)) for images in (train_images, test_images))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VAE(train.shape[1], n_dimensions, size=train.shape[-1], widths=widths).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=n_updates, pct_start=0.1)
        for _ in range(n_updates):
            batch = train[torch.randint(len(train), (min(batch_size, len(train)),))]
            redrawn, mean, log_variance = network(batch)
            misfit = functional.mse_loss(redrawn, batch) / (2 * noise**2)
            loss = misfit + kl_standard_normal(mean, log_variance).sum(1).mean() / batch[0].numel()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    codes, residual = zip(*(_encode(network.eval(), images) for images in (train, test)), strict=True)
    return (codes[0], codes[1]), residual[1]


@torch.no_grad()
def _encode(network: VAE, images: Tensor) -> tuple[Array, Array]:
    """Return the codes of images, and the root mean square of their residuals."""
    codes, residuals = [], []
    for block in images.split(_BLOCK):
        redrawn, mean, _ = network(block)
        codes.append(mean)
        residuals.append((redrawn - block).flatten(1).double().square().mean(1).sqrt())
    return torch.cat(codes).double().numpy(), torch.cat(residuals).numpy()
