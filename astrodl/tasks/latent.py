"""Latent map: a variational autoencoder that orders galaxies without labels."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from astrodl.baselines import latent as classical
from astrodl.config import AugmentSettings, Fraction, TaskSettings, TrainSettings
from astrodl.data import normalize
from astrodl.data.batches import Batch, Cutouts
from astrodl.data.views import canonicalize
from astrodl.errors import ConfigError
from astrodl.explanation.target import Quantity, Sky
from astrodl.losses import SSIM_WIDTH, kl_standard_normal, ssim
from astrodl.metrics import latent as metrics_of
from astrodl.metrics.classification import balanced_accuracy
from astrodl.models.autoencoders import VAE
from astrodl.plots.latent import latent_mosaic, latent_nodes, latent_plane, nearest_objects
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation, Task, refuse_settings
from astrodl.tasks.catalog_columns import class_names, read_numbers
from astrodl.tasks.colour import colour
from astrodl.tasks.inputs import fit_standardization, select_columns, standardize
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Latent", "LatentSettings", "LatentTraining"]

COLOUR_FLOOR = 0.1
"""Error added in quadrature to standardised colours, by default."""


class LatentTraining(TrainSettings):
    """Training loop of the latent map."""

    epochs: Annotated[int, Field(ge=1)] = 80
    ema: Fraction = 0.99


class LatentSettings(TaskSettings):
    """Latent map."""

    folds: Annotated[tuple[int, ...], Field(min_length=1, max_length=1)] = (0,)
    """Fold to train; only one, since the axes of two maps differ and cannot be averaged."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1, max_length=1)] = (0,)
    """Seed to train; only one, for the same reason."""
    dimensions: Annotated[int, Field(ge=1)] = 2
    """Number of latent dimensions."""
    view: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Side of the canonical view in pixels."""
    extent: Annotated[float, Field(gt=0)] = 3.0
    """Half of the side of the canonical view in units of the galaxy's rms radius."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the Kullback-Leibler term (Higgins et al. 2017)."""
    softening: Annotated[float, Field(gt=0)] = 0.1
    """Surface brightness, in units of the mean of the view, above which the scaling turns logarithmic."""
    noise_floor: Annotated[float, Field(gt=0)] = 1.0
    """Error added in quadrature to the scaled sky noise, for the detail that a few latent numbers cannot describe.

    With a small floor, faint galaxies have little weight and concentrate in the middle of the map.
    """
    reconstruction: Literal["gaussian", "mse", "l1", "ssim"] = "gaussian"
    """Comparison of view and reconstruction: chi^2 with the noise of each pixel and the floor; squared error
    with the floor alone; absolute error over the noise, as of a Laplace distribution; or one minus the structural
    similarity (Wang et al. 2004)."""
    effective_pixels: Annotated[float, Field(gt=0)] = 3000.0
    """Number of independent pixels in the likelihood; a smaller number gives the KL term more weight."""
    classes: str = "class"
    """Column with classes for the evaluation; not used in training."""
    properties: dict[str, str] = Field({"bt": "bt", "sersic": "sersic_index"})
    """Name -> column for rank correlations with the map; not used in training."""
    widths: tuple[int, ...] = (32, 64, 64)
    """Channels of the encoder."""
    augment: AugmentSettings = AugmentSettings()
    """Refused: canonical views are not augmented."""
    train: LatentTraining = LatentTraining()

    unused_augmentations: ClassVar = tuple(AugmentSettings.model_fields)

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.reconstruction == "ssim" and self.view < SSIM_WIDTH:
            raise ValueError(f"reconstruction 'ssim' looks at {SSIM_WIDTH} pixels at a time; set view to 16 or more")
        return self


class Latent(Task[LatentSettings, VAE]):
    """VAE on canonical views: centred, rotated, scaled in size and flux, so that shape and colour remain."""

    name = "latent"
    title = "Latent map"
    Settings = LatentSettings
    metrics = (
        Metric("knn_recall", "high", "kNN class recall"),
        Metric("rho_bt", "high", "rank correlation, B/T"),
        Metric("rho_sersic", "high", "rank correlation, Sérsic n"),
        Metric("chi2", 1.0, "χ² per pixel"),
        Metric("active_units", "high"),
    )
    """Those of the default `properties`."""
    headline = ("knn_recall",)
    page_figures: ClassVar = {
        "sequence": "Galaxies along the latent plane",
        "plane": "Classes and structure over the latent plane",
    }
    draft_columns = ()
    small: ClassVar = {"view": 16, "widths": [8, 16]}
    uses_reference = True

    @classmethod
    def without_images(cls, settings: LatentSettings, n_bands: int) -> LatentSettings:
        """Return the settings of an autoencoder of the colours."""
        refuse_settings(cls.name, settings, ("view", "extent", "softening", "effective_pixels", "widths"))
        if settings.reconstruction == "ssim":
            refuse_settings(cls.name, settings, ("reconstruction",))
        if n_bands - 1 < settings.dimensions:
            raise ConfigError(
                f"tasks.latent.dimensions = {settings.dimensions}: more than the {n_bands - 1} colours of "
                f"{n_bands} bands without images; lower it, give more bands, or leave out tasks.latent"
            )
        is_default = "noise_floor" not in settings.model_fields_set
        return settings.model_copy(update={"noise_floor": COLOUR_FLOOR} if is_default else {})

    @classmethod
    def fit_constants(cls, settings: LatentSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the unit of each band, its typical sky noise, unless the store says that all have the same unit."""
        if not store.has_images:
            return cls._fit_colours(store, train)
        if store.unit == "uJy":
            return {}
        return {"units": normalize.fit(store.sky_sigma[train], store.bands, n_sigma=1.0).softening}

    @staticmethod
    def _fit_colours(store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the scaling of the colours."""
        names = [name for name in store.feature_names if name.startswith("colour_")]
        return {
            "features": [store.feature_names.index(name) for name in names],
            **fit_standardization(store.features(names, train)),
        }

    def _colours(self, cutouts: Cutouts) -> Arrays:
        """Return the standardised colours and their errors; colours that are not known have a large error."""
        constants, n_bands = self.context.constants, len(self.context.bands)
        chosen = select_columns(cutouts.features, constants["features"])
        colours = standardize(chosen, constants["mean"], constants["scale"])[:, : chosen.shape[1]]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = 2.5 / np.log(10) * cutouts.sky_sigma / np.abs(cutouts.features[:, :n_bands])
            scaled = np.hypot(error[:, :-1], error[:, 1:]) / np.asarray(constants["scale"], np.float32)
        scaled = np.where(np.isfinite(chosen), np.nan_to_num(scaled, nan=0.0, posinf=10.0), 10.0)
        return {"image": colours, "error": scaled.clip(1e-3, 10).astype(np.float32)}

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return canonical views scaled by arsinh, or colours, and the noise of each number on the same scale."""
        if not self.context.size:
            return self._colours(cutouts)
        settings = self.settings
        images, sky_sigma = (
            torch.from_numpy(np.require(array, np.float32, ["C", "W"])) for array in (cutouts.images, cutouts.sky_sigma)
        )
        views, noise = canonicalize(
            images, sky_sigma, units=self.context.constants.get("units"), size=settings.view, extent=settings.extent
        )
        sky = (noise / settings.softening)[..., None, None]
        image = torch.arcsinh(views / settings.softening)
        # error propagation through arsinh reduces the noise of bright pixels
        error = (sky / torch.cosh(image)).clamp(1e-3, 10)
        return {"image": image.numpy(), "error": error.numpy()}

    def build(self) -> VAE:
        """Build a convolutional VAE, or one of colours."""
        settings = self.settings
        if not self.context.size:
            return VAE(len(self.context.constants["features"]), settings.dimensions, size=0)
        return VAE(len(self.context.bands), settings.dimensions, size=settings.view, widths=settings.widths)

    def augment(self, batch: Batch) -> Batch:
        """Return canonical views unchanged."""
        return batch

    def loss(self, network: VAE, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the evidence lower bound with weight `beta` on the KL term, by default for Gaussian errors."""
        decoded, mean, log_variance = network(batch["image"])
        kl = kl_standard_normal(mean.float(), log_variance.float()).sum(1)
        n_numbers = self.settings.effective_pixels if self.context.size else decoded.shape[1]
        reconstruction = n_numbers * self._misfit(batch, decoded.float()).mean()
        warm = min(1.0, 4 * done)
        return reconstruction + warm * self.settings.beta * kl.mean(), {
            "reconstruction": reconstruction,
            "kl": kl.mean(),
        }

    def _misfit(self, batch: Batch, decoded: Tensor) -> Tensor:
        """Return the loss per pixel of each reconstruction, (B,)."""
        image, reconstruction, floor = batch["image"], self.settings.reconstruction, self.settings.noise_floor
        if reconstruction == "ssim":
            return 1 - ssim(decoded, image, image.amax((1, 2, 3), keepdim=True).clamp(min=1))
        residual, axes = image - decoded, tuple(range(1, image.ndim))
        if reconstruction == "mse":
            return 0.5 * (residual / floor).square().mean(axes)
        variance = batch["error"] ** 2 + floor**2
        if reconstruction == "l1":
            return (residual.abs() / variance.sqrt()).mean(axes)
        return 0.5 * (residual**2 / variance).mean(axes)

    def predict(self, network: VAE, batch: Batch) -> dict[str, Tensor]:
        """Predict latent mean and width, and chi^2 per pixel against the sky noise."""
        mean, log_variance = network.encode(batch["image"])
        decoded = network.decoder(mean).float()
        chi2 = ((batch["image"] - decoded) ** 2 / batch["error"] ** 2).mean(tuple(range(1, decoded.ndim)))
        return {"latent": mean, "latent_error": (0.5 * log_variance).exp(), "chi2": chi2}

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the latent coordinates."""

        def coordinate(i: int) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
            return lambda predicted, fixed: predicted["latent"][:, i]

        return tuple(
            Quantity(f"latent_{i + 1}", "latent unit", f"latent coordinate {i + 1}", coordinate(i))
            for i in range(self.settings.dimensions)
        )

    def sky(self, batch: Batch, sky_sigma: Tensor) -> Sky:
        """Return the noise of the sky in canonical views: that of the pixels before arsinh."""
        sigma = (batch["error"] * batch["image"].cosh()).mean((-2, -1), keepdim=True)
        return Sky(sigma, 1.0, torch.ones_like(batch["image"], dtype=torch.bool))

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return each latent coordinate with its width, and the chi^2 of the reconstruction."""
        columns = []
        for i in range(predictions["latent"].shape[1]):
            columns += [
                Column(
                    f"latent_{i + 1}", predictions["latent"][:, i], None, f"latent coordinate {i + 1}", "stat.value"
                ),
                Column(
                    f"latent_{i + 1}_error",
                    predictions["latent_error"][:, i],
                    None,
                    "its posterior width",
                    "stat.error",
                ),
            ]
        return [
            *columns,
            Column("latent_chi2", predictions["chi2"], None, "reconstruction chi^2 per pixel", "stat.fit.chi2"),
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read class and properties where the store has them."""
        truth: Arrays = {}
        if store.has_column(self.settings.classes):
            truth["class"] = class_names(store.column(self.settings.classes, indices))
        for name, column in self.settings.properties.items():
            if store.has_column(column):
                truth[name] = read_numbers(store, column, indices)
        return truth

    def describe_metrics(self) -> tuple[Metric, ...]:
        """Return the metrics, with a rank correlation for each of `properties`."""
        known = {metric.name: metric for metric in self.metrics}
        names = ["knn_recall", *(f"rho_{name}" for name in self.settings.properties), "chi2", "active_units"]
        labels = {name: f"rank correlation, {name.removeprefix('rho_').replace('_', ' ')}" for name in names}
        return tuple(known.get(name, Metric(name, "high", labels[name])) for name in names)

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score nearest-neighbour class recall, rank correlations of the best directions, chi^2, active units.

        A metric for which too few objects of a split have a class or a value is left out.
        """
        train, test = reference["latent"], predictions["latent"]
        metrics: Metrics = {}
        if "class" in truth:
            known, reference_known = truth["class"] != "", reference["truth_class"] != ""
            if self._is_known("knn_recall", reference_known, known, least=1):
                voted = metrics_of.knn_predict(
                    train[reference_known], reference["truth_class"][reference_known], test[known]
                )
                codes = np.unique(np.concatenate([voted, truth["class"][known]]), return_inverse=True)[1]
                metrics |= bootstrap_metrics({"knn_recall": balanced_accuracy}, *np.split(codes, 2))
        for name in self.settings.properties:
            if name in truth:
                of_train = reference[f"truth_{name}"]
                if self._is_known(f"rho_{name}", np.isfinite(of_train), np.isfinite(truth[name]), least=2):
                    projected = metrics_of.project(train, of_train, test)
                    metrics |= bootstrap_metrics({f"rho_{name}": metrics_of.spearman}, projected, truth[name])
        metrics |= bootstrap_metrics({"chi2": np.nanmedian}, predictions["chi2"])
        return metrics | bootstrap_metrics({"active_units": metrics_of.active_units}, test)

    @staticmethod
    def _is_known(metric: str, train: np.ndarray, test: np.ndarray, *, least: int) -> bool:
        """Return whether enough objects of both splits have the truth for a metric; say so where they have not."""
        if min(train.sum(), test.sum()) >= least:
            return True
        print(
            f"latent: {train.sum()} training and {test.sum()} test objects have the truth for {metric}, which needs "
            f"{least} of each; it is left out",
            file=sys.stderr,
        )
        return False

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Project the same views on as many principal components as there are latent dimensions."""
        of_train, of_test = (self.inputs(self.read(*part)) for part in ((train_store, train), (test_store, test)))
        flat = of_test["image"].reshape(len(test), -1)
        parts = classical.pca(of_train["image"].reshape(len(train), -1), flat, self.settings.dimensions)
        residual = (of_test["image"] - parts.other_reconstruction.reshape(of_test["image"].shape)) / of_test["error"]
        predicted = {"latent": parts.other_latent, "chi2": (residual**2).mean(tuple(range(1, residual.ndim)))}
        return {"pca": (predicted, {"latent": parts.train_latent})}

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw galaxies on the latent plane, and the plane coloured by class and structure."""
        latent = predictions["latent"]
        drawn = {}
        if latent.shape[1] >= 2:
            if store.has_images:
                x, y = latent_nodes(latent)
                nearest = nearest_objects(latent, x, y)
                rgb = colour(store, indices)
                tiles = np.where((nearest >= 0)[..., None, None, None], rgb[nearest], np.nan)
                drawn["sequence"] = latent_mosaic(tiles, x, y, heading="Galaxies in the latent plane")
            drawn["plane"] = latent_plane(
                latent[:, :2],
                classes=list(truth["class"]) if "class" in truth else None,
                bt=truth.get("bt"),
                sersic_index=truth.get("sersic"),
            )
        return drawn


TASK = Latent
