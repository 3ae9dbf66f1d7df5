"""Settings of the outliers."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.tasks.catalog_columns import ClassName

__all__ = [
    "DEFAULT_PARTS",
    "IMAGE_SETTINGS",
    "PARTS",
    "PARTS_OF_FEATURES",
    "PARTS_OF_IMAGES",
    "Method",
    "OutlierSettings",
    "OutlierTraining",
    "Part",
]

Method = Literal["gan", "dcgan", "wgan", "wgan_gp", "infogan"]
Part = Literal[
    "residual",
    "critic",
    "features",
    "structure",
    "representation",
    "code",
    "features_density",
    "structure_density",
    "representation_density",
    "code_density",
    "mahalanobis",
    "flow",
]
PARTS: Mapping[Part, str] = {
    "residual": "residual image",
    "critic": "difference of the redrawn image in the features of the critic",
    "features": "distance to neighbours in features",
    "structure": "distance to neighbours in structure",
    "representation": "distance to neighbours in the vectors of another model",
    "code": "distance to neighbours in the code of the encoder",
    "features_density": "density in features, relative to that of the neighbours",
    "structure_density": "density in structure, relative to that of the neighbours",
    "representation_density": "density in the vectors of another model, relative to that of the neighbours",
    "code_density": "density in the code of the encoder, relative to that of the neighbours",
    "mahalanobis": "Mahalanobis distance in features",
    "flow": "density of a normalising flow",
}
"""Parts of the score in the order in which they are measured, with what is rare."""
DEFAULT_PARTS: tuple[Part, ...] = ("residual", "features_density", "structure_density", "flow")
"""Parts that the score adds up: the densities chosen on training and validation objects of simulated surveys, residual
and flow each by a rule on a survey that nothing else was chosen on."""
PARTS_OF_FEATURES: tuple[Part, ...] = ("features", "features_density")
"""Parts that the score adds up without images."""
PARTS_OF_IMAGES = ("critic", "structure", "code", "structure_density", "code_density")
"""Parts that only a survey with images has."""

IMAGE_SETTINGS = (
    "method", "spectral_norm", "critic", "generator", "penalty", "weight_limit", "information", "adversarial", "widths",
    "critic_widths", "representation",
)  # fmt: skip
"""Settings that a survey without images refuses."""


class OutlierTraining(TrainSettings):
    """Training loop of the GAN."""

    epochs: Annotated[int, Field(ge=1)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = 10.0
    ema: Fraction = 0.99


class OutlierSettings(TaskSettings):
    """Outliers."""

    method: Method = "wgan_gp"
    """Adversarial loss: `gan` (Goodfellow et al. 2014, non-saturating), `dcgan` (the same with batch norm and leaky
    ReLU in the critic, Radford et al. 2016), `wgan` (Wasserstein distance with clipped weights, Arjovsky et al. 2017),
    `wgan_gp` (with a gradient penalty, Gulrajani et al. 2017), `infogan` (`gan` whose codes can be read off the images,
    Chen et al. 2016). `train.ema` averages the weights that are kept."""
    spectral_norm: bool = False
    """Divide each weight of the critic by its largest singular value (Miyato et al. 2018)."""
    latent: Annotated[int, Field(ge=1)] = 32
    """Number of latent dimensions."""
    autoencoder: Annotated[int, Field(ge=0)] = 12
    """Updates of generator and encoder on the reconstruction per cycle."""
    critic: Annotated[int, Field(ge=1)] = 5
    """Updates of the critic per cycle (Gulrajani et al. 2017)."""
    generator: Annotated[int, Field(ge=1)] = 1
    """Adversarial updates of generator and encoder per cycle."""
    penalty: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the gradient penalty (`wgan_gp`)."""
    weight_limit: Annotated[float, Field(gt=0)] = 0.01
    """Largest weight of the critic (`wgan`)."""
    information: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the squared error of the codes that the encoder reads off generated galaxies (`infogan`)."""
    adversarial: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the critic's value beside the reconstruction."""
    moments: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the penalty that keeps the distribution of the codes standard normal."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = DEFAULT_PARTS
    """Parts whose surprise the score adds up; all are measured, and columns of the catalogue (`flow` only if named)."""
    representation: str | None = None
    """Path of a trained model, such as a latent map, whose vectors are one more space for the parts `representation`
    and `representation_density`; it is copied into the model."""
    exclude: tuple[ClassName, ...] = ()
    """Kinds in the column `target` that training and validation leave out, and that alone count as oddities then."""
    target: str = "oddity"
    """Column with the kind of oddity, empty for none; used for evaluation, never for training."""
    widths: tuple[int, ...] = (32, 64, 64, 64)
    """Channels of the encoder; the generator's in reverse."""
    critic_widths: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the critic; its gradient penalty is the most expensive part of an update."""
    train: OutlierTraining = OutlierTraining()

    @model_validator(mode="after")
    def _require_representation(self) -> Self:
        named = [part for part in self.parts if part.startswith("representation")]
        if named and self.representation is None:
            raise ValueError(
                f"parts: {named[0]}: measures distances in the vectors of another model; give its path in "
                "representation, or leave the part out"
            )
        return self
