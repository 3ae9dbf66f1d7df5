"""Fully connected networks on catalogue features, with a softmax at the end: what an image has to beat."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from astrodl.baselines.features import impute
from astrodl.config import TrainSettings
from astrodl.models.blocks import MLP, initialize
from astrodl.training.optimizers import make_optimizer, move, schedule

Array = NDArray[np.float64]

# Where features are cut, in units of their scatter: as the tasks cut them.
FAR = 5.0


def ensemble(
    train_x: ArrayLike,
    test_x: ArrayLike,
    n_outputs: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    n_networks: int = 5,
    widths: tuple[int, ...] = (256, 256, 256),
    dropout: float | None = None,
    feature_noise: float = 0.02,
    epochs: int = 28,
    min_updates: int = 1000,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.5,
    seed: int = 0,
) -> Array:
    """Train networks from different seeds and average their probabilities (AdamW, warm-up, cosine).

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F). Those that are NaN or infinite become the training median; where that
        happens in the training set, a 0/1 column more tells the network.
    n_outputs
        Number of outputs K, of which the softmax is taken.
    loss
        Of the outputs of a batch (B, K) and the rows (B,) of its objects in `train_x`, a scalar.
    n_networks
        Networks, from different seeds.
    widths
        Widths of the hidden layers.
    dropout
        Dropout after each hidden layer. By default 0.2 for 7,000 training objects, more for fewer (0.29 for 2,500, 0.5
        for 500), less for more.
    feature_noise
        Gaussian noise on the standardised features while training.
    epochs, min_updates
        Passes over the training objects, and the least number of updates, for few objects.
    batch_size
        Objects in a batch; all where there are fewer.
    learning_rate, weight_decay
        Of AdamW, at the top of the schedule; biases and norms do not decay.
    seed
        Seed of the first network; the others count on. The generators of torch are left as they were.

    Returns
    -------
    ndarray
        Mean probabilities, (n_test, K).

    Raises
    ------
    ValueError
        No training objects, no network, or arrays that do not fit together.
    """
    if n_networks < 1:
        raise ValueError(f"n_networks is {n_networks}, must be 1 or more")
    x, test = (torch.from_numpy(array) for array in _prepare(train_x, test_x))
    settings = TrainSettings(learning_rate=learning_rate, weight_decay=weight_decay)
    share = _dropout(len(x)) if dropout is None else dropout
    n_batches = max(1, len(x) // batch_size)
    n_updates = max(epochs * n_batches, min_updates)
    probability = np.zeros((len(test), n_outputs))
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False), torch.enable_grad():
        for number in range(n_networks):
            torch.default_generator.manual_seed(seed + number)
            network = nn.Sequential(MLP(x.shape[1], widths, dropout=share), nn.Linear(widths[-1], n_outputs))
            initialize(network)
            optimizer = make_optimizer(network.parameters(), settings)
            for step in range(n_updates):
                if step % n_batches == 0:
                    batches = torch.randperm(len(x))[: n_batches * batch_size].split(batch_size)
                rows = batches[step % n_batches]
                noisy = x[rows] + feature_noise * torch.randn(len(rows), x.shape[1])
                value = loss(network(noisy), rows)
                optimizer.zero_grad()
                value.backward()
                move(optimizer, learning_rate * schedule(step / n_updates, settings), torch.tensor(False))
            network.eval()
            with torch.no_grad():
                probability += network(test).double().softmax(1).numpy()
    return probability / n_networks


def _prepare(train_x: ArrayLike, test_x: ArrayLike) -> list[NDArray[np.float32]]:
    """Scale by median and 16-84 % range of the training objects, and append 0/1 columns where they miss values."""
    filled = impute(train_x, test_x)
    low, middle, high = np.percentile(filled[0], [16, 50, 84], axis=0)
    scale = np.maximum((high - low) / 2, 1e-3)
    missing = [~np.isfinite(np.asarray(x, dtype=np.float64)) for x in (train_x, test_x)]
    told = missing[0].any(axis=0) & ~missing[0].all(axis=0)
    return [
        np.concatenate([((x - middle) / scale).clip(-FAR, FAR), gone[:, told]], axis=1).astype(np.float32)
        for x, gone in zip(filled, missing, strict=True)
    ]


def _dropout(n_train: int) -> float:
    """Give the dropout for a number of training objects; the power joins what was best for 500, 2,500 and 7,000."""
    return min(max(0.2 * (7000 / n_train) ** 0.35, 0.1), 0.5)
