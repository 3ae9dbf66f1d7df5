"""Image networks by name, beside catalogue features: what morphology and votes have in common."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from torch import nn

from astrodl.config import Fraction, Section, TaskSettings
from astrodl.data.batches import Cutouts
from astrodl.data.normalize import N_SIGMA
from astrodl.errors import ConfigError
from astrodl.models import architectures
from astrodl.models.apertures import ApertureResNet
from astrodl.models.cnn import CompactResNet
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.style import Style
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Context, moments, picked, scale_free_features, standardize

Named = Literal[
    "compact", "lenet5", "alexnet", "vgg11", "vgg16", "googlenet", "resnet18", "resnet34", "xception",
    "efficientnet_b0", "spp", "dilated", "dieleman", "d4",
]  # fmt: skip


class StyleSettings(Section):
    """What an architecture leaves open; null: as published."""

    activation: Literal["relu", "sigmoid", "tanh", "leaky_relu", "prelu", "elu", "selu", "silu"] | None = None
    """Nonlinearity between the layers."""
    norm: Literal["batch", "group", "layer", "instance", "none"] | None = None
    """Normalisation of the maps."""
    initialization: Literal["he", "glorot", "normal", "constant"] | None = None
    """How weights start."""
    pooling: Literal["mean", "max", "lp", "mean_max"] | None = None
    """How the last map becomes a vector."""
    dropout: Fraction | None = None
    """Dropout within the architecture."""


class ImageSettings(TaskSettings):
    """Base of the tasks that turn an image into a few numbers."""

    network: Literal["apertures", "none"] | Named = "apertures"
    """What looks at the image: a small residual network that also measures colours in apertures of its own, an
    architecture by name, or nothing."""
    share: Annotated[float, Field(gt=0)] = 0.25
    """Channels of a published architecture as a share of the published ones."""
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64, 128, 256)
    """Channels of the stages of `apertures` and of `compact`."""
    style: StyleSettings = StyleSettings()
    """Activation, normalisation, initialisation, pooling, dropout of the architecture."""
    apertures: Annotated[int, Field(ge=1)] = 8
    """Number of learned apertures of `apertures`."""
    photometry: bool = False
    """Give the network the measured features (colours and structure) beside the image."""
    joint: Annotated[tuple[int, ...], Field(min_length=1)] = (256, 128)
    """Widths of the dense layers that join image and features."""
    views: Literal[8, 4, 1] = 8
    """Predictions are averaged over flips and quarter turns (8), over quarter turns alone, which tell left from right
    (4), or not at all (1). To learn handedness, switch `augment.symmetries` off."""
    dropout: Fraction = 0.3
    """Dropout before the last layers."""

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        if self.network == "none" and not self.photometry:
            raise ValueError("network 'none' without photometry sees nothing; set photometry: true or name a network")
        return self


def fit_features(settings: ImageSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
    """Choose the features that the network is given, and their scaling."""
    names = scale_free_features(store.feature_names) if settings.photometry else ()
    constants: dict[str, Any] = {"features": [store.feature_names.index(name) for name in names]}
    return constants | moments(store.features(names, train)) if names else constants


def features(constants: dict[str, Any], cutouts: Cutouts) -> Arrays:
    """Give the standardised features, if the network is given any."""
    if not constants["features"]:
        return {}
    return {
        "features": standardize(picked(cutouts.features, constants["features"]), constants["mean"], constants["scale"])
    }


def build(settings: ImageSettings, context: Context, n_channels: int, n_outputs: int) -> HybridNetwork:
    """Make the network, initialised."""
    trunk = None if settings.network == "none" else _trunk(settings, context, n_channels)
    n_features = 2 * len(context.constants["features"])
    return HybridNetwork(trunk, n_features, n_outputs, widths=settings.joint, dropout=settings.dropout)


def _trunk(settings: ImageSettings, context: Context, n_channels: int) -> nn.Module:
    style = Style(**settings.style.model_dump())
    if settings.network == "apertures":
        return ApertureResNet(
            n_channels,
            len(context.bands),
            widths=settings.widths,
            n_apertures=settings.apertures,
            dropout=settings.dropout,
            stretch=context.normalization.stretch,
            noise=1 / N_SIGMA,
            style=style,
        )
    if settings.network == "compact":
        return CompactResNet(n_channels, widths=settings.widths, dropout=settings.dropout, style=style)
    try:
        return architectures.trunk(settings.network, n_channels, size=context.size, share=settings.share, style=style)
    except ValueError as error:
        raise ConfigError(
            f"network = {settings.network}: {error}; choose another network, or ingest other sizes"
        ) from None
