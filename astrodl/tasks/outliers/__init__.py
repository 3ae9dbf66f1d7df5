"""Outliers: what is rare in measured features, structure, and in what an adversarial network cannot redraw."""

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl import distributed
from astrodl.calibration import surprise
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.data.structure import count_numbers, measure_structure
from astrodl.data.views import make_views
from astrodl.explanation.numerical import differentiate
from astrodl.explanation.target import Quantity
from astrodl.losses import gradient_penalty, moment_penalty
from astrodl.models.gan import Critic, EncoderGAN
from astrodl.models.neighbours import MAX_REFERENCES
from astrodl.models.symmetries import apply_symmetry
from astrodl.photometry.artefacts import find_artefacts
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task, refuse_augmentation, refuse_settings
from astrodl.tasks.context import Context
from astrodl.tasks.inputs import (
    fit_standardization,
    fit_units,
    scale_free_features,
    select_columns,
    standardize,
)
from astrodl.tasks.metric import Metric, Metrics
from astrodl.tasks.outliers.adversarial import METHODS, add_noise, mix_codes
from astrodl.tasks.outliers.columns import make_columns
from astrodl.tasks.outliers.generated import draw_generated, draw_sheet
from astrodl.tasks.outliers.health import judge_generator, measure_health
from astrodl.tasks.outliers.kinds import leave_out, read_oddities
from astrodl.tasks.outliers.pixels import make_quantities, structure_of_images
from astrodl.tasks.outliers.references import fit_references, measure_distances
from astrodl.tasks.outliers.report import draw_figures, score_ranking
from astrodl.tasks.outliers.representation import Representation, describe_model, leave_out_inputs
from astrodl.tasks.outliers.residual import REGIONS, measure_residuals
from astrodl.tasks.outliers.rivals import score_features, score_images
from astrodl.tasks.outliers.settings import (
    IMAGE_SETTINGS,
    PARTS,
    PARTS_OF_FEATURES,
    PARTS_OF_IMAGES,
    OutlierSettings,
    Part,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Outliers"]


class Outliers(Task[OutlierSettings, EncoderGAN]):
    """Neighbours in features and structure, and a GAN with a joint encoder.

    The network is that of Storey-Fisher et al. (2021, MNRAS 508, 2946) and f-AnoGAN (Schlegl et al. 2019). The
    generator makes noise-free images. The known sky noise is added before they reach the critic.
    """

    name = "outliers"
    explained_by = ("gradient_shap",)
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

    def __init__(self, settings: OutlierSettings, context: Context):
        super().__init__(settings, context)
        described = context.constants.get("representation")
        self._representation = None if described is None else Representation(described)

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
        refuse_settings(cls.name, settings, IMAGE_SETTINGS)
        given = settings.parts if "parts" in settings.model_fields_set else ()
        kept = tuple(part for part in given if part not in PARTS_OF_IMAGES)
        return settings.model_copy(update={"parts": kept or PARTS_OF_FEATURES})

    @classmethod
    def models_used(cls, settings: OutlierSettings) -> tuple[str, ...]:
        """List the models that a training starts from, and whose vectors it uses."""
        used = () if settings.representation is None else (settings.representation,)
        return (*super().models_used(settings), *used)

    @classmethod
    def labelled(cls, settings: OutlierSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select all objects; of training and validation without the kinds in `exclude`.

        Raises
        ------
        ConfigError
            The store has no object of a kind in `exclude`.
        """
        return leave_out(settings, store, indices)

    @classmethod
    def fit_constants(cls, settings: OutlierSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the scaling of the features, and the unit of each band unless the store says that all have the same."""
        names = scale_free_features(store.feature_names)
        indices = [store.feature_names.index(name) for name in names]
        constants = {"features": indices, **fit_standardization(store.features(names, train))}
        if settings.representation is not None:
            constants["representation"] = describe_model(settings.representation, store)
        return constants | fit_units(store, train) if store.has_images else constants

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return normalised images, sky noise in units of the softening, features, structure numbers, artefact flag."""
        softening, constants = np.asarray(self.context.normalization.softening, np.float32), self.context.constants
        sky = np.nan_to_num(cutouts.sky_sigma / softening, nan=0.0)
        chosen = select_columns(cutouts.features, constants["features"])
        features = standardize(chosen, constants["mean"], constants["scale"])[:, : chosen.shape[1]]
        if not self.context.size:
            return {"image": features, "features": features}
        views, _ = make_views(cutouts.images, cutouts.sky_sigma, units=constants.get("units"))
        structure = torch.cat(list(measure_structure(views).values()), 1).numpy()
        artefact = find_artefacts(cutouts.images, cutouts.sky_sigma).astype(np.float32)
        measured = {"features": features, "structure": structure, "artefact": artefact}
        if self._representation is not None:
            measured |= self._representation.inputs(cutouts)
        return {**super().inputs(cutouts), "sky": sky.astype(np.float32), **measured}

    def build(self) -> EncoderGAN:
        """Build generator, encoder and critic."""
        settings, constants, other = self.settings, self.context.constants, self._representation
        n_features, n_bands = len(constants["features"]), len(self.context.bands)
        n_references = constants.get("n_references", 0)
        if not isinstance(n_references, int) or not 0 <= n_references <= MAX_REFERENCES:
            raise ValueError(f"n_references is {n_references}, must be a number from 0 to {MAX_REFERENCES}")
        if not self.context.size:
            # The magnitudes of galaxies depend on few numbers, such as redshift, luminosity and type.
            latent = max(1, min(settings.latent, (n_bands + 1) // 2))
            with_flow = "flow" in settings.parts and n_features > 1
            return EncoderGAN(
                n_features, latent, size=0, n_features=n_features, n_references=n_references, with_flow=with_flow
            )
        return EncoderGAN(
            len(self.context.bands),
            settings.latent,
            size=self.context.size,
            widths=settings.widths,
            critic_widths=settings.critic_widths,
            n_features=n_features,
            n_structure=sum(count_numbers(n_bands)),
            n_references=n_references,
            critic_norm=METHODS[settings.method].norm,
            spectral=settings.spectral_norm,
            representation=None if other is None else other.task.build().requires_grad_(False),
            n_vector=0 if other is None else other.dimensions,
            with_flow="flow" in settings.parts,
        )

    def parameters(self, network: EncoderGAN, phase: str) -> Iterable[nn.Parameter]:
        """Return the critic's parameters in its phase, those of generator and encoder in the others."""
        assert isinstance(network, EncoderGAN)
        if phase == "critic":
            return network.critic.parameters()
        return [*network.generator.parameters(), *network.encoder.parameters()]

    def augment(self, batch: Batch) -> Batch:
        """Augment the images; what another model reads is not trained on."""
        return super().augment(leave_out_inputs(batch))

    def loss(self, network: EncoderGAN, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the critic, or the reconstruction loss with normal codes, with or without the critic's."""
        if phase == "critic":
            return self._critic_loss(network, batch)
        real = batch["image"]
        codes = network.encoder(real)
        decoded = network.generator(codes)
        reconstruction = self._reconstruction(real, decoded)
        moments = moment_penalty(codes.float())
        loss = reconstruction + self.settings.moments * moments
        terms = {"reconstruction": reconstruction, "moments": moments}
        if phase == "generator":
            method, latents = METHODS[self.settings.method], distributed.randn_like(codes)
            drawn = network.generator(latents)
            noisy = self._noisy(torch.cat([decoded, drawn]), batch["sky"].repeat(2, 1))
            terms["realism"] = method.realism(network.critic(noisy))
            loss = loss - self.settings.adversarial * min(1.0, 2 * done) * terms["realism"]
            if method.information:
                read = network.encoder(noisy[len(decoded) :])
                terms["information"] = -functional.mse_loss(read.float(), latents.float())
                loss = loss - self.settings.information * terms["information"]
        return loss, terms

    def _critic_loss(self, network: EncoderGAN, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the critic, the distance of its mean values, and what holds it back."""
        settings, method, real = self.settings, METHODS[self.settings.method], batch["image"]
        if method.clip:
            assert isinstance(network.critic, Critic)
            network.critic.clip_weights(settings.weight_limit)
        with torch.no_grad():
            fake = self._noisy(network.generator(mix_codes(network.encoder(real))), batch["sky"])
        values = network.critic(real), network.critic(fake)
        loss, terms = method.critic(*values), {"distance": values[0].mean() - values[1].mean()}
        if method.penalty:
            terms["penalty"] = gradient_penalty(network.critic, real, fake)
            loss = settings.penalty * terms["penalty"] + loss
        return loss, terms

    def validate(self, network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
        """Return the reconstruction loss, and on the same held-out objects the health of the adversarial training.

        `distance` is the difference of the critic's mean value of real and generated galaxies, `gradient` the mean norm
        of its gradient between them, `diversity` the scatter of generated galaxies over that of reconstructed ones.
        """
        real = batch["image"]
        decoded = network(real)
        terms = {"loss": self._reconstruction(real, decoded)}
        if not self.context.size or not self.settings.generator:
            return terms
        drawn = network.generator(torch.randn(len(real), network.latent, device=real.device))
        return terms | measure_health(network.critic, real, decoded, drawn, self._noisy(drawn, batch["sky"]))

    def _noisy(self, clean: Tensor, sky: Tensor) -> Tensor:
        return add_noise(clean, sky, self.context.normalization.stretch)

    def _reconstruction(self, real: Tensor, decoded: Tensor) -> Tensor:
        return functional.smooth_l1_loss(decoded.float(), real, beta=0.2) * 10

    def draw_progress(self, network: EncoderGAN, held_out: Dataset) -> "Figure | None":
        """Draw generated galaxies beside real ones."""
        if not self.context.size or not self.settings.generator:
            return None
        return draw_sheet(network, held_out.in_order(32), self.context.normalization, self.context.bands)

    def calibrate(self, network: EncoderGAN, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit, without labels, what residuals and neighbours are usual.

        The vectors of ordinary training objects become weights of the network, see `choose_ordinary`. How each residual
        number runs with flux and peak, and the distributions of each part of the score, are those of training and
        validation objects; oddities among them are clipped. The distribution of the score is that of the validation
        objects, which the network was not trained on.
        """
        batches = [batch for part in (train, validation) if part is not None for batch in part.in_order(128)]
        if self._representation is not None:
            assert network.representation is not None
            assert self.settings.representation is not None
            self._representation.fill(network.representation, self.settings.representation)
        n_references = fit_references(network, train, len(self.context.bands), self._representation)
        measured_of = [self._measure(network, batch) for batch in batches]
        residuals, light, distances = (np.concatenate(column) for column in zip(*measured_of, strict=True))
        measured = (residuals, light, distances)
        constants: dict[str, Any] = surprise.fit_score(*measured, layout=self._layout)
        constants["n_references"] = n_references
        if self.context.size and self.settings.generator:
            held_out = train if validation is None else validation
            constants["generated"] = judge_generator(network, held_out, self.context.normalization, self.context.bands)
        is_held_out = np.arange(len(residuals)) >= len(train)
        if not is_held_out.any():
            warnings.warn(
                "outliers: there are no validation objects, so that outliers_percentile is NaN; give split.validation",
                stacklevel=2,
            )
            return constants
        return constants | surprise.fit_ranks(*measured, is_held_out, self._weights, layout=self._layout)

    def _measure(self, network: EncoderGAN, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Measure residuals, flux and peak, and the distances to neighbours of a batch."""
        tensors = (*self._residuals(network, batch), measure_distances(network, batch, self._representation))
        residuals, light, distances = (tensor.double().cpu().numpy() for tensor in tensors)
        return residuals, light, distances

    @property
    def _parts(self) -> tuple[Part, ...]:
        """Parts that are measured."""
        has_vectors, has_flow = self._representation is not None, "flow" in self.settings.parts
        is_there = {"representation": has_vectors, "representation_density": has_vectors, "flow": has_flow}
        is_there |= dict.fromkeys(PARTS_OF_IMAGES, bool(self.context.size))
        return tuple(part for part in PARTS if is_there.get(part, True))

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
        parts = surprise.measure_surprise(*self._measure(network, batch), constants, layout=self._layout)
        score = parts @ self._weights
        percentile = surprise.percentile(score, constants)
        found = {"score": score, "percentile": percentile, "parts": parts}
        passed = {"artefact": batch["artefact"]} if "artefact" in batch else {}
        return {name: torch.from_numpy(values) for name, values in found.items()} | passed

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
            units = self.context.constants.get("units")
            batch = {**batch, "structure": structure_of_images(batch, self.context.normalization, units)}
        distances = measure_distances(network, batch, self._representation)

        def parts(values: np.ndarray) -> np.ndarray:
            residuals, light, others = np.split(values, (n, n + 2), axis=1)
            return surprise.measure_surprise(residuals, light, others, self.context.constants, layout=self._layout)

        return {"parts": differentiate(parts, torch.cat([numbers, light, distances], dim=1))}

    def expected_image(self, network: EncoderGAN, batch: Batch) -> Tensor:
        """Return the median of the four quarter turns: the galaxy without what breaks its symmetry.

        Sky without a galaxy is odder than any galaxy.
        """
        turns = torch.stack([apply_symmetry(batch["image"], element) for element in range(4)])
        return turns.sort(0).values[1:3].mean(0)

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the parts that depend on the pixels, residual and structure, and the score."""
        return make_quantities(self._parts, self._weights)

    def _residuals(self, network: EncoderGAN, batch: Batch) -> tuple[Tensor, Tensor]:
        """Measure the residual image: logarithms of the numbers of `_layout` (B, R), and of flux and peak (B, 2)."""
        return measure_residuals(network, batch, self.context.normalization.stretch)

    @property
    def _layout(self) -> surprise.Layout:
        """Layout of `_residuals`."""
        if not self.context.size:
            return [[len(self.context.constants["features"])]]
        return [[len(self.context.bands)] * len(REGIONS), [1]]

    def finish(self, predictions: Arrays) -> Arrays:
        """Return score and percentile, the surprise of each part, and the position of the largest part that counts."""
        parts = predictions["parts"]
        reason = np.where(self._weights > 0, parts * self._weights, -np.inf).argmax(1).astype(np.int16)
        kept = {name: predictions[name] for name in ("score", "percentile")}
        if "artefact" in predictions:
            flag = predictions["artefact"]
            kept["artefact"] = np.where(np.isfinite(flag), flag, 0).astype(np.int16)
        return {**kept, **{name: parts[:, number] for number, name in enumerate(self._parts)}, "reason": reason}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the score, its rank among the validation objects, the part that raised it most, and all parts."""
        return make_columns(predictions, self._parts, [part for part in self._parts if part in self.settings.parts])

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the kind of oddity, empty for none; only those of `exclude` where it is given."""
        return read_oddities(self.settings, store, indices)

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score the ranking of known oddities."""
        return score_ranking(predictions, truth)

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Score with classical methods on the measured features, and on principal components of the images."""
        found = score_features(*shared_features(scale_free_features, train_store, train, test_store, test))
        if self.context.size:
            found |= score_images(self.read, self.context.normalization, (train_store, train), (test_store, test))
        return {name: ({"score": score}, {}) for name, score in found.items()}

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw ranked sheet, score against signal-to-noise ratio, and histogram, curves and kinds of known oddities."""
        drawn = draw_figures(store, indices, predictions, truth, evaluation, self._parts)
        judged = [model for model in evaluation.models if "generated" in model.task.context.constants]
        if judged and self.context.size:
            drawn["generated"], drawn["generated_form"] = draw_generated(judged[0], store, indices)
        return drawn


TASK = Outliers
