"""Networks whose explanation is known."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from astrodl.explanation.target import Explained, Inputs, Quantity, Sky

N_BANDS, SIZE = 3, 16


class Linear(nn.Module):
    """Sum of the image with weights (bands, y, x)."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.weight).sum((1, 2, 3))


class Quadratic(Linear):
    """Weighted sum of the squares of the image."""

    def forward(self, image: Tensor) -> Tensor:
        return (image.square() * self.weight).sum((1, 2, 3))


def explain_network(network: nn.Module, *, raw: bool = True) -> Explained:
    """Explain the output (B,) or (B, 1) of a network of images."""

    def output(network: nn.Module, batch: dict[str, Tensor], fixed: Tensor) -> Tensor:
        return network(batch["image"]).reshape(len(batch["image"]))

    quantity = Quantity("output", "unit", "output", lambda p, fixed: p["output"], raw=output if raw else None)
    predict: Callable[..., dict[str, Tensor]] = lambda net, batch: {"output": output(net, batch, torch.zeros(()))}  # noqa: E731
    return Explained(network.eval(), predict, quantity)


def draw_inputs(n_objects: int = 4, *, known: Tensor | None = None) -> Inputs:
    """Draw images with a bright square on noise of half a softening."""
    shape = (n_objects, N_BANDS, SIZE, SIZE)
    generator = torch.Generator().manual_seed(3)
    flux = torch.randn(shape, generator=generator)
    flux[:, :, 5:11, 5:11] += 20 * torch.rand((n_objects, N_BANDS, 1, 1), generator=generator)
    known = torch.ones(shape, dtype=torch.bool) if known is None else known
    sky = Sky(torch.full((n_objects, N_BANDS, 1, 1), 0.5), 2.0, known)
    return Inputs({"image": torch.where(known, sky.from_flux(flux), 0.0)}, sky)
