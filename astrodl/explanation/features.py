"""What the units of a network look for: kernels, feature maps, maximised images, exemplars, neighbours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.errors import ConfigError
from astrodl.explanation.rules import without_inplace
from astrodl.explanation.target import Explained, Inputs
from astrodl.losses import stable_asinh
from astrodl.models.symmetries import apply_symmetry

__all__ = [
    "Maximization",
    "Number",
    "exemplars",
    "feature_maps",
    "first_kernels",
    "list_layers",
    "maximize",
    "nearest_neighbours",
    "pool_maps",
    "unit_value",
]

Number = Callable[[Tensor], Tensor]
"""A number of each image of the network's scale, (B, C, H, W) -> (B,)."""


BRIGHT_END = 0.8
"""Quantile of the brightest pixels of galaxies that maximised images do not exceed."""

N_SPREAD = 64
"""Most galaxies for the scatter of a number."""


@dataclass(frozen=True)
class Maximization:
    """Options of `maximize`.

    Attributes
    ----------
    steps : int
        Updates by Adam.
    learning_rate : float
    variation : float
        Weight of the total variation of the image, which smooths, against the number in units of its scatter among the
        galaxies.
    power : float
        Weight of the mean square of the difference from the mean galaxy, likewise.
    jitter : int
        Largest shift in pixels at each step, at which the image is also turned at random.
    start : str
        `fourier`: a spectrum that falls with the frequency, so that all scales grow alike (Olah et al. 2017), from a
        faint random image; `pixels`: independent pixels.
    seed : int
    """

    steps: int = 64
    learning_rate: float = 0.05
    variation: float = 6.0
    power: float = 0.2
    jitter: int = 2
    start: Literal["fourier", "pixels"] = "fourier"
    seed: int = 0


def first_kernels(network: nn.Module) -> Tensor:
    """Return the weights of the first convolution, (filters, maps, k, k).

    Raises
    ------
    ConfigError
        The network has no convolution.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.weight.detach().cpu()
    raise ConfigError("the network has no convolution, and so no kernels; choose an image network")


def list_layers(explained: Explained, inputs: Inputs) -> dict[str, tuple[int, ...]]:
    """List the layers whose output is maps, with their shape (C, H, W), in the order of their use."""
    shapes: dict[str, tuple[int, ...]] = {}
    names = {module: name for name, module in explained.network.named_modules()}

    def note(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and names[module]:
            shapes.setdefault(names[module], tuple(output.shape[1:]))

    hooks = [module.register_forward_hook(note) for module in explained.network.modules()]
    one = inputs.rows(slice(0, 1))
    explained.evaluate(one, explained.fix(one))
    for hook in hooks:
        hook.remove()
    return shapes


@contextmanager
def _recording(network: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Keep the outputs of a layer."""
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        raise ConfigError(
            f"layer '{layer}' is not in the network; accepted: {', '.join(name for name in modules if name)}"
        )
    outputs: list[Tensor] = []
    hook = modules[layer].register_forward_hook(lambda module, arguments, output: outputs.append(output.clone()))
    try:
        yield outputs
    finally:
        hook.remove()


@torch.no_grad()
def feature_maps(explained: Explained, inputs: Inputs, layer: str, *, batch_size: int = 128) -> Tensor:
    """Return the maps of a layer, (B, channels, h, w).

    Raises
    ------
    ConfigError
        The network does not have the layer.
    """
    found = []
    for start in range(0, len(inputs), batch_size):
        part = inputs.rows(slice(start, start + batch_size))
        with _recording(explained.network, layer) as outputs:
            explained.predict(explained.network, part.batch)
        found.append(outputs[0].cpu())
    return torch.cat(found)


def pool_maps(maps: Tensor) -> Tensor:
    """Return the mean of each channel over the positions, (B, channels)."""
    return maps.flatten(2).mean(2) if maps.ndim == 4 else maps


def exemplars(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the n largest and the n smallest values (B, channels) of each channel, (channels, n) each."""
    order = values.argsort(dim=0, descending=True, stable=True).T
    return order[:, :n], order[:, -n:].flip(1)


def nearest_neighbours(queries: Tensor, vectors: Tensor, n: int) -> Tensor:
    """Return the rows of the n vectors (B, D) of largest cosine similarity to each query (Q, D), best first: (Q, n)."""
    similarity = functional.normalize(queries, dim=1) @ functional.normalize(vectors, dim=1).T
    return similarity.topk(n, dim=1).indices


def unit_value(
    explained: Explained, inputs: Inputs, layer: str, channel: int | None = None, *, neuron: bool = False
) -> Number:
    """Return a unit of a network as a number of each image, with the other inputs of the first object.

    The unit is a channel, averaged over its positions; the neuron at its centre; or without a channel the mean square
    of the whole layer (DeepDream, Mordvintsev et al. 2015).
    """
    network = without_inplace(explained.network)
    one = inputs.rows(slice(0, 1))

    def value(images: Tensor) -> Tensor:
        others = {name: tensor.expand(len(images), *tensor.shape[1:]) for name, tensor in one.others.items()}
        with _recording(network, layer) as outputs:
            explained.predict(network, {**others, "image": images})
        maps = outputs[0].float()
        if channel is None:
            return maps.flatten(1).square().mean(1)
        if maps.ndim == 2:
            return maps[:, channel]
        chosen = maps[:, channel]
        return chosen[:, chosen.shape[1] // 2, chosen.shape[2] // 2] if neuron else chosen.mean((1, 2))

    return value


def maximize(number: Number, inputs: Inputs, options: Maximization | None = None, *, n_images: int = 1) -> Tensor:
    r"""Return noise-free images that maximise a number, in linear flux in units of the sky noise, (n_images, C, H, W).

    In the scale of the network the image is y = y_max sigmoid(logit(y_0 / y_max) + M d). The optimisation changes d,
    which starts near zero; y_0 is the mean galaxy of `inputs` over all orientations, y_max the brightest pixel of their
    brighter galaxies in each band, and M a root of the correlation matrix of the bands. Fluxes are therefore positive,
    not brighter than the survey, and bands grow together as those of galaxies do. At each step the image is shifted and
    turned at random, and sky noise is added, so that the number is that of an observed image.

    Parameters
    ----------
    number : callable
        See `unit_value`; or the number of an `Explained`.
    inputs : Inputs
        Galaxies of the survey.
    options : Maximization, optional
    n_images : int
        Images from as many random starts.
    """
    options = options or Maximization()
    generator = torch.Generator().manual_seed(options.seed)
    sigma, stretch = inputs.sky.sigma.median(0, keepdim=True).values, inputs.sky.stretch
    shape = (n_images, *inputs.image.shape[1:])
    variables, scale = _draw_start(shape, options, generator)
    optimizer = torch.optim.Adam([variables], lr=options.learning_rate)
    mixing, start, top = _band_mixing(inputs), *_mean_galaxy(inputs)
    with torch.no_grad():
        spread = number(inputs.image[:N_SPREAD]).std().clamp_min(1e-6)

    def make() -> tuple[Tensor, Tensor]:
        change = torch.einsum("ij,bjyx->biyx", mixing, _to_pixels(variables, scale, shape))
        return top * torch.sigmoid(start + change), change

    with torch.enable_grad():
        for _ in range(options.steps):
            image, change = make()
            variation = image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()
            penalty = options.variation * variation + options.power * change.square().mean()
            loss = penalty - number(_observe(image, sigma, stretch, options, generator)).mean() / spread
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.sinh(stretch * make()[0].detach()) / sigma


def _draw_start(
    shape: tuple[int, ...], options: Maximization, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return the variables, and for a spectrum the amplitude of each frequency."""
    height, width = shape[-2:]
    if options.start == "pixels":
        return (0.05 * torch.randn(shape, generator=generator)).requires_grad_(), None
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :])
    drawn = torch.randn((*shape[:-1], width // 2 + 1, 2), generator=generator)
    return (0.05 * drawn).requires_grad_(), 1 / frequency.clamp_min(1 / max(height, width))


def _to_pixels(variables: Tensor, scale: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    if scale is None:
        return variables
    spectrum = torch.view_as_complex(variables) * scale
    return torch.fft.irfft2(spectrum, s=shape[-2:], norm="ortho")


def _mean_galaxy(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Return the logit of the mean galaxy in units of the bright end of each band, and that end."""
    image = inputs.image.cpu()
    top = image.amax((2, 3)).quantile(BRIGHT_END, dim=0)[None, :, None, None].clamp_min(1e-3)
    mean = torch.stack([apply_symmetry(image.mean(0), element) for element in range(8)]).mean(0)
    return torch.logit((mean / top).clamp(1e-3, 1 - 1e-3)), top


def _band_mixing(inputs: Inputs) -> Tensor:
    """Return a root of the correlation matrix of the bands over pixels brighter than the noise, (C, C)."""
    pixels = inputs.image.cpu().transpose(0, 1).flatten(1)
    bright = pixels.mean(0) > pixels.mean(0).median() + pixels.std()
    chosen = pixels[:, bright] if bright.sum() > 10 * len(pixels) else pixels
    covariance = torch.cov(chosen).reshape(len(pixels), -1) + 1e-4 * torch.eye(len(pixels))
    deviation = covariance.diagonal().sqrt()
    return torch.linalg.cholesky(covariance / deviation[:, None] / deviation)


def _observe(image: Tensor, sigma: Tensor, stretch: float, options: Maximization, generator: torch.Generator) -> Tensor:
    """Shift and turn images, and add sky noise."""
    if options.jitter:
        shift = torch.randint(-options.jitter, options.jitter + 1, (2,), generator=generator).tolist()
        element = int(torch.randint(8, (), generator=generator))
        image = apply_symmetry(image.roll(shift, (-2, -1)), element)
    noise = torch.randn(image.shape, generator=generator)
    return stable_asinh(torch.sinh(stretch * image) + sigma * noise) / stretch
