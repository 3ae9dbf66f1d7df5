"""Latent map: a representation of galaxies that is learned without labels, its map and the Hubble coordinate."""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.baselines import latent as classical
from astrodl.config import NuisanceSettings
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.data.nuisances import draw_interpolated_noise, draw_view
from astrodl.data.structure import count_numbers, fit_scaling, measure_structure
from astrodl.data.views import make_views
from astrodl.explanation.target import Quantity, Sky
from astrodl.metrics.autoencoder import describe_units, measure_units
from astrodl.models.representation import LatentNetwork, log_noise
from astrodl.models.symmetries import N_SYMMETRIES, apply_symmetry
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation, Task
from astrodl.tasks.catalog_columns import class_names, read_numbers
from astrodl.tasks.inputs import fit_standardization, fit_units, select_columns, standardize
from astrodl.tasks.latent.diagnosis import N_DIAGNOSED, draw_diagnosis
from astrodl.tasks.latent.methods import METHODS, Method, noise_of
from astrodl.tasks.latent.report import METRICS, describe_metrics, draw_figures, score
from astrodl.tasks.latent.settings import LatentSettings, settings_of_colours
from astrodl.tasks.latent.summary import fit_axes, fit_hubble, fit_map, fit_response
from astrodl.tasks.metric import Metric, Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Latent"]

_N_FITTED = 4000
"""Training objects to which the scaling of the structure numbers is fitted, at most."""
_LEAST_KNOWN = 10
"""Training objects with a measured concentration that decide in which direction the Hubble coordinate grows."""
_DEPTHS = (0.01, 0.5, 0.99)
"""Quantiles of the noise of training views: the range in which the response to it is used, and the typical depth."""
_NOISIER = 2.0
"""Noise of views by which that response is measured, in units of the noise that is there."""
_N_NOISY = 4
"""Views with more noise, by which the error of a vector is estimated."""


class Latent(Task[LatentSettings, LatentNetwork]):
    """Vectors of canonical views: centred, rotated, scaled in size and flux, so that form and colour remain."""

    name = "latent"
    title = "Latent map"
    Settings = LatentSettings
    metrics = METRICS
    """Those of the default `properties`."""
    headline = ("knn_recall", "map_recall")
    page_figures: ClassVar = {
        "hubble": "Galaxies along the Hubble coordinate",
        "sequence": "Galaxies along the map",
        "plane": "Classes and structure over the map",
    }
    draft_columns = ()
    small: ClassVar = {"view": 16, "widths": [8, 16], "dimensions": 4}
    uses_reference = True

    def __init__(self, settings: LatentSettings, context: Any):
        super().__init__(settings, context)
        shape = (
            (len(context.bands), settings.view, settings.view)
            if context.size
            else (len(context.constants.get("features", ())),)
        )
        self.method: Method = METHODS[settings.method](settings, shape, context.constants)

    @classmethod
    def without_images(cls, settings: LatentSettings, n_bands: int) -> LatentSettings:
        """Return the settings of a representation of the colours."""
        return settings_of_colours(settings, n_bands)

    @classmethod
    def fit_constants(cls, settings: LatentSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the unit of each band, unless the store says that all have the same, and the scaling of structure."""
        if not store.has_images:
            return cls._fit_colours(store, train)
        constants, parts = fit_units(store, train), []
        fitted = train[:: max(1, -(-len(train) // _N_FITTED))]
        for start in range(0, len(fitted), 512):
            chosen = fitted[start : start + 512]
            views, _ = _make_views(settings, constants, store.images(chosen), store.sky_sigma[chosen])
            parts.append(torch.cat(list(measure_structure(views).values()), 1))
        centre, scale = fit_scaling(torch.cat(parts), count_numbers(len(store.bands)))
        return {**constants, "structure_mean": centre.tolist(), "structure_scale": scale.tolist()}

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
        """Return canonical views scaled by arsinh, with sky noise and structure numbers; or colours with errors."""
        if not self.context.size:
            return self._colours(cutouts)
        constants = self.context.constants
        views, noise = _make_views(self.settings, constants, cutouts.images, cutouts.sky_sigma)
        arrays = {"image": views.numpy(), "noise": noise.numpy()}
        if "structure_mean" in constants:
            structure = torch.cat(list(measure_structure(views).values()), 1).numpy()
            mean, scale = (np.asarray(constants[f"structure_{name}"], np.float32) for name in ("mean", "scale"))
            arrays["structure"] = (structure - mean) / scale
        return arrays

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Return the measured concentration, which gives the Hubble coordinate its direction."""
        if not store.has_images:
            return {}
        return {"concentration": store.features(["concentration"], indices)[:, 0].astype(np.float32)}

    def build(self) -> LatentNetwork:
        """Build the network of the method."""
        return LatentNetwork(self.method.build(), self.settings.dimensions)

    def start(self, network: LatentNetwork, train: Dataset) -> None:
        """Start as the method does."""
        self.method.start(network.core, train)

    def parameters(self, network: LatentNetwork, phase: str) -> Iterable[nn.Parameter]:
        """Return all but those of the map, which is fitted after the training."""
        return (parameter for parameter in network.core.parameters() if parameter.requires_grad)

    def augment(self, batch: Batch) -> Batch:
        """Draw a view with nuisances, or two; the view without is kept."""
        if not self.context.size or self._nuisances == Method.nuisances:
            return batch
        drawn = {"seen": draw_view(batch, self._nuisances)["image"]}
        if self.method.two_views:
            drawn["second"] = draw_view(batch, self._nuisances)["image"]
        return {**batch, **drawn}

    @property
    def _nuisances(self) -> NuisanceSettings:
        return self.settings.nuisances or self.method.nuisances

    def loss(self, network: LatentNetwork, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the method."""
        return self.method.loss(network.core, {"seen": batch["image"], **batch, "error": noise_of(batch)}, done)

    def calibrate(self, network: LatentNetwork, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit axes, Hubble coordinate and map to the training objects; they are weights of the network."""
        batches = list(train.in_order(256))
        encoded = [self._encode(network, batch) for batch in batches]
        codes = torch.cat([views.mean(0) for views, _ in encoded])
        if self.method.removes_depth:
            codes = codes - network.shift_of_depth(self._fit_depth(network, batches))
        if self.method.variational:
            log_variance = 2 * torch.cat([width for _, width in encoded if width is not None]).log()
            print(f"latent: {describe_units(measure_units(codes.cpu(), log_variance.cpu()))}", file=sys.stderr)
        else:  # a prior has a scale and axes, other codes are given them
            centre, axes = fit_axes(codes.double().cpu().numpy())
            network.centre.copy_(torch.from_numpy(centre))
            network.axes.copy_(torch.from_numpy(axes))
        vectors = network.standardise(codes)  # whose depth is off already
        first = vectors[:, 0]
        if self.context.size:
            first = vectors @ self._fit_hubble(network, vectors, batches)
        fit_map(network.map, vectors, first)
        return {}

    def _fit_depth(self, network: LatentNetwork, batches: list[Batch]) -> Tensor:
        """Fit how codes respond to more noise in the views; return the noise of all, (N, bands)."""
        noise, fitted, n_fitted = torch.cat([batch["noise"] for batch in batches]), [], 0
        generator = torch.Generator().manual_seed(0)
        logarithm = log_noise(noise)
        network.depth_range.copy_(logarithm.double().quantile(torch.tensor(_DEPTHS).to(logarithm.double())))
        for batch in batches:
            image, error = batch["image"], batch["noise"][..., None, None]
            added = (_NOISIER**2 - 1) ** 0.5 * error * draw_interpolated_noise(image, generator)
            with self._fast(image):
                codes = [self.method.encode(network.core, view)[0] for view in (image, (image.sinh() + added).asinh())]
            depths = [network.depth_terms(log_noise(level * batch["noise"])) for level in (1, _NOISIER)]
            fitted.append((depths[1] - depths[0], codes[1] - codes[0]))
            n_fitted += len(image)
            if n_fitted >= _N_FITTED:
                break
        network.depth_response.copy_(fit_response(*(torch.cat(parts) for parts in zip(*fitted, strict=True))))
        return noise

    def _fit_hubble(self, network: LatentNetwork, vectors: Tensor, batches: list[Batch]) -> Tensor:
        structure = np.concatenate([batch["structure"].double().cpu().numpy() for batch in batches])
        blocks = np.split(structure, np.cumsum(count_numbers(len(self.context.bands)))[:-1], axis=1)
        concentration = np.concatenate([batch["concentration"].cpu().numpy() for batch in batches])
        n_known = int(np.isfinite(concentration).sum())
        if n_known < _LEAST_KNOWN:
            warnings.warn(
                f"latent: {n_known} training objects have a measured concentration; with fewer than {_LEAST_KNOWN} the "
                "Hubble coordinate may run the wrong way",
                stacklevel=2,
            )
        direction = fit_hubble(vectors.double().cpu().numpy(), blocks[0], blocks[1], concentration)
        return network.hubble.copy_(torch.from_numpy(direction))

    def _encode(self, network: LatentNetwork, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the codes of the symmetric views that the training drew from, (views, B, D), and a width if any."""
        image = batch["image"]
        with self._fast(image):
            encoded = [self.method.encode(network.core, apply_symmetry(image, k)) for k in self._symmetries]
        return torch.stack([code for code, _ in encoded]), encoded[0][1]

    def _fast(self, image: Tensor) -> AbstractContextManager:
        """Return the precision in which images are encoded; small networks of colours gain nothing."""
        return self.precision(image) if self.context.size else nullcontext()

    @property
    def _symmetries(self) -> tuple[int, ...]:
        nuisances = self._nuisances
        if not self.context.size or not (nuisances.mirror or nuisances.quarter_turns):
            return (0,)
        if not nuisances.quarter_turns:
            return (0, 2, 4, 6)
        return tuple(range(N_SYMMETRIES)) if nuisances.mirror else (0, 1, 2, 3)

    def predict(self, network: LatentNetwork, batch: Batch) -> dict[str, Tensor]:
        """Predict vectors with errors, position in the map, Hubble coordinate, and chi^2 per pixel of the redrawn view.

        The errors are the posterior widths of a variational method; else the scatter of vectors when sky noise as large
        as that in the view is added. The noise patterns are the same for every object.
        """
        codes, width = self._encode(network, batch)
        vectors = network.standardise(codes.mean(0), self._depth(batch))
        if width is not None:
            errors, hubble_error = width, (width.square() @ network.hubble.square()).sqrt()
        else:
            shifts = self._shift_by_noise(network, batch, codes) @ network.axes
            errors, hubble_error = shifts.square().mean(0).sqrt(), (shifts @ network.hubble).square().mean(0).sqrt()
        decoded = network.decode(vectors, self._depth(batch)).float()
        chi2 = ((batch["image"] - decoded) / noise_of(batch)).square().flatten(1).mean(1)
        predicted = {"latent": vectors, "latent_error": errors, "map": network.map(vectors), "chi2": chi2}
        if self.context.size:
            predicted |= {"hubble": vectors @ network.hubble, "hubble_error": hubble_error}
        return predicted

    def embed(self, network: LatentNetwork, batch: Batch) -> Tensor:
        """Return the vectors along the fitted axes, averaged over the views as predictions are."""
        return network.standardise(self._encode(network, batch)[0].mean(0), self._depth(batch))

    def _depth(self, batch: Batch) -> Tensor | None:
        """Return the noise of the views, if vectors are freed of it."""
        return batch["noise"] if self.method.removes_depth else None

    def _shift_by_noise(self, network: LatentNetwork, batch: Batch, codes: Tensor) -> Tensor:
        """Return by how much codes (views, B, D) move under noise patterns, each in another view: (patterns, B, D)."""
        image, error, shifts = batch["image"], noise_of(batch), []
        generator = torch.Generator().manual_seed(0)
        with self._fast(image):
            for number in range(_N_NOISY):
                pattern = torch.randn(image.shape[1:], generator=generator).to(image)
                noisy = image + error * pattern
                if self.context.size:
                    noisy = torch.asinh(torch.sinh(image) + torch.cosh(image) * error * pattern)
                view = number % len(codes)
                turned = apply_symmetry(noisy, self._symmetries[view])
                shifts.append(self.method.encode(network.core, turned)[0] - codes[view])
        moved = torch.stack(shifts)
        if (noise := self._depth(batch)) is not None:  # vectors of noisier views are corrected for it
            moved = moved - (network.shift_of_depth(2**0.5 * noise) - network.shift_of_depth(noise))
        return moved

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the coordinates of the vector and, of images, the Hubble coordinate."""

        def of(name: str, i: int | None = None) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
            return lambda predicted, fixed: predicted[name] if i is None else predicted[name][:, i]

        coordinates = tuple(
            Quantity(f"latent_{i + 1}", "latent unit", f"coordinate {i + 1} of the vector", of("latent", i))
            for i in range(self.settings.dimensions)
        )
        hubble = Quantity("hubble", "latent unit", "Hubble coordinate", of("hubble"))
        return (hubble, *coordinates) if self.context.size else coordinates

    def sky(self, batch: Batch, sky_sigma: Tensor) -> Sky:
        """Return the noise of the sky in canonical views: that of the pixels before arsinh."""
        known = torch.ones_like(batch["image"], dtype=torch.bool)
        return Sky(batch["noise"][..., None, None].clamp_min(1e-6), 1.0, known)

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the vector and its error, the map, the Hubble coordinate, and the chi^2 of the reconstruction."""
        n = predictions["latent"].shape[1]
        columns = [
            Column("latent_vector", predictions["latent"], None, f"representation of {n} dimensions", "stat.value"),
            Column("latent_vector_error", predictions["latent_error"], None, "its error", "stat.error"),
        ]
        for i, axis in enumerate("xy"):
            columns.append(Column(f"latent_map_{axis}", predictions["map"][:, i], None, f"map {axis}", "stat.value"))
        if "hubble" in predictions:
            text = "Hubble coordinate, from spheroid (low) to irregular (high)"
            columns += [
                Column("latent_hubble", predictions["hubble"], None, text, "src.morph.type"),
                Column("latent_hubble_error", predictions["hubble_error"], None, "its error", "stat.error"),
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
        """Return the metrics, with rank correlations for each of `properties`."""
        return describe_metrics(self.settings.properties, variational=self.method.variational)

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score class recall of neighbours, rank correlations, chi^2 and active units."""
        return score(predictions, truth, reference, self.settings.properties, variational=self.method.variational)

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Project views on as many principal components as there are dimensions, and on two; structure numbers alike.

        The map of a baseline is its first two components; its Hubble coordinate is left out, since the best direction
        of a baseline is chosen by the property, as in `rho_bt`.
        """
        of_train, of_test = (self.inputs(self.read(*part)) for part in ((train_store, train), (test_store, test)))
        dimensions = self.settings.dimensions
        found = {"pca": classical.project_on_components(of_train, of_test, "image", dimensions)}
        if dimensions > 2:
            found["pca_2"] = classical.project_on_components(of_train, of_test, "image", 2)
        if "structure" in of_train:
            found["structure_pca"] = classical.project_on_components(of_train, of_test, "structure", dimensions)
        error = noise_of({name: torch.from_numpy(array) for name, array in of_test.items()}).numpy()
        predicted = {}
        for name, parts in found.items():
            of_others, of_training = parts.arrays()
            decoded = classical.redraw(parts, of_train["image"])
            chi2 = (((of_test["image"] - decoded) / error) ** 2).reshape(len(test), -1).mean(1)
            predicted[name] = {**of_others, "chi2": chi2}, of_training
        return predicted

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw galaxies along Hubble coordinate and map, the map by class and structure, and what the decoder draws."""
        drawn = draw_figures(store, indices, predictions, truth)
        if evaluation.models and store.has_images:
            drawn |= self.diagnose(evaluation.models[0].network, store, indices, predictions)
        return drawn

    def diagnose(
        self, network: LatentNetwork, store: Reader, indices: np.ndarray, predictions: Arrays
    ) -> "dict[str, Figure]":
        """Draw what the decoder makes of vectors of a thousand objects at most; see `draw_diagnosis`."""
        if not len(indices):
            return {}
        chosen = np.unique(np.linspace(0, len(indices) - 1, min(len(indices), N_DIAGNOSED)).astype(int))
        inputs = self.inputs(self.read(store, indices[chosen]))
        error = noise_of({name: torch.from_numpy(array) for name, array in inputs.items()}).numpy()
        some = {name: predictions[name][chosen] for name in ("latent", "latent_error", "hubble")}
        bands = tuple(self.context.bands)
        return draw_diagnosis(network, some, inputs, error, bands, prior=self.method.variational)


def _make_views(
    settings: LatentSettings, constants: dict[str, Any], images: np.ndarray, sky_sigma: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return canonical views as the settings say, and their sky noise before the scaling."""
    chosen = {"size": settings.view, "extent": settings.extent, "softening": settings.softening}
    return make_views(images, sky_sigma, units=constants.get("units"), **chosen)  # type: ignore[arg-type]


TASK = Latent
