"""Outliers: a Wasserstein GAN with an encoder learns what galaxies look like; what it cannot redraw is odd."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astrodl.baselines import outliers as rivals
from astrodl.catalog import Column
from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.dataset import Batch, Cutouts, Resident
from astrodl.losses import gradient_penalty, moment_penalty
from astrodl.metrics import outliers as metrics_of
from astrodl.models.gan import EncoderGAN
from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_against, score_histogram
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Metrics, Report, Task, measured, scale_free_features
from astrodl.tasks.colour import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RINGS = (0.0, 0.12, 0.25, 0.45, 0.8, 1.5)
"""Edges of the annuli of the residual, in units of half the side."""


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

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Normalised image, and the sky noise in units of the softening."""
        softening = np.asarray(self.context.normalization.softening, np.float32)
        sky = np.nan_to_num(cutouts.sky_sigma / softening, nan=0.0)
        return {**super().inputs(cutouts), "sky": sky.astype(np.float32)}

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
            drawn = network.generator(torch.randn_like(codes))
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
        return torch.cat([codes[:half], torch.randn_like(codes[half:])])

    def _noisy(self, clean: Tensor, sky: Tensor) -> Tensor:
        """Add the sky noise to a noise-free image, in linear flux."""
        stretch = self.context.normalization.stretch
        linear = (clean.float() * stretch).clamp(-10, 10).sinh()
        return torch.arcsinh(linear + sky[..., None, None] * torch.randn_like(linear)) / stretch

    def _reconstruction(self, real: Tensor, decoded: Tensor) -> Tensor:
        return functional.smooth_l1_loss(decoded.float(), real, beta=0.2) * 10

    def calibrate(self, network: Any, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit how each residual number runs with flux and peak over the galaxies (unlabelled), and its scatter."""
        parts = [self._residuals(network, batch) for batch in train.in_order(128)]
        if validation is not None:
            parts += [self._residuals(network, batch) for batch in validation.in_order(128)]
        numbers, light = (torch.cat([part[i] for part in parts]).double().cpu().numpy() for i in (0, 1))
        design = _design(light)
        middle, scatter = _robust_fit(design, numbers)
        return {"middle": middle.tolist(), "scatter": scatter.tolist()}

    def predict(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Score the residual numbers, each in units of its scatter among galaxies of like flux and peak."""
        numbers, light = self._residuals(network, batch)
        constants = self.context.constants
        design = torch.from_numpy(_design(light.double().cpu().numpy())).to(numbers)
        middle = design @ torch.tensor(constants["middle"]).to(numbers)
        scatter = (design @ torch.tensor(constants["scatter"]).to(numbers)).exp()
        standard = (numbers - middle) / scatter
        top = standard.sort(1, descending=True).values
        return {"score": top[:, :3].mean(1), "residuals": standard}

    def _residuals(self, network: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Measure the residual image: logarithms of its numbers (B, R), and of flux and peak (B, 2)."""
        stretch = self.context.normalization.stretch
        decoded = network(batch["image"]).float()
        sky = batch["sky"][..., None, None].clamp_min(1e-6)
        real_linear, linear = ((image * stretch).clamp(-12, 12).sinh() / sky for image in (batch["image"], decoded))
        # photon noise grows with the galaxy, and so does what a generator misses
        residual = (real_linear - linear) / (1 + 0.1 * linear.clamp_min(0)).sqrt()
        numbers = _numbers(residual)
        light = real_linear.mean(1)
        smooth = functional.avg_pool2d(light, 3, 1, 1)
        flux = smooth.clamp_min(0).sum((-2, -1))
        return numbers, torch.stack([flux.clamp_min(1).log(), smooth.amax((-2, -1)).clamp_min(0.1).log()], dim=1)

    def finish(self, predictions: Arrays) -> Arrays:
        """Keep the score."""
        return {"score": predictions["score"]}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Score and its rank among all objects of the survey."""
        score = predictions["score"]
        rank = np.empty(len(score))
        rank[np.argsort(score, kind="stable")] = (np.arange(len(score)) + 1) / len(score)
        return [
            Column("outliers_score", score, None, "residual of the redrawn image in standard deviations", "stat.value"),
            Column("outliers_percentile", rank, None, "fraction of objects with a score up to this one", "stat.rank"),
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
    """Describe a residual in units of the noise (B, C, H, W) by the logarithms of power, extremes, colours, annuli."""
    smooth = functional.avg_pool2d(residual, 3, 1, 1) * 3
    magnitude = smooth.abs().flatten(2)
    rings = _rings(residual)
    white = smooth.mean(1, keepdim=True)
    parts = [
        residual.square().mean((2, 3)),
        magnitude.quantile(0.98, dim=2),
        magnitude.amax(2),
        (smooth - white).square().mean((2, 3)),
        torch.einsum("bchw,rhw->bcr", residual.square(), rings).flatten(1),
        torch.einsum("bhw,rhw->br", white.squeeze(1).square(), rings),
    ]
    return torch.cat(parts, dim=1).clamp_min(1e-4).log()


def _rings(residual: Tensor) -> Tensor:
    """Give the normalised annuli (R, H, W)."""
    axis = torch.linspace(-1, 1, residual.shape[-1], device=residual.device)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    masks = torch.stack([(radius >= a) & (radius < b) for a, b in pairwise(RINGS)]).float()
    return masks / masks.sum((1, 2), keepdim=True)


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
