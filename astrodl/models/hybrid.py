"""A network that joins an image network and catalogue features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astrodl.models.blocks import MLP, ImageNetwork, initialize

__all__ = ["HybridNetwork"]


class HybridNetwork(nn.Module):
    """Image network and catalogue features, joined late: ((B, in, H, W), (B, F)) -> (B, out_features).

    Parameters
    ----------
    trunk : ImageNetwork or None
        Turns images into vectors; without it only the features are used.
    n_features : int
        Number of features F.
    out_features : int
        Number of outputs.
    widths : sequence of int
        Widths of the dense layers that join the two.
    dropout : float
        Dropout of these layers.
    """

    def __init__(
        self,
        trunk: ImageNetwork | None,
        n_features: int,
        out_features: int,
        *,
        widths: Sequence[int] = (512, 128),
        dropout: float = 0.2,
    ):
        super().__init__()
        n_inputs = n_features + (0 if trunk is None else trunk.out_features)
        self.trunk = trunk
        self.join = MLP(n_inputs, tuple(widths), dropout=dropout)
        self.head = nn.Linear(widths[-1], out_features)
        initialize(self.join)
        initialize(self.head)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the outputs of the head."""
        return self.head(self.represent(image, features))

    def represent(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the vector of each galaxy before the head, (B, widths[-1])."""
        parts = [] if self.trunk is None else [self.trunk(image)]
        return self.join(torch.cat([*parts, *([] if features is None else [features])], dim=1))
