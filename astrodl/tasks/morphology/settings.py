"""Settings of morphology."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from astrodl.config import Fraction, TrainSettings
from astrodl.tasks.catalog_columns import ClassName
from astrodl.tasks.image_network import ImageSettings

__all__ = ["MorphologySettings", "MorphologyTraining"]


class MorphologyTraining(TrainSettings):
    """Training loop of morphology."""

    epochs: Annotated[int, Field(ge=1)] = 30
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    ema: Fraction = 0.99


class MorphologySettings(ImageSettings):
    """Morphological classes."""

    unused_augmentations: ClassVar = ()

    target: str = "class"
    """Column with the class name; objects with an empty name, or one not in `classes`, are predicted only."""
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2)] | None = None
    """Class names in order; by default all of the objects that are trained on, validated or tested, sorted."""
    loss: Literal["cross_entropy", "focal", "mse", "l1", "triplet"] = "cross_entropy"
    """Cross-entropy; focal loss (Lin et al. 2017); squared or absolute error of the probabilities; or batch-hard
    triplets (Hermans et al. 2017) with the class of the nearest prototype."""
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    """Exponent of the focal loss."""
    margin: Annotated[float, Field(gt=0)] = 0.3
    """Margin of the triplets, between vectors of length one."""
    label_smoothing: Fraction = 0.05
    """Share of the target spread over all classes while training."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Exponent of the inverse class frequency in the loss; 0: no weights."""
    sampling: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Exponent of the inverse class frequency with which training objects are drawn; 0: each once an epoch."""
    mirror: dict[ClassName, ClassName] = Field(default={})
    """Pairs of classes that a reflection exchanges, `{spiral_cw: spiral_acw}`. Half of the training images are
    reflected and get the other class; so do the reflected views of a prediction."""
    teacher: str | None = None
    """Model file of a morphology network whose predictions serve as labels of unlabelled training objects (noisy
    student, Xie et al. 2020)."""
    train: MorphologyTraining = MorphologyTraining()

    @field_validator("classes")
    @classmethod
    def _named_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if wrong := [name for name in classes or () if not name or (classes or ()).count(name) > 1]:
            raise ValueError(f"class '{wrong[0]}' is {'named twice' if wrong[0] else 'no name'}")
        return classes

    @model_validator(mode="after")
    def _mirrors_once(self) -> Self:
        if self.mirror and (self.augment.symmetries or self.loss == "triplet"):
            raise ValueError(
                "mirror flips images itself and exchanges class probabilities; set augment.symmetries: false, and a "
                "loss other than triplet"
            )
        paired = [*self.mirror, *self.mirror.values()]
        if twice := {name for name in paired if paired.count(name) > 1}:
            raise ValueError(f"mirror has class '{min(twice)}' twice; each belongs to one pair")
        return self
