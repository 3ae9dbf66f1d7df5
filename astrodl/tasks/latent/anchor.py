"""Where the encoder starts: at the principal components of structure numbers and pixels together."""

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.data.structure import measure_structure
from astrodl.models.representation import PooledEncoder

__all__ = ["Anchor", "start_at_components"]


class Anchor(nn.Module):
    """Linear code of the structure numbers and the pixels of views, (B, bands, S, S) -> (B, D); not a part of training.

    It is zero until `start_at_components` has fitted it.

    Parameters
    ----------
    n_structure, n_pixels : int
        Numbers of a view.
    latent : int
        Number D of dimensions.
    """

    centre: Tensor
    scale: Tensor
    view_scale: Tensor
    view_error: Tensor

    def __init__(self, n_structure: int, n_pixels: int, latent: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_structure))
        self.register_buffer("scale", torch.ones(n_structure))
        self.register_buffer("view_scale", torch.ones(()))
        self.register_buffer("view_error", torch.zeros(()))
        self.of_structure = nn.Linear(n_structure, latent, bias=False)
        self.of_pixels = nn.Linear(n_pixels, latent)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the code."""
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            numbers = (torch.cat(list(measure_structure(image).values()), 1) - self.centre) / self.scale
            return self.of_structure(numbers) + self.of_pixels(image.flatten(1))


@torch.no_grad()
def start_at_components(
    network: PooledEncoder, structure: Tensor, images: Tensor, scaling: tuple[Tensor, Tensor], weight: float
) -> None:
    """Let the anchor, the head and the linear part of the decoder be the principal components of training objects.

    Components are those of the scaled structure numbers beside the pixels, which get a total variance of `weight`. So
    the network starts as good as principal components, however few objects there are.

    Parameters
    ----------
    network : PooledEncoder
        With an `Anchor`.
    structure : (N, K) tensor
        Scaled structure numbers.
    images : (N, bands, S, S) tensor
        Views.
    scaling : two (K,) tensors
        Centre and scale of structure numbers.
    weight : float
        Variance of the pixels of a view together; that of each block of structure numbers is one.
    """
    from sklearn.decomposition import PCA

    anchor, head, drawn = network.anchor, network.head, network.get_submodule("decoder.linear.0")
    assert isinstance(anchor, Anchor)
    assert isinstance(head, nn.Linear)
    assert isinstance(drawn, nn.Linear)
    numbers, pixels = structure.double().cpu().numpy(), images.flatten(1).double().cpu().numpy()
    mean, total = pixels.mean(0), max(float(pixels.var(0).sum()), 1e-12) ** 0.5
    unit = total / weight**0.5
    joint = np.hstack([numbers, (pixels - mean) / unit])
    n_components = min(network.code.out_features, len(joint) - 1, joint.shape[1])
    fitted = PCA(n_components, svd_solver="arpack" if n_components < min(joint.shape) else "full", random_state=0)
    components = fitted.fit(joint).components_
    of_structure, of_pixels = np.split(components, [numbers.shape[1]], axis=1)

    def fill(tensor: Tensor, values: np.ndarray) -> None:
        tensor[tuple(slice(n) for n in values.shape)] = torch.from_numpy(np.ascontiguousarray(values)).to(tensor)

    fill(anchor.centre, scaling[0].cpu().numpy())
    fill(anchor.scale, scaling[1].cpu().numpy())
    anchor.view_scale.fill_(total)
    inside = fitted.explained_variance_ @ of_pixels**2 / weight
    anchor.view_error.fill_(1 - float(inside.sum()) * (len(joint) - 1) / len(joint))
    fill(anchor.of_structure.weight, of_structure)
    fill(anchor.of_pixels.weight, of_pixels / unit)
    fill(anchor.of_pixels.bias, -components @ fitted.mean_ - of_pixels @ mean / unit)
    for layer, weights, bias in (
        (head, of_structure, fitted.mean_[: numbers.shape[1]]),
        (drawn, of_pixels * unit, mean),
    ):
        nn.init.zeros_(layer.weight)
        fill(layer.weight, weights.T)
        fill(layer.bias, bias)
    nn.init.zeros_(network.code.weight)
    nn.init.zeros_(network.code.bias)
