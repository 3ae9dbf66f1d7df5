"""Detection of objects that lie far from the training objects in the feature space of a network."""

import torch
from torch import Tensor, nn

__all__ = ["RANKED", "FeatureSpace"]

RIDGE = 1e-3
"""Share of the mean variance added to every direction, so that directions without spread do not dominate."""
RANKED = 100
"""Number of validation objects from which on a rank alone tells the most distant 1 %."""


class FeatureSpace(nn.Module):
    """Mahalanobis distances from the training objects, ranked among validation objects: (B, D) -> (B,).

    The distance in the features of a trained network identifies objects unlike the training objects (Lee et al. 2018,
    arXiv:1807.03888). Its rank among objects that the network was not trained on is a conformal p-value, which M
    objects resolve to 1 / (M + 1). With fewer than `RANKED`, values beyond the largest distance fall exponentially, as
    the distances beyond the median do. All numbers are buffers, which are saved with the weights. Before `fit` every
    object has the value 1.

    Parameters
    ----------
    n_features : int
        Length D of the vectors.
    n_levels : int
        Number of quantiles of the distance that are stored.
    """

    mean: Tensor
    whitening: Tensor
    levels: Tensor
    n_validation: Tensor

    def __init__(self, n_features: int, n_levels: int = 501):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("whitening", torch.zeros(n_features, n_features))
        self.register_buffer("levels", torch.zeros(n_levels))
        self.register_buffer("n_validation", torch.zeros(()))

    @torch.no_grad()
    def fit(self, train: Tensor, validation: Tensor) -> None:
        """Fit the distance to training vectors (N, D), and its distribution to validation vectors (M, D)."""
        wide = train.double()
        mean = wide.mean(0)
        covariance = (wide - mean).T @ (wide - mean) / max(len(wide) - 1, 1)
        ridge = RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
        values, vectors = torch.linalg.eigh(covariance)
        self.mean.copy_(mean)
        self.whitening.copy_(vectors / (values.clamp_min(0) + ridge).sqrt())
        share = torch.linspace(0, 1, len(self.levels), device=train.device)
        self.levels.copy_(torch.quantile(self.distance(validation), share))
        self.n_validation.fill_(len(validation))

    def distance(self, vectors: Tensor) -> Tensor:
        """Return the squared Mahalanobis distance of each vector."""
        return ((vectors.float() - self.mean) @ self.whitening).square().sum(1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the share of validation objects at least as distant, which is small for unusual objects."""
        distance = self.distance(vectors)
        below = torch.searchsorted(self.levels, distance).float() / len(self.levels)
        n = self.n_validation
        rank = ((1 - below) * n + 1) / (n + 1)
        upper = self.levels[len(self.levels) // 2 :]
        scale = torch.maximum((upper - upper[0]).mean(), upper[-1] / (n + 1)).clamp_min(1e-12)
        beyond = (distance - upper[-1]).clamp_min(0)
        rank = torch.where(n < RANKED, rank * torch.exp(-beyond / scale), rank)
        return torch.where(n > 0, rank, torch.ones_like(below))
