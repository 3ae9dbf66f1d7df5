"""Outliers: a Wasserstein GAN with an encoder; galaxies that it reconstructs badly have high scores."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl import distributed
from astrodl.baselines import outliers as baselines
from astrodl.calibration import surprise
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.data.structure import count_numbers, fit_scaling, measure_structure
from astrodl.data.views import SOFTENING, canonicalize, make_views
from astrodl.errors import ConfigError
from astrodl.explanation.numerical import differentiate
from astrodl.explanation.target import Quantity
from astrodl.losses import gradient_penalty, moment_penalty, stable_asinh
from astrodl.models.gan import N_COMPONENTS, EncoderGAN
from astrodl.models.neighbours import MAX_REFERENCES, choose_ordinary, fit_components
from astrodl.products import Column
from astrodl.store import SPLITS, Reader
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task, refuse_augmentation, refuse_settings
from astrodl.tasks.catalog_columns import name_kinds
from astrodl.tasks.inputs import (
    fill_missing,
    fit_standardization,
    fit_units,
    scale_free_features,
    select_columns,
    standardize,
)
from astrodl.tasks.metric import Metric, Metrics
from astrodl.tasks.outliers.report import draw_figures, score_ranking
from astrodl.tasks.outliers.residual import REGIONS, describe_residual
from astrodl.tasks.outliers.settings import PARTS, OutlierSettings, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Outliers"]

_N_IMAGES = 4000
"""Training images to which the principal components of the baselines are fitted, at most."""


class Outliers(Task[OutlierSettings, EncoderGAN]):
    """WGAN-GP with a joint encoder (Storey-Fisher et al. 2021, MNRAS 508, 2946; f-AnoGAN, Schlegl et al. 2019).

    The generator makes noise-free images. The known sky noise is added before they reach the critic.
    """

    name = "outliers"
    explained_by = ("input_x_gradient",)
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
        return settings.model_copy(update={"parts": tuple(part for part in settings.parts if part != "structure")})

    @classmethod
    def labelled(cls, settings: OutlierSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select all objects; of training and validation without the kinds in `exclude`.

        Raises
        ------
        ConfigError
            The store has no object of a kind in `exclude`.
        """
        if not settings.exclude:
            return indices
        if not store.has_column(settings.target):
            raise ConfigError(
                f"tasks.outliers.exclude: {store.path} has no column '{settings.target}' (tasks.outliers.target) with "
                "the kinds; name the column that has them, or leave exclude out"
            )
        kinds = name_kinds(store.column(settings.target))
        known = sorted(set(kinds.tolist()) - {""})
        if unknown := sorted(set(settings.exclude) - set(known)):
            raise ConfigError(
                f"tasks.outliers.exclude: '{unknown[0]}' is not in column '{settings.target}' of {store.path} (has "
                f"{', '.join(known[:20]) or 'none'}); correct the name"
            )
        is_test = store.split[indices] == SPLITS.index("test")
        return indices[is_test | ~np.isin(kinds[indices], settings.exclude)]

    @classmethod
    def fit_constants(cls, settings: OutlierSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the scaling of the features, and the unit of each band unless the store says that all have the same."""
        names = scale_free_features(store.feature_names)
        indices = [store.feature_names.index(name) for name in names]
        constants = {"features": indices, **fit_standardization(store.features(names, train))}
        return constants | fit_units(store, train) if store.has_images else constants

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return normalised images, sky noise in units of the softening, standardised features, structure numbers."""
        softening, constants = np.asarray(self.context.normalization.softening, np.float32), self.context.constants
        sky = np.nan_to_num(cutouts.sky_sigma / softening, nan=0.0)
        chosen = select_columns(cutouts.features, constants["features"])
        features = standardize(chosen, constants["mean"], constants["scale"])[:, : chosen.shape[1]]
        if not self.context.size:
            return {"image": features, "features": features}
        views, _ = make_views(cutouts.images, cutouts.sky_sigma, units=constants.get("units"))
        structure = torch.cat(list(measure_structure(views).values()), 1).numpy()
        return {**super().inputs(cutouts), "sky": sky.astype(np.float32), "features": features, "structure": structure}

    def build(self) -> EncoderGAN:
        """Build generator, encoder and critic."""
        settings, constants = self.settings, self.context.constants
        n_features, n_bands = len(constants["features"]), len(self.context.bands)
        n_references = constants.get("n_references", 0)
        if not isinstance(n_references, int) or not 0 <= n_references <= MAX_REFERENCES:
            raise ValueError(f"n_references is {n_references}, must be a number from 0 to {MAX_REFERENCES}")
        if not self.context.size:
            # The magnitudes of galaxies depend on few numbers, such as redshift, luminosity and type.
            latent = max(1, min(settings.latent, (n_bands + 1) // 2))
            return EncoderGAN(n_features, latent, size=0, n_features=n_features, n_references=n_references)
        return EncoderGAN(
            len(self.context.bands),
            settings.latent,
            size=self.context.size,
            widths=settings.widths,
            critic_widths=settings.critic_widths,
            n_features=n_features,
            n_structure=sum(count_numbers(n_bands)),
            n_references=n_references,
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
        """Fit, without labels, what residuals and neighbours are usual.

        The vectors of ordinary training objects become weights of the network, see `choose_ordinary`. How each residual
        number runs with flux and peak, and the distributions of each part of the score, are those of training and
        validation objects; oddities among them are clipped. The distribution of the score is that of the validation
        objects, which the network was not trained on.
        """
        batches = [batch for part in (train, validation) if part is not None for batch in part.in_order(128)]
        n_references = self._fit_neighbours(network, train)
        measured_of = [self._measure(network, batch) for batch in batches]
        residuals, light, distances = (np.concatenate(column) for column in zip(*measured_of, strict=True))
        measured = (residuals, light, distances)
        constants = surprise.fit_score(*measured, n_regions=self._n_regions) | {"n_references": n_references}
        held_out = np.arange(len(residuals)) >= len(train)
        if not held_out.any():
            warnings.warn(
                "outliers: there are no validation objects, so that outliers_percentile is NaN; give split.validation",
                stacklevel=2,
            )
            return constants
        return constants | surprise.fit_ranks(*measured, held_out, self._weights, n_regions=self._n_regions)

    def _fit_neighbours(self, network: EncoderGAN, train: Dataset) -> int:
        """Keep the vectors of ordinary training objects; return their number."""
        step = -(-len(train) // MAX_REFERENCES)
        batches = [
            {name: tensor[::step] for name, tensor in batch.items() if name in ("features", "structure")}
            for batch in train.in_order(128 * step)
        ]
        chosen = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        if "structure" in chosen:
            structure = chosen["structure"]
            centre, scale = fit_scaling(structure, count_numbers(len(self.context.bands)))
            network.structure_centre.copy_(centre)
            network.structure_axes.copy_(fit_components(structure, centre, scale, N_COMPONENTS))
        spaces = _neighbour_spaces(network, chosen)
        kept = choose_ordinary(spaces)
        network.neighbours.fill([vectors[kept] for vectors in spaces])
        return len(kept)

    def _measure(self, network: EncoderGAN, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Measure residuals, flux and peak, and the distances to neighbours of a batch."""
        tensors = (*self._residuals(network, batch), network.neighbours(_neighbour_spaces(network, batch)))
        residuals, light, distances = (tensor.double().cpu().numpy() for tensor in tensors)
        return residuals, light, distances

    @property
    def _parts(self) -> tuple[Part, ...]:
        """Parts that are measured."""
        return PARTS if self.context.size else ("residual", "features")

    @property
    def _weights(self) -> np.ndarray:
        """One for the parts that the score adds up, zero for the others."""
        return np.array([float(part in self.settings.parts) for part in self._parts])

    def predict(self, network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
        """Predict score, percentile, and the surprise of each part.

        The surprise is minus the logarithm of the fraction of the training objects with a larger value. The percentile
        is the fraction of validation objects with a lower score: it depends on no other object that is predicted.
        """
        constants = self.context.constants
        parts = surprise.measure_surprise(*self._measure(network, batch), constants, n_regions=self._n_regions)
        score = parts @ self._weights
        percentile = surprise.percentile(score, constants)
        return {
            name: torch.from_numpy(values)
            for name, values in {"score": score, "percentile": percentile, "parts": parts}.items()
        }

    def embed(self, network: EncoderGAN, batch: Batch) -> Tensor:
        """Return the code of the image as it is, as `predict` does; it depends on the orientation."""
        return network.encoder(batch["image"])

    def predict_with_gradients(self, network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
        """Return the surprise of each part, (B, P), with gradients to the image.

        Structure is measured from the image, as `inputs` does. Features stay as they were measured before the network,
        which is no function of the image here. From the numbers to the surprise, gradients are differences.
        """
        numbers, light = self._residuals(network, batch)
        n = numbers.shape[1]
        if "structure" in batch:
            batch = {**batch, "structure": self._measure_structure(batch)}
        distances = network.neighbours(_neighbour_spaces(network, batch))

        def parts(values: np.ndarray) -> np.ndarray:
            residuals, light, others = np.split(values, (n, n + 2), axis=1)
            return surprise.measure_surprise(
                residuals, light, others, self.context.constants, n_regions=self._n_regions
            )

        return {"parts": differentiate(parts, torch.cat([numbers, light, distances], dim=1))}

    def expected_image(self, network: EncoderGAN, batch: Batch) -> Tensor:
        """Return the redrawn images: sky without a galaxy is odder than any galaxy."""
        return network(batch["image"]).float()

    def _measure_structure(self, batch: Batch) -> Tensor:
        """Measure the structure numbers of the images of a batch, in units of the softening."""
        softening = batch["sky"].new_tensor(self.context.normalization.softening)
        linear = (batch["image"] * self.context.normalization.stretch).sinh() * softening[:, None, None]
        views, _ = canonicalize(linear, batch["sky"] * softening, units=self.context.constants.get("units"))
        return torch.cat(list(measure_structure(torch.arcsinh(views / SOFTENING)).values()), 1)

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the score, and its parts that depend on the pixels: residual and structure."""
        weights = torch.from_numpy(self._weights)

        def part(i: int) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
            return lambda predicted, fixed: predicted["parts"][:, i]

        about = {"residual": "surprise of the residual", "structure": "surprise of the distance in structure"}
        return (
            Quantity("score", "nats", "outlier score", lambda p, fixed: p["parts"] @ weights.to(p["parts"])),
            *(Quantity(name, "nats", about[name], part(i)) for i, name in enumerate(self._parts) if name in about),
        )

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
        numbers = describe_residual(residual / (1 + 0.1 * bright + (0.05 * bright) ** 2).sqrt())
        light = real_linear.mean(1)
        smooth = functional.avg_pool2d(light, 3, 1, 1)
        flux = smooth.clamp_min(0).sum((-2, -1))
        return numbers, torch.stack([flux.clamp_min(1).log(), smooth.amax((-2, -1)).clamp_min(0.1).log()], dim=1)

    @property
    def _n_regions(self) -> int:
        return len(REGIONS) if self.context.size else 1

    def finish(self, predictions: Arrays) -> Arrays:
        """Return score and percentile, the surprise of each part, and the position of the largest part that counts."""
        parts = predictions["parts"]
        reason = np.where(self._weights > 0, parts * self._weights, -np.inf).argmax(1).astype(np.int16)
        kept = {name: predictions[name] for name in ("score", "percentile")}
        return {**kept, **{name: parts[:, number] for number, name in enumerate(self._parts)}, "reason": reason}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the score, its rank among the validation objects, the part that raised it most, and all parts."""
        score, rank = predictions["score"], predictions["percentile"]
        ranked = "fraction of validation objects with a lower score"
        counted = [part for part in self._parts if part in self.settings.parts]
        reasons = np.where(np.isfinite(score), np.array(self._parts)[predictions["reason"]], "")
        about = {
            "residual": "surprise (nats) of the residual image",
            "features": "surprise (nats) of the distance to neighbours in features",
            "structure": "surprise (nats) of the distance to neighbours in structure",
        }
        return [
            Column(
                "outliers_score",
                score,
                None,
                f"sum of the surprise (nats) of {', '.join(counted)}",
                "stat.value",
            ),
            Column("outliers_percentile", rank, None, ranked, "stat.rank"),
            Column("outliers_reason", reasons, None, "part of the score with the largest surprise", "meta.code"),
            *(Column(f"outliers_{part}", predictions[part], None, about[part], "stat.value") for part in self._parts),
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the kind of oddity, empty for none; only those of `exclude` where it is given."""
        column = self.settings.target
        if not store.has_column(column):
            return {}
        kinds = name_kinds(store.column(column, indices))
        excluded = self.settings.exclude
        return {"oddity": np.where(np.isin(kinds, excluded), kinds, "") if excluded else kinds}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score the ranking of known oddities."""
        return score_ranking(predictions, truth)

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Score with classical methods on the measured features, and on principal components of the images."""
        x, y = shared_features(scale_free_features, train_store, train, test_store, test)
        found = {
            "isolation_forest": baselines.isolation_forest(x, y),
            "knn": baselines.knn_distance(x, y),
            "knn_whitened": baselines.knn_distance(*baselines.whiten(x, y)),
            "one_class_svm": baselines.one_class_svm(x, y),
            "local_outlier_factor": baselines.local_outlier_factor(x, y),
        }
        if self.context.size:
            fitted = train[:: -(-len(train) // _N_IMAGES)]
            of_train, of_test = (self._small_images(*part) for part in ((train_store, fitted), (test_store, test)))
            codes, residual = baselines.principal_components(of_train, of_test)
            found |= {"pca_residual": residual, "pca_knn": baselines.knn_distance(*codes)}
        return {name: ({"score": score}, {}) for name, score in found.items()}

    def _small_images(self, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Read normalised images, averaged over pairs of pixels, flattened."""
        parts = []
        for start in range(0, len(indices), 256):
            images = self.read(store, indices[start : start + 256]).images
            scaled = torch.from_numpy(fill_missing(self.context.normalization.apply(images)))
            parts.append(functional.avg_pool2d(scaled, 2).flatten(1).numpy())
        return np.concatenate(parts)

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw ranked sheet, score against signal-to-noise ratio, and histogram, curves and kinds of known oddities."""
        return draw_figures(store, indices, predictions, truth, evaluation)


def _neighbour_spaces(network: EncoderGAN, batch: Batch) -> list[Tensor]:
    """Return the vectors in which neighbours are sought: features, and components of the structure numbers."""
    if "structure" not in batch:
        return [batch["features"]]
    return [batch["features"], (batch["structure"] - network.structure_centre) @ network.structure_axes]


TASK = Outliers
