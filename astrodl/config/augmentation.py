"""Settings of the augmentation of training batches, and of the views that self-supervised learning compares."""

from typing import Annotated

from pydantic import Field

from astrodl.config.section import Fraction, Section

__all__ = ["AugmentSettings", "NuisanceSettings"]


class AugmentSettings(Section):
    """Random changes of training images that leave the target as it is.

    Symmetries, shift, rotation and zoom move all maps of an object alike; the others change the image alone.
    """

    symmetries: bool = True
    """Flip and turn by quarters: each of the eight symmetries of the square for an eighth of the objects."""
    shift_pixels: Annotated[int, Field(ge=0)] = 2
    """Largest shift along y and x, the same for a whole batch. Without it a network takes for granted that objects are
    centred, and gains a little where they are."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation in degrees, either way; bilinear, which smooths the noise."""
    zoom: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest enlargement: 0.2 is a factor between 1 / 1.2 and 1.2, even in its logarithm. Surface brightness stays,
    the total flux does not."""
    noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Largest Gaussian noise added to the flux, in units of the typical noise of the sky in each band; any level from
    zero to that is as likely."""
    blur: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Largest sigma in pixels of a Gaussian that the flux is convolved with."""
    band_dropout: Fraction = 0.0
    """Probability that an object loses a band as if it had not been observed; one is always left."""
    cutout: Fraction = 0.0
    """Side of a square that is hidden, as a share of the image's (DeVries & Taylor 2017)."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Parameter alpha of the Beta distribution by which pairs of objects are mixed (Zhang et al. 2018), 0: none; for
    classes."""


class NuisanceSettings(Section):
    """Random changes of a canonical view under which the vector of a galaxy should stay the same.

    Zero, or false, switches a part off. Strengths are drawn for each object, uniform up to the largest.
    """

    mirror: bool = True
    """Flip along each axis with probability 1/2."""
    quarter_turns: bool = False
    """Turn by quarters; canonical views lie along the major axis, so that half of the turns look like no galaxy."""
    shift_pixels: Annotated[float, Field(ge=0)] = 1.0
    """Largest shift along x and y in pixels of the view, like a centre that was measured wrong."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest rotation in degrees, either way."""
    zoom: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Largest enlargement: 0.2 is a factor between 1 / 1.2 and 1.2, even in its logarithm. The total flux stays."""
    blur: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Largest sigma in pixels of the view of a Gaussian that the flux is convolved with."""
    noise: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Largest Gaussian noise added to the flux, in units of the object's own sky noise."""
    depth: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that a view has the noise of another object of the batch, where that is higher. Without it, an
    object is recognised by its signal-to-noise ratio, since its own noise grows by little."""
    band_dropout: Fraction = 0.1
    """Probability that a band is lost as if it had not been observed; one is always left."""
