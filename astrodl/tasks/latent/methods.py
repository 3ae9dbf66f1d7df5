"""Ways to learn a representation without labels: the network that is trained, and its loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from astrodl import distributed
from astrodl.config import NuisanceSettings
from astrodl.data.batches import Batch, Dataset
from astrodl.latent_losses import contractive_penalty, free_bits, mmd_standard_normal, nt_xent, sparse_penalty, vicreg
from astrodl.losses import kl_standard_normal, ssim
from astrodl.models.autoencoders import VAE, Autoencoder, LinearAutoencoder
from astrodl.models.blocks import MLP
from astrodl.models.representation import PooledEncoder
from astrodl.models.symmetries import apply_symmetry
from astrodl.tasks.latent.anchor import Anchor, start_at_components
from astrodl.tasks.latent.settings import LatentSettings

__all__ = ["METHODS", "Method", "noise_of"]

Terms = dict[str, Tensor]
_NONE = NuisanceSettings(
    mirror=False, shift_pixels=0, rotate=0, zoom=0, blur=0, depth=0, noise=0, band_dropout=0
)  # fmt: skip
_PROJECTION = 64
_N_STARTED = 4000
"""Training objects whose principal components a network starts from, at most."""
_MMD_WEIGHT = 100.0
"""The discrepancy is far below one."""


class Method(ABC):
    """A way to learn vectors; made anew for each task.

    Parameters
    ----------
    settings
        Those of the task.
    shape
        Shape of an input: (bands, S, S), or (colours,).
    constants
        Those of the task, with the scaling of the structure numbers.
    """

    nuisances: ClassVar[NuisanceSettings] = _NONE
    """Random changes of the training views, by default."""
    two_views: ClassVar[bool] = False
    """Whether the loss compares two random views of an object."""
    removes_depth: ClassVar[bool] = False
    """Whether the response of codes to more noise is measured and taken off."""
    variational: ClassVar[bool] = False
    """Whether the code has a prior, so that its scale and its width mean something."""

    def __init__(self, settings: LatentSettings, shape: tuple[int, ...], constants: Mapping[str, Any]):
        self.settings, self.shape = settings, shape
        centre, scale = (constants.get(f"structure_{name}", ()) for name in ("mean", "scale"))
        self.scaling = torch.tensor(centre, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64)
        self.n_structure = len(centre)

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the network."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Return the loss and its terms; `seen` of the batch is the view with nuisances, `image` that without."""

    def start(self, network: nn.Module, train: Dataset) -> None:  # noqa: B027
        """Set weights from the training objects before the first update; by default none."""

    def encode(self, network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return codes and, if variational, their widths: (B, D)."""
        return network.encode(image).float(), None  # type: ignore[operator]

    def misfit(self, batch: Batch, decoded: Tensor) -> Tensor:
        """Return the negative log-likelihood of reconstructions, (B,), for `effective_pixels` independent pixels."""
        settings, image, decoded = self.settings, batch["image"], decoded.float()
        n_numbers = settings.effective_pixels if image.ndim == 4 else decoded.shape[1]
        if settings.reconstruction == "ssim":
            return n_numbers * (1 - ssim(decoded, image, image.amax((1, 2, 3), keepdim=True).clamp(min=1)))
        residual, axes = image - decoded, tuple(range(1, image.ndim))
        if settings.reconstruction == "mse":
            return n_numbers * 0.5 * (residual / settings.noise_floor).square().mean(axes)
        variance = batch["error"] ** 2 + settings.noise_floor**2
        if settings.reconstruction == "l1":
            return n_numbers * (residual.abs() / variance.sqrt()).mean(axes)
        return n_numbers * 0.5 * (residual**2 / variance).mean(axes)

    @property
    def _size_and_widths(self) -> dict[str, int | tuple[int, ...]]:
        return {"size": self.shape[-1] if len(self.shape) == 3 else 0, "widths": self.settings.widths}


class Plain(Method):
    """Autoencoder (Hinton & Salakhutdinov 2006, Science 313, 504)."""

    def build(self) -> nn.Module:
        """Make an autoencoder."""
        return Autoencoder(self.shape[0], self.settings.dimensions, **self._size_and_widths)  # type: ignore[arg-type]

    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Return the misfit of the reconstruction and the penalty of the code."""
        decoded, code = network(batch["seen"])
        reconstruction = self.misfit(batch, decoded).mean()
        penalty = self.penalty(network, batch, code.float())
        return reconstruction + self.settings.beta * penalty, {"reconstruction": reconstruction, "penalty": penalty}

    def penalty(self, network: nn.Module, batch: Batch, code: Tensor) -> Tensor:
        """Return the penalty of a code before its weight."""
        return code.new_zeros(())


class Linear(Plain):
    """Autoencoder of one linear layer each way, which finds the subspace of the principal components."""

    def build(self) -> nn.Module:
        """Make a linear autoencoder."""
        return LinearAutoencoder(self.shape, self.settings.dimensions)


class Sparse(Plain):
    """Autoencoder with an L1 penalty of the code."""

    def penalty(self, network: nn.Module, batch: Batch, code: Tensor) -> Tensor:
        """Return the mean L1 norm."""
        return sparse_penalty(code).mean()


class Contractive(Plain):
    """Autoencoder whose code changes little with the image (Rifai et al. 2011)."""

    def penalty(self, network: nn.Module, batch: Batch, code: Tensor) -> Tensor:
        """Estimate the squared norm of the Jacobian from one projection."""
        return contractive_penalty(network.encode, batch["seen"], n_projections=1).mean()  # type: ignore[arg-type]


class Denoising(Plain):
    """Autoencoder that redraws the image from a noisier one (Vincent et al. 2008)."""

    nuisances = _NONE.model_copy(update={"noise": 2.0})


class Variational(Method):
    """Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)."""

    variational = True

    def build(self) -> nn.Module:
        """Make a variational autoencoder."""
        return VAE(self.shape[0], self.settings.dimensions, **self._size_and_widths)  # type: ignore[arg-type]

    def encode(self, network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean and width of the posterior."""
        mean, log_variance = network.encode(image)  # type: ignore[operator]
        return mean.float(), (0.5 * log_variance.float()).exp()

    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Return the evidence lower bound; the KL term has weight `beta`, and sets in over a quarter of the time."""
        decoded, mean, log_variance = network(batch["seen"])
        reconstruction = self.misfit(batch, decoded).mean()
        kl = kl_standard_normal(mean.float(), log_variance.float())
        weight = min(1.0, 4 * done) * self.settings.beta
        loss = reconstruction + weight * free_bits(kl, self.settings.free_bits)
        return loss, {"reconstruction": reconstruction, "kl": kl.sum(1).mean()}


class InfoVae(Variational):
    """VAE whose codes are held at the prior as a whole, not each (Zhao et al. 2019, arXiv:1706.02262, alpha = 1)."""

    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Return the misfit of the reconstruction and the discrepancy of the codes from the prior."""
        decoded, mean, log_variance = network(batch["seen"])
        reconstruction = self.misfit(batch, decoded).mean()
        sample = mean.float() + distributed.randn_like(mean.float()) * (0.5 * log_variance.float()).exp()
        mmd = mmd_standard_normal(sample)
        return reconstruction + self.settings.beta * _MMD_WEIGHT * mmd, {"reconstruction": reconstruction, "mmd": mmd}


class Pooled(Method):
    """A residual network whose head is trained; the decoder learns beside it, and does not change the code."""

    def build(self) -> nn.Module:
        """Make the encoder, its head and the decoder."""
        dimensions = self.settings.dimensions
        head, anchor = self.make_head(dimensions), self.make_anchor(dimensions)
        return PooledEncoder(self.shape[0], dimensions, head, anchor=anchor, **self._size_and_widths)  # type: ignore[arg-type]

    @abstractmethod
    def make_head(self, dimensions: int) -> nn.Module:
        """Make the head of a code."""

    def make_anchor(self, dimensions: int) -> nn.Module | None:
        """Make what the residual network adds to; by default nothing."""
        return None

    def redraw(self, network: nn.Module, batch: Batch, code: Tensor) -> Tensor:
        """Return the loss of the decoder, which must redraw the view without nuisances."""
        return (
            self.misfit(batch, network.get_submodule("decoder")(code.detach())).mean() / self.settings.effective_pixels
        )


class Structure(Pooled):
    """The code must give, by a linear map, the structure numbers of the view without nuisances."""

    nuisances = _NONE.model_copy(update={"mirror": True, "quarter_turns": True, "shift_pixels": 1.0, "noise": 0.7})
    removes_depth = True  # noise has texture

    def make_head(self, dimensions: int) -> nn.Module:
        """Make a linear layer."""
        return nn.Linear(dimensions, self.n_structure)

    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Return the squared error of the structure numbers, each block of which has unit variance."""
        predicted, code = network(batch["seen"])
        structure = (predicted.float() - batch["structure"]).square().sum(1).mean()
        reconstruction = self.redraw(network, batch, code)
        return structure + reconstruction, {"structure": structure, "reconstruction": reconstruction}


class Anchored(Structure):
    """The same of the pixels, too; the network starts at the principal components of both, and adds to them."""

    # Neither flips nor turns, since components of pixels belong to views as they lie.
    nuisances = _NONE.model_copy(update={"shift_pixels": 1.0, "noise": 0.7})

    def make_anchor(self, dimensions: int) -> Anchor:
        """Make the linear code that the residual network adds to."""
        return Anchor(self.n_structure, math.prod(self.shape), dimensions)

    def start(self, network: nn.Module, train: Dataset) -> None:
        """Start at the principal components of structure numbers and pixels of some training objects."""
        assert isinstance(network, PooledEncoder)
        chosen = torch.arange(0, len(train), max(1, -(-len(train) // _N_STARTED)), device=train.device)
        batches = list(train.batches(chosen.split(256)))
        structure, images = (torch.cat([batch[name] for batch in batches]) for name in ("structure", "image"))
        start_at_components(network, structure, images, self.scaling, self.settings.view_weight)

    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Return the squared errors of structure numbers and pixels, and the loss of the correction of the decoder."""
        predicted, code = network(batch["seen"])
        structure = (predicted.float() - batch["structure"]).square().sum(1).mean()
        anchor, (linear, correction) = network.get_submodule("anchor"), network.get_submodule("decoder").children()
        drawn = linear(code).float()
        squared = ((drawn - batch["image"]) / anchor.view_scale).square().flatten(1).sum(1).mean()
        view = squared - anchor.view_error  # most of which is noise that no code describes
        corrected = drawn.detach() + correction(code.detach()).float()
        misfit = self.misfit(batch, corrected).mean() / self.settings.effective_pixels
        loss = structure + self.settings.view_weight * view + misfit
        return loss, {"structure": structure, "view": view, "reconstruction": misfit}


class Siamese(Pooled):
    """Two random views of an object must have like vectors, and those of different objects must differ."""

    nuisances = NuisanceSettings()
    two_views = True

    def make_head(self, dimensions: int) -> nn.Module:
        """Make a projector."""
        return nn.Sequential(MLP(dimensions, (128,)), nn.Linear(128, _PROJECTION))

    def loss(self, network: nn.Module, batch: Batch, done: float) -> tuple[Tensor, Terms]:
        """Compare the projections of both views; a validation batch is compared with its mirror image."""
        first, code = network(batch["seen"])
        other = batch["second"] if "second" in batch else apply_symmetry(batch["seen"], 4)
        likeness = self.compare(first.float(), network(other)[0].float())
        reconstruction = self.redraw(network, batch, code)
        return likeness + reconstruction, {"likeness": likeness, "reconstruction": reconstruction}

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of two sets of projections."""


class VicReg(Siamese):
    """Variance, invariance and covariance (Bardes, Ponce & LeCun 2022, arXiv:2105.04906)."""

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the weighted sum of the three terms."""
        return vicreg(first, second).weighted()


class SimClr(Siamese):
    """Contrastive loss (Chen et al. 2020, arXiv:2002.05709)."""

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the normalised cross-entropy at a temperature of 0.2."""
        return nt_xent(first, second, 0.2)


METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        "structure": Structure,
        "anchored": Anchored,
        "variational": Variational,
        "infovae": InfoVae,
        "autoencoder": Plain,
        "linear": Linear,
        "sparse": Sparse,
        "denoising": Denoising,
        "contractive": Contractive,
        "vicreg": VicReg,
        "simclr": SimClr,
    }
)
"""Methods by the name in the settings."""


def noise_of(batch: Batch) -> Tensor:
    """Return the noise of each number of an input on its scale; arsinh reduces the noise of bright pixels."""
    if "error" in batch:
        return batch["error"]
    return (batch["noise"][..., None, None] / torch.cosh(batch["image"])).clamp(1e-3, 10)
