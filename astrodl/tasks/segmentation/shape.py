"""Half-light radius, Sersic index and axis ratio of whole galaxies, intrinsic: before the point-spread function.

Truth is columns of the catalogue. Radius and index are predicted as logarithms, with Gaussian errors.
"""

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from astrodl.baselines.segmentation import boosted_values
from astrodl.errors import DataError
from astrodl.losses import gaussian_nll, pooled_mean
from astrodl.metrics.bootstrap import bootstrap
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.metric import Metric, Metrics
from astrodl.tasks.segmentation.settings import SegmentationSettings, ShapeSettings

__all__ = ["METRICS", "boost", "calibrate", "columns", "fit", "likelihood", "read", "score", "summarize", "targets"]

_DESCRIBED = {
    "radius": ("half-light radius along the major axis, before the point-spread function", "phys.angSize;src"),
    "sersic_index": ("Sersic index of the galaxy as a whole", "src.morph.param"),
    "axis_ratio": ("axis ratio, before the point-spread function", "src.morph.param"),
}
_KINDS: tuple[tuple[str, Literal["low"] | float], ...] = (("bias", 0.0), ("scatter", "low"))
METRICS: tuple[Metric, ...] = tuple(
    Metric(f"{name}_{kind}", best, network_only=True) for name in _DESCRIBED for kind, best in _KINDS
)
"""Median and robust scatter of the differences of logarithms, or of axis ratios."""
_LOGARITHMIC = ("radius", "sersic_index")
_LEAST_OBJECTS = 30
_COVERAGE = 0.6827

_Array = NDArray[np.float64]


def fit(settings: SegmentationSettings, store: Reader, train: np.ndarray) -> dict[str, dict[str, Any]]:
    """Find the columns of the quantities that the store has, with mean and scatter of the training objects.

    Raises
    ------
    DataError
        A column that the settings name is not in the store; those of the defaults may be absent.
    """
    found: dict[str, dict[str, Any]] = {}
    # in the order of a model file, whose entries are sorted
    for name, field in sorted(ShapeSettings.model_fields.items()):
        column = getattr(settings.shape, name)
        if column is None or (not store.has_column(column) and column == field.default):
            continue
        if not store.has_column(column):
            raise DataError(
                f"{store.path}: tasks.segmentation.shape.{name}: column '{column}' is not in the store (has "
                f"{', '.join(store.column_names)}); add it to data.columns, or give null"
            )
        values = _transform(name, np.asarray(store.column(column, train), np.float64))
        values = values[np.isfinite(values)]
        if len(values) < _LEAST_OBJECTS:
            continue
        unit = store.describe_column(column).unit
        scale = max(float(values.std()), 1e-6)
        found[name] = {"column": column, "unit": unit, "mean": float(values.mean()), "scale": scale}
    if found and settings.augment.zoom:
        print(
            "segmentation: warning: augment.zoom changes the size of galaxies; radius, Sersic index and axis ratio are "
            "not predicted; set augment.zoom: 0 for them",
            file=sys.stderr,
        )
        return {}
    return found


def _transform(name: str, values: _Array) -> _Array:
    """Take the logarithm of quantities that are positive; NaN where they are not."""
    if name not in _LOGARITHMIC:
        return values
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0)


def targets(fitted: dict[str, dict[str, Any]], store: Reader, indices: np.ndarray) -> NDArray[np.float32]:
    """Return the standardised truth, (n, quantities); NaN where it is unknown."""
    truth = read(fitted, store, indices)
    rows = [(_transform(name, truth[name]) - one["mean"]) / one["scale"] for name, one in fitted.items()]
    return np.stack(rows, axis=1).astype(np.float32)


def read(fitted: dict[str, dict[str, Any]], store: Reader, indices: np.ndarray) -> dict[str, _Array]:
    """Read the true values of the quantities."""
    return {name: np.asarray(store.column(one["column"], indices), np.float64) for name, one in fitted.items()}


def likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of known quantities: (B, K, 2) mean and ln sigma, (B, K)."""
    known = target.isfinite().float()
    value = gaussian_nll(output[..., 0], output[..., 1], target.nan_to_num(0.0))
    return pooled_mean(value * known, known, least=1.0)


def calibrate(mean: np.ndarray, sigma: np.ndarray, target: np.ndarray) -> list[float]:
    """Return the factors of the errors with which they cover 68 % of the validation objects."""
    factors = []
    for column in range(target.shape[1]):
        known = np.isfinite(target[:, column])
        ratio = np.abs(mean[known, column] - target[known, column]) / np.maximum(sigma[known, column], 1e-6)
        factors.append(float(np.clip(np.quantile(ratio, _COVERAGE), 0.1, 10)) if len(ratio) >= _LEAST_OBJECTS else 1.0)
    return factors


def summarize(predictions: Arrays, constants: dict[str, Any]) -> Arrays:
    """Return each quantity and its error from the standardised means and errors."""
    summary: Arrays = {}
    factors = constants.get("shape_factor", [1.0] * len(constants["shape"]))
    for number, (name, one) in enumerate(constants["shape"].items()):
        value = predictions["shape"][:, number] * one["scale"] + one["mean"]
        error = predictions["shape_sigma"][:, number] * one["scale"] * factors[number]
        if name in _LOGARITHMIC:
            value = np.exp(value)
            error = value * error
        summary[name], summary[f"{name}_error"] = value.astype(np.float32), error.astype(np.float32)
    return summary


def columns(predictions: Arrays, fitted: dict[str, dict[str, Any]]) -> list[Column]:
    """Describe the quantities for the catalogue."""
    described = []
    for name, one in fitted.items():
        about, ucd = _DESCRIBED[name]
        unit = one["unit"] or None
        described.append(Column(f"segmentation_{name}", predictions[name], unit, about, ucd))
        error = Column(f"segmentation_{name}_error", predictions[f"{name}_error"], unit, "its 68 % error", "stat.error")
        described.append(error)
    return described


def boost(
    fitted: dict[str, dict[str, Any]], store: Reader, train: np.ndarray, features: np.ndarray, new: np.ndarray
) -> Arrays:
    """Predict the quantities by gradient boosting on measured features of training and new objects."""
    predicted: Arrays = {}
    for name, values in read(fitted, store, train).items():
        found = boosted_values(features, _transform(name, values), new)
        predicted[name] = np.exp(found) if name in _LOGARITHMIC else found
    return predicted


def score(predictions: Arrays, truth: Arrays) -> Metrics:
    """Return bias and robust scatter of each quantity: of natural logarithms, or of the axis ratio itself."""
    metrics: Metrics = {}
    for name in _DESCRIBED:
        if name not in predictions or f"true_{name}" not in truth:
            continue
        pair = (
            _transform(name, np.asarray(values, np.float64)) for values in (predictions[name], truth[f"true_{name}"])
        )
        difference = np.subtract(*pair)
        difference = difference[np.isfinite(difference)]
        for metric, statistic in (("bias", np.median), ("scatter", _scatter)):
            value, error = bootstrap(statistic, difference)
            metrics[f"{name}_{metric}"] = {"value": float(value), "error": float(error)}
    return metrics


def _scatter(difference: _Array) -> float:
    return float(1.4826 * np.median(np.abs(difference - np.median(difference))))
