"""Photometric redshifts from catalogue features by fully connected networks."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from astrodl.baselines.features import Array
from astrodl.baselines.histograms import check_redshifts
from astrodl.baselines.networks import fit_predict_ensemble
from astrodl.losses import crps_bins, smear_targets, soft_cross_entropy
from astrodl.metrics.pdf import median

__all__ = ["mlp"]


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
    schedule (AdamW, warm-up, cosine) was chosen on a validation split of 7,000 simulated galaxies with 33 magnitudes
    and colours; the dropout also with 500 of them, and with 2,500 galaxies of the SDSS.

    Parameters
    ----------
    train_x, test_x
        Features such as magnitudes and colours, (n_train, F) and (n_test, F). NaN and infinite values become the
        training median; features that miss values in the training set add a 0/1 column to the input.
    train_z
        Redshifts of the training objects, (n_train,).
    edges
        Bin edges of p(z), (B + 1,); redshifts outside are clipped to the first or last edge.
    smear
        Width of the training targets in units of 1 + z; choose it well below the expected scatter.
    crps_weight
        Weight of the CRPS relative to the cross-entropy.
    **training
        Options of `networks.fit_predict_ensemble`: `n_networks`, `widths`, `epochs`, `seed` ...

    Returns
    -------
    dict
        `z`: median of p(z), (n_test,); `pdf`: densities, (n_test, B).

    Raises
    ------
    ValueError
        Fewer than two training objects, no network, or arrays that do not fit together.
    """
    z, bounds = check_redshifts(np.asarray(train_x), train_z, edges)
    truth = torch.as_tensor(np.clip(z, bounds[0], bounds[-1]), dtype=torch.float32)
    bins = torch.as_tensor(bounds, dtype=torch.float32)
    probability = fit_predict_ensemble(
        train_x,
        test_x,
        bounds.size - 1,
        lambda logits, rows: _loss(logits, truth[rows], bins, smear, crps_weight),
        **training,
    )
    pdf = probability / np.diff(bounds)
    return {"z": median(pdf, bounds), "pdf": pdf}


def _loss(logits: Tensor, z: Tensor, edges: Tensor, smear: float, crps_weight: float) -> Tensor:
    cross_entropy = soft_cross_entropy(logits, smear_targets(z, edges, smear * (1 + z))).mean()
    return cross_entropy + crps_weight * crps_bins(logits.softmax(1), edges, z).mean()
