"""Learning curves of each kind are diagnosed correctly at several noise levels."""

from typing import Any

import numpy as np
import pytest

from astrodl.training.diagnosis import MIN_EPOCHS, diagnose, diagnose_curves

N_EPOCHS = 30
EPOCH = np.arange(N_EPOCHS)
FALLING = 0.4 + 1.2 * np.exp(-EPOCH / 5)
LINE = 1.6 - 0.02 * EPOCH
TURNING = FALLING + 0.02 * np.maximum(EPOCH - 10, 0)
MEMORISING = 1.6 * np.exp(-EPOCH / 8)

CURVES = {
    "healthy": [(FALLING, FALLING + 0.1), (FALLING + 0.3, FALLING), (1 / (1 + EPOCH), 0.2 + 1 / (1 + EPOCH))],
    "overfit": [(MEMORISING, TURNING), (MEMORISING + 1.0, TURNING), (MEMORISING - 5, TURNING - 5)],
    "underfit": [(LINE, LINE + 0.1), (0 * EPOCH + 1.609, 0 * EPOCH + 1.61), (0 * EPOCH + 1.609, TURNING)],
    "unstable": [
        (FALLING, FALLING + 0.5 * (-1.0) ** EPOCH),
        (FALLING + 0.06 * np.maximum(EPOCH - 15, 0), FALLING),
        (1.6 + 0.5 * np.sin(2.5 * EPOCH), 1.6 + 0.5 * np.sin(2.5 * EPOCH)),
        (np.where(EPOCH == 20, np.nan, FALLING), FALLING),
        (FALLING, np.where(EPOCH == 20, np.inf, FALLING)),
    ],
}
CASES = [(kind, number) for kind, curves in CURVES.items() for number in range(len(curves))]


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
@pytest.mark.parametrize(("kind", "number"), CASES)
def test_every_kind_is_recognised_at_every_noise_level(kind: str, number: int, noise: float) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        train, validation = (curve + noise * random.standard_normal(N_EPOCHS) for curve in CURVES[kind][number])
        found = diagnose_curves(train, validation)
        assert found is not None
        assert found.kind == kind, (seed, found)


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_the_diagnosis_does_not_depend_on_the_unit_of_the_loss(kind: str, number: int) -> None:
    train, validation = (1e3 * curve for curve in CURVES[kind][number])
    found = diagnose_curves(train, validation)
    assert found is not None
    assert found.kind == kind


def test_a_short_training_is_not_diagnosed() -> None:
    assert diagnose_curves(FALLING[: MIN_EPOCHS - 1], FALLING[: MIN_EPOCHS - 1]) is None
    assert diagnose_curves(FALLING[:MIN_EPOCHS], FALLING[:MIN_EPOCHS]) is not None
    assert diagnose_curves([]) is None


def test_a_minimum_in_the_last_epochs_is_not_overfitting() -> None:
    diagnosis = diagnose_curves(MEMORISING[:13], TURNING[:13])
    assert str(diagnosis) == "healthy: the last third of the training gave 6 % of the loss decrease"


def test_histories_may_have_several_phases_and_rare_validation() -> None:
    rows = [
        {
            "train": {"critic_value": 1.0, "critic_loss": FALLING[epoch], "generator_loss": np.sin(3 * epoch)},
            **({"validation": {"loss": TURNING[epoch]}} if epoch % 3 == 2 else {}),
        }
        for epoch in EPOCH
    ]
    found = diagnose(rows)
    assert found is not None
    assert found.kind == "overfit"
    assert "epoch" in found.reason
    assert diagnose([{"train": None, "validation": None}]) is None


def test_a_training_is_judged_by_one_phase_and_epochs_without_it_are_bridged() -> None:
    """The phase whose update comes first in an epoch changes from epoch to epoch; its loss is not a curve."""
    rows: list[dict[str, Any]] = []
    for epoch in EPOCH:
        terms = {"autoencoder_loss": FALLING[epoch], "critic_loss": -30.0 + 20 * np.sin(epoch)}
        names = list(terms) if epoch % 2 == 0 else list(terms)[::-1]
        present = names if epoch % 5 != 4 else ["critic_loss"]
        rows.append({"train": {name: terms[name] for name in present}, "validation": {"loss": FALLING[epoch]}})
    found = diagnose(rows)
    assert found is not None
    assert found.kind == "healthy", found


def test_a_rise_from_the_thirtieth_of_eighty_epochs_is_overfitting_although_the_first_epochs_fell_far() -> None:
    epoch = np.arange(80)
    validated = 1315 + 533 * np.exp(-epoch / 2) + 15 * np.exp(-epoch / 10) + 0.17 * np.maximum(epoch - 30, 0)
    found = diagnose_curves(1200 + 500 * np.exp(-epoch / 2) - 0.5 * epoch, validated)
    assert found is not None
    assert found.kind == "overfit"
    assert "epoch 3" in found.reason


def test_layers_whose_units_are_alike_are_not_healthy() -> None:
    rows = [{"train": {"loss": loss}, "validation": {"loss": loss + 0.1}} for loss in FALLING]
    healthy, alike = diagnose(rows), diagnose([*rows[:-1], {**rows[-1], "alike": 0.75}])
    assert healthy is not None
    assert healthy.kind == "healthy"
    assert alike is not None
    assert str(alike) == "underfit: in 75 % of the layers all units are alike; start from random weights"
