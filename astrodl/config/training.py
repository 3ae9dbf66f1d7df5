"""Settings that all tasks share."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from astrodl.config.augmentation import AugmentSettings
from astrodl.config.section import Fraction, Section

__all__ = ["LEARNING_RATES", "TaskSettings", "TrainSettings"]

LEARNING_RATES = {
    "sgd": 0.1,
    "momentum": 0.02,
    "nesterov": 0.02,
    "adagrad": 0.02,
    "adadelta": 1.0,
    "rmsprop": 1e-3,
    "adam": 2e-3,
    "adamw": 2e-3,
    "nadam": 2e-3,
}
"""Optimizer -> peak learning rate where none is given."""


class TrainSettings(Section):
    """The training loop; a task overrides defaults in a subclass."""

    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training split."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Objects per update, over all processes that train together."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam"] = (
        "adamw"
    )
    """Optimizer of every phase; `sgd` is without momentum."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; null: the optimizer's usual one (0.002 for Adam and its kin)."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decoupled weight decay of AdamW (Loshchilov & Hutter 2019); the others add it to `l2`."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the penalty sum |w| on the weights (biases and norms are free) that is added to the loss."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the penalty sum w^2 / 2, likewise: unlike `weight_decay` it passes through the moments of Adam."""
    max_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the incoming weights of a unit (Srivastava et al. 2014); null: no limit."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    """Memory of the mean gradient (`momentum`, `nesterov`, Adam and its kin) and of the mean squared gradient
    (`adadelta`, `rmsprop`, Adam and its kin)."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    warmup: Fraction = 0.05
    """Fraction of all updates over which the learning rate rises linearly."""
    clip: Annotated[float, Field(gt=0)] | None = 5.0
    """Largest gradient norm; null: no clipping."""
    ema: Fraction = 0.0
    """Decay of the moving average of the weights that is validated and saved; 0: the weights themselves."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without improvement of the validation loss; null: never."""
    validate_every: Annotated[int, Field(ge=1)] = 1
    """Validate after every so many epochs (and the last)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast while training: auto is bfloat16 where the device has it natively (CUDA, AVX512-BF16), else float32."""
    compile: bool | Literal["reduce-overhead", "max-autotune"] = False
    """Pass the network through `torch.compile`, in one of its modes if named: `reduce-overhead` uses CUDA graphs."""

    @property
    def peak_rate(self) -> float:
        """Peak learning rate, as given or the usual one."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate


class TaskSettings(Section):
    """Base of the tasks' sections."""

    folds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Folds to train; each is a job."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Seeds to train; each is a job, predictions average over them."""
    n_train: Annotated[int, Field(ge=2)] | None = None
    """Train on so many objects of the training split at most, drawn at random; networks and baselines on the same."""
    init_from: str | None = None
    """Model file whose weights training starts from, as far as they fit by name and shape."""
    init_bands: dict[str, str] = Field(default={})
    """Band of this survey -> band of that model, where names differ; bands without counterpart start from the mean."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that stay as they are at the start, such as `trunk`."""
    augment: AugmentSettings = AugmentSettings()
    """Random changes of training images."""
    train: TrainSettings = TrainSettings()

    unused_augmentations: ClassVar[tuple[str, ...]] = ("mixup",)
    """Keys of `augment` that have no effect on the task."""

    @model_validator(mode="after")
    def _used(self) -> Self:
        for key in self.unused_augmentations:
            if getattr(self.augment, key) != AugmentSettings.model_fields[key].default:
                raise ValueError(f"augment.{key} has no effect on this task; leave it out")
        return self
