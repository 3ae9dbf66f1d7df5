"""An image network and the features of a catalogue beside it, joined late."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astrodl.models.blocks import MLP, initialize


class HybridNetwork(nn.Module):
    """Image network and catalogue features, joined late: ((B, in, H, W), (B, F)) -> (B, out).

    Parameters
    ----------
    trunk : nn.Module or None
        Turns images into vectors (B, `trunk.out_features`); without it the features alone are used.
    n_features : int
        Number of features F.
    out_features : int
        Numbers that the head gives.
    widths : sequence of int
        Layers that join the two.
    """

    def __init__(
        self,
        trunk: nn.Module | None,
        n_features: int,
        out_features: int,
        *,
        widths: Sequence[int] = (512, 128),
        dropout: float = 0.2,
    ):
        super().__init__()
        joined = n_features + (0 if trunk is None else int(trunk.out_features))  # type: ignore[arg-type]
        self.trunk = trunk
        self.join = MLP(joined, tuple(widths), dropout=dropout)
        self.head = nn.Linear(widths[-1], out_features)
        initialize(self.join)
        initialize(self.head)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Give what the head says."""
        return self.head(self.represent(image, features))

    def represent(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Give the vector of each galaxy before the head, (B, widths[-1])."""
        parts = [] if self.trunk is None else [self.trunk(image)]
        return self.join(torch.cat([*parts, *([] if features is None else [features])], dim=1))
