"""Settings that all tasks share."""

from typing import Annotated, Literal

from pydantic import Field

from astrodl.config.section import Fraction, Section


class TrainSettings(Section):
    """The training loop; a task overrides defaults in a subclass."""

    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training split."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Objects per update, over all processes that train together."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Optimizer of every phase."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decoupled weight decay (AdamW) or L2 penalty (the others)."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    """Moment decay rates of Adam and AdamW; the first is the momentum of SGD."""
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
    train: TrainSettings = TrainSettings()
