"""Ensembles of fully connected networks on catalogue features, with a softmax output."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from astrodl.baselines.features import Array, impute
from astrodl.config import TrainSettings
from astrodl.models.blocks import MLP, initialize
from astrodl.training.optimizers import learning_rate_factor, make_optimizer, step_unless

__all__ = ["fit_predict_ensemble"]

# Features are clipped at this multiple of their scatter, as in the tasks.
_MAX_DEVIATION = 5.0


def fit_predict_ensemble(
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
        Features, (n_train, F) and (n_test, F). NaN and infinite values become the training median; features that miss
        values in the training set add a 0/1 column to the input.
    n_outputs
        Number of outputs K before the softmax.
    loss
        Function of the outputs of a batch (B, K) and the rows (B,) of its objects in `train_x` that returns a scalar.
    n_networks
        Number of networks, from different seeds.
    widths
        Widths of the hidden layers.
    dropout
        Dropout after each hidden layer. By default 0.2 for 7,000 training objects, more for fewer (0.29 for 2,500, 0.5
        for 500), less for more.
    feature_noise
        Standard deviation of the Gaussian noise on the standardised features during training.
    epochs, min_updates
        Passes over the training objects, and the smallest number of updates, for few objects.
    batch_size
        Objects in a batch; all objects where there are fewer.
    learning_rate, weight_decay
        Largest learning rate of the schedule, and weight decay of AdamW, without biases and norms.
    seed
        Seed of the first network; each further one has the next integer. The global generators of torch do not change.

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
    dropout = _default_dropout(len(x)) if dropout is None else dropout
    n_batches = max(1, len(x) // batch_size)
    n_updates = max(epochs * n_batches, min_updates)
    probability = np.zeros((len(test), n_outputs))
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False), torch.enable_grad():
        for number in range(n_networks):
            torch.default_generator.manual_seed(seed + number)
            network = nn.Sequential(MLP(x.shape[1], widths, dropout=dropout), nn.Linear(widths[-1], n_outputs))
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
                rate = learning_rate * learning_rate_factor(step / n_updates, settings)
                step_unless(optimizer, rate, torch.tensor(False))
            network.eval()
            with torch.no_grad():
                probability += network(test).double().softmax(1).numpy()
    return probability / n_networks


def _prepare(train_x: ArrayLike, test_x: ArrayLike) -> list[NDArray[np.float32]]:
    """Scale by median and 16-84 % range of the training objects, and append 0/1 columns where they miss values."""
    imputed = impute(train_x, test_x)
    low, middle, high = np.percentile(imputed[0], [16, 50, 84], axis=0)
    scale = np.maximum((high - low) / 2, 1e-3)
    missing = [~np.isfinite(np.asarray(x, dtype=np.float64)) for x in (train_x, test_x)]
    flagged = missing[0].any(axis=0) & ~missing[0].all(axis=0)
    scaled = [((x - middle) / scale).clip(-_MAX_DEVIATION, _MAX_DEVIATION) for x in imputed]
    pairs = zip(scaled, missing, strict=True)
    return [np.concatenate([x, flags[:, flagged]], axis=1).astype(np.float32) for x, flags in pairs]


def _default_dropout(n_train: int) -> float:
    """Compute the dropout, a power law through the best values for 500, 2,500 and 7,000 training objects."""
    return min(max(0.2 * (7000 / n_train) ** 0.35, 0.1), 0.5)
