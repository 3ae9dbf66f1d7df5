"""Votes of volunteers on a tree of questions: expected fractions with their uncertainty, from the image."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astrodl.augment import dihedral
from astrodl.baselines import votes as rivals
from astrodl.catalog import Column
from astrodl.config import Fraction, TrainSettings
from astrodl.config.votes import DecisionTree, read_tree
from astrodl.dataset import Batch, Cutouts, Resident
from astrodl.losses import dirichlet_multinomial_nll
from astrodl.metrics import votes as vote_metrics
from astrodl.plots.votes import agreement, fractions
from astrodl.store import Reader
from astrodl.tasks import image_network
from astrodl.tasks.base import Arrays, Metrics, Report, Task, measured, missing_column, scale_free_features, seen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 0.05
"""Smallest parameter of a Dirichlet distribution."""
CONCENTRATIONS = np.geomspace(0.5, 500, 61)


class VotesTraining(TrainSettings):
    """Training loop of the votes."""

    epochs: Annotated[int, Field(ge=1)] = 30
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    ema: Fraction = 0.99


class VotesSettings(image_network.ImageSettings):
    """Votes on a tree of questions."""

    tree: str | DecisionTree = "simulated"
    """Questions and answers: `galaxy_zoo_2`, `simulated`, a YAML file, or the tree itself."""
    column: str = "{question}_{answer}"
    """Name of the column with the number of votes for an answer."""
    likelihood: Literal["dirichlet_multinomial", "mse"] = "dirichlet_multinomial"
    """Likelihood of the counts (Walmsley et al. 2022), or squared error of the fractions."""
    train: VotesTraining = VotesTraining()


class Votes(Task):
    """Fractions of votes as Dirichlet distributions, one per question (Walmsley et al. 2022, MNRAS 509, 3966)."""

    name = "votes"
    title = "Votes of volunteers"
    Settings = VotesSettings
    metric_names = ("rmse", "agreement", "nll", "coverage_68")
    headline = ("rmse",)

    @classmethod
    def fit_constants(cls, settings: VotesSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Keep the tree with the model; scale the features; start from the mean fractions."""
        tree = read_tree(settings.tree)
        counts = _counts(store, settings, tree, train)
        totals = counts.sum(0)
        mean = np.concatenate([(totals[part] + 1) / (totals[part] + 1).sum() for part in tree.parts.values()])
        return {
            "tree": tree.model_dump(mode="json"),
            "mean": mean.tolist(),
            **image_network.fit_features(settings, store, train),
        }

    @classmethod
    def missing_truth(cls, settings: VotesSettings, store: Reader) -> str | None:
        """A column of counts per answer is needed."""
        names = read_tree(settings.tree).columns(settings.column)
        return next((why for name in names if (why := missing_column(store, cls.name, name))), None)

    @classmethod
    def labelled(cls, settings: VotesSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Keep the objects that somebody voted on."""
        counts = _counts(store, settings, read_tree(settings.tree), indices)
        return indices[counts.sum(1) > 0]

    @property
    def tree(self) -> DecisionTree:
        """Questions and answers."""
        return DecisionTree.model_validate(self.context.constants["tree"])

    @property
    def parts(self) -> dict[str, slice]:
        """Question -> its answers among all."""
        return self.tree.parts

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Normalised image, and standardised features."""
        return {**super().inputs(cutouts), **image_network.features(self.context.constants, cutouts)}

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Votes for each answer, (n, A)."""
        return {"votes": self.truth(store, indices)["votes"].astype(np.float32)}

    def build(self) -> nn.Module:
        """Network by its name, a number per answer."""
        network = image_network.build(self.settings, self.context, self.n_channels, self.tree.n_answers)
        with torch.no_grad():
            # a first guess for every galaxy: the mean fractions, as of ten votes
            mean = torch.tensor(self.context.constants["mean"])
            start = mean.log() if self.settings.likelihood == "mse" else torch.expm1(10 * mean).clamp_min(1e-3).log()
            network.head.bias.copy_(start)
            network.head.weight.mul_(0.1)
        return network

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Likelihood of the votes, or squared error of their fractions; questions that nobody was asked count nothing."""
        outputs, votes = network(seen(batch), batch.get("features")).float(), batch["votes"]
        total = outputs.new_zeros(len(votes))
        for part in self.parts.values():
            asked = votes[:, part]
            if self.settings.likelihood == "mse":
                n = asked.sum(1, keepdim=True)
                error = (outputs[:, part].softmax(1) - asked / n.clamp_min(1)).square().sum(1)
                total = total + error * (n[:, 0] > 0)
            else:
                total = total + dirichlet_multinomial_nll(_positive(outputs[:, part]), asked)
        return total.mean(), {}

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit one factor on the concentrations (or, after squared errors, one concentration) per question."""
        if validation is None:
            return {}
        alpha = torch.cat([self._concentration(network, batch) for batch in validation.in_order(128)]).double()
        votes = validation.tensors["votes"].double()
        factors = []
        for part in self.parts.values():
            tried = [float(dirichlet_multinomial_nll(alpha[:, part] * f, votes[:, part]).mean()) for f in FACTORS]
            factors.append(float(FACTORS[int(np.argmin(tried))]))
        return {"factors": factors}

    def _concentration(self, network: nn.Module, batch: Batch) -> Tensor:
        """Give the parameters of the Dirichlet distributions, (B, A), averaged over the eight views."""
        maps = seen(batch)
        views = [network(dihedral(maps, element), batch.get("features")).float() for element in range(8)]
        if self.settings.likelihood == "dirichlet_multinomial":
            return torch.stack([_positive(view) for view in views]).mean(0)
        parts = self.parts.values()
        return torch.stack([torch.cat([view[:, part].softmax(1) for part in parts], 1) for view in views]).mean(0)

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Parameters of the Dirichlet distribution of the fractions of each question, calibrated."""
        alpha = self._concentration(network, batch)
        factors = self.context.constants.get("factors", [1.0] * len(self.parts))
        return {
            "concentration": torch.cat(
                [alpha[:, part] * f for part, f in zip(self.parts.values(), factors, strict=True)], 1
            )
        }

    def finish(self, predictions: Arrays) -> Arrays:
        """Add mean and standard deviation of the fractions."""
        alpha = predictions["concentration"]
        fraction, error = np.empty_like(alpha), np.empty_like(alpha)
        for part in self.parts.values():
            total = alpha[:, part].sum(1, keepdims=True)
            fraction[:, part] = alpha[:, part] / total
            error[:, part] = np.sqrt(fraction[:, part] * (1 - fraction[:, part]) / (total + 1))
        return {"concentration": alpha, "fraction": fraction, "error": error}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Expected fraction of each answer and its standard deviation."""
        columns = []
        for i, name in enumerate(self.tree.columns("{question}_{answer}")):
            name = name.removeprefix("votes_")
            about = f"fraction of votes for {name.replace('_', ' ')}"
            columns.append(Column(f"votes_{name}", predictions["fraction"][:, i], None, about, "stat.probability"))
            columns.append(
                Column(f"votes_{name}_error", predictions["error"][:, i], None, f"its standard deviation", "stat.error")
            )
        return columns

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Votes for each answer, (n, A)."""
        return {"votes": _counts(store, self.settings, self.tree, indices)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Error of the cumulative fractions, agreement on the first question, likelihood, coverage."""
        tree = self.tree
        alpha = predictions["concentration"] if "concentration" in predictions else None
        arrays = predictions["fraction"], truth["votes"]
        metrics = measured(
            {
                "rmse": lambda fraction, votes: vote_metrics.rmse(fraction, votes, tree),
                "agreement": lambda fraction, votes: vote_metrics.agreement(fraction, votes, tree),
            },
            *arrays,
        )
        if alpha is not None:
            metrics |= measured(
                {
                    "nll": lambda alpha, votes: vote_metrics.nll(alpha, votes, tree),
                    "coverage_68": lambda alpha, votes: vote_metrics.coverage(alpha, votes, tree, 0.68),
                },
                alpha,
                truth["votes"],
            )
        return metrics
