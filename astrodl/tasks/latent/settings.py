"""Settings of the latent map."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from astrodl.config import AugmentSettings, Fraction, NuisanceSettings, TaskSettings, TrainSettings
from astrodl.errors import ConfigError
from astrodl.losses import SSIM_WIDTH
from astrodl.tasks.base import refuse_settings

__all__ = ["COLOUR_FLOOR", "PIXEL_METHODS", "LatentSettings", "LatentTraining", "settings_of_colours"]

COLOUR_FLOOR = 0.1
"""Error added in quadrature to standardised colours, by default."""
PIXEL_METHODS = ("structure", "anchored", "vicreg", "simclr")
"""Methods that need images."""


class LatentTraining(TrainSettings):
    """Training loop of the latent map."""

    epochs: Annotated[int, Field(ge=1)] = 40
    learning_rate: Annotated[float, Field(gt=0)] = 0.003
    ema: Fraction = 0.99


class LatentSettings(TaskSettings):
    """Latent map."""

    folds: Annotated[tuple[int, ...], Field(min_length=1, max_length=1)] = (0,)
    """Fold to train; only one, since the axes of two representations differ and cannot be averaged."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1, max_length=1)] = (0,)
    """Seed to train; only one, for the same reason."""
    method: Literal[
        "structure", "anchored", "variational", "infovae", "autoencoder", "linear", "sparse", "denoising",
        "contractive", "vicreg", "simclr",
    ] = "structure"  # fmt: skip
    """How the vectors are learned: from structure numbers of the view; from these and its pixels, starting at their
    principal components, for hundreds of galaxies; by an autoencoder of its pixels (variational,
    with an MMD penalty, plain, linear, with a sparse code, denoising, contractive); or by the likeness of two random
    views of one galaxy (VICReg, SimCLR)."""
    dimensions: Annotated[int, Field(ge=1)] = 16
    """Number of dimensions of the representation."""
    view_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the pixels of the view in `anchored`; each of the four blocks of structure numbers has 1."""
    view: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Side of the canonical view in pixels."""
    extent: Annotated[float, Field(gt=0)] = 3.0
    """Half of the side of the canonical view in units of the galaxy's rms radius."""
    softening: Annotated[float, Field(gt=0)] = 0.1
    """Surface brightness, in units of the mean of the view, above which the scaling turns logarithmic."""
    nuisances: NuisanceSettings | None = None
    """Random changes of the training views under which the vectors should stay the same; by default those of the
    method: flips, noise and small shifts for `structure`, noise and shifts for `anchored`, all but quarter turns
    for `vicreg` and `simclr`, noise alone for `denoising`, none for the others. A section replaces them all: what
    it does not name has the defaults of the section, and not those of the method."""
    noise_floor: Annotated[float, Field(gt=0)] = 1.0
    """Error added in quadrature to the scaled sky noise, for the detail that a few latent numbers cannot describe.

    With a small floor, faint galaxies have little weight and concentrate in the middle of the map.
    """
    reconstruction: Literal["gaussian", "mse", "l1", "ssim"] = "gaussian"
    """Comparison of view and reconstruction: chi^2 with the noise of each pixel and the floor; squared error
    with the floor alone; absolute error over the noise, as of a Laplace distribution; or one minus the structural
    similarity (Wang et al. 2004)."""
    effective_pixels: Annotated[float, Field(gt=0)] = 3000.0
    """Number of independent pixels in the likelihood; a smaller number gives the penalty of the code more weight."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the penalty of the code: of the Kullback-Leibler term of `variational` (Higgins et al. 2017), of the L1
    norm of `sparse`, of the Jacobian of `contractive`, and of a hundred times the MMD of `infovae`."""
    free_bits: Annotated[float, Field(ge=0)] = 0.0
    """Kullback-Leibler divergence in nats that each dimension of `variational` may have for nothing (Kingma et al.
    2016); above zero it prevents that dimensions collapse."""
    classes: str = "class"
    """Column with classes for the evaluation; not used in training."""
    properties: dict[str, str] = Field({"bt": "bt", "sersic": "sersic_index"})
    """Name -> column for rank correlations with the representation; not used in training."""
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64, 128)
    """Channels of the encoder."""
    augment: AugmentSettings = AugmentSettings()
    """Refused: canonical views have `nuisances`."""
    train: LatentTraining = LatentTraining()

    unused_augmentations: ClassVar = tuple(AugmentSettings.model_fields)

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.reconstruction == "ssim" and self.view < SSIM_WIDTH:
            raise ValueError(f"reconstruction 'ssim' looks at {SSIM_WIDTH} pixels at a time; set view to 16 or more")
        return self


def settings_of_colours(settings: LatentSettings, n_bands: int) -> LatentSettings:
    """Return the settings of a representation of the colours of a survey without images; a VAE by default.

    Raises
    ------
    ConfigError
        A setting needs pixels, or there are fewer colours than dimensions.
    """
    pixels = ("view", "extent", "softening", "effective_pixels", "widths", "nuisances")
    refuse_settings("latent", settings, pixels)
    if settings.reconstruction == "ssim":
        refuse_settings("latent", settings, ("reconstruction",))
    given = settings.model_fields_set
    if settings.method in PIXEL_METHODS:
        refuse_settings("latent", settings, ("method",))
    n_colours, dimensions = n_bands - 1, settings.dimensions
    if "dimensions" not in given:
        dimensions = min(dimensions, n_colours)
    if not 0 < dimensions <= n_colours or n_colours < 2:
        raise ConfigError(
            f"tasks.latent.dimensions = {max(2, settings.dimensions)}: more than the {n_colours} colours of "
            f"{n_bands} bands without images; lower it, give more bands, or leave out tasks.latent"
        )
    return settings.model_copy(
        update={
            "method": "variational" if settings.method in PIXEL_METHODS else settings.method,
            "dimensions": dimensions,
            "noise_floor": settings.noise_floor if "noise_floor" in given else COLOUR_FLOOR,
        }
    )
