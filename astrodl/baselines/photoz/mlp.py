"""Photometric redshifts from catalogue features by fully connected networks: what the image has to beat."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from astrodl.baselines.histograms import check, median
from astrodl.baselines.networks import ensemble
from astrodl.losses import crps_bins, smeared_targets, soft_cross_entropy

Array = NDArray[np.float64]


def mlp(
    train_x: ArrayLike,
    train_z: ArrayLike,
    test_x: ArrayLike,
    edges: ArrayLike,
    *,
    smear: float = 0.01,
    crps_weight: float = 5.0,
    **training: Any,
) -> dict[str, Array]:
    """Estimate p(z) by an ensemble of fully connected networks with a softmax over the bins.

    The loss is that of the photo-z task: cross-entropy against the smeared redshift, and CRPS in units of z. The
    schedule (AdamW, warm-up, cosine) was chosen with 7,000 simulated galaxies of 33 magnitudes and colours, on a
    validation split; the dropout also with 500 of them, and with 2,500 galaxies of the SDSS.

    Parameters
    ----------
    train_x, test_x
        Features such as magnitudes and colours, (n_train, F) and (n_test, F). Those that are NaN or infinite become the
        training median; where that happens in the training set, a 0/1 column more tells the network.
    train_z
        Redshifts of the training objects, (n_train,).
    edges
        Bin edges of p(z), (B + 1,); redshifts outside are moved to the first or last edge.
    smear
        Width of the training targets, in units of 1 + z; well below the scatter that is expected.
    crps_weight
        Weight of the CRPS beside the cross-entropy.
    **training
        What else `networks.ensemble` takes: `n_networks`, `widths`, `epochs`, `seed` ...

    Returns
    -------
    dict
        `z`: median of p(z), (n_test,); `pdf`: densities, (n_test, B).

    Raises
    ------
    ValueError
        Fewer than two training objects, no network, or arrays that do not fit together.
    """
    z, bounds = check(np.asarray(train_x), train_z, edges)
    truth = torch.as_tensor(np.clip(z, bounds[0], bounds[-1]), dtype=torch.float32)
    bins = torch.as_tensor(bounds, dtype=torch.float32)
    probability = ensemble(
        train_x,
        test_x,
        bounds.size - 1,
        lambda logits, rows: _loss(logits, truth[rows], bins, smear, crps_weight),
        **training,
    )
    pdf = probability / np.diff(bounds)
    return {"z": median(pdf, bounds), "pdf": pdf}


def _loss(logits: Tensor, z: Tensor, edges: Tensor, smear: float, crps_weight: float) -> Tensor:
    cross_entropy = soft_cross_entropy(logits, smeared_targets(z, edges, smear * (1 + z))).mean()
    return cross_entropy + crps_weight * crps_bins(logits.softmax(1), edges, z).mean()
