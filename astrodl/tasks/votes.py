"""Votes of volunteers on a tree of questions: expected fractions with their uncertainty, from the image."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn import functional

from astrodl.baselines.votes import forest, mean_fractions
from astrodl.config import Fraction, TrainSettings, VoteTree, read_tree
from astrodl.data.augment import dihedral
from astrodl.data.batches import Batch, Cutouts, Resident
from astrodl.losses import dirichlet_multinomial_nll, multinomial_nll
from astrodl.metrics import votes as vote_metrics
from astrodl.plots.votes import fraction_errors, fraction_scatter
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks import image_network
from astrodl.tasks.base import Arrays, Metrics, Report, Task, measured, missing_column, scale_free_features, seen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 0.05
"""Smallest parameter of a Dirichlet distribution."""
FACTORS = np.geomspace(0.2, 200, 91)
"""Factors on the concentration that are tried in calibration."""
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
    """Share of the training over which the multinomial likelihood, which asks for the fractions alone, passes into the
    Dirichlet-multinomial one. At the concentrations below one of a network that does not know the fractions yet, the
    latter says little more than whether an answer had a vote at all."""
    train: VotesTraining = VotesTraining()


class Votes(Task):
    """Fractions of votes as Dirichlet distributions, one per question (Walmsley et al. 2022, MNRAS 509, 3966)."""

    name = "votes"
    title = "Votes of volunteers"
    Settings = VotesSettings
    metric_names = ("vote_rmse", "agreement", "nll", "coverage_68")
    headline = ("vote_rmse",)

    @classmethod
    def fit_constants(cls, settings: VotesSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Start from the mean fractions; scale the features."""
        counts = _counts(store, settings.tree, train).sum(0) + 1.0
        mean = [counts[part] / counts[part].sum() for part in settings.tree.slices.values()]
        return {"mean": np.concatenate(mean).tolist(), **image_network.fit_features(settings, store, train)}

    @classmethod
    def missing_truth(cls, settings: VotesSettings, store: Reader) -> str | None:
        """Votes are needed, a column per answer."""
        return next((why for name in settings.tree.columns if (why := missing_column(store, cls.name, name))), None)

    @classmethod
    def labelled(cls, settings: VotesSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Keep the objects that somebody voted on."""
        return indices[_counts(store, settings.tree, indices).sum(1) > 0]

    @property
    def tree(self) -> VoteTree:
        """Questions and answers."""
        return self.settings.tree

    @property
    def parts(self) -> list[slice]:
        """The answers of each question among all."""
        return list(self.settings.tree.slices.values())

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Normalised image, and standardised features."""
        return {**super().inputs(cutouts), **image_network.features(self.context.constants, cutouts)}

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Votes for each answer, (n, A)."""
        return {"votes": self.truth(store, indices)["votes"].astype(np.float32)}

    def build(self) -> nn.Module:
        """Network by its name, a number per answer."""
        network = image_network.build(self.settings, self.context, self.n_channels, len(self.tree.columns))
        with torch.no_grad():
            # a first guess for every galaxy: the mean fractions, as of ten votes
            mean = torch.tensor(self.context.constants["mean"])
            start = mean.log() if self.settings.likelihood == "mse" else torch.expm1(10 * mean).clamp_min(1e-3).log()
            network.head.bias.copy_(start)
            network.head.weight.mul_(0.1)
        return network

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Likelihood of the votes, or squared error of their fractions; what nobody was asked counts nothing."""
        outputs, votes = network(seen(batch), batch.get("features")).float(), batch["votes"]
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

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit one factor on the concentrations (or, after squared errors, one concentration) per question."""
        if validation is None:
            return {}
        alpha = torch.cat([self._concentration(network, batch) for batch in validation.in_order(128)]).double()
        votes = validation.tensors["votes"].double()
        factors = []
        for part in self.parts:
            tried = [float(dirichlet_multinomial_nll(alpha[:, part] * f, votes[:, part]).mean()) for f in FACTORS]
            factors.append(float(FACTORS[int(np.argmin(tried))]))
        return {"factors": factors}

    def _concentration(self, network: nn.Module, batch: Batch) -> Tensor:
        """Give the parameters of the Dirichlet distributions, (B, A), averaged over the views."""
        maps = seen(batch)
        views = [
            network(dihedral(maps, element), batch.get("features")).float() for element in range(self.settings.views)
        ]
        if self.settings.likelihood == "dirichlet_multinomial":
            return torch.stack([_positive(view) for view in views]).mean(0)
        fractions = [torch.cat([view[:, part].softmax(1) for part in self.parts], 1) for view in views]
        return torch.stack(fractions).mean(0)

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Parameters of the Dirichlet distribution of the fractions of each question, calibrated."""
        alpha = self._concentration(network, batch)
        factors = self.context.constants.get("factors", [1.0] * len(self.parts))
        return {
            "concentration": torch.cat([alpha[:, part] * f for part, f in zip(self.parts, factors, strict=True)], 1)
        }

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
        """Give the expected fraction of each answer and its standard deviation."""
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
        """Votes for each answer, (n, A)."""
        return {"votes": _counts(store, self.tree, indices)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Error of the cumulative fractions, agreement with the majority; likelihood and coverage of the votes."""
        tree, votes = self.tree, truth["votes"]

        def rmse(fraction: np.ndarray, votes: np.ndarray) -> float:
            return vote_metrics.vote_fraction_rmse(fraction, vote_metrics.fractions(votes, tree), tree)

        def agreement(fraction: np.ndarray, votes: np.ndarray) -> float:
            first = self.parts[0]
            return float((fraction[:, first].argmax(1) == votes[:, first].argmax(1)).mean())

        metrics = measured({"vote_rmse": rmse, "agreement": agreement}, predictions["fraction"], votes)
        if "concentration" in predictions:
            statistics = {
                "nll": lambda alpha, votes: vote_metrics.nll(alpha, votes, tree),
                "coverage_68": lambda alpha, votes: vote_metrics.coverage(alpha, votes, tree, SHARE),
            }
            metrics |= measured(statistics, predictions["concentration"], votes)
        return metrics

    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Mean fractions of all galaxies, and a random forest on magnitudes, colours and structure."""
        names, fractions = scale_free_features(store.feature_names), vote_metrics.fractions
        share = fractions(self.truth(store, train)["votes"], self.tree)
        x, y = store.features(names, train), store.features(names, test)
        return {
            "mean": ({"fraction": mean_fractions(share, len(test))}, {}),
            "forest": ({"fraction": forest(x, share, y)}, {}),
        }

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Fractions against those of the volunteers, and whether the errors are what they claim."""
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
    """Give the variance that the number of votes adds to the observed fraction."""
    fraction = predictions["fraction"]
    spread = fraction * (1 - fraction) - predictions["error"] ** 2
    return spread / np.maximum(n_votes, 1)


def _counts(store: Reader, tree: VoteTree, indices: np.ndarray) -> np.ndarray:
    """Read the votes for each answer, (n, A); no votes where the catalogue has none."""
    counts = np.stack([store.column(name, indices).astype(float) for name in tree.columns], axis=1)
    return np.nan_to_num(counts).clip(0)


def _positive(outputs: Tensor) -> Tensor:
    return functional.softplus(outputs) + LEAST


TASK = Votes
