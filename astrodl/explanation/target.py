"""What is explained: a predicted number of each object as a function of its image in units of the sky noise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from astrodl.losses import stable_asinh
from astrodl.models.symmetries import apply_symmetry

__all__ = ["Explained", "Frame", "Inputs", "Quantity", "Sky"]

_BATCH_SIZE = 128
"""Images that pass the network at a time."""
Predictions = Mapping[str, Tensor]
Frame = Literal["flux", "network"]
"""Scale of the pixels along which a method moves: linear flux in units of the sky noise, or its arsinh that the network
takes. Each is a monotonic function of the other, pixel by pixel."""


@dataclass(frozen=True)
class Quantity:
    """A predicted number that can be explained.

    Attributes
    ----------
    name : str
        Name on the command line, in files and figures.
    unit : str
        Unit of the number, and of attributions to pixels.
    about : str
        Meaning, for people.
    of : callable
        Computes the number (B,) from the predictions of `Task.predict` and what `fix` returned.
    fix : callable, optional
        Computes from the predictions of the image itself, objects first, what must not change with the image: the most
        probable class, the brightest pixel of a clump.
    raw : callable, optional
        Computes an output of the network itself (B,) from network, batch and fixed values, where the number is a
        monotonic function of one: what rules for layers start from.
    names : sequence of str, optional
        Names of what `fix` chooses by number, such as classes.
    explained_by : sequence of str, optional
        Best methods, where they are other than those of the task.
    """

    name: str
    unit: str
    about: str
    of: Callable[[Predictions, Tensor], Tensor]
    fix: Callable[[Predictions], Tensor] | None = None
    raw: Callable[[nn.Module, dict[str, Tensor], Tensor], Tensor] | None = None
    names: Sequence[str] = ()
    explained_by: Sequence[str] = ()


@dataclass(frozen=True)
class Sky:
    """Noise of the sky in the images that a network takes, y = arsinh(s u) / t for a flux u in units of the noise.

    Attributes
    ----------
    sigma : (B, C, 1, 1) tensor
        s, the noise in units of the softening.
    stretch : float
        t.
    known : (B, C, H, W) tensor of bool
        Pixels with data; the others keep their value.
    """

    sigma: Tensor
    stretch: float
    known: Tensor

    def to_frame(self, image: Tensor, frame: Frame) -> Tensor:
        """Convert an image of the network to a frame."""
        return image if frame == "network" else torch.sinh(self.stretch * image) / self.sigma

    def from_flux(self, flux: Tensor) -> Tensor:
        """Convert linear flux in units of the noise to the scale of the network."""
        return stable_asinh(flux * self.sigma) / self.stretch


class Inputs:
    """A batch of a network with its sky, in one orientation.

    Parameters
    ----------
    batch : dict of str to tensor
        Inputs of the network.
    sky : Sky
    expected : (B, C, H, W) tensor, optional
        Noise-free images, in the scale of the network, that baselines are noisy versions of; by default empty sky.

    Attributes
    ----------
    image : (B, C, H, W) tensor
        Image that the network takes.
    others : dict of str to tensor
        All other inputs, which are kept.
    sky, expected
        As given.
    """

    def __init__(self, batch: Mapping[str, Tensor], sky: Sky, expected: Tensor | None = None):
        self.image = batch["image"]
        self.others = {name: tensor for name, tensor in batch.items() if name != "image"}
        self.sky, self.expected = sky, expected

    def __len__(self) -> int:
        return len(self.image)

    @property
    def is_empty(self) -> Tensor:
        """Whether an object has no pixel with data, (B,) bool."""
        return ~self.sky.known.flatten(1).any(1)

    @property
    def batch(self) -> dict[str, Tensor]:
        """All inputs of the network."""
        return {"image": self.image, **self.others}

    def rows(self, chosen: slice | Tensor) -> "Inputs":
        """Select objects."""
        sky = Sky(self.sky.sigma[chosen], self.sky.stretch, self.sky.known[chosen])
        expected = None if self.expected is None else self.expected[chosen]
        return Inputs({name: tensor[chosen] for name, tensor in self.batch.items()}, sky, expected)

    def turn(self, element: int) -> "Inputs":
        """Apply a symmetry of the square to all maps."""
        batch = {name: apply_symmetry(t, element) if t.ndim == 4 else t for name, t in self.batch.items()}
        sky = Sky(self.sky.sigma, self.sky.stretch, apply_symmetry(self.sky.known, element))
        return Inputs(batch, sky, None if self.expected is None else apply_symmetry(self.expected, element))

    def replace(self, image: Tensor) -> "Inputs":
        """Give the objects another image."""
        return Inputs({**self.others, "image": image}, self.sky, self.expected)

    def noise(self, generator: torch.Generator) -> Tensor:
        """Draw an image of the sky alone in units of its noise, one for all objects: (1, C, H, W)."""
        drawn = torch.randn((1, *self.image.shape[1:]), generator=generator)
        return drawn.to(self.image.device)

    def baseline(self, noise: Tensor) -> Tensor:
        """Return baselines (B, C, H, W) for noise in units of that of the sky; unknown pixels keep their value."""
        flux = noise if self.expected is None else self.sky.to_frame(self.expected, "flux") + noise
        return torch.where(self.sky.known, self.sky.from_flux(flux), self.image)


class Explained(nn.Module):
    """A predicted number as a function of images in a frame: (B, C, H, W), other inputs -> (B,).

    Parameters
    ----------
    network : nn.Module
        Trained network, unfolded.
    predict : callable
        Predictions of network and batch, with gradients.
    quantity : Quantity
        What is explained.
    """

    def __init__(
        self,
        network: nn.Module,
        predict: Callable[[nn.Module, dict[str, Tensor]], Predictions],
        quantity: Quantity,
    ):
        super().__init__()
        self.network, self.predict, self.quantity = network, predict, quantity
        self.frame: Frame = "network"
        self.names: Sequence[str] = ()
        self.stretch = 1.0
        self.raw = False

    def with_network(self, network: nn.Module) -> "Explained":
        """Return the same number of another network."""
        return Explained(network, self.predict, self.quantity)

    def bind(self, inputs: Inputs, fixed: Tensor, frame: Frame, *, raw: bool = False) -> tuple[Tensor, ...]:
        """Choose the frame of the images, and return the other arguments of `forward`."""
        self.frame, self.names, self.stretch, self.raw = frame, tuple(inputs.others), inputs.sky.stretch, raw
        return (inputs.image, inputs.sky.sigma, inputs.sky.known, fixed, *inputs.others.values())

    def forward(self, values: Tensor, *arguments: Tensor) -> Tensor:
        """Return the number for images in the frame; the other arguments are those of `bind`."""
        image, sigma, known, fixed, *others = arguments
        scaled = values
        if self.frame == "flux":
            scaled = torch.where(known, Sky(sigma, self.stretch, known).from_flux(values), image)
        batch = {"image": scaled, **dict(zip(self.names, others, strict=True))}
        if self.raw:
            assert self.quantity.raw is not None
            return self.quantity.raw(self.network, batch, fixed)
        return self.quantity.of(self.predict(self.network, batch), fixed)

    @torch.no_grad()
    def fix(self, inputs: Inputs) -> Tensor:
        """Return what must not change with the image, one number or vector per object."""
        choose = self.quantity.fix
        if choose is None:
            return inputs.image.new_zeros(len(inputs), 1)
        parts = (inputs.rows(part).batch for part in _parts(len(inputs)))
        return torch.cat([choose(self.predict(self.network, batch)) for batch in parts])

    @torch.no_grad()
    def evaluate(self, inputs: Inputs, fixed: Tensor) -> Tensor:
        """Return the number of each object, (B,)."""
        found = []
        for part in _parts(len(inputs)):
            some = inputs.rows(part)
            found.append(self(some.image, *self.bind(some, fixed[part], "network")))
        return torch.cat(found)


def _parts(n: int) -> list[slice]:
    """Divide objects into batches."""
    return [slice(start, start + _BATCH_SIZE) for start in range(0, max(n, 1), _BATCH_SIZE)]
