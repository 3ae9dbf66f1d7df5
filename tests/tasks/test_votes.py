"""Votes: distributions whose mean, width and calibration are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from astrodl.config import parse
from astrodl.data.batches import ResidentDataset
from astrodl.errors import ConfigError
from astrodl.simulator.population import CLASSES
from astrodl.store import open_store
from astrodl.tasks.votes import Votes
from tests.small_task import CPU, make_task

TREE = {"questions": [{"name": "votes", "answers": ["early", "late"]}]}
SMALL: dict[str, Any] = {"widths": [8, 16], "joint": [16], "tree": TREE}


def make_votes(store: Path, **settings: Any) -> Votes:
    return make_task("votes", store, {**SMALL, **settings})


def test_fractions_and_errors_are_those_of_a_dirichlet_distribution(store: Path) -> None:
    alpha = np.array([[2.0, 6.0], [0.5, 0.5]])
    predicted = make_votes(store).finish({"concentration": alpha})
    draws = np.random.default_rng(0).dirichlet(alpha[0], 200_000)
    np.testing.assert_allclose(predicted["fraction"], [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(predicted["error"][0], draws.std(0), rtol=1e-2)


@pytest.mark.parametrize("likelihood", ["dirichlet_multinomial", "mse"])
def test_an_untrained_network_predicts_the_mean_of_the_training_galaxies(store: Path, likelihood: str) -> None:
    votes = make_votes(store, likelihood=likelihood)
    network = votes.build().eval()
    torch.nn.init.zeros_(network.head.weight)  # type: ignore[union-attr,arg-type]
    batch = {"image": torch.zeros(1, 3, 32, 32)}
    alpha = votes.predict(network, batch)["concentration"].detach().numpy()
    mean = np.asarray(votes.context.constants["mean"])
    np.testing.assert_allclose(votes.finish({"concentration": alpha})["fraction"][0], mean, atol=0.02)


class EqualFractions(torch.nn.Module):
    """Predicts the fraction one half for both answers."""

    head = torch.nn.Identity()

    def views(self, image: torch.Tensor, features: Any, *, n_views: int) -> torch.Tensor:
        return torch.zeros(n_views, len(image), 2)


@pytest.mark.parametrize("likelihood", ["dirichlet_multinomial", "mse"])
def test_calibration_recovers_the_concentration_of_the_votes(store: Path, likelihood: str) -> None:
    votes = make_votes(store, likelihood=likelihood)
    random = np.random.default_rng(1)
    fractions = random.dirichlet([6.0, 6.0], 4000)
    counts = np.array([random.multinomial(40, fraction) for fraction in fractions], np.float32)
    data = ResidentDataset({"image": np.zeros((4000, 3, 4, 4), np.float32), "votes": counts}, CPU)
    (factor,) = votes.calibrate(EqualFractions(), data, data)["factors"]
    uncalibrated = float(torch.nn.functional.softplus(torch.zeros(1))) + 0.05 if likelihood != "mse" else 0.5
    assert factor * uncalibrated == pytest.approx(6.0, rel=0.1)


def test_a_question_without_votes_does_not_change_the_loss(store: Path) -> None:
    votes = make_votes(store)
    network = votes.build().eval()
    image = torch.randn(2, 3, 32, 32)
    one = votes.loss(network, {"image": image[:1], "votes": torch.tensor([[3.0, 5.0]])}, "main", 0.0)[0]
    both = votes.loss(network, {"image": image, "votes": torch.tensor([[3.0, 5.0], [0.0, 0.0]])}, "main", 0.0)[0]
    torch.testing.assert_close(2 * both, one)


def test_the_loss_changes_during_warm_up_from_multinomial_to_dirichlet_multinomial(store: Path) -> None:
    votes, without_warm_up = make_votes(store, warm_up=0.4), make_votes(store, warm_up=0.0)
    network = votes.build().eval()
    counts = torch.tensor([[3.0, 5.0], [30.0, 10.0]])
    batch = {"image": torch.randn(2, 3, 32, 32), "votes": counts}
    alpha = torch.nn.functional.softplus(network(batch["image"])) + 0.05
    fractions = (alpha / alpha.sum(1, keepdim=True)).detach().numpy()
    multinomial = -stats.multinomial.logpmf(counts.numpy(), counts.sum(1).numpy(), fractions).mean()
    dirichlet = -stats.dirichlet_multinomial.logpmf(
        counts.numpy().astype(int), alpha.detach().double().numpy(), counts.sum(1).numpy().astype(int)
    ).mean()
    losses = [votes.loss(network, batch, "main", done)[0].item() for done in (0.0, 0.1, 0.4, 1.0)]
    expected = [multinomial, 0.75 * multinomial + 0.25 * dirichlet, dirichlet, dirichlet]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert without_warm_up.loss(network, batch, "main", 0.0)[0].item() == pytest.approx(dirichlet, rel=1e-4)


def test_the_default_tree_is_that_of_the_simulated_votes() -> None:
    assert Votes.Settings().tree.columns == tuple(f"votes_{name}" for name in CLASSES)


def test_a_tree_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("questions:\n  - name: votes\n    answers: [early, late]\n")
    assert parse(Votes.Settings, {"tree": str(tmp_path / "tree.yaml")}).tree.columns == ("votes_early", "votes_late")
    with pytest.raises(ConfigError, match="cannot be read"):
        parse(Votes.Settings, {"tree": str(tmp_path / "none.yaml")})


def test_vote_columns_that_a_store_lacks_are_named(store: Path) -> None:
    with open_store(store) as reader:
        missing = Votes.missing_truth(parse(Votes.Settings, {}), reader)
    assert missing is not None
    assert "votes_elliptical" in missing
