"""Image networks by name with optional catalogue features, shared by morphology and votes."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from astrodl.config import Fraction, PluginName, Section, TaskSettings
from astrodl.data.batches import Cutouts
from astrodl.data.normalize import N_SIGMA
from astrodl.errors import ConfigError
from astrodl.models import architectures
from astrodl.models.apertures import ApertureResNet
from astrodl.models.blocks import ImageNetwork
from astrodl.models.cnn import CompactResNet
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.style import Style
from astrodl.plugins import find_plugins
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Context
from astrodl.tasks.inputs import fit_standardization, scale_free_features, select_columns, standardize

__all__ = ["ImageSettings", "StyleSettings", "build", "build_plugin", "features", "fit_features"]

NETWORKS = (
    "apertures", "compact", "lenet5", "alexnet", "vgg11", "vgg16", "googlenet", "resnet18", "resnet34", "xception",
    "efficientnet_b0", "spp", "dilated", "dieleman", "d4", "none",
)  # fmt: skip


class StyleSettings(Section):
    """Choices within an architecture; null: as published."""

    activation: Literal["relu", "sigmoid", "tanh", "leaky_relu", "prelu", "elu", "selu", "silu"] | None = None
    """Nonlinearity between the layers."""
    norm: Literal["batch", "group", "layer", "instance", "none"] | None = None
    """Normalisation of the maps."""
    initialization: Literal["he", "glorot", "normal", "constant"] | None = None
    """Initialisation of the weights."""
    pooling: Literal["mean", "max", "lp", "mean_max"] | None = None
    """Pooling of the last map to a vector."""
    dropout: Fraction | None = None
    """Dropout within the architecture."""


class ImageSettings(TaskSettings):
    """Base of the tasks that predict a few numbers from an image."""

    network: Annotated[str, PluginName("astrodl.networks", NETWORKS)] = "apertures"
    """Image network: a small residual network with learned apertures for colours, an architecture by name, or
    none."""
    share: Annotated[float, Field(gt=0)] = 0.25
    """Channels of a published architecture as a share of the published ones."""
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64, 128, 256)
    """Channels of the stages of `apertures` and of `compact`."""
    style: StyleSettings = StyleSettings()
    """Activation, normalisation, initialisation, pooling, dropout of the architecture."""
    apertures: Annotated[int, Field(ge=1)] = 8
    """Number of learned apertures of `apertures`."""
    photometry: bool = False
    """Whether the network also takes the measured features (colours and structure)."""
    joint: Annotated[tuple[int, ...], Field(min_length=1)] = (256, 128)
    """Widths of the dense layers that join image and features."""
    views: Literal[8, 4, 1] = 8
    """Number of views that a prediction averages: flips and quarter turns (8), quarter turns alone, which keep the
    handedness (4), or the image alone (1). To learn handedness, also set `augment.symmetries: false`."""
    dropout: Fraction = 0.3
    """Dropout before the last layers."""

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        if self.network == "none" and not self.photometry:
            raise ValueError("network 'none' without photometry has no input; set photometry: true or name a network")
        return self


def fit_features(settings: ImageSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
    """Select the features that the network takes, and fit their scaling."""
    names = scale_free_features(store.feature_names) if settings.photometry else ()
    constants: dict[str, Any] = {"features": [store.feature_names.index(name) for name in names]}
    return constants | fit_standardization(store.features(names, train)) if names else constants


def features(constants: dict[str, Any], cutouts: Cutouts) -> Arrays:
    """Return the standardised features, if the network takes any."""
    if not constants["features"]:
        return {}
    selected = select_columns(cutouts.features, constants["features"])
    return {"features": standardize(selected, constants["mean"], constants["scale"])}


def build(settings: ImageSettings, context: Context, n_channels: int, n_outputs: int) -> HybridNetwork:
    """Build the network, initialised."""
    trunk = None if settings.network == "none" else _trunk(settings, context, n_channels)
    n_features = 2 * len(context.constants["features"])
    return HybridNetwork(trunk, n_features, n_outputs, widths=settings.joint, dropout=settings.dropout)


def build_plugin(name: str, in_channels: int, size: int) -> ImageNetwork:
    """Build an image network of another package (see `astrodl.plugins`)."""
    network: ImageNetwork = find_plugins("astrodl.networks")[name].load()(in_channels, size)
    return network


def _trunk(settings: ImageSettings, context: Context, n_channels: int) -> ImageNetwork:
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
    if settings.network not in NETWORKS:
        return build_plugin(settings.network, n_channels, context.size)
    if settings.network == "compact":
        return CompactResNet(n_channels, widths=settings.widths, dropout=settings.dropout, style=style)
    try:
        return architectures.build_trunk(
            settings.network, n_channels, size=context.size, share=settings.share, style=style
        )
    except ValueError as error:
        raise ConfigError(
            f"network = {settings.network}: {error}; choose another network, or ingest other sizes"
        ) from None
