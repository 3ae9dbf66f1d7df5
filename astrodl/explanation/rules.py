"""Which methods the layers of a network allow, and copies of networks on which rules for layers are right."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from astrodl.models.apertures import ApertureResNet, LearnedApertures
from astrodl.models.architectures.base import Trunk
from astrodl.models.blocks import MLP, BatchNorm2d, ConvBlock, Dropout, ResidualBlock
from astrodl.models.cnn import CompactResNet
from astrodl.models.gan import EncoderGAN
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.redshift import RedshiftNetwork
from astrodl.models.representation import LatentNetwork
from astrodl.models.space import FeatureSpace
from astrodl.models.style import Pooling
from astrodl.models.unet import UNet

__all__ = ["FrozenNorm", "SecantMax", "SecantNorm", "decompose", "last_maps", "refuse_layers", "without_inplace"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, ConvBlock, MLP, CompactResNet, HybridNetwork, RedshiftNetwork, Trunk)
"""Modules that call their parts one after the other."""
_LINEAR = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, BatchNorm2d, nn.AvgPool2d, nn.Identity, nn.Dropout, Dropout)
_SELECTING = (nn.ReLU, nn.MaxPool2d)
_CURVED = (nn.PReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.SiLU, nn.Tanh, nn.Sigmoid)


def refuse_layers(method: str, network: nn.Module) -> str | None:
    """Return why the layers of a network do not allow a method, or None.

    `guided_backpropagation` and `deconvolution` change the gradient of ReLU alone. `lrp` and `deeplift` need a rule for
    every layer: they have one for the sums of residual blocks and for layer norms, but none for products, softmax over
    pixels, or group norm.
    `grad_cam` needs a map whose mean gradient is not zero: a softmax over the pixels makes it zero. The number has to
    depend on the image through it, and it has to be made once.
    """
    modules = list(network.modules())
    if method in ("guided_backpropagation", "deconvolution"):
        if curved := [module for module in modules if isinstance(module, _CURVED)]:
            return f"changes the gradient of ReLU alone, and the network has {type(curved[0]).__name__}"
        return (
            None if any(isinstance(module, nn.ReLU) for module in modules) else "needs ReLU, and the network has none"
        )
    if method == "grad_cam":
        if any(isinstance(module, LearnedApertures) for module in modules):
            return "needs maps that are pooled, and those of LearnedApertures pass a softmax over the pixels"
        if isinstance(network, EncoderGAN | LatentNetwork):
            return "needs a last map that all depends on, and the network compares images or averages views of them"
        return None if last_maps(network) is not None else "needs convolutions, and the network has none"
    if method in ("lrp", "deeplift"):
        known = (*_CONTAINERS, *_LINEAR, *_SELECTING, Pooling, ResidualBlock, FeatureSpace, nn.LayerNorm)
        for module in modules:
            if type(module) not in known:
                return f"has no rule for {type(module).__name__}, which the network has"
            if isinstance(module, Pooling) and (module.kind not in ("mean", "mean_max", "max", "flatten")):
                return f"has no rule for the pooling '{module.kind}', which the network has"
            if method == "deeplift" and isinstance(module, nn.MaxPool2d):
                return "does not add up over max poolings of windows, which the network has"
            if isinstance(module, Pooling) and module.levels != (1,):
                return "has no rule for the pooling of a pyramid, which the network has"
    return None


def last_maps(network: nn.Module) -> nn.Module | None:
    """Return the module of the trunk whose output is the last map before the pooling; None without convolutions."""
    trunk = getattr(network, "encoder", getattr(network, "unet", getattr(network, "trunk", network)))
    if isinstance(trunk, ApertureResNet):
        return trunk.rest
    if isinstance(trunk, CompactResNet):
        return trunk.trunk
    if isinstance(trunk, Trunk):
        return trunk.maps[0]
    if isinstance(trunk, UNet):
        return (*trunk.down, trunk.stem)[len(trunk.down) - 1]
    if isinstance(inner := getattr(trunk, "trunk", None), nn.Sequential):
        return inner
    found = [module for module in trunk.modules() if isinstance(module, nn.Conv2d)] if trunk is not None else []
    return found[-1] if found else None


def without_inplace(network: nn.Module) -> nn.Module:
    """Return a copy whose activations do not overwrite their input, which hooks need."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for module in copied.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    return copied


class _Sum(nn.Module):
    """Sum of two maps, as a layer."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class _Residual(nn.Module):
    """A residual block whose sum is a layer."""

    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.branch, self.shortcut, self.activation = block.branch, block.shortcut, block.activation
        self.sum = _Sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.sum(self.branch(x), self.shortcut(x)))


class _Pooling(nn.Module):
    """A pooling whose statistics are layers."""

    def __init__(self, kind: str, *, secant: bool):
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1) if kind.startswith("mean") else None
        self.max: nn.Module | None = None
        if kind.endswith("max"):
            self.max = SecantMax() if secant else nn.MaxPool2d(1)

    def forward(self, maps: Tensor) -> Tensor:
        if isinstance(self.max, nn.MaxPool2d):  # an adaptive pooling has no rule in Captum
            self.max.kernel_size = self.max.stride = (maps.shape[-2], maps.shape[-1])
        parts = [layer(maps).flatten(1) for layer in (self.mean, self.max) if layer is not None]
        return torch.cat(parts or [maps.flatten(1)], dim=1)


class SecantMax(nn.Module):
    r"""The maximum of a map, (2 B, C, H, W) -> (2 B, C), whose gradient is its DeepLIFT multiplier.

    If the largest pixel is i in the image x and j in the baseline y, the change of the maximum is
    (p dx_i + q dx_j) / (p + q) with p = x_i - x_j and q = y_j - y_i, neither of which is negative. It is the mean
    gradient along the straight line between the two where no third pixel is the largest on it. Captum's rule for max
    pooling does not add up where i and j differ.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the largest pixel of each map."""
        result: Tensor = _SecantMax.apply(maps.flatten(2))
        return result


class _SecantMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(pixels)
        return pixels.amax(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (pixels,) = ctx.saved_tensors
        image, baseline = pixels.chunk(2)
        i, j = (each.argmax(2, keepdim=True) for each in (image, baseline))
        p = image.gather(2, i) - image.gather(2, j)
        q = baseline.gather(2, j) - baseline.gather(2, i)
        share = torch.where(p + q > 0, p / (p + q).clamp_min(1e-30), torch.full_like(p, 0.5))
        weight = torch.zeros_like(image).scatter_add(2, i, share).scatter_add(2, j, 1 - share)
        return weight.repeat(2, 1, 1) * gradients[0][..., None]


class FrozenNorm(nn.Module):
    """A layer norm whose standard deviation is a constant for the gradient (Ali et al. 2022, arXiv:2202.07304)."""

    def __init__(self, norm: nn.LayerNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, n)."""
        deviation = (x.var(-1, unbiased=False, keepdim=True) + self.eps).sqrt().detach()
        return (x - x.mean(-1, keepdim=True)) / deviation * self.weight + self.bias


class SecantNorm(nn.Module):
    r"""A layer norm whose gradient is its DeepLIFT multiplier.

    Images are the first half of the batch, baselines the rest. With centred inputs c, variance v and
    r = (v + eps)^-1/2, the change of c r is exactly r' dc + c' dr, where a prime is the mean of image and baseline;
    dr = (dr / dv) dv, and dv = 2 c' dc averaged over the inputs. The multipliers add up to the change of the output, as
    those of the rescale rule (Shrikumar et al. 2017) do for a ReLU.
    """

    def __init__(self, norm: nn.LayerNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (2 B, n)."""
        result: Tensor = _Secant.apply(x, self.weight, self.bias, self.eps)
        return result


class _Secant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(centred, variance, scale, weight)
        return centred * scale * weight + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        centred, variance, scale, weight = ctx.saved_tensors
        gradient = gradients[0] * weight
        (c, c0), (v, v0), (r, r0) = (each.chunk(2) for each in (centred, variance, scale))
        mean_c, mean_r = ((0.5 * total).repeat(2, 1) for total in (c + c0, r + r0))
        slope = torch.where((v - v0).abs() > 1e-6 * v, (r - r0) / (v - v0), -0.5 * r**3).repeat(2, 1)
        along = (gradient * mean_c).sum(-1, keepdim=True)
        of_centred = gradient * mean_r + along * slope * 2 * mean_c / centred.shape[-1]
        return of_centred - of_centred.mean(-1, keepdim=True), None, None, None


def decompose(network: nn.Module, *, norm: Callable[[nn.LayerNorm], nn.Module] = FrozenNorm) -> nn.Module:
    """Return a copy in which sums, poolings and layer norms are layers that rules know, with the same output.

    `norm` makes the layer norms.
    """
    copied = without_inplace(network)
    replacements: dict[type[nn.Module], Callable[..., nn.Module]] = {
        ResidualBlock: _Residual,
        Pooling: lambda pooling: _Pooling(pooling.kind, secant=norm is SecantNorm),
        nn.LayerNorm: norm,
        Dropout: lambda dropout: nn.Identity(),
        FeatureSpace: lambda space: nn.Identity(),
    }

    def replace(module: nn.Module) -> None:
        for name, child in module.named_children():
            if type(child) in replacements:
                setattr(module, name, replacements[type(child)](child))
            elif type(child) is BatchNorm2d:
                child.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
        for child in module.children():
            replace(child)

    replace(copied)
    return copied
