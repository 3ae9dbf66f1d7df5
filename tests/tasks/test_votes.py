"""Votes: distributions whose mean, width and calibration are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from astrodl.config import parse
from astrodl.errors import ConfigError
from astrodl.pipeline import objects
from astrodl.simulator.population import CLASSES
from astrodl.store import open_store
from astrodl.tasks.votes import Votes

TREE = {"questions": [{"name": "votes", "answers": ["early", "late"]}]}
SMALL: dict[str, Any] = {"widths": [8, 16], "joint": [16], "tree": TREE}


def task(store: Path, **settings: Any) -> Votes:
    with open_store(store) as reader:
        parsed = parse(Votes.Settings, {**SMALL, **settings})
        return Votes(parsed, objects.fit_context(Votes, parsed, reader))


def test_fractions_and_errors_are_those_of_a_dirichlet_distribution(store: Path) -> None:
    alpha = np.array([[2.0, 6.0], [0.5, 0.5]])
    found = task(store).finish({"concentration": alpha})
    draws = np.random.default_rng(0).dirichlet(alpha[0], 200_000)
    np.testing.assert_allclose(found["fraction"], [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(found["error"][0], draws.std(0), rtol=1e-2)


@pytest.mark.parametrize("likelihood", ["dirichlet_multinomial", "mse"])
def test_an_untrained_network_says_the_mean_of_the_training_galaxies(store: Path, likelihood: str) -> None:
    votes = task(store, likelihood=likelihood)
    network = votes.build().eval()
    torch.nn.init.zeros_(network.head.weight)  # type: ignore[union-attr,arg-type]
    batch = {"image": torch.zeros(1, 3, 32, 32)}
    alpha = votes.predict(network, batch)["concentration"].detach().numpy()
    mean = np.asarray(votes.context.constants["mean"])
    np.testing.assert_allclose(votes.finish({"concentration": alpha})["fraction"][0], mean, atol=0.02)


@pytest.mark.parametrize("likelihood", ["dirichlet_multinomial", "mse"])
def test_calibration_finds_the_concentration_of_the_votes(store: Path, likelihood: str) -> None:
    votes = task(store, likelihood=likelihood)
    rng = np.random.default_rng(1)
    fraction = rng.dirichlet([6.0, 6.0], 4000)
    counts = np.array([rng.multinomial(40, f) for f in fraction], np.float32)

    class Half(torch.nn.Module):
        def forward(self, image: torch.Tensor, features: Any = None) -> torch.Tensor:
            return torch.zeros(len(image), 2)

    from astrodl.data.batches import ResidentDataset

    unseen = ResidentDataset({"image": np.zeros((4000, 3, 4, 4), np.float32), "votes": counts}, torch.device("cpu"))
    (factor,) = votes.calibrate(Half(), unseen, unseen)["factors"]
    raw = float(torch.nn.functional.softplus(torch.zeros(1))) + 0.05 if likelihood != "mse" else 0.5
    assert factor * raw == pytest.approx(6.0, rel=0.1)


def test_a_question_that_nobody_was_asked_changes_no_loss(store: Path) -> None:
    votes = task(store)
    network = votes.build().eval()
    image = torch.randn(2, 3, 32, 32)
    asked = votes.loss(network, {"image": image[:1], "votes": torch.tensor([[3.0, 5.0]])}, "main", 0.0)[0]
    both = votes.loss(network, {"image": image, "votes": torch.tensor([[3.0, 5.0], [0.0, 0.0]])}, "main", 0.0)[0]
    torch.testing.assert_close(2 * both, asked)


def test_the_likelihood_begins_as_that_of_known_fractions(store: Path) -> None:
    votes, plain = task(store, warm_up=0.4), task(store, warm_up=0.0)
    network = votes.build().eval()
    counts = torch.tensor([[3.0, 5.0], [30.0, 10.0]])
    batch = {"image": torch.randn(2, 3, 32, 32), "votes": counts}
    alpha = torch.nn.functional.softplus(network(batch["image"])) + 0.05
    fractions = (alpha / alpha.sum(1, keepdim=True)).detach().numpy()
    known = -stats.multinomial.logpmf(counts.numpy(), counts.sum(1).numpy(), fractions).mean()
    spread = -stats.dirichlet_multinomial.logpmf(
        counts.numpy().astype(int), alpha.detach().double().numpy(), counts.sum(1).numpy().astype(int)
    ).mean()
    found = [votes.loss(network, batch, "main", done)[0].item() for done in (0.0, 0.1, 0.4, 1.0)]
    np.testing.assert_allclose(found, [known, 0.75 * known + 0.25 * spread, spread, spread], rtol=1e-4)
    assert plain.loss(network, batch, "main", 0.0)[0].item() == pytest.approx(spread, rel=1e-4)


def test_the_usual_tree_is_that_of_the_simulated_votes() -> None:
    assert Votes.Settings().tree.columns == tuple(f"votes_{name}" for name in CLASSES)


def test_a_tree_may_be_a_file_and_a_wrong_one_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("questions:\n  - name: votes\n    answers: [early, late]\n")
    assert parse(Votes.Settings, {"tree": str(tmp_path / "tree.yaml")}).tree.columns == ("votes_early", "votes_late")
    with pytest.raises(ConfigError, match="cannot be read"):
        parse(Votes.Settings, {"tree": str(tmp_path / "none.yaml")})
    with open_store(store) as reader:
        missing = Votes.missing_truth(parse(Votes.Settings, {}), reader)
    assert missing is not None
    assert "votes_elliptical" in missing
