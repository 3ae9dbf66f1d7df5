"""Building blocks of the networks, and their initialisation."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from astrodl import distributed
from astrodl.models.symmetries import apply_symmetry

__all__ = [
    "ACTIVATIONS",
    "INITIALIZATIONS",
    "MLP",
    "NORMALIZATIONS",
    "BatchNorm2d",
    "ConvBlock",
    "Dropout",
    "ImageNetwork",
    "ResidualBlock",
    "count_parameters",
    "fold_batch_norm",
    "freeze",
    "initialize",
    "look_up",
    "make_activation",
    "make_normalization",
    "set_training_mode",
    "start_at_zero",
]

T = TypeVar("T")

INITIALIZATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot": nn.init.xavier_uniform_,
    "normal": partial(nn.init.normal_, std=0.01),
    "constant": partial(nn.init.constant_, val=0.01),
}
"""He et al. 2015; Glorot & Bengio 2010; Krizhevsky et al. 2012; and all units of a layer equal, which cannot learn."""

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "none": nn.Identity,
}


class ImageNetwork(nn.Module):
    """Base class of networks that turn images into feature vectors: (B, in, H, W) -> (B, out_features)."""

    out_features: int

    def views(self, image: Tensor, n_views: int) -> Tensor:
        """Return the feature vectors of the first `n_views` orientations of each image, (n_views, B, out_features)."""
        return torch.stack([self(apply_symmetry(image, element)) for element in range(n_views)])


def look_up(noun: str, name: str, table: Mapping[str, T]) -> T:
    """Look up a name in a table of choices.

    Raises
    ------
    ValueError
        The table does not have the name.
    """
    if name not in table:
        raise ValueError(f"{noun} '{name}' is not known; accepted: {', '.join(table)}")
    return table[name]


def count_parameters(network: nn.Module) -> int:
    """Count the trainable parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def initialize(network: nn.Module, kind: str = "he") -> nn.Module:
    """Initialise all weights, by default for ReLU-like activations (He et al. 2015, arXiv:1502.01852); biases are zero.

    Layers marked by `start_at_zero` get zero weights (residual branches: Goyal et al. 2017, arXiv:1706.02677; output
    layers whose bias holds the prior).
    """
    draw = look_up("initialisation", kind, INITIALIZATIONS)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if getattr(module, "zero_start", False):
                nn.init.zeros_(module.weight)
            else:
                draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.BatchNorm1d | nn.LayerNorm):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            (nn.init.zeros_ if getattr(module, "zero_start", False) else nn.init.ones_)(module.weight)
    return network


def start_at_zero(module: nn.Module) -> nn.Module:
    """Mark a layer, or the last layer of several, for initialisation with zero weights."""
    last = [layer for layer in module.modules() if getattr(layer, "weight", None) is not None][-1]
    last.zero_start = True  # type: ignore[assignment]
    return module


def make_activation(kind: str, *, inplace: bool = True) -> nn.Module:
    """Make an activation; ReLU overwrites its input if `inplace`."""
    module = look_up("activation", kind, ACTIVATIONS)()
    if isinstance(module, nn.ReLU):
        module.inplace = inplace
    return module


def freeze(module: nn.Module) -> None:
    """Freeze a part of a network: it gets no gradients, and `set_training_mode` leaves its running statistics alone."""
    module.eval().requires_grad_(False)
    for part in module.modules():
        part.frozen = True  # type: ignore[assignment]


def set_training_mode(network: nn.Module) -> nn.Module:
    """Set a network to training mode, except its frozen parts."""
    network.train()
    for part in network.modules():
        if getattr(part, "frozen", False):
            part.training = False
    return network


def make_normalization(kind: str, channels: int) -> nn.Module:
    """Make a normalisation layer; `group` has eight channels in a group, or more if eight do not divide them."""
    return look_up("normalisation", kind, NORMALIZATIONS)(channels)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return a copy for prediction, in which batch norms that follow a convolution are part of its weights."""
    folded = copy.deepcopy(network).eval()
    for sequence in folded.modules():
        if isinstance(sequence, nn.Sequential):
            for i, (conv, norm) in enumerate(pairwise(list(sequence))):
                if type(conv) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d):
                    sequence[i], sequence[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return folded


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batch of all ranks; torch's own synchronised batch norm needs CUDA devices."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) by the mean and variance of each channel."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        wide = x.float()
        n_pixels = distributed.world_size() * wide[:, 0].numel()
        sums = torch.stack([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])
        mean, square = distributed.all_reduce(sums) / n_pixels
        variance = (square - mean**2).clamp_min(0)
        self._update_running(mean.detach(), variance.detach() * n_pixels / (n_pixels - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (wide * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(n for n in range(1, max(1, channels // 8) + 1) if channels % n == 0), channels)


NORMALIZATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm2d,
    "group": _group_norm,
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.GroupNorm(channels, channels),
    "none": lambda channels: nn.Identity(),
}
"""Ioffe & Szegedy 2015; Wu & He 2018; Ba et al. 2016; Ulyanov et al. 2016."""


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that draws its mask for the batch of all ranks."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Set each number of (B, ...) to zero with probability `p` in training, and scale the others by 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        return x * ((distributed.rand_like(x) >= self.p) / (1 - self.p)).to(x.dtype)


class ConvBlock(nn.Sequential):
    """Convolution, normalisation, activation: (B, in, H, W) -> (B, out, H / stride, W / stride).

    The convolution has a bias only without normalisation. By default it is padded to keep the size of the image.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        norm: str = "batch",
        act: str = "relu",
    ):
        padding = dilation * (kernel // 2) if padding is None else padding
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=norm == "none"),
            make_normalization(norm, out_channels),
            make_activation(act),
        )


class ResidualBlock(nn.Module):
    """Basic residual block (He et al. 2016, arXiv:1512.03385) whose branch starts at zero.

    Shapes: (B, in, H, W) -> (B, out, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: str = "batch", act: str = "relu"):
        super().__init__()
        bias = norm == "none"
        layers = (
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias),
            make_normalization(norm, out_channels),
            make_activation(act),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=bias),
            make_normalization(norm, out_channels),
        )
        self.branch = start_at_zero(nn.Sequential(*layers))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                nn.Conv2d(in_channels, out_channels, 1, bias=bias),
                make_normalization(norm, out_channels),
            )
        self.activation = make_activation(act)

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
