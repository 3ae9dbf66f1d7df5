"""Diagnosis of an autoencoder: its units, reconstruction by band and radius, generated beside real galaxies."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

__all__ = [
    "KsTest",
    "LatentUnits",
    "chi2_by_band",
    "chi2_by_radius",
    "compare_samples",
    "describe_units",
    "measure_units",
]

_Array = NDArray[np.float64]

_COLLAPSED_KL = 0.05
"""KL divergence in nats below which a unit has nothing to say about an object."""
_TYPICAL = (0.5, 2.0)
"""Range of the variance of all codes of a unit that is called like the prior."""


class LatentUnits(NamedTuple):
    """What each of D latent units of a variational autoencoder does, (D,) each."""

    kl: _Array
    """Mean Kullback-Leibler divergence of the posterior from the prior in nats: the information about an object."""
    mean_variance: _Array
    """Variance over objects of the posterior mean, 0 where the unit has collapsed and below 1 where it fits the prior
    (Burda et al. 2016)."""
    total_variance: _Array
    """Variance of the codes of all objects, the former plus the mean variance of the posterior; 1 for the prior."""
    active: NDArray[np.bool_]
    """Whether the variance of the mean is above the threshold."""


def measure_units(mean: ArrayLike, log_variance: ArrayLike, threshold: float = 0.01) -> LatentUnits:
    r"""Measure information and activity of each latent unit.

    .. math:: \mathrm{KL}_j = \frac{1}{2} \langle \mu_{ij}^2 + \sigma_{ij}^2 - 1 - \log \sigma_{ij}^2 \rangle_i

    Parameters
    ----------
    mean, log_variance
        Of the posterior of each object, not standardised, (N, D).
    threshold
        Smallest variance of the posterior mean of an active unit (Burda, Grosse & Salakhutdinov 2016,
        arXiv:1509.00519).
    """
    centre, logarithm = np.asarray(mean, dtype=np.float64), np.asarray(log_variance, dtype=np.float64)
    if centre.ndim != 2 or centre.shape != logarithm.shape or not len(centre):
        raise ValueError(f"mean and log_variance have shapes {centre.shape} and {logarithm.shape}; both must be (N, D)")
    kl = 0.5 * (centre**2 + np.exp(logarithm) - 1 - logarithm).mean(axis=0)
    spread = centre.var(axis=0)
    return LatentUnits(kl, spread, spread + np.exp(logarithm).mean(axis=0), spread > threshold)


def describe_units(units: LatentUnits) -> str:
    """Say in a few sentences which units are active, which have collapsed, and whether the prior fits the codes."""
    n_units, active = len(units.active), np.flatnonzero(units.active)
    idle = np.flatnonzero(~units.active)
    if not len(active):
        said = [
            f"All {n_units} units have collapsed onto the prior: the decoder ignores the code and draws the same galaxy"
            " for every object. Lower beta, leave free bits to each unit, or switch the KL term on more slowly."
        ]
    else:
        nats = _format_range(units.kl[active], "nats")
        said = [f"{len(active)} of {n_units} units are active, with {nats} of information about an object each."]
        if len(idle):
            # with free bits the divergence stays, though the mean is the same for all objects
            held = np.flatnonzero(~units.active & (units.kl > _COLLAPSED_KL))
            said.append(
                f"{_list_units(idle)} collapsed onto the prior, so that the decoder ignores what they hold. Lower beta,"
                " leave free bits to each unit, or ask for fewer dimensions."
            )
            if len(held):
                said.append(
                    f"Of these, {_list_units(held, verb=False)} still cost up to {units.kl[held].max():.2f} nats for a"
                    " posterior that is the same for every object, as free bits allow."
                )
        total = units.total_variance[active]
        if total.max() > _TYPICAL[1]:
            said.append(
                f"The codes have a variance of up to {total.max():.2f} where the prior has 1: galaxies that are drawn"
                " from the prior show the middle of the codes alone. Raise beta, or train longer."
            )
        if total.min() < _TYPICAL[0]:
            said.append(
                f"The codes have a variance down to {total.min():.2f} where the prior has 1: some galaxies that are"
                " drawn from the prior lie where there are none. Raise beta, or train longer."
            )
    return " ".join(said)


def _list_units(numbers: NDArray[np.intp], *, verb: bool = True) -> str:
    """List units by their numbers, from 1, such as `Units 2 and 5 have`."""
    names = [str(number + 1) for number in numbers]
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    noun = "unit" if len(names) == 1 else "units"
    return f"{noun.capitalize()} {text} {'has' if len(names) == 1 else 'have'}" if verb else f"{noun} {text}"


def _format_range(values: _Array, unit: str = "") -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def _squared_deviation(images: ArrayLike, reconstructions: ArrayLike, error: ArrayLike) -> _Array:
    """Return ((image - reconstruction) / error)^2, (N, bands, y, x), NaN where something is missing."""
    image, decoded = (np.asarray(array, dtype=np.float64) for array in (images, reconstructions))
    sigma = np.asarray(error, dtype=np.float64)
    if image.ndim != 4 or image.shape != decoded.shape or sigma.ndim not in (2, 4):
        raise ValueError(
            f"images, reconstructions and error have shapes {image.shape}, {decoded.shape} and {sigma.shape}; they must"
            " be (N, bands, y, x), the same, and (N, bands) or (N, bands, y, x)"
        )
    sigma = sigma[:, :, None, None] if sigma.ndim == 2 else sigma
    inverse = np.divide(1, sigma, out=np.full_like(sigma, np.nan), where=np.isfinite(sigma) & (sigma > 0))
    deviation = (image - decoded) * inverse
    return np.where(np.isfinite(deviation), deviation**2, np.nan)


def chi2_by_band(images: ArrayLike, reconstructions: ArrayLike, error: ArrayLike) -> _Array:
    """Compute the reconstruction chi^2 per pixel of each object in each band.

    Parameters
    ----------
    images, reconstructions
        (N, bands, y, x); pixels that are NaN in either are left out.
    error
        Standard deviation of each pixel in the same unit, (N, bands) or (N, bands, y, x); pixels where it is not
        positive and finite are left out.

    Returns
    -------
    ndarray
        (N, bands); 1 where the residual is the noise alone, NaN where no pixel remains.
    """
    return _mean_known(_squared_deviation(images, reconstructions, error), (2, 3))


def chi2_by_radius(
    images: ArrayLike, reconstructions: ArrayLike, error: ArrayLike, *, n_rings: int = 8
) -> tuple[_Array, _Array]:
    """Compute the reconstruction chi^2 per pixel in rings about the centre of the images.

    Parameters
    ----------
    images, reconstructions, error
        As in `chi2_by_band`.
    n_rings
        Number of rings of equal width between the centre and the middle of a side.

    Returns
    -------
    edges : ndarray
        Radii in pixels, (n_rings + 1,).
    quantiles : ndarray
        The 16th, 50th and 84th percentile over objects of the mean over a ring, (3, bands, n_rings); NaN for a band
        without a pixel.
    """
    square = _squared_deviation(images, reconstructions, error)
    height, width = square.shape[2:]
    radius = np.hypot(*(np.indices((height, width)) - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]))
    edges = np.linspace(0, min(height, width) / 2, n_rings + 1)
    rings = [(radius >= low) & (radius < high) for low, high in pairwise(edges)]
    values = np.stack([_mean_known(square[:, :, ring], (2,)) for ring in rings], axis=-1)
    quantiles = np.full((3, *values.shape[1:]), np.nan)
    known = np.isfinite(values).any(axis=0)
    quantiles[:, known] = np.nanquantile(values[:, known], [0.16, 0.5, 0.84], axis=0)
    return edges, quantiles


def _mean_known(values: _Array, axes: tuple[int, ...]) -> _Array:
    known = np.isfinite(values)
    count = known.sum(axis=axes)
    total = np.where(known, values, 0).sum(axis=axes)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


class KsTest(NamedTuple):
    """Result of `compare_samples`."""

    statistic: float
    """Largest distance of the two cumulative distributions, from 0 to 1."""
    error: float
    """Its bootstrap standard error."""
    p_value: float
    """Probability of a larger distance if both samples had one distribution."""
    shift: float
    """Median of the generated sample minus that of the real one, in units of the real standard deviation, estimated
    from the 16th and 84th percentile."""
    n_real: int
    n_generated: int


def compare_samples(real: ArrayLike, generated: ArrayLike, *, n_draws: int = 200, seed: int = 0) -> KsTest:
    """Compare a quantity of generated galaxies with that of real ones by a Kolmogorov-Smirnov test of two samples.

    Galaxies drawn by a decoder have no noise: add that of real galaxies before measuring them, or the test finds the
    noise. With thousands of objects any difference is significant; the statistic says how large it is.

    Parameters
    ----------
    real, generated
        Values of the quantity, NaN where it could not be measured, (n,) and (m,).
    n_draws, seed
        Bootstrap draws of each sample by itself, and their seed.

    Raises
    ------
    ValueError
        A sample has fewer than two finite values.
    """
    first, second = (np.asarray(sample, dtype=np.float64).ravel() for sample in (real, generated))
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} real and {len(second)} generated values are finite; at least 2 of each needed")
    test = ks_2samp(first, second)
    draws = [_distance_of_draw(first, second, np.random.default_rng([seed, draw])) for draw in range(n_draws)]
    low, middle, high = np.quantile(first, [0.16, 0.5, 0.84])
    spread = (high - low) / 2
    shift = (float(np.median(second)) - middle) / spread if spread > 0 else float("nan")
    error = float(np.std(draws, ddof=1)) if n_draws > 1 else float("nan")
    return KsTest(float(test.statistic), error, float(test.pvalue), float(shift), len(first), len(second))


def _distance_of_draw(first: _Array, second: _Array, random: np.random.Generator) -> float:
    """Return the statistic of samples drawn with replacement."""
    drawn = [np.sort(random.choice(sample, len(sample))) for sample in (first, second)]
    both = np.concatenate(drawn)
    shares = [np.searchsorted(sample, both, side="right") / len(sample) for sample in drawn]
    return float(np.abs(shares[0] - shares[1]).max())
