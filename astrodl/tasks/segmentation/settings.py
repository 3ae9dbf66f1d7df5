"""Settings of segmentation."""

from typing import Annotated, Literal

from pydantic import Field

from astrodl.config import Fraction, Name, Section, TaskSettings, TrainSettings

__all__ = ["LossWeights", "SegmentationSettings", "SegmentationTraining", "ShapeSettings", "UNetSettings"]

Weight = Annotated[float, Field(ge=0)]


class SegmentationTraining(TrainSettings):
    """Training loop of segmentation."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 16
    ema: Fraction = 0.99


class UNetSettings(Section):
    """Choices within the U-Net."""

    norm: Literal["batch", "group", "layer", "instance", "none"] = "batch"
    """Normalisation of the maps."""
    skips: Literal["concatenate", "attention", "none"] = "concatenate"
    """What the decoder takes from the encoder: its maps, its maps weighted by attention gates, or nothing."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """Transposed convolution, or nearest neighbour and convolution."""
    dilation: Annotated[int, Field(ge=1)] = 1
    """Spacing of the taps of two additional convolutions on the deepest maps; 1: none."""


class ShapeSettings(Section):
    """Columns with the true shape of whole galaxies; null: not predicted. Those of the defaults may be absent."""

    radius: Name | None = "radius_arcsec"
    """Half-light radius along the major axis, before the point-spread function."""
    sersic_index: Name | None = "sersic_index"
    """Sersic index."""
    axis_ratio: Name | None = "axis_ratio"
    """Axis ratio, before the point-spread function."""


class LossWeights(Section):
    """Weights of the losses; 0: not used."""

    bce: Weight = 5.0
    """Binary cross-entropy of the clump mask."""
    dice: Weight = 1.0
    """Dice loss of the clump mask."""
    focal: Weight = 0.0
    """Focal loss of the clump mask."""
    tversky: Weight = 0.0
    """Tversky loss of the clump mask, in which missed pixels count more than wrong ones."""
    centre: Weight = 0.3
    """Cross-entropy of the map of the clumps' centres, per clump."""
    fraction: Weight = 1.0
    """Cross-entropy of the flux fractions, weighted with the light."""
    light: Weight = 2.0
    """Smooth L1 loss of the arsinh of the noise-free light."""
    segment: Weight = 1.0
    """Binary cross-entropy of the galaxy against its neighbours, where the store has the label `segment`."""
    bar: Weight = 0.3
    """Cross-entropy of the share of the bar in the light of each pixel, where the store has the label `bar`."""
    arm: Weight = 0.3
    """Cross-entropy of the share of the spiral arms, where the store has the label `arm`."""
    summed: Weight = 1.0
    """Absolute error of the bulge-to-total ratios from the summed maps."""
    likelihood: Weight = 0.1
    """Cross-entropy of the bulge-to-total ratio's bins."""
    crps: Weight = 2.0
    """Continuous ranked probability score of the bulge-to-total ratio."""
    shape: Weight = 0.2
    """Negative log-likelihood of radius, Sersic index and axis ratio."""


class SegmentationSettings(TaskSettings):
    """Clumps, bulge and disk."""

    reference_band: Name | None = None
    """Band of the labels `bulge`, `disk` and `clump`; by default the middle band."""
    clump_sigma: Annotated[float, Field(ge=0)] = 1.0
    """A pixel belongs to a clump where the clumps' flux exceeds this many times the sky noise ..."""
    clump_contrast: Annotated[float, Field(ge=0)] = 0.3
    """... and this many times the flux of bulge and disk below it."""
    purity: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Purity of the clumps as objects, for which their threshold is chosen on the validation split."""
    max_clumps: Annotated[int, Field(ge=1, le=1000)] = 24
    """Most clumps of an object; the most probable are kept."""
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (24, 48, 96, 192)
    """Channels of the U-Net, from half the resolution downwards."""
    unet: UNetSettings = UNetSettings()
    """Normalisation, skip connections, upsampling, dilation of the U-Net."""
    shape: ShapeSettings = ShapeSettings()
    """Radius, Sersic index and axis ratio, which are also predicted."""
    psf: bool = True
    """Whether the network takes the point-spread function, where the store has it."""
    photometry: bool = True
    """Whether the head of the bulge-to-total ratio also takes the measured features (colours and structure)."""
    n_bins: Annotated[int, Field(ge=4)] = 20
    """Bins of the bulge-to-total ratio between 0 and 1, beside one for 0 and one for 1."""
    dropout: Fraction = 0.1
    """Dropout in the bulge-to-total head."""
    losses: LossWeights = LossWeights()
    """Weights of the losses."""
    views: Literal[8, 4, 1] = 8
    """Number of views that a prediction averages: flips and quarter turns (8), quarter turns (4), or the image alone
    (1)."""
    train: SegmentationTraining = SegmentationTraining()
