"""A network that joins an image network and catalogue features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astrodl.models.blocks import MLP, ImageNetwork, initialize
from astrodl.models.symmetries import N_SYMMETRIES

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

    def views(self, image: Tensor, features: Tensor | None = None, *, n_views: int = N_SYMMETRIES) -> Tensor:
        """Return the vector of each orientation of each galaxy before the head, (n_views, B, widths[-1]).

        Under autocast, the convolutions of the image network have its precision, and all that follows has float32.
        """
        parts = [] if self.trunk is None else [self.trunk.views(image, n_views)]
        with torch.autocast(image.device.type, enabled=False):
            if features is not None:
                parts.append(features.expand(n_views, -1, -1))
            return self.join(torch.cat([part.float() for part in parts], dim=2))
