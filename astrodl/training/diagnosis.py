"""What the learning curves of a training say of it: underfit, overfit, unstable or healthy."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Curve = NDArray[np.float64]

LEAST_EPOCHS = 6
"""Shorter curves are not judged."""
UNSTABLE = 0.25
"""Scatter of the last third, or rise of the training loss from its lowest level, in units of what was learnt."""
RISE, N_SCATTER = 0.05, 3.0
"""A rise of the validation loss counts from this share of what was learnt, and so many times its scatter, on."""
STEEP = 0.15
"""Share of what was learnt that the last third may still bring."""
FLAT = 0.05
"""Share of its first value that a training loss must lose to have been trained at all."""


class Diagnosis(NamedTuple):
    """A kind of training, and the numbers that speak for it."""

    kind: Literal["underfit", "overfit", "unstable", "healthy"]
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def diagnose(history: Sequence[Mapping[str, Any]]) -> Diagnosis | None:
    """Judge the history of a training, by its first loss where there are several phases.

    Parameters
    ----------
    history : sequence of mapping
        Rows with `train` and, in some epochs, `validation`, each a mapping of term to value.

    Returns
    -------
    Diagnosis or None
        None where there are fewer than `LEAST_EPOCHS` epochs.
    """
    train = [_loss(row.get("train")) for row in history]
    validation = [_loss(row.get("validation")) for row in history]
    return judge([value for value in train if value is not None], [value for value in validation if value is not None])


def _loss(terms: Mapping[str, Any] | None) -> float | None:
    return next((value for name, value in (terms or {}).items() if name.endswith("loss")), None)


def judge(train: ArrayLike, validation: ArrayLike = ()) -> Diagnosis | None:
    """Judge two series of losses, (epochs,) each; of the validation there may be fewer values, or none.

    Only changes of each series are compared, never one series with the other: dropout and augmentation make the
    training loss the larger one. The scatter is the one about the trend, from third differences. What was *learnt* is
    the fall of a series from its first value to its minimum.

    1. *unstable*: a loss is not finite; or the validation loss of the last third scatters by more than `UNSTABLE` of
       what was learnt; or the training loss ends as much above its lowest level.
    2. *underfit*: the mean training loss of the last third is not below the first value by `FLAT` of that and by
       `N_SCATTER` times the scatter.
    3. *overfit*: the validation loss ends above its minimum by more than `N_SCATTER` times its scatter and `RISE` of
       what was learnt, and the training loss has gone on falling since.
    4. *underfit*: the last third still brings more than `STEEP` of what was learnt, in training and validation.
    5. *healthy*: anything else.
    """
    seen, unseen = np.asarray(train, np.float64), np.asarray(validation, np.float64)
    for name, curve in (("training", seen), ("validation", unseen)):
        if not np.isfinite(curve).all():
            return Diagnosis("unstable", f"the {name} loss is not finite in epoch {np.argmin(np.isfinite(curve)) + 1}")
    if len(seen) < LEAST_EPOCHS:
        return None
    judged = unseen if len(unseen) >= LEAST_EPOCHS else seen
    return _unstable(seen, judged) or _untrained(seen) or _overfit(seen, unseen) or _unfinished(seen, judged)


def _unstable(seen: Curve, judged: Curve) -> Diagnosis | None:
    scale = max(_learnt(judged), 0.1 * abs(judged[0]))
    if (noise := _scatter(_end(judged, LEAST_EPOCHS))) > UNSTABLE * scale:
        return Diagnosis("unstable", f"the loss of the last third scatters by {noise:.2g}, {scale:.2g} was learnt")
    scale = max(_learnt(seen), 0.1 * abs(seen[0]))
    levels = np.convolve(seen, np.full(3, 1 / 3), "valid")
    if (rise := levels[-1] - levels.min()) > UNSTABLE * scale:
        return Diagnosis("unstable", f"the training loss rises by {rise:.2g} again, {scale:.2g} was learnt")
    return None


def _untrained(seen: Curve) -> Diagnosis | None:
    fall, noise = float(seen[0] - _end(seen).mean()), _scatter(seen)
    if fall > max(FLAT * abs(seen[0]), N_SCATTER * noise):
        return None
    return Diagnosis("underfit", f"the training loss falls from {seen[0]:.3g} by {max(fall, 0):.2g} only")


def _overfit(seen: Curve, unseen: Curve) -> Diagnosis | None:
    if len(unseen) < LEAST_EPOCHS:
        return None
    best = int(np.argmin(unseen))
    epoch = round((best + 1) * len(seen) / len(unseen))  # validation may be less frequent than training
    after = seen[epoch - 1 :]
    if len(after) < 4 or after[0] - after[-3:].mean() < _scatter(after):
        return None
    noise = _scatter(_end(unseen, max(LEAST_EPOCHS, len(unseen) - best)))
    rise = np.median(unseen[-3:]) - unseen[best]
    if rise < max(N_SCATTER * noise, RISE * _learnt(unseen)):
        return None
    return Diagnosis(
        "overfit",
        f"the validation loss rises by {rise:.2g} (its scatter is {noise:.1g}) from its minimum in epoch {epoch}, "
        "while the training loss falls",
    )


def _unfinished(seen: Curve, judged: Curve) -> Diagnosis:
    shares = [_fall(_end(curve)) / max(_learnt(curve), 1e-12) for curve in (seen, judged)]
    text = f"the last third brings {100 * max(shares[1], 0):.0f} % of what was learnt"
    if min(shares) > STEEP:
        return Diagnosis("underfit", f"{text}; train longer, or faster")
    return Diagnosis("healthy", text)


def _end(curve: Curve, least: int = 3) -> Curve:
    """Take the last third of a curve, and at least so many values."""
    return curve[-max(len(curve) // 3, least) :]


def _learnt(curve: Curve) -> float:
    return float(curve[0] - curve.min())


def _fall(curve: Curve) -> float:
    """Give the fall of the straight line through a curve."""
    slope = np.polyfit(np.arange(len(curve)), curve, 1)[0]
    return float(-slope * len(curve))


def _scatter(curve: Curve) -> float:
    """Give the standard deviation about the trend: third differences of white noise have 20 times its variance."""
    return float(np.sqrt(np.mean(np.diff(curve, 3) ** 2) / 20))
