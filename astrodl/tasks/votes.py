"""Votes of volunteers on a decision tree: expected vote fractions with uncertainties, from images."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn import functional

from astrodl.baselines.votes import forest, mean_fractions
from astrodl.config import Fraction, TrainSettings, VoteTree, read_tree
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.explanation.target import Quantity
from astrodl.losses import dirichlet_multinomial_nll, multinomial_nll
from astrodl.metrics import votes as vote_metrics
from astrodl.models.hybrid import HybridNetwork
from astrodl.plots.votes import fraction_errors, fraction_scatter
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks import image_network
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task, missing_column
from astrodl.tasks.catalog_columns import read_numbers
from astrodl.tasks.inputs import network_input, scale_free_features
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Votes", "VotesSettings", "VotesTraining"]

LEAST = 0.05
"""Smallest parameter of a Dirichlet distribution."""
FACTORS = np.geomspace(0.2, 200, 91)
"""Factors on the concentration that the calibration compares."""
SIMULATED = {"questions": [{"name": "votes", "answers": ["elliptical", "lenticular", "spiral", "irregular", "merger"]}]}
SHARE = 0.68

Tree = Annotated[
    VoteTree,
    BeforeValidator(
        lambda given: read_tree(given) if isinstance(given, str) else given, json_schema_input_type=VoteTree | str
    ),
]


class VotesTraining(TrainSettings):
    """Training loop of the votes."""

    epochs: Annotated[int, Field(ge=1)] = 30
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    ema: Fraction = 0.99


class VotesSettings(image_network.ImageSettings):
    """Votes on a tree of questions."""

    unused_augmentations: ClassVar = ("mixup",)

    tree: Tree = VoteTree.model_validate(SIMULATED)
    """Questions and answers, or a YAML file that holds them such as config/trees/galaxy_zoo_2.yaml; the number of votes
    for an answer is in the column `{question}_{answer}`. By default the class of simulated galaxies."""
    likelihood: Literal["dirichlet_multinomial", "mse"] = "dirichlet_multinomial"
    """Likelihood of the counts (Walmsley et al. 2022), or squared error of the fractions."""
    warm_up: Fraction = 0.5
    """Share of the training over which the multinomial likelihood, which depends on the fractions alone, changes to the
    Dirichlet-multinomial one. At the small concentrations of the early training, the gradient of the latter hardly
    depends on the number of votes."""
    train: VotesTraining = VotesTraining()


class Votes(Task[VotesSettings, HybridNetwork]):
    """Fractions of votes as Dirichlet distributions, one per question (Walmsley et al. 2022, MNRAS 509, 3966)."""

    name = "votes"
    title = "Votes of volunteers"
    Settings = VotesSettings
    metrics = (
        Metric("vote_rmse", "low"),
        Metric("agreement", "high"),
        Metric("nll", "low", network_only=True),
        Metric("coverage_68", 0.68, "68 % coverage", network_only=True),
    )
    headline = ("vote_rmse",)
    constant_baselines = ("mean",)
    page_figures: ClassVar = {"fractions": "Fractions of votes", "errors": "Errors of the fractions"}
    small: ClassVar = {
        "widths": [8, 16],
        "joint": [16],
        "warm_up": 0.0,
        "tree": {"questions": [{"name": "votes", "answers": ["early", "late"]}]},
    }

    @classmethod
    def fit_constants(cls, settings: VotesSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Start from the mean fractions; scale the features."""
        counts = _counts(store, settings.tree, train).sum(0) + 1.0
        mean = np.concatenate([counts[part] / counts[part].sum() for part in settings.tree.slices.values()]).tolist()
        # the scaling of the features has a `mean`, too
        return {"mean": mean, **image_network.fit_features(settings, store, train), "fractions": mean}

    @classmethod
    def missing_truth(cls, settings: VotesSettings, store: Reader) -> str | None:
        """Return a message if the column of an answer is missing."""
        return next((why for name in settings.tree.columns if (why := missing_column(store, cls.name, name))), None)

    @classmethod
    def labelled(cls, settings: VotesSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects with votes."""
        return indices[_counts(store, settings.tree, indices).sum(1) > 0]

    @property
    def tree(self) -> VoteTree:
        """Questions and answers."""
        return self.settings.tree

    @property
    def parts(self) -> list[slice]:
        """Slice of the answers of each question."""
        return list(self.settings.tree.slices.values())

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return normalised images and standardised features."""
        return {**super().inputs(cutouts), **image_network.features(self.context.constants, cutouts)}

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the votes for each answer, (n, A)."""
        return {"votes": self.truth(store, indices)["votes"].astype(np.float32)}

    def build(self) -> HybridNetwork:
        """Build the network that the settings name, with a number per answer."""
        network = image_network.build(self.settings, self.context, self.n_channels, len(self.tree.columns))
        with torch.no_grad():
            # the network starts at the mean fractions, with the concentration of ten votes
            constants = self.context.constants  # of older models without `fractions`
            mean = torch.tensor(constants.get("fractions", constants["mean"]))
            start = mean.log() if self.settings.likelihood == "mse" else torch.expm1(10 * mean).clamp_min(1e-3).log()
            network.head.bias.copy_(start)
            network.head.weight.mul_(0.1)
        return network

    def loss(self, network: HybridNetwork, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the likelihood of the votes, or the squared error of their fractions, over the questions asked."""
        outputs, votes = network(network_input(batch), batch.get("features")).float(), batch["votes"]
        total = outputs.new_zeros(len(votes))
        for part in self.parts:
            asked = votes[:, part]
            if self.settings.likelihood == "mse":
                n = asked.sum(1, keepdim=True)
                error = (outputs[:, part].softmax(1) - asked / n.clamp_min(1)).square().sum(1)
                total = total + error * (n[:, 0] > 0)
            else:
                alpha = _positive(outputs[:, part])
                spread = dirichlet_multinomial_nll(alpha, asked)
                if done < self.settings.warm_up:
                    known = multinomial_nll(alpha / alpha.sum(1, keepdim=True), asked)
                    spread = known.lerp(spread, done / self.settings.warm_up)
                total = total + spread
        return total.mean(), {}

    def calibrate(self, network: HybridNetwork, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit one factor on the concentrations (or one concentration, after squared errors) per question."""
        if validation is None:
            return {}
        alpha = torch.cat([self._concentration(network, batch) for batch in validation.in_order(128)]).double()
        votes = validation.tensors["votes"].double()
        factors = []
        for part in self.parts:
            tried = [float(dirichlet_multinomial_nll(alpha[:, part] * f, votes[:, part]).mean()) for f in FACTORS]
            factors.append(float(FACTORS[int(np.argmin(tried))]))
        return {"factors": factors}

    def _concentration(self, network: HybridNetwork, batch: Batch) -> Tensor:
        """Return the parameters of the Dirichlet distributions, (B, A), averaged over the views."""
        views = network.head(self._views(network, batch))
        if self.settings.likelihood == "dirichlet_multinomial":
            return _positive(views).mean(0)
        return torch.cat([views[..., part].softmax(2) for part in self.parts], 2).mean(0)

    def _views(self, network: HybridNetwork, batch: Batch) -> Tensor:
        """Return the vector of each view before the head, (views, B, D)."""
        maps = network_input(batch)
        with self.precision(maps):
            return network.views(maps, batch.get("features"), n_views=self.settings.views)

    def embed(self, network: HybridNetwork, batch: Batch) -> Tensor:
        """Return the mean over the views of the vectors before the head."""
        return self._views(network, batch).mean(0)

    def predict(self, network: HybridNetwork, batch: Batch) -> dict[str, Tensor]:
        """Predict the calibrated parameters of the Dirichlet distribution of each question."""
        alpha = self._concentration(network, batch)
        factors = self.context.constants.get("factors", [1.0] * len(self.parts))
        return {
            "concentration": torch.cat([alpha[:, part] * f for part, f in zip(self.parts, factors, strict=True)], 1)
        }

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the expected fraction of the likeliest answer to the first question, and that of each answer."""
        first, names, answers = self.parts[0], self.tree.columns, self.tree.questions[0].answers

        def fraction(part: slice, i: int) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
            return lambda p, fixed: p["concentration"][:, i] / p["concentration"][:, part].sum(1)

        def likeliest(p: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
            alpha = p["concentration"][:, first]
            return alpha.gather(1, fixed)[:, 0] / alpha.sum(1)

        def choose(p: Mapping[str, Tensor]) -> Tensor:
            return p["concentration"][:, first].argmax(1, keepdim=True)

        about = "expected fraction of the likeliest answer to the first question"
        return Quantity("answer", "fraction", about, likeliest, choose, names=answers), *(
            Quantity(names[i], "fraction", f"expected fraction of {names[i]}", fraction(part, i))
            for part in self.parts
            for i in range(part.start, part.stop)
        )

    def finish(self, predictions: Arrays) -> Arrays:
        """Add mean and standard deviation of the fractions."""
        alpha = predictions["concentration"]
        fraction, error = np.empty_like(alpha), np.empty_like(alpha)
        for part in self.parts:
            total = alpha[:, part].sum(1, keepdims=True)
            fraction[:, part] = alpha[:, part] / total
            error[:, part] = np.sqrt(fraction[:, part] * (1 - fraction[:, part]) / (total + 1))
        return {"concentration": alpha, "fraction": fraction, "error": error}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the expected fraction of each answer and its standard deviation."""
        columns = []
        for i, column in enumerate(self.tree.columns):
            name = column.removeprefix("votes_")
            about = f"fraction of votes for {name.replace('_', ' ')}"
            fraction, error = predictions["fraction"][:, i], predictions["error"][:, i]
            columns.append(Column(f"votes_{name}", fraction, None, about, "stat.probability"))
            columns.append(
                Column(f"votes_{name}_error", error, None, f"standard deviation of the {about}", "stat.error")
            )
        return columns

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the votes for each answer, (n, A)."""
        return {"votes": _counts(store, self.tree, indices)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score the fractions, the agreement with the majority, and likelihood and coverage of the votes."""
        tree, votes = self.tree, truth["votes"]

        def rmse(fraction: np.ndarray, votes: np.ndarray) -> float:
            return vote_metrics.vote_fraction_rmse(fraction, vote_metrics.fractions(votes, tree), tree)

        def agreement(fraction: np.ndarray, votes: np.ndarray) -> float:
            first = self.parts[0]
            asked = votes[:, first].any(1)
            right = fraction[asked, first].argmax(1) == votes[asked, first].argmax(1)
            return float(right.mean()) if len(right) else float("nan")

        metrics = bootstrap_metrics({"vote_rmse": rmse, "agreement": agreement}, predictions["fraction"], votes)
        if "concentration" in predictions:
            statistics = {
                "nll": lambda alpha, votes: vote_metrics.nll(alpha, votes, tree),
                "coverage_68": lambda alpha, votes: vote_metrics.coverage(alpha, votes, tree, SHARE),
            }
            metrics |= bootstrap_metrics(statistics, predictions["concentration"], votes)
        return metrics

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Predict the mean fractions, and with a random forest on magnitudes, colours and structure."""
        share = vote_metrics.fractions(self.truth(train_store, train)["votes"], self.tree)
        for part in self.parts:
            if np.isnan(share[:, part]).all():  # a question that nobody was asked in the training split
                share[:, part] = 1 / (part.stop - part.start)
        x, y = shared_features(scale_free_features, train_store, train, test_store, test)
        return {
            "mean": ({"fraction": mean_fractions(share, len(test))}, {}),
            "forest": ({"fraction": forest(x, share, y)}, {}),
        }

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw predicted against observed fractions, and the distribution of normalised errors."""
        share = vote_metrics.fractions(truth["votes"], self.tree)
        n_votes = np.concatenate(
            [
                np.repeat(truth["votes"][:, part].sum(1, keepdims=True), part.stop - part.start, 1)
                for part in self.parts
            ],
            1,
        )
        names = [name.removeprefix("votes_").replace("_", " ") for name in self.tree.columns]
        error = np.sqrt(predictions["error"] ** 2 + _binomial(predictions, n_votes))
        return {
            "fractions": fraction_scatter(predictions["fraction"], share, names),
            "errors": fraction_errors(predictions["fraction"], share, error),
        }


def _binomial(predictions: Arrays, n_votes: np.ndarray) -> np.ndarray:
    """Return the variance of the observed fraction due to the number of votes."""
    fraction = predictions["fraction"]
    spread = fraction * (1 - fraction) - predictions["error"] ** 2
    return spread / np.maximum(n_votes, 1)


def _counts(store: Reader, tree: VoteTree, indices: np.ndarray) -> np.ndarray:
    """Read the votes for each answer, (n, A); zero where the catalogue has no value."""
    counts = np.stack([read_numbers(store, name, indices) for name in tree.columns], axis=1)
    return np.nan_to_num(counts, posinf=0).clip(0)


def _positive(outputs: Tensor) -> Tensor:
    return functional.softplus(outputs) + LEAST


TASK = Votes
