"""Outliers: a Wasserstein GAN with an encoder; galaxies that it reconstructs badly have high scores."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astrodl import distributed
from astrodl.baselines import outliers as baselines
from astrodl.calibration import surprise
from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.explanation.numerical import differentiate
from astrodl.explanation.target import Quantity
from astrodl.losses import gradient_penalty, moment_penalty, stable_asinh
from astrodl.metrics import outliers as metrics_of
from astrodl.models.gan import EncoderGAN
from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_histogram, score_trend
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task, refuse_augmentation, refuse_settings
from astrodl.tasks.catalog_columns import name_kinds
from astrodl.tasks.colour import colour
from astrodl.tasks.inputs import fit_standardization, scale_free_features, select_columns, standardize
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "OutlierSettings", "OutlierTraining", "Outliers"]

REGIONS = {"everywhere": (0.98, None), "galaxy": (0.90, 0.69), "core": (None, 0.44)}
"""Regions of the residual image: quantile of its modulus (None: power of the excess), radius in half sides."""


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
    """Weight of the penalty that keeps the distribution of the codes standard normal."""
    features: bool = True
    """Whether magnitudes, colours and structure add to the score, beside the residual of the reconstruction."""
    target: str = "oddity"
    """Column with the kind of oddity, empty for none; used for evaluation, never for training."""
    widths: tuple[int, ...] = (32, 64, 64, 64)
    """Channels of the encoder; the generator's in reverse."""
    critic_widths: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the critic; its gradient penalty is the most expensive part of an update."""
    train: OutlierTraining = OutlierTraining()


class Outliers(Task[OutlierSettings, EncoderGAN]):
    """WGAN-GP with a joint encoder (Storey-Fisher et al. 2021, MNRAS 508, 2946; f-AnoGAN, Schlegl et al. 2019).

    The generator makes noise-free images. The known sky noise is added before they reach the critic.
    """

    name = "outliers"
    title = "Outliers"
    Settings = OutlierSettings
    metrics = (
        Metric("auc", "high", "ROC AUC"),
        Metric("average_precision", "high"),
        Metric("recall_top1", "high", "recall in top 1 %"),
        Metric("recall_top5", "high", "recall in top 5 %"),
    )
    headline = ("auc",)
    priority = 2
    page_figures: ClassVar = {"top": "The objects of highest score", "kinds": "Recall by kind of oddity"}
    draft_columns = ()
    small: ClassVar = {"latent": 4, "widths": [8, 16], "critic_widths": [8, 16]}

    @property
    def phases(self) -> Mapping[str, int]:  # type: ignore[override]
        """Updates of each phase per cycle."""
        settings = self.settings
        if not self.context.size:
            return {"autoencoder": max(1, settings.autoencoder)}
        phases = {"autoencoder": settings.autoencoder, "critic": settings.critic, "generator": settings.generator}
        return {phase: updates for phase, updates in phases.items() if updates}

    @classmethod
    def without_images(cls, settings: OutlierSettings, n_bands: int) -> OutlierSettings:
        """Return the settings of an autoencoder of the photometry, without critic."""
        refuse_augmentation(cls.name, settings)
        refuse_settings(
            cls.name, settings, ("critic", "generator", "penalty", "adversarial", "widths", "critic_widths")
        )
        return settings

    @classmethod
    def fit_constants(cls, settings: OutlierSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the scaling of the features."""
        names = scale_free_features(store.feature_names)
        indices = [store.feature_names.index(name) for name in names]
        return {"features": indices, **fit_standardization(store.features(names, train))}

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return normalised images, sky noise in units of the softening, standardised features."""
        softening, constants = np.asarray(self.context.normalization.softening, np.float32), self.context.constants
        sky = np.nan_to_num(cutouts.sky_sigma / softening, nan=0.0)
        chosen = select_columns(cutouts.features, constants["features"])
        features = standardize(chosen, constants["mean"], constants["scale"])[:, : chosen.shape[1]]
        if not self.context.size:
            return {"image": features, "features": features}
        return {**super().inputs(cutouts), "sky": sky.astype(np.float32), "features": features}

    def build(self) -> EncoderGAN:
        """Build generator, encoder and critic."""
        settings = self.settings
        if not self.context.size:
            n_features, n_bands = len(self.context.constants["features"]), len(self.context.bands)
            # The magnitudes of galaxies depend on few numbers, such as redshift, luminosity and type.
            return EncoderGAN(n_features, max(1, min(settings.latent, (n_bands + 1) // 2)), size=0)
        return EncoderGAN(
            len(self.context.bands),
            settings.latent,
            size=self.context.size,
            widths=settings.widths,
            critic_widths=settings.critic_widths,
        )

    def parameters(self, network: EncoderGAN, phase: str) -> Iterable[nn.Parameter]:
        """Return the critic's parameters in its phase, those of generator and encoder in the others."""
        assert isinstance(network, EncoderGAN)
        if phase == "critic":
            return network.critic.parameters()
        return [*network.generator.parameters(), *network.encoder.parameters()]

    def loss(self, network: EncoderGAN, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return reconstruction loss with normal codes, Wasserstein distance with gradient penalty, or both."""
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

    def validate(self, network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
        """Return the reconstruction loss."""
        return {"loss": self._reconstruction(batch["image"], network(batch["image"]))}

    def _latents(self, network: EncoderGAN, real: Tensor) -> Tensor:
        """Return codes of generated galaxies: half are encoded galaxies, half are drawn from the prior."""
        codes = network.encoder(real)
        rank, n_ranks = distributed.rank(), distributed.world_size()
        n_objects = n_ranks * len(codes)
        n_encoded = n_objects // 2  # the first rows of the whole batch
        own = len(range(rank, n_encoded, n_ranks))
        drawn = torch.randn(n_objects - n_encoded, codes.shape[1], device=codes.device)
        return torch.cat([codes[:own], drawn[rank + own * n_ranks - n_encoded :: n_ranks]])

    def _noisy(self, clean: Tensor, sky: Tensor) -> Tensor:
        """Add the sky noise to noise-free images, in linear flux."""
        stretch = self.context.normalization.stretch
        linear = (clean.float() * stretch).clamp(-10, 10).sinh()
        return stable_asinh(linear + sky[..., None, None] * distributed.randn_like(linear)) / stretch

    def _reconstruction(self, real: Tensor, decoded: Tensor) -> Tensor:
        return functional.smooth_l1_loss(decoded.float(), real, beta=0.2) * 10

    def calibrate(self, network: EncoderGAN, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit, without labels, what residuals and features are usual.

        How each residual number runs with flux and peak, the covariance of the features, and the distributions of each
        part of the score are those of training and validation objects; oddities among them are clipped. The
        distribution of the score is that of the validation objects, which the network was not trained on.
        """
        batches = [batch for part in (train, validation) if part is not None for batch in part.in_order(128)]
        measured_of = [self._residuals(network, batch) for batch in batches]
        numbers, light = (np.concatenate([pair[i].double().cpu().numpy() for pair in measured_of]) for i in (0, 1))
        features = torch.cat([batch["features"] for batch in batches]).double().cpu().numpy()
        measured = (numbers, light, features if self.settings.features else None)
        constants = surprise.fit_score(*measured, n_regions=self._n_regions)
        held_out = np.arange(len(numbers)) >= len(train)
        if not held_out.any():
            warnings.warn(
                "outliers: there are no validation objects, so that outliers_percentile is NaN; give split.validation",
                stacklevel=2,
            )
            return constants
        return constants | surprise.fit_ranks(*measured, held_out, n_regions=self._n_regions)

    def predict(self, network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
        """Add up how surprising each part of the residual, and the features, are among galaxies of like flux and peak.

        The surprise is minus the logarithm of the fraction of the training objects with a larger value. The percentile
        is the fraction of validation objects with a lower score: it depends on no other object that is predicted.
        """
        constants = self.context.constants
        numbers, light = (tensor.double().cpu().numpy() for tensor in self._residuals(network, batch))
        features = batch["features"].double().cpu().numpy()
        score = surprise.score(numbers, light, features, constants, n_regions=self._n_regions)
        percentile = surprise.percentile(score, constants)
        return {"score": torch.from_numpy(score), "percentile": torch.from_numpy(percentile)}

    def embed(self, network: EncoderGAN, batch: Batch) -> Tensor:
        """Return the code of the image as it is, as `predict` does; it depends on the orientation."""
        return network.encoder(batch["image"])

    def predict_with_gradients(self, network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
        """Return the surprise of each part, (B, P), with gradients by differences in the numbers of the residual."""
        numbers, light = self._residuals(network, batch)
        n, features = numbers.shape[1], batch["features"].double().cpu().numpy()

        def parts(values: np.ndarray) -> np.ndarray:
            return surprise.surprises(
                values[:, :n], values[:, n:], features, self.context.constants, n_regions=self._n_regions
            )

        return {"parts": differentiate(parts, torch.cat([numbers, light], dim=1))}

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the score, and the part of each region of the residual; features are no function of the image."""

        def part(i: int) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
            return lambda predicted, fixed: predicted["parts"][:, i]

        regions = (
            Quantity(f"residual_{name}", "nats", f"surprise of the residual, {name}", part(i))
            for i, name in enumerate(REGIONS)
        )
        return (Quantity("score", "nats", "outlier score", lambda p, fixed: p["parts"].sum(1)), *regions)

    def _residuals(self, network: EncoderGAN, batch: Batch) -> tuple[Tensor, Tensor]:
        """Measure the residual image: logarithms of its numbers (B, R), and of flux and peak (B, 2).

        Without images, those of each feature, and the mean of all in place of flux and peak.
        """
        if not self.context.size:
            residual = (batch["image"] - network(batch["image"]).float()).abs().clamp_min(1e-4).log()
            mean = batch["image"].mean(1)
            return residual, torch.stack([5 + 2 * mean, torch.full_like(mean, 2.0)], dim=1)
        stretch = self.context.normalization.stretch
        decoded = network(batch["image"]).float()
        sky = batch["sky"][..., None, None].clamp_min(1e-6)
        real_linear, linear = ((image * stretch).clamp(-12, 12).sinh() / sky for image in (batch["image"], decoded))
        # photon noise grows with the galaxy, and so does what a generator misses: 5 % of the light
        bright = linear.clamp_min(0)
        # `fill_missing` sets missing pixels to exactly zero: they have no residual
        residual = (real_linear - linear) * (batch["image"] != 0)
        numbers = _numbers(residual / (1 + 0.1 * bright + (0.05 * bright) ** 2).sqrt())
        light = real_linear.mean(1)
        smooth = functional.avg_pool2d(light, 3, 1, 1)
        flux = smooth.clamp_min(0).sum((-2, -1))
        return numbers, torch.stack([flux.clamp_min(1).log(), smooth.amax((-2, -1)).clamp_min(0.1).log()], dim=1)

    @property
    def _n_regions(self) -> int:
        return len(REGIONS) if self.context.size else 1

    def finish(self, predictions: Arrays) -> Arrays:
        """Return score and percentile."""
        return {name: predictions[name] for name in ("score", "percentile")}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the score, and its rank among the validation objects."""
        score, rank = predictions["score"], predictions["percentile"]
        ranked = "fraction of validation objects with a lower score"
        return [
            Column("outliers_score", score, None, "sum of the surprise (nats) of residual and features", "stat.value"),
            Column("outliers_percentile", rank, None, ranked, "stat.rank"),
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the kind of oddity, empty for none."""
        column = self.settings.target
        return {"oddity": name_kinds(store.column(column, indices))} if store.has_column(column) else {}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score the ranking of known oddities."""
        if "oddity" not in truth or not (truth["oddity"] != "").any():
            return {}
        statistics = {
            "auc": metrics_of.auc,
            "average_precision": metrics_of.average_precision,
            "recall_top1": lambda s, t: metrics_of.recall_top(s, t, 0.01),
            "recall_top5": lambda s, t: metrics_of.recall_top(s, t, 0.05),
        }
        return bootstrap_metrics(statistics, predictions["score"], truth["oddity"] != "")

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Score with isolation forest and nearest neighbours on the measured features."""
        x, y = shared_features(scale_free_features, train_store, train, test_store, test)
        return {
            "isolation_forest": ({"score": baselines.isolation_forest(x, y)}, {}),
            "knn": ({"score": baselines.knn_distance(x, y)}, {}),
        }

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw ranked sheet, score against signal-to-noise ratio, and histogram, curves and kinds of known oddities."""
        score, oddity = predictions["score"], truth.get("oddity")
        top = np.argsort(-score, kind="stable")[:30]
        kinds = None if oddity is None else oddity[top]
        drawn = {}
        if store.has_images:
            drawn["top"] = ranked_sheet(colour(store, indices[top]), score[top], kinds, n_total=len(score))
        if "snr" in store.feature_names:
            snr = store.features(["snr"], indices)[:, 0]
            drawn["score_snr"] = score_trend(score, snr, label="S/N", oddity=oddity, logarithmic=True)
        if oddity is not None and (oddity != "").any():
            drawn["histogram"] = score_histogram(score, oddity)
            drawn["curves"] = detection_curves(score, oddity != "", baselines=evaluation.of("score"))
            drawn["kinds"] = recall_by_kind(score, oddity, baselines=evaluation.of("score"))
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


TASK = Outliers
