"""Settings of photo-z."""

from typing import Annotated, Literal

from pydantic import Field

from astrodl.config import Fraction, PluginName, TaskSettings, TrainSettings
from astrodl.errors import ConfigError

__all__ = ["PhotozSettings", "PhotozTraining", "take_photometry"]

NETWORKS = ("apertures", "resnet", "branches", "inception", "none")


class PhotozTraining(TrainSettings):
    """Training loop of photo-z."""

    epochs: Annotated[int, Field(ge=1)] = 30
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    ema: Fraction = 0.99


class PhotozSettings(TaskSettings):
    """Photometric redshifts."""

    target: str = "z"
    """Column with the spectroscopic (or true) redshift; objects without one are predicted only."""
    network: Annotated[str, PluginName("astrodl.networks", NETWORKS)] = "apertures"
    """Image network: learned apertures; a compact ResNet; parallel branches per band subset, merged late
    (Ait Ouahmed et al. 2024); the inception network of Pasquet et al. (2019); or none."""
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (24, 48, 96)
    """Channels of `resnet` and of `branches`; the first are also those of `apertures`."""
    apertures: Annotated[int, Field(ge=1)] = 8
    """Number of learned apertures."""
    band_subset: Annotated[int, Field(ge=1)] = 2
    """Adjacent bands in each of the `branches`."""
    inception_share: Annotated[float, Field(gt=0)] = 0.25
    """Channels of `inception` as a share of the published ones (64 to 128, and 1096 in the dense layers)."""
    photometry: bool = False
    """Whether the network also takes the measured aperture magnitudes and colours (`none` takes nothing else). It takes
    E(B-V) in any case, where the survey has it."""
    joint: Annotated[tuple[int, ...], Field(min_length=1)] = (512, 128)
    """Widths of the dense layers that join image and photometry."""
    head: Literal["bins", "mixture"] = "bins"
    """p(z) as a softmax over the bins, or as a mixture of Gaussians integrated over the bins."""
    n_components: Annotated[int, Field(ge=1)] = 5
    """Gaussians of the mixture."""
    bins: Literal["linear", "quantile"] = "linear"
    """Bins of equal width, or narrower where the training split has more objects."""
    n_bins: Annotated[int, Field(ge=2)] = 150
    """Number of redshift bins of p(z)."""
    z_max: Annotated[float, Field(gt=0)] | None = None
    """Upper end of the bins; by default 5 % above the largest redshift outside the test split."""
    smear: Annotated[float, Field(ge=0)] = 0.01
    """Width of the training targets, in units of 1 + z."""
    likelihood_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the cross-entropy of the bins, or of the likelihood of the mixture."""
    crps_weight: Annotated[float, Field(ge=0)] = 5.0
    """Weight of the CRPS, in units of redshift."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Training objects have weights n(z)^-balance: 0 no weights, 1 all redshifts alike."""
    band_dropout: Fraction = 0.0
    """Probability that a training object loses a band."""
    dropout: Fraction = 0.2
    """Dropout in the dense layers."""
    views: Literal[8, 4, 1] = 8
    """Number of views that a prediction averages: flips and quarter turns (8), quarter turns (4), or the image alone
    (1)."""
    feature_noise: Annotated[float, Field(ge=0)] = 0.02
    """Gaussian noise on the standardised features while training."""
    train: PhotozTraining = PhotozTraining()


def take_photometry(settings: PhotozSettings) -> PhotozSettings:
    """Return the settings of a network that takes the photometry alone.

    Raises
    ------
    ConfigError
        The settings ask for an image network, or for no photometry.
    """
    given = settings.model_fields_set
    if "network" in given and settings.network != "none":
        raise ConfigError(
            f"tasks.photoz.network = {settings.network}: needs pixels, and the survey has no images (data.layout "
            "table); set `none`, or leave it out"
        )
    if "photometry" in given and not settings.photometry:
        raise ConfigError(
            "tasks.photoz.photometry = false: leaves no input, as the survey has no images (data.layout table); "
            "leave it out"
        )
    return settings.model_copy(update={"network": "none", "photometry": True, "views": 1})
