"""Attribution methods: which pixels of which band a predicted number comes from, through Captum."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.errors import AstrodlError, ConfigError
from astrodl.explanation.rules import FrozenNorm, SecantNorm, decompose, last_maps, refuse_layers, without_inplace
from astrodl.explanation.target import Explained, Frame, Inputs
from astrodl.models.blocks import fold_batch_norm, look_up
from astrodl.models.symmetries import apply_symmetry, undo_symmetry

__all__ = ["METHODS", "Attribution", "Method", "Options", "allowed", "attribute", "require_captum"]

LRP_EPSILON = 1e-2
"""Number that keeps the epsilon rule from dividing by sums that cancel."""

FIRST_SEGMENTS = 16
"""Equal segments that a path of integrated gradients is divided into at first."""


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


@dataclass(frozen=True)
class Attribution:
    """Attributions of a predicted number to pixels.

    Attributes
    ----------
    maps : (N, C, H, W) float32 array
        Attribution per band and pixel, in the unit of the number; C is 1 for a method that does not know bands. Zero
        where there is no data.
    value : (N,) array
        The predicted number, averaged over the orientations used.
    change : (N,) array
        Its difference from that of the sky alone, averaged over orientations and sky images.
    residual : (N,) array
        Sum of the maps minus what it should be; NaN for methods whose sum has no meaning.
    """

    maps: np.ndarray
    value: np.ndarray
    change: np.ndarray
    residual: np.ndarray


@dataclass(frozen=True)
class _Call:
    """What a method is given: the number as a function of images, images and baselines in its frame."""

    explained: Explained
    images: Tensor
    baselines: Tensor
    arguments: tuple[Tensor, ...]
    options: Options
    known: Tensor


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes
    ----------
    title : str
        Name in figures.
    frame : str
        Scale along which it moves.
    run : callable
        Returns the maps (B, C, H, W) of a call.
    sums_to : str
        What the sum of the maps is: `change` of the number from that of the sky, the `value` of an output of the
        network, or nothing.
    raw : bool
        Whether it explains an output of the network itself, and needs a rule for every layer.
    cost : callable
        Images that pass the network for each object.
    reference : str
        Paper.
    """

    title: str
    frame: Frame
    run: Callable[[_Call], Tensor]
    reference: str
    sums_to: str = ""
    raw: bool = False
    cost: Callable[[Options], int] = lambda options: 1


def _gradient(call: _Call) -> Tensor:
    from captum.attr import Saliency

    return Saliency(call.explained).attribute(call.images, abs=False, additional_forward_args=call.arguments)


def _smooth_gradient(call: _Call) -> Tensor:
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


def _input_x_gradient(call: _Call) -> Tensor:
    from captum.attr import InputXGradient

    return InputXGradient(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def _integrated_gradients(call: _Call) -> Tensor:
    """Integrate along the straight line with Captum's midpoint rule on segments that adapt to each object.

    The change of the number over a segment is known from its ends, and with it the error of each segment. Those of the
    largest errors are divided into three, of which the middle one keeps its gradient, until there are `steps`. Networks
    react to the first light that rises from the noise much faster than to the rest, and equal steps miss it.
    """
    n_first = min(call.options.steps, FIRST_SEGMENTS)
    nodes = torch.linspace(0, 1, n_first + 1, device=call.images.device)[:, None].expand(-1, len(call.images))
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


def _integrate(call: _Call, start: Tensor, width: Tensor) -> Tensor:
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
def _along(call: _Call, places: Tensor) -> Tensor:
    """Return the number at places (n, B) of the paths."""
    parts = places.split(max(1, call.options.batch_size // len(call.images)))
    found = [
        call.explained(_points(call, part), *(_repeat(argument, len(part)) for argument in call.arguments))
        for part in parts
    ]
    return torch.cat(found).reshape(places.shape)


def _points(call: _Call, places: Tensor) -> Tensor:
    """Return the images at places (n, B) of the paths, (n B, C, H, W)."""
    return torch.lerp(call.baselines, call.images, places[..., None, None, None]).flatten(0, 1)


def _repeat(tensor: Tensor, n: int) -> Tensor:
    return tensor.repeat(n, *[1] * (tensor.ndim - 1))


def _gradient_shap(call: _Call) -> Tensor:
    from captum.attr import GradientShap

    # Captum draws each sample's baseline from all rows: the baselines of one object must be given alone
    maps = []
    for i in range(len(call.images)):
        shap = GradientShap(call.explained)
        arguments = tuple(a[i : i + 1] for a in call.arguments)
        maps.append(
            shap.attribute(
                call.images[i : i + 1],
                call.baselines[i : i + 1],
                n_samples=call.options.samples,
                stdevs=0.0,
                additional_forward_args=arguments,
            )
        )
    return torch.cat(maps)


def _deeplift(call: _Call) -> Tensor:
    from captum.attr import DeepLift

    return DeepLift(call.explained).attribute(call.images, call.baselines, additional_forward_args=call.arguments)


def _guided_backpropagation(call: _Call) -> Tensor:
    from captum.attr import GuidedBackprop

    return GuidedBackprop(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def _deconvolution(call: _Call) -> Tensor:
    from captum.attr import Deconvolution

    return Deconvolution(call.explained).attribute(call.images, additional_forward_args=call.arguments)


def _grad_cam(call: _Call) -> Tensor:
    from captum.attr import LayerGradCam

    layer = last_maps(call.explained.network)
    assert layer is not None
    cam = LayerGradCam(call.explained, layer).attribute(call.images, additional_forward_args=call.arguments)
    return functional.interpolate(cam, size=call.images.shape[-2:], mode="bilinear")


def _lrp(call: _Call) -> Tensor:
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


def _occlusion(call: _Call) -> Tensor:
    n_bands, height, width = call.images.shape[1:]
    side = min(call.options.window, height)
    squares = torch.arange(height)[:, None] // side * -(-width // side) + torch.arange(width)[None, :] // side
    groups = squares + (squares.max() + 1) * torch.arange(n_bands)[:, None, None]
    return _ablate(call, groups)


def _band_ablation(call: _Call) -> Tensor:
    n_bands, height, width = call.images.shape[1:]
    return _ablate(call, torch.arange(n_bands)[:, None, None].expand(-1, height, width))


def _ablate(call: _Call, groups: Tensor) -> Tensor:
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


METHODS: Mapping[str, Method] = {
    "gradient": Method("gradient", "flux", _gradient, "Simonyan et al. 2014, arXiv:1312.6034"),
    "smooth_gradient": Method(
        "SmoothGrad", "flux", _smooth_gradient, "Smilkov et al. 2017, arXiv:1706.03825", cost=lambda o: o.samples
    ),
    "input_x_gradient": Method(
        "input × gradient", "flux", _input_x_gradient, "Shrikumar et al. 2016, arXiv:1605.01713"
    ),
    "integrated_gradients": Method(
        "integrated gradients", "network", _integrated_gradients, "Sundararajan et al. 2017, arXiv:1703.01365",
        "change", cost=lambda o: 2 * o.steps,
    ),
    "gradient_shap": Method(
        "gradient SHAP", "network", _gradient_shap, "Lundberg & Lee 2017, arXiv:1705.07874", cost=lambda o: o.samples
    ),
    "deeplift": Method("DeepLIFT", "network", _deeplift, "Shrikumar et al. 2017, arXiv:1704.02685", "change", raw=True),
    "lrp": Method("LRP", "network", _lrp, "Bach et al. 2015, PLoS ONE 10, e0130140", raw=True),
    "guided_backpropagation": Method(
        "guided backpropagation", "flux", _guided_backpropagation, "Springenberg et al. 2015, arXiv:1412.6806"
    ),
    "deconvolution": Method("deconvolution", "flux", _deconvolution, "Zeiler & Fergus 2014, arXiv:1311.2901"),
    "grad_cam": Method("Grad-CAM", "network", _grad_cam, "Selvaraju et al. 2017, arXiv:1610.02391"),
    "occlusion": Method("occlusion", "network", _occlusion, "Zeiler & Fergus 2014, arXiv:1311.2901"),
    "band_ablation": Method("ablation per band", "network", _band_ablation, "Zeiler & Fergus 2014, arXiv:1311.2901"),
}  # fmt: skip
"""Attribution methods by name."""


def require_captum() -> None:
    """Check that Captum is installed.

    Raises
    ------
    AstrodlError
        It is not.
    """
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise AstrodlError(
            f"attributions need Captum, which is not installed ({error}); run: pip install 'astrodl-survey[explain]'"
        ) from None


def attribute(
    explained: Explained,
    inputs: Inputs,
    method: str = "integrated_gradients",
    *,
    options: Options | None = None,
    orientations: int = 1,
    fixed: Tensor | None = None,
) -> Attribution:
    r"""Attribute a predicted number to the pixels of each band.

    For draw :math:`k` the image is turned by the symmetry :math:`k` modulo `orientations`, compared with one image of
    the sky, and the map turned back; the maps are averaged over the draws. Baselines are noise of the sky of the
    object's own depth, never a black image: a network has not seen an image without noise.

    Parameters
    ----------
    explained : Explained
        Number of a network.
    inputs : Inputs
        Images.
    method : str
        One of `METHODS`.
    options : Options, optional
    orientations : int
        Orientations that predictions of the network average.
    fixed : tensor, optional
        What does not change with the image, as `Explained.fix` returns it, by default for these inputs.

    Returns
    -------
    Attribution

    Raises
    ------
    ConfigError
        The method is not known, or layers of the network do not allow it.
    AstrodlError
        Captum is not installed.
    """
    require_captum()
    options = options or Options()
    chosen = _look_up(method)
    if reason := refuse_layers(method, explained.network):
        raise ConfigError(f"method {method}: {reason}; accepted: {', '.join(allowed(explained))}")
    if chosen.raw and explained.quantity.raw is None:
        raise ConfigError(
            f"method {method}: explains an output of the network, and {explained.quantity.name} is computed from many; "
            f"accepted: {', '.join(allowed(explained))}"
        )
    copied = explained.with_network(_prepare(method, explained.network))
    fixed = explained.fix(inputs) if fixed is None else fixed
    size = max(1, options.batch_size // min(chosen.cost(options), 8))
    parts = [
        _attribute_part(copied, inputs.rows(part), fixed[part], chosen, options, orientations)
        for part in (slice(start, start + size) for start in range(0, len(inputs), size))
    ]
    return Attribution(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def allowed(explained: Explained) -> list[str]:
    """List the methods that network and number allow."""
    return [
        name
        for name, method in METHODS.items()
        if refuse_layers(name, explained.network) is None and not (method.raw and explained.quantity.raw is None)
    ]


def _look_up(method: str) -> Method:
    try:
        return look_up("method", method, METHODS)
    except ValueError as error:
        raise ConfigError(f"{error}; choose one of them") from None


def _prepare(method: str, network: nn.Module) -> nn.Module:
    """Return a copy of a network for a method: hooks need activations that do not overwrite, rules need layers."""
    if not METHODS[method].raw:
        return without_inplace(network)
    return decompose(fold_batch_norm(network), norm=FrozenNorm if method == "lrp" else SecantNorm)


def _attribute_part(
    explained: Explained, inputs: Inputs, fixed: Tensor, method: Method, options: Options, orientations: int
) -> tuple[np.ndarray, ...]:
    """Return maps, value, change and residual of a few objects."""
    generator = torch.Generator().manual_seed(options.seed)
    maps = torch.zeros(())
    value, change = (torch.zeros(len(inputs), dtype=torch.float64) for _ in range(2))
    for draw in range(options.draws):
        element = draw % orientations
        turned = inputs.turn(element)
        turned_fixed = _turn_fixed(fixed, element, inputs)
        sky = turned.replace(turned.sky_image(turned.noise(generator)))
        arguments = explained.bind(turned, turned_fixed, method.frame, raw=method.raw)
        call = _Call(
            explained,
            turned.sky.to_frame(turned.image, method.frame),
            turned.sky.to_frame(sky.image, method.frame),
            arguments,
            options,
            turned.sky.known,
        )
        found = _run(method, call)
        if found.shape[1] == inputs.image.shape[1]:
            found = found * turned.sky.known
        maps = maps + undo_symmetry(found, element) / options.draws
        explained.bind(turned, turned_fixed, "network", raw=method.raw)
        with torch.no_grad():
            of_image, of_sky = (explained(each.image, *arguments).double().cpu() for each in (turned, sky))
        value += of_image / options.draws
        change += (of_image - of_sky) / options.draws
    residual = maps.double().cpu().sum((1, 2, 3)) - change if method.sums_to else torch.full_like(change, torch.nan)
    return maps.float().cpu().numpy(), value.numpy(), change.numpy(), residual.numpy()


def _turn_fixed(fixed: Tensor, element: int, inputs: Inputs) -> Tensor:
    """Turn fixed maps, such as the pixel of a clump, with the image."""
    return apply_symmetry(fixed, element) if fixed.shape[-2:] == inputs.image.shape[-2:] and fixed.ndim > 2 else fixed


def _run(method: Method, call: _Call) -> Tensor:
    """Run a method with a seed of its own, without the warnings of Captum about what it does to the network."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(call.options.seed)
        images = replace(call, images=call.images.detach().clone().requires_grad_())
        return method.run(images).detach()
