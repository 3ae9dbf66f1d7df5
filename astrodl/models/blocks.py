"""Building blocks shared by the networks, and their initialisation."""

import torch
from torch import Tensor, nn

from astrodl import ranks


def initialize(network: nn.Module) -> nn.Module:
    """Initialise weights for ReLU-like activations (He et al. 2015, arXiv:1502.01852), biases with zero.

    A module with the attribute `zero_start` keeps zero weights, so that it begins as the constant zero (residual
    branches: Goyal et al. 2017, arXiv:1706.02677; output layers whose bias holds the prior).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if getattr(module, "zero_start", False):
                nn.init.zeros_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.BatchNorm1d | nn.LayerNorm):
            nn.init.zeros_(module.bias) if module.bias is not None else None
            (nn.init.zeros_ if getattr(module, "zero_start", False) else nn.init.ones_)(module.weight)
    return network


def zero_start(module: nn.Module) -> nn.Module:
    """Mark a layer to be initialised with zero weights."""
    module.zero_start = True  # type: ignore[assignment]
    return module


def normalization(kind: str, channels: int) -> nn.Module:
    """Make a normalisation layer: `batch` or `group` (groups of eight channels)."""
    if kind == "batch":
        return BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(max(1, channels // 8), channels)
    raise ValueError(f"normalisation '{kind}' is not known; accepted: batch, group")


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose batch is that of all ranks; torch's own does so on CUDA devices only."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) by the mean and variance of each channel."""
        if not self.training or ranks.size() == 1:
            return super().forward(x)
        wide = x.float()
        n_pixels = ranks.size() * wide[:, 0].numel()
        mean, square = ranks.total(torch.stack([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])) / n_pixels
        variance = (square - mean**2).clamp_min(0)
        self._remember(mean.detach(), variance.detach() * n_pixels / (n_pixels - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (wide * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that draws for the batch of all ranks."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Set a share `p` of the numbers (B, ...) to zero while training, and raise the others."""
        if not self.training or not self.p:
            return x
        return x * ((ranks.rand_like(x) >= self.p) / (1 - self.p)).to(x.dtype)


class ConvBlock(nn.Sequential):
    """Convolution, normalisation, activation: (B, in, H, W) -> (B, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, norm: str = "batch"):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            normalization(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Basic residual block (He et al. 2016, arXiv:1512.03385) that starts as the identity on its shortcut.

    Shapes: (B, in, H, W) -> (B, out, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: str = "batch"):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            normalization(norm, out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            zero_start(normalization(norm, out_channels)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                normalization(norm, out_channels),
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        return self.activation(self.branch(x) + self.shortcut(x))


class MLP(nn.Sequential):
    """Fully connected layers with layer norm and dropout: (B, in) -> (B, widths[-1])."""

    def __init__(self, in_features: int, widths: tuple[int, ...], *, dropout: float = 0.0):
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Linear(in_features, width), nn.LayerNorm(width), nn.ReLU(inplace=True), Dropout(dropout)]
            in_features = width
        super().__init__(*layers)
