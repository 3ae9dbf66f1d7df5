"""Distances in feature space: far objects stand out, whatever the number of validation objects."""

import pytest
import torch

from astrodl.models.space import RANKED, FeatureSpace


def fitted(n_validation: int, seed: int = 0) -> FeatureSpace:
    torch.manual_seed(seed)
    space = FeatureSpace(8)
    space.fit(torch.randn(2000, 8), torch.randn(n_validation, 8))
    return space


@pytest.mark.parametrize("n_validation", [5, 20, 50, 98, 99, 100, 1000])
def test_a_far_object_has_less_than_one_per_cent(n_validation: int) -> None:
    space = fitted(n_validation)
    assert (space(torch.full((3, 8), 30.0)) < 0.01).all()
    assert (space(torch.zeros(3, 8)) > 0.5).all()


@pytest.mark.parametrize("n_validation", [20, 50, 98])
def test_about_one_per_cent_of_usual_objects_have_less_than_one_per_cent(n_validation: int) -> None:
    shares = [float((fitted(n_validation, seed)(torch.randn(2000, 8)) < 0.01).float().mean()) for seed in range(40)]
    assert 0.001 < sum(shares) / len(shares) < 0.025


def test_many_validation_objects_give_the_rank_alone() -> None:
    assert fitted(RANKED)(torch.full((1, 8), 1e3)).item() == pytest.approx(1 / (RANKED + 1))


def test_before_the_fit_every_object_is_usual() -> None:
    assert FeatureSpace(8)(torch.randn(4, 8)).tolist() == [1.0] * 4
