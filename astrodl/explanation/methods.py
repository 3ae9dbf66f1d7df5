"""Attribution methods: which pixels of which band a predicted number comes from, through Captum."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.errors import AstrodlError, ConfigError
from astrodl.explanation import algorithms as run
from astrodl.explanation.algorithms import Call, Options
from astrodl.explanation.rules import FrozenNorm, SecantNorm, decompose, refuse_layers, without_inplace
from astrodl.explanation.target import Explained, Frame, Inputs
from astrodl.models.blocks import fold_batch_norm, look_up
from astrodl.models.symmetries import apply_symmetry, undo_symmetry

__all__ = ["METHODS", "Attribution", "Method", "Options", "allowed", "attribute", "require_captum"]


@dataclass(frozen=True)
class Attribution:
    """Attributions of a predicted number to pixels.

    Attributes
    ----------
    maps : (N, C, H, W) float32 array
        Attribution per band and pixel, in the unit of the number, and per sigma of the sky noise for slopes; C is 1 for
        a method that does not know bands. Zero where there is no data.
    value : (N,) array
        The predicted number, averaged over the orientations used.
    change : (N,) array
        Its difference from that of the sky alone, averaged over orientations and sky images.
    residual : (N,) array
        Sum of the maps minus `change` by the method itself, before this error was divided among the pixels in
        proportion to their moduli, so that the maps add up; NaN for methods whose sum has no meaning.
    """

    maps: np.ndarray
    value: np.ndarray
    change: np.ndarray
    residual: np.ndarray


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
    adds_up : bool
        Whether the sum of the maps is the change of the number from that of the sky.
    is_slope : bool
        Whether its maps are the change of the number for one standard deviation of sky noise in a pixel.
    raw : bool
        Whether it explains an output of the network itself, and needs a rule for every layer.
    cost : callable
        Images that pass the network for each object.
    reference : str
        Paper.
    """

    title: str
    frame: Frame
    run: Callable[[Call], Tensor]
    reference: str
    adds_up: bool = False
    is_slope: bool = False
    raw: bool = False
    cost: Callable[[Options], int] = lambda options: 1


METHODS: Mapping[str, Method] = {
    "gradient": Method("gradient", "flux", run.gradient, "Simonyan et al. 2014, arXiv:1312.6034", is_slope=True),
    "smooth_gradient": Method(
        "SmoothGrad", "flux", run.smooth_gradient, "Smilkov et al. 2017, arXiv:1706.03825", is_slope=True,
        cost=lambda o: o.samples,
    ),
    "input_x_gradient": Method(
        "input × gradient", "flux", run.input_x_gradient, "Shrikumar et al. 2016, arXiv:1605.01713"
    ),
    "integrated_gradients": Method(
        "integrated gradients", "network", run.integrated_gradients, "Sundararajan et al. 2017, arXiv:1703.01365",
        adds_up=True, cost=lambda o: 2 * o.steps,
    ),
    "gradient_shap": Method(
        "gradient SHAP", "network", run.gradient_shap, "Lundberg & Lee 2017, arXiv:1705.07874", cost=lambda o: o.samples
    ),
    "deeplift": Method(
        "DeepLIFT", "network", run.deeplift, "Shrikumar et al. 2017, arXiv:1704.02685", adds_up=True,
        raw=True,
    ),
    "lrp": Method("LRP", "network", run.lrp, "Bach et al. 2015, PLoS ONE 10, e0130140", raw=True),
    "guided_backpropagation": Method(
        "guided backpropagation", "flux", run.guided_backpropagation, "Springenberg et al. 2015, arXiv:1412.6806",
        is_slope=True,
    ),
    "deconvolution": Method(
        "deconvolution", "flux", run.deconvolution, "Zeiler & Fergus 2014, arXiv:1311.2901", is_slope=True
    ),
    "grad_cam": Method("Grad-CAM", "network", run.grad_cam, "Selvaraju et al. 2017, arXiv:1610.02391"),
    "occlusion": Method("occlusion", "network", run.occlusion, "Zeiler & Fergus 2014, arXiv:1311.2901"),
    "band_ablation": Method("ablation per band", "network", run.band_ablation, "Zeiler & Fergus 2014, arXiv:1311.2901"),
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
        sky = turned.replace(turned.baseline(turned.noise(generator)))
        arguments = explained.bind(turned, turned_fixed, method.frame, raw=method.raw)
        call = Call(
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
    maps, residual = maps.double().cpu(), torch.full_like(change, torch.nan)
    if method.adds_up:
        residual, size = maps.sum((1, 2, 3)) - change, maps.abs()
        factor = (residual / size.sum((1, 2, 3)).clamp_min(1e-30)).clamp(-1, 1)  # no pixel changes its sign
        maps = maps - factor[:, None, None, None] * size
    return maps.float().numpy(), value.numpy(), change.numpy(), residual.numpy()


def _turn_fixed(fixed: Tensor, element: int, inputs: Inputs) -> Tensor:
    """Turn fixed maps, such as the pixel of a clump, with the image."""
    return apply_symmetry(fixed, element) if fixed.shape[-2:] == inputs.image.shape[-2:] and fixed.ndim > 2 else fixed


def _run(method: Method, call: Call) -> Tensor:
    """Run a method with a seed of its own, without the warnings of Captum about what it does to the network."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(call.options.seed)
        images = replace(call, images=call.images.detach().clone().requires_grad_())
        return method.run(images).detach()
