"""Outliers: a Wasserstein GAN with an encoder learns what galaxies look like; what it cannot redraw is odd."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astrodl import distributed
from astrodl.baselines import outliers as rivals
from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.data.batches import Batch, Cutouts, Resident
from astrodl.losses import gradient_penalty, moment_penalty, stable_asinh
from astrodl.metrics import outliers as metrics_of
from astrodl.models.gan import EncoderGAN
from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_against, score_histogram
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import (
    Arrays,
    Metrics,
    Report,
    Task,
    measured,
    moments,
    picked,
    scale_free_features,
    standardize,
)
from astrodl.tasks.colour import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REGIONS = {"everywhere": (0.98, None), "galaxy": (0.90, 0.69), "core": (None, 0.44)}
"""Parts of the residual image: quantile of its modulus (None: power of the excess), radius in half sides."""


TABLE = 64
"""Number of quantiles that describe the distribution of a part of the score."""
RANKS = 128
"""Number of quantiles that describe the distribution of the score, and as many again for its tail."""


class OutlierTraining(TrainSettings):
    """Training loop of the GAN."""

    epochs: Annotated[int, Field(ge=1)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = 10.0
    ema: Fraction = 0.99


class OutlierSettings(TaskSettings):
    """Outliers."""

    latent: Annotated[int, Field(ge=1)] = 32
    """Number of latent dimensions."""
    autoencoder: Annotated[int, Field(ge=0)] = 12
    """Updates of generator and encoder on the reconstruction per cycle."""
    critic: Annotated[int, Field(ge=1)] = 5
    """Updates of the critic per cycle (Gulrajani et al. 2017)."""
    generator: Annotated[int, Field(ge=1)] = 1
    """Adversarial updates of generator and encoder per cycle."""
    penalty: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the gradient penalty."""
    adversarial: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the critic's value beside the reconstruction."""
    moments: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the penalty that keeps the codes standard normal."""
    features: bool = True
    """Let unusual magnitudes, colours and structure add to the score, beside the residual of the redrawn image."""
    target: str = "oddity"
    """Column with the kind of oddity, empty for none; used to measure, never to train."""
    widths: tuple[int, ...] = (32, 64, 64, 64)
    """Channels of the encoder; the generator's in reverse."""
    critic_widths: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the critic; its gradient penalty is the dearest part of an update."""
    train: OutlierTraining = OutlierTraining()


class Outliers(Task):
    """WGAN-GP with a joint encoder (Storey-Fisher et al. 2021, MNRAS 508, 2946; f-AnoGAN, Schlegl et al. 2019).

    The generator makes the noise-free image; the known sky noise is added before the critic looks.
    """

    name = "outliers"
    title = "Outliers"
    Settings = OutlierSettings
    metric_names = ("auc", "average_precision", "recall_top1", "recall_top5")
    headline = ("auc",)

    @property
    def phases(self) -> Mapping[str, int]:  # type: ignore[override]
        """Give the updates per cycle."""
        settings = self.settings
        phases = {"autoencoder": settings.autoencoder, "critic": settings.critic, "generator": settings.generator}
        return {phase: updates for phase, updates in phases.items() if updates}

    @classmethod
    def fit_constants(cls, settings: OutlierSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fix the scaling of the features."""
        names = scale_free_features(store.feature_names)
        indices = [store.feature_names.index(name) for name in names]
        return {"features": indices, **moments(store.features(names, train))}

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Normalised image, the sky noise in units of the softening, standardised features."""
        softening, constants = np.asarray(self.context.normalization.softening, np.float32), self.context.constants
        sky = np.nan_to_num(cutouts.sky_sigma / softening, nan=0.0)
        chosen = picked(cutouts.features, constants["features"])
        features = standardize(chosen, constants["mean"], constants["scale"])[:, : chosen.shape[1]]
        return {**super().inputs(cutouts), "sky": sky.astype(np.float32), "features": features}

    def build(self) -> nn.Module:
        """Make generator, encoder and critic."""
        settings = self.settings
        return EncoderGAN(
            len(self.context.bands),
            settings.latent,
            size=self.context.size,
            widths=settings.widths,
            critic_widths=settings.critic_widths,
        )

    def parameters(self, network: Any, phase: str) -> Iterable[nn.Parameter]:
        """Critic in its phase, generator and encoder in the others."""
        assert isinstance(network, EncoderGAN)
        if phase == "critic":
            return network.critic.parameters()
        return [*network.generator.parameters(), *network.encoder.parameters()]

    def loss(self, network: Any, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction with normal codes; Wasserstein distance with gradient penalty; both for the generator."""
        real = batch["image"]
        if phase == "critic":
            with torch.no_grad():
                fake = self._noisy(network.generator(self._latents(network, real)), batch["sky"])
            distance = network.critic(real).mean() - network.critic(fake).mean()
            penalty = gradient_penalty(network.critic, real, fake)
            return self.settings.penalty * penalty - distance, {"distance": distance, "penalty": penalty}
        codes = network.encoder(real)
        decoded = network.generator(codes)
        reconstruction = self._reconstruction(real, decoded)
        moments = moment_penalty(codes.float())
        loss = reconstruction + self.settings.moments * moments
        terms = {"reconstruction": reconstruction, "moments": moments}
        if phase == "generator":
            drawn = network.generator(distributed.randn_like(codes))
            realism = network.critic(self._noisy(torch.cat([decoded, drawn]), batch["sky"].repeat(2, 1))).mean()
            loss = loss - self.settings.adversarial * min(1.0, 2 * done) * realism
            terms["realism"] = realism
        return loss, terms

    def validate(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Reconstruction of unseen galaxies."""
        return {"loss": self._reconstruction(batch["image"], network(batch["image"]))}

    def _latents(self, network: Any, real: Tensor) -> Tensor:
        """Half of the fakes are redrawn galaxies, half are drawn from the prior."""
        codes = network.encoder(real)
        half = len(codes) // 2
        return torch.cat([codes[:half], distributed.randn_like(codes[half:])])

    def _noisy(self, clean: Tensor, sky: Tensor) -> Tensor:
        """Add the sky noise to a noise-free image, in linear flux."""
        stretch = self.context.normalization.stretch
        linear = (clean.float() * stretch).clamp(-10, 10).sinh()
        return stable_asinh(linear + sky[..., None, None] * distributed.randn_like(linear)) / stretch

    def _reconstruction(self, real: Tensor, decoded: Tensor) -> Tensor:
        return functional.smooth_l1_loss(decoded.float(), real, beta=0.2) * 10

    def calibrate(self, network: Any, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit, without labels, what residuals and features are usual.

        How each residual number runs with flux and peak, the covariance of the features, and the distributions of each
        part of the score and of the score, over training and validation objects; oddities among them are clipped.
        """
        batches = [batch for part in (train, validation) if part is not None for batch in part.in_order(128)]
        measured_of = [self._residuals(network, batch) for batch in batches]
        numbers, light = (np.concatenate([pair[i].double().cpu().numpy() for pair in measured_of]) for i in (0, 1))
        middle, scatter = _robust_fit(_design(light), numbers)
        constants = {"middle": middle.tolist(), "scatter": scatter.tolist()}
        features = torch.cat([batch["features"] for batch in batches]).double().cpu().numpy()
        if self.settings.features:
            centre, precision = _robust_covariance(features)
            constants |= {"centre": centre.tolist(), "precision": precision.tolist()}
        parts = self._parts(numbers, light, features, constants)
        levels = np.geomspace(1, 1 / len(parts), TABLE)
        constants["surprise"] = (-np.log(levels)).tolist()
        constants["table"] = np.quantile(parts, 1 - levels, axis=0).T.tolist()
        return constants | _rank_table(_score(parts, constants))

    def predict(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Add up how surprising each part of the residual, and the features, are among galaxies of like flux and peak.

        The surprise is minus the logarithm of the fraction of the training objects with a larger value. The percentile
        is the fraction of training and validation objects with a lower score: it depends on no other object that is
        predicted.
        """
        constants = self.context.constants
        numbers, light = (tensor.double().cpu().numpy() for tensor in self._residuals(network, batch))
        parts = self._parts(numbers, light, batch["features"].double().cpu().numpy(), constants)
        score = _score(parts, constants)
        return {"score": torch.from_numpy(score), "percentile": torch.from_numpy(_percentile(score, constants))}

    def _parts(
        self, numbers: np.ndarray, light: np.ndarray, features: np.ndarray, constants: Mapping[str, Any]
    ) -> np.ndarray:
        """Give the parts of the score (B, P): the largest number of each region, the distance of the features."""
        design = _design(light)
        standard = (numbers - design @ np.array(constants["middle"])) / np.exp(design @ np.array(constants["scatter"]))
        parts = list(standard.reshape(len(standard), len(REGIONS), -1).max(2).T)
        if "precision" in constants:
            parts.append(_distance(features, np.array(constants["centre"]), np.array(constants["precision"])))
        return np.stack(parts, axis=1)

    def _residuals(self, network: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Measure the residual image: logarithms of its numbers (B, R), and of flux and peak (B, 2)."""
        stretch = self.context.normalization.stretch
        decoded = network(batch["image"]).float()
        sky = batch["sky"][..., None, None].clamp_min(1e-6)
        real_linear, linear = ((image * stretch).clamp(-12, 12).sinh() / sky for image in (batch["image"], decoded))
        # photon noise grows with the galaxy, and so does what a generator misses: 5 % of the light
        bright = linear.clamp_min(0)
        # `filled` put exactly zero where nothing was observed: no residual there
        residual = (real_linear - linear) * (batch["image"] != 0)
        numbers = _numbers(residual / (1 + 0.1 * bright + (0.05 * bright) ** 2).sqrt())
        light = real_linear.mean(1)
        smooth = functional.avg_pool2d(light, 3, 1, 1)
        flux = smooth.clamp_min(0).sum((-2, -1))
        return numbers, torch.stack([flux.clamp_min(1).log(), smooth.amax((-2, -1)).clamp_min(0.1).log()], dim=1)

    def finish(self, predictions: Arrays) -> Arrays:
        """Keep score and percentile."""
        return {name: predictions[name] for name in ("score", "percentile")}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Score, and its rank among the objects that the network was trained and validated on."""
        score, rank = predictions["score"], predictions["percentile"]
        ranked = "fraction of training and validation objects with a lower score"
        return [
            Column("outliers_score", score, None, "sum of the surprise (nats) of residual and features", "stat.value"),
            Column("outliers_percentile", rank, None, ranked, "stat.rank"),
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Kind of oddity, empty for none."""
        return {"oddity": store.column(self.settings.target, indices)} if store.has_column(self.settings.target) else {}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """How the score ranks the known oddities."""
        if "oddity" not in truth or not (truth["oddity"] != "").any():
            return {}
        statistics = {
            "auc": metrics_of.auc,
            "average_precision": metrics_of.average_precision,
            "recall_top1": lambda s, t: metrics_of.recall_top(s, t, 0.01),
            "recall_top5": lambda s, t: metrics_of.recall_top(s, t, 0.05),
        }
        return measured(statistics, predictions["score"], truth["oddity"] != "")

    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Isolation forest and nearest neighbours on the measured features."""
        names = scale_free_features(store.feature_names)
        x, y = store.features(names, train), store.features(names, test)
        return {
            "isolation_forest": ({"score": rivals.isolation_forest(x, y)}, {}),
            "knn": ({"score": rivals.knn_distance(x, y)}, {}),
        }

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Ranked sheet, score against signal-to-noise, and with known oddities histogram, curves and kinds."""
        score, oddity = predictions["score"], truth.get("oddity")
        top = np.argsort(-score, kind="stable")[:30]
        kinds = None if oddity is None else oddity[top]
        drawn = {"top": ranked_sheet(colour(store, indices[top]), score[top], kinds, n_total=len(score))}
        if "snr" in store.feature_names:
            snr = store.features(["snr"], indices)[:, 0]
            drawn["score_snr"] = score_against(score, snr, label="S/N", oddity=oddity, logarithmic=True)
        if oddity is not None and (oddity != "").any():
            drawn["histogram"] = score_histogram(score, oddity)
            drawn["curves"] = detection_curves(score, oddity != "", baselines=report.of("score"))
            drawn["kinds"] = recall_by_kind(score, oddity, baselines=report.of("score"))
        return drawn


def _numbers(residual: Tensor) -> Tensor:
    """Describe a residual in units of the noise (B, C, H, W) by the logarithms of a number per region and band."""
    smooth = functional.avg_pool2d(residual, 3, 1, 1) * 3
    axis = torch.linspace(-1, 1, residual.shape[-1], device=residual.device)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    parts = []
    for quantile, limit in REGIONS.values():
        inside = smooth[..., radius < limit] if limit is not None else smooth.flatten(2)
        number = inside.abs().quantile(quantile, dim=2) if quantile else inside.clamp_min(0).square().mean(2)
        parts.append(number)
    return torch.cat(parts, dim=1).clamp_min(1e-4).log()


def _score(parts: np.ndarray, constants: Mapping[str, Any]) -> np.ndarray:
    """Add up the surprise of the parts of the score (B, P)."""
    known = zip(parts.T, constants["table"], strict=True)
    return np.sum([_surprise(part, table, constants["surprise"]) for part, table in known], axis=0)


def _rank_table(score: np.ndarray) -> dict[str, list[float]]:
    """Describe the distribution of a score by quantiles: even steps, and in the tail even ones of the logarithm."""
    below = np.union1d(np.linspace(0, 1, RANKS), 1 - np.geomspace(1, 1 / len(score), RANKS))
    return {"below": below.tolist(), "scores": np.quantile(score, below).tolist()}


def _percentile(score: np.ndarray, constants: Mapping[str, Any]) -> np.ndarray:
    """Interpolate the fraction of the objects of the table with a lower score."""
    return np.interp(score, constants["scores"], constants["below"])


def _surprise(values: np.ndarray, table: list[float], levels: list[float]) -> np.ndarray:
    """Interpolate the surprise of values; beyond the largest of the table it goes on with the table's mean slope."""
    slope = levels[-1] / max(table[-1] - table[0], 1e-6)
    return np.interp(values, table, levels) + slope * np.maximum(values - table[-1], 0)


def _distance(features: np.ndarray, centre: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Mahalanobis distance of standardised features."""
    offset = features - centre
    return np.sqrt(np.einsum("ij,jk,ik->i", offset, precision, offset))


def _robust_covariance(features: np.ndarray, ridge: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Fit centre and precision matrix; the outermost twentieth is left out twice."""
    keep = np.ones(len(features), dtype=bool)
    for _ in range(3):
        centre = features[keep].mean(0)
        covariance = np.atleast_2d(np.cov(features[keep].T))
        precision = np.linalg.inv(covariance + ridge * np.eye(len(centre)))
        distance = _distance(features, centre, precision)
        keep = distance <= np.quantile(distance, 0.95)
    return centre, precision


def _design(light: np.ndarray) -> np.ndarray:
    """Quadratic polynomial of log flux and log peak: (N, 2) -> (N, 6)."""
    flux, peak = (light - np.array([5.0, 2.0])).T / 2
    return np.stack([np.ones_like(flux), flux, peak, flux * flux, flux * peak, peak * peak], axis=1)


def _robust_fit(design: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit each number, and the logarithm of its scatter, as polynomials; oddities among the objects are clipped."""
    keep = np.ones(len(design), dtype=bool)
    ridge = 1e-3 * np.eye(design.shape[1])
    for _ in range(3):
        solve = np.linalg.solve(design[keep].T @ design[keep] + ridge, design[keep].T)
        middle = solve @ numbers[keep]
        deviation = np.abs(numbers - design @ middle)
        scatter = solve @ np.log(deviation[keep] + 1e-3)
        # the mean logarithm of |N(0, 1)| is -0.635
        scatter[0] += 0.635
        largest = (deviation / np.exp(design @ scatter)).max(1)
        keep = largest < np.quantile(largest, 0.95)
    return middle, scatter


TASK = Outliers
