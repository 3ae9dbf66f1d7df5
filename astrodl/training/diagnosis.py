"""Diagnosis of the learning curves of a training: underfit, overfit, unstable or healthy."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MIN_EPOCHS", "Diagnosis", "diagnose", "diagnose_curves"]

Curve = NDArray[np.float64]

MIN_EPOCHS = 6
"""Shorter curves are not diagnosed."""
UNSTABLE = 0.25
"""Scatter of the last third, or rise of the training loss above its minimum, as a share of the loss decrease."""
RISE, LEAST_RISE, N_SCATTER = 0.05, 0.005, 3.0
"""A rise of the validation loss counts from these shares of its decrease, without the first tenth and in all, and from
this multiple of its scatter on."""
STEEP = 0.15
"""Share of the loss decrease that the last third may contribute in a finished training."""
FLAT = 0.05
"""Share of its first value by which the training loss must decrease at least."""
MOST_ALIKE = 1 / 3
"""Share of the layers whose units may all be alike; there are none in a network that started from random weights."""


class Diagnosis(NamedTuple):
    """Kind of a training, with the numbers that support it."""

    kind: Literal["underfit", "overfit", "unstable", "healthy"]
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def diagnose(history: Sequence[Mapping[str, Any]]) -> Diagnosis | None:
    """Diagnose a training from its history, by the loss of its first phase.

    An epoch without an update of that phase has the loss between those of its neighbours.

    Parameters
    ----------
    history : sequence of mapping
        Rows with `train` and, in some epochs, `validation`, each a mapping of term to value; and `alike`, the share of
        the layers whose units are all alike, where there are any.

    Returns
    -------
    Diagnosis or None
        None for fewer than `MIN_EPOCHS` epochs.
    """
    name = next((name for row in history for name in row.get("train") or {} if name.endswith("loss")), "loss")
    train, validation = (
        {epoch: row[part][key] for epoch, row in enumerate(history) if key in (row.get(part) or {})}
        for part, key in (("train", name), ("validation", "loss"))
    )
    found = diagnose_curves(
        np.interp(np.arange(len(history)), list(train), list(train.values())) if train else [], [*validation.values()]
    )
    alike = history[-1].get("alike", 0.0) if history else 0.0
    if found is not None and found.kind in ("healthy", "overfit") and alike > MOST_ALIKE:
        return Diagnosis(
            "underfit", f"in {100 * alike:.0f} % of the layers all units are alike; start from random weights"
        )
    return found


def diagnose_curves(train: ArrayLike, validation: ArrayLike = ()) -> Diagnosis | None:
    """Diagnose a training from its training and validation losses, (epochs,) each.

    Each curve is compared with itself only, because dropout and augmentation raise the training loss above the
    validation loss. The scatter of a curve is that about its trend, from third differences. Its *decrease* is its
    first value minus its minimum.

    1. *unstable*: a loss is not finite; or the validation loss of the last third scatters by more than `UNSTABLE` of
       its decrease; or the training loss ends above its minimum by more than `UNSTABLE` of its decrease.
    2. *underfit*: the mean training loss of the last third is not below the first value by `FLAT` of that value and
       by `N_SCATTER` times the scatter.
    3. *overfit*: the validation loss ends above its minimum by more than `N_SCATTER` times its scatter, `RISE` of its
       decrease after the first tenth of the training, and `LEAST_RISE` of its whole decrease, and the training loss has
       decreased since.
    4. *underfit*: the last third contributes more than `STEEP` of the decrease, in training and validation.
    5. *healthy*: anything else.

    Parameters
    ----------
    train, validation : array_like
        Losses by epoch. The validation loss may have fewer values, or none.

    Returns
    -------
    Diagnosis or None
        None for fewer than `MIN_EPOCHS` values of the training loss.
    """
    training, validated = np.asarray(train, np.float64), np.asarray(validation, np.float64)
    for name, curve in (("training", training), ("validation", validated)):
        if not np.isfinite(curve).all():
            return Diagnosis("unstable", f"the {name} loss is not finite in epoch {np.argmin(np.isfinite(curve)) + 1}")
    if len(training) < MIN_EPOCHS:
        return None
    judged = validated if len(validated) >= MIN_EPOCHS else training
    return (
        _unstable(training, judged)
        or _untrained(training)
        or _overfit(training, validated)
        or _unfinished(training, judged)
    )


def _unstable(training: Curve, judged: Curve) -> Diagnosis | None:
    decrease = max(_decrease(judged), 0.1 * abs(judged[0]))
    if (noise := _scatter(_last_third(judged, MIN_EPOCHS))) > UNSTABLE * decrease:
        return Diagnosis(
            "unstable", f"the loss of the last third scatters by {noise:.2g}, it decreased by {decrease:.2g}"
        )
    decrease = max(_decrease(training), 0.1 * abs(training[0]))
    smooth = _smooth(training)
    if (rise := smooth[-1] - smooth.min()) > UNSTABLE * decrease:
        return Diagnosis("unstable", f"the training loss rises by {rise:.2g} after it decreased by {decrease:.2g}")
    return None


def _untrained(training: Curve) -> Diagnosis | None:
    fall, noise = float(training[0] - _last_third(training).mean()), _scatter(training)
    if fall > max(FLAT * abs(training[0]), N_SCATTER * noise):
        return None
    return Diagnosis("underfit", f"the training loss falls from {training[0]:.3g} by {max(fall, 0):.2g} only")


def _overfit(training: Curve, validated: Curve) -> Diagnosis | None:
    if len(validated) < MIN_EPOCHS:
        return None
    best = int(np.argmin(validated))
    epoch = round((best + 1) * len(training) / len(validated))  # validation may be less frequent than training
    after = training[epoch - 1 :]
    if len(after) < 4 or after[0] - after[-3:].mean() < _scatter(after):
        return None
    noise = _scatter(_last_third(validated, max(MIN_EPOCHS, len(validated) - best)))
    rise = np.median(validated[-3:]) - _smooth(validated).min()
    late = max(float(validated[len(validated) // 10] - validated[best]), 0.0)
    if rise < max(N_SCATTER * noise, RISE * late, LEAST_RISE * _decrease(validated)):
        return None
    return Diagnosis(
        "overfit",
        f"the validation loss rises by {rise:.2g} (its scatter is {noise:.1g}) from its minimum in epoch {epoch}, "
        "while the training loss falls",
    )


def _unfinished(training: Curve, judged: Curve) -> Diagnosis:
    shares = [_fall(_last_third(curve)) / max(_decrease(curve), 1e-12) for curve in (training, judged)]
    text = f"the last third of the training gave {100 * max(shares[1], 0):.0f} % of the loss decrease"
    if min(shares) > STEEP:
        return Diagnosis("underfit", f"{text}; train longer, or faster")
    return Diagnosis("healthy", text)


def _last_third(curve: Curve, least: int = 3) -> Curve:
    """Return the last third of a curve, but at least `least` values."""
    return curve[-max(len(curve) // 3, least) :]


def _smooth(curve: Curve) -> Curve:
    """Return the means of three consecutive values."""
    return np.convolve(curve, np.full(3, 1 / 3), "valid")


def _decrease(curve: Curve) -> float:
    return float(curve[0] - curve.min())


def _fall(curve: Curve) -> float:
    """Return the fall of the straight line through a curve."""
    slope = np.polyfit(np.arange(len(curve)), curve, 1)[0]
    return float(-slope * len(curve))


def _scatter(curve: Curve) -> float:
    """Return the standard deviation about the trend; third differences of white noise have 20 times its variance."""
    return float(np.sqrt(np.mean(np.diff(curve, 3) ** 2) / 20))
