"""Attribution algorithms, through Captum: from images and baselines to maps."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.errors import ConfigError
from astrodl.explanation.rules import FrozenNorm, last_maps
from astrodl.explanation.target import Explained

__all__ = [
    "Call",
    "Options",
    "band_ablation",
    "deconvolution",
    "deeplift",
    "grad_cam",
    "gradient",
    "gradient_shap",
    "guided_backpropagation",
    "input_x_gradient",
    "integrated_gradients",
    "lrp",
    "occlusion",
    "smooth_gradient",
]

LRP_EPSILON = 1e-2
"""Number that keeps the epsilon rule from dividing by sums that cancel."""

FIRST_SEGMENTS = 16
"""Segments that a path of integrated gradients is divided into at first; they grow with the distance from the sky."""


@dataclass(frozen=True)
class Options:
    """Numbers that methods depend on.

    Attributes
    ----------
    draws : int
        Sky images that serve as baselines; the k-th is used for the k-th orientation of the image.
    steps : int
        Segments of the path of integrated gradients.
    samples : int
        Noise realisations of SmoothGrad, and random points of gradient SHAP.
    window : int
        Side in pixels of the squares that occlusion replaces.
    batch_size : int
        Images that pass the network at a time.
    seed : int
        Seed of all noise.
    """

    draws: int = 4
    steps: int = 64
    samples: int = 16
    window: int = 8
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("draws", "steps", "samples", "window", "batch_size"):
            number = getattr(self, name)
            if not isinstance(number, Integral) or number < 1:
                raise ConfigError(f"{name} = {number}: must be a whole number of at least 1")


@dataclass(frozen=True)
class Call:
    """What a method is given: the number as a function of images, images and baselines in its frame."""

    explained: Explained
    images: Tensor
    baselines: Tensor
    arguments: tuple[Tensor, ...]
    options: Options
    known: Tensor


def gradient(call: Call) -> Tensor:
    """Return the gradient."""
    from captum.attr import Saliency

    return Saliency(call.explained).attribute(call.images, abs=False, additional_forward_args=call.arguments)


def smooth_gradient(call: Call) -> Tensor:
    """Return the gradient averaged over noise realisations of the image."""
    from captum.attr import NoiseTunnel, Saliency

    # the frame is in units of the sky noise: each sample is the image with one more realisation of it
    return NoiseTunnel(Saliency(call.explained)).attribute(
        call.images,
        nt_type="smoothgrad",
        nt_samples=call.options.samples,
        nt_samples_batch_size=max(1, call.options.batch_size // len(call.images)),
        stdevs=1.0,
        abs=False,
        additional_forward_args=call.arguments,
    )


def input_x_gradient(call: Call) -> Tensor:
    """Return the image times the gradient."""
    from captum.attr import InputXGradient

    return InputXGradient(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def integrated_gradients(call: Call) -> Tensor:
    """Integrate along the straight line with Captum's midpoint rule on segments that adapt to each object.

    The change of the number over a segment is known from its ends, and with it the error of each segment. Those of the
    largest errors are divided into three, of which the middle one keeps its gradient, until there are `steps`. Networks
    react to the first light that rises from the noise much faster than to the rest, and equal steps miss it.
    """
    n_first = min(call.options.steps, FIRST_SEGMENTS)
    places = torch.linspace(0, 1, n_first + 1, device=call.images.device) ** 3
    nodes = places[:, None].expand(-1, len(call.images))
    start, width = nodes[:-1], nodes.diff(dim=0)
    change = _along(call, nodes).diff(dim=0)
    parts = _integrate(call, start, width)
    while len(start) + 2 <= call.options.steps:
        n_split = min(2, (call.options.steps - len(start)) // 2)
        worst = (change - parts.sum((2, 3, 4))).abs().topk(n_split, dim=0).indices
        first, third = start.gather(0, worst), width.gather(0, worst) / 3
        inner = _along(call, torch.cat([first, first + third, first + 2 * third, first + 3 * third]))
        below, middle, above = inner.unflatten(0, (4, n_split)).diff(dim=0)
        new = _integrate(call, torch.cat([first, first + 2 * third]), third.repeat(2, 1))
        index = worst[..., None, None, None].expand(-1, -1, *parts.shape[2:])
        parts = torch.cat([parts.scatter(0, index, parts.gather(0, index) / 3), new])
        start = torch.cat([start.scatter(0, worst, first + third), first, first + 2 * third])
        width = torch.cat([width.scatter(0, worst, third), third, third])
        change = torch.cat([change.scatter(0, worst, middle), below, above])
    return parts.sum(0)


def _integrate(call: Call, start: Tensor, width: Tensor) -> Tensor:
    """Return the integrals over segments (n, B) of the paths, (n, B, C, H, W)."""
    from captum.attr import IntegratedGradients

    found, n_rows = [], max(1, call.options.batch_size // len(call.images))
    for low, step in zip(start.split(n_rows), width.split(n_rows), strict=True):
        parts = IntegratedGradients(call.explained).attribute(
            _points(call, low + step),
            _points(call, low),
            additional_forward_args=tuple(_repeat(argument, len(low)) for argument in call.arguments),
            n_steps=1,
            method="gausslegendre",
        )
        found.append(parts.detach().unflatten(0, (len(low), -1)))
    return torch.cat(found)


@torch.no_grad()
def _along(call: Call, places: Tensor) -> Tensor:
    """Return the number at places (n, B) of the paths."""
    parts = places.split(max(1, call.options.batch_size // len(call.images)))
    found = [
        call.explained(_points(call, part), *(_repeat(argument, len(part)) for argument in call.arguments))
        for part in parts
    ]
    return torch.cat(found).reshape(places.shape)


def _points(call: Call, places: Tensor) -> Tensor:
    """Return the images at places (n, B) of the paths, (n B, C, H, W)."""
    return torch.lerp(call.baselines, call.images, places[..., None, None, None]).flatten(0, 1)


def _repeat(tensor: Tensor, n: int) -> Tensor:
    return tensor.repeat(n, *[1] * (tensor.ndim - 1))


def gradient_shap(call: Call) -> Tensor:
    """Return gradients at random points between sky and image, times their difference; at the same for all objects."""
    from captum.attr import GradientShap

    # Captum draws each sample's baseline from all rows: the baselines of one object must be given alone
    maps = []
    for i in range(len(call.images)):
        arguments = tuple(a[i : i + 1] for a in call.arguments)
        maps.append(torch.zeros_like(call.images[:1]))
        with _numpy_seed(call.options.seed):
            for start in range(0, call.options.samples, call.options.batch_size):
                n_samples = min(call.options.batch_size, call.options.samples - start)
                maps[i] += (n_samples / call.options.samples) * GradientShap(call.explained).attribute(
                    call.images[i : i + 1],
                    call.baselines[i : i + 1],
                    n_samples=n_samples,
                    stdevs=0.0,
                    additional_forward_args=arguments,
                ).detach()
    return torch.cat(maps)


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed the global generator of numpy, from which Captum draws, and restore it."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def deeplift(call: Call) -> Tensor:
    """Return the contributions of DeepLIFT against the sky."""
    from captum.attr import DeepLift

    return DeepLift(call.explained).attribute(call.images, call.baselines, additional_forward_args=call.arguments)


def guided_backpropagation(call: Call) -> Tensor:
    """Return the gradient through positive signals alone."""
    from captum.attr import GuidedBackprop

    return GuidedBackprop(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def deconvolution(call: Call) -> Tensor:
    """Return the signal sent back through rectifiers alone."""
    from captum.attr import Deconvolution

    return Deconvolution(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def grad_cam(call: Call) -> Tensor:
    """Return the last maps weighted by their mean gradients, as large as the image."""
    from captum.attr import LayerGradCam

    layer = last_maps(call.explained.network)
    assert layer is not None
    cam = LayerGradCam(call.explained, layer).attribute(call.images, additional_forward_args=call.arguments)
    return functional.interpolate(cam, size=call.images.shape[-2:], mode="bilinear")


def lrp(call: Call) -> Tensor:
    """Return the relevance that is sent back layer by layer."""
    from captum.attr import LRP

    for module in call.explained.modules():
        if not next(module.children(), None) and module is not call.explained:
            if isinstance(module, nn.ReLU):
                continue
            module.rule = _lrp_rule(module)
    return LRP(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def _lrp_rule(module: nn.Module) -> Any:
    """Return the positive rule for convolutions, the epsilon rule for sums, the identity for layer norms."""
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, IdentityRule

    if isinstance(module, nn.Conv2d):
        return Alpha1_Beta0_Rule()
    return IdentityRule() if isinstance(module, FrozenNorm) else EpsilonRule(LRP_EPSILON)


def occlusion(call: Call) -> Tensor:
    """Return the change when squares of a band become sky."""
    n_bands, height, width = call.images.shape[1:]
    side = min(call.options.window, height)
    squares = torch.arange(height)[:, None] // side * -(-width // side) + torch.arange(width)[None, :] // side
    groups = squares + (squares.max() + 1) * torch.arange(n_bands)[:, None, None]
    return _ablate(call, groups)


def band_ablation(call: Call) -> Tensor:
    """Return the change when a band becomes sky."""
    n_bands, height, width = call.images.shape[1:]
    return _ablate(call, torch.arange(n_bands)[:, None, None].expand(-1, height, width))


def _ablate(call: Call, groups: Tensor) -> Tensor:
    """Replace groups of pixels (C, H, W) by the sky, one after the other, and spread each change over its group."""
    from captum.attr import FeatureAblation

    # without overlaps this is Captum's Occlusion, which builds its masks many times more slowly
    maps = FeatureAblation(call.explained).attribute(
        call.images,
        baselines=call.baselines,
        feature_mask=groups[None].to(call.images.device),
        additional_forward_args=call.arguments,
        perturbations_per_eval=max(1, call.options.batch_size // len(call.images)),
    )
    return maps / groups.flatten().bincount()[groups].to(maps)
