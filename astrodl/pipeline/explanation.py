"""Attributions of a predicted number of some objects, with the shares of bands and annuli."""

import sys
from dataclasses import dataclass, replace

import numpy as np

from astrodl.data.batches import Cutouts
from astrodl.explanation.methods import METHODS, Options, attribute
from astrodl.explanation.shares import RADIUS_EDGES, band_share, radius_share
from astrodl.explanation.target import Explained, Inputs
from astrodl.explanation.trust import FAILS_ABOVE, map_similarity, maps_of_shuffled
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.explained import n_orientations
from astrodl.tasks.model import Model

__all__ = [
    "Explanation",
    "attribute_objects",
    "compare_with_shuffled",
    "half_light_radius",
    "share_columns",
    "warn_of_empty",
]

N_RANDOMIZED = 16
"""Most objects on which a method is compared with that of networks of shuffled weights."""


@dataclass(frozen=True)
class Explanation:
    """Attributions of a predicted number to pixels, with their sums and the test of the method.

    Attributes
    ----------
    task, target, unit, method : str
        What was explained, and how.
    bands : tuple of str
    object_id : (N,) array
        Identifiers; numbers from 0 for images in memory.
    maps : (N, bands, y, x) array
        Attributions in `map_unit` per pixel; (N, 1, y, x) for a method that does not know bands.
    value, change, residual : (N,) array
        The predicted number; its difference from that of the baselines; sum of the maps minus what it should be (NaN
        for methods whose sum has no meaning).
    band_share : (N, bands) array
        Share of each band in the modulus of the attributions; NaN for a method that does not know bands.
    radius_share : (N, annuli) array
        Share of annuli, between `RADIUS_EDGES` half-light radii.
    chosen : (N,) array of str
        What stays fixed while pixels change, such as the most probable class; empty where the number has no such name.
    similarity : float
        Mean structural similarity of the maps to those of networks with shuffled weights; NaN where it was not
        measured, or for a method whose maps have no structure.

    Notes
    -----
    An object without any pixel with data has NaN throughout.
    """

    task: str
    target: str
    unit: str
    method: str
    bands: tuple[str, ...]
    object_id: np.ndarray
    maps: np.ndarray
    value: np.ndarray
    change: np.ndarray
    residual: np.ndarray
    band_share: np.ndarray
    radius_share: np.ndarray
    chosen: np.ndarray
    similarity: float = float("nan")

    @property
    def map_unit(self) -> str:
        """Unit of the maps: that of the number, or for slopes of the number per sigma of the sky noise."""
        return f"{self.unit} per sky sigma" if METHODS[self.method].is_slope else self.unit

    @property
    def warning(self) -> str:
        """What is wrong with the method for this network, or an empty text."""
        if not self.similarity >= FAILS_ABOVE:  # NaN: maps without structure
            return ""
        return (
            f"fails weight randomisation: maps of a network with shuffled weights are as similar as "
            f"{self.similarity:.2f} (limit {FAILS_ABOVE})"
        )


def attribute_objects(
    model: Model,
    explained: Explained,
    inputs: Inputs,
    object_id: np.ndarray,
    radius_pixels: np.ndarray,
    method: str,
    options: Options,
) -> Explanation:
    """Attribute a predicted number of objects, without the test with shuffled weights; NaN for those without data."""
    fixed, names = explained.fix(inputs), explained.quantity.names
    found = attribute(explained, inputs, method, options=options, orientations=n_orientations(model.task), fixed=fixed)
    empty = inputs.is_empty.cpu().numpy()
    for values in (found.maps, found.value, found.change, found.residual):
        values[empty] = np.nan
    knows_bands = found.maps.shape[1] == len(model.bands)
    return Explanation(
        model.task.name,
        explained.quantity.name,
        explained.quantity.unit,
        method,
        model.bands,
        np.asarray(object_id).astype(str),
        found.maps,
        found.value,
        found.change,
        found.residual,
        band_share(found.maps) if knows_bands else np.full((len(found.maps), len(model.bands)), np.nan),
        radius_share(found.maps, radius_pixels),
        np.array(
            [
                names[int(number)] if names and not missing else ""
                for number, missing in zip(fixed.reshape(len(fixed), -1)[:, 0], empty, strict=True)
            ]
        ),
    )


def warn_of_empty(model: Model, is_empty: np.ndarray) -> None:
    """Print how many objects have no data, and hence no attributions."""
    if n_empty := int(is_empty.sum()):
        print(
            f"astrodl: warning: {model.task.name}: {n_empty} of {len(is_empty)} objects have no pixel with data, and "
            "get no attributions",
            file=sys.stderr,
        )


def compare_with_shuffled(
    model: Model, explained: Explained, inputs: Inputs, made: Explanation, options: Options
) -> Explanation:
    """Return the explanation with the similarity of its maps to those of networks with shuffled weights."""
    few = inputs.rows(slice(0, N_RANDOMIZED))
    others, rows, _ = maps_of_shuffled(
        explained, few, made.method, options=options, orientations=n_orientations(model.task)
    )
    each = map_similarity(made.maps[rows], others)
    return replace(made, similarity=float(np.nanmean(each))) if np.isfinite(each).any() else made


def half_light_radius(cutouts: Cutouts, store: Reader | None) -> np.ndarray:
    """Return the half-light radius in pixels of each object, NaN where it was not measured."""
    if store is None or "r50_arcsec" not in store.feature_names or not store.pixel_scale_arcsec:
        return np.full(len(cutouts), np.nan)
    column = store.feature_names.index("r50_arcsec")
    return np.asarray(cutouts.features[:, column] / store.pixel_scale_arcsec)


def share_columns(made: Explanation) -> list[Column]:
    """Return number, change, residual, and the shares of bands and annuli as columns."""
    edges = ", ".join(f"{edge:g}" for edge in RADIUS_EDGES)
    share = (
        f"share in the modulus of the attributions of {made.target} by {METHODS[made.method].title.replace('×', 'x')}"
    )
    unit = f"({made.unit})"
    described = {
        "value": (made.value, f"{made.target} {unit}, averaged over the orientations that were explained"),
        "change": (made.change, f"difference of {made.target} {unit} from that of the baselines"),
        "residual": (made.residual, f"sum of the attributions minus the change {unit}"),
        "band_share": (made.band_share, f"{share}, of {', '.join(made.bands)}"),
        "radius_share": (made.radius_share, f"{share}, of annuli between {edges} half-light radii"),
    }
    columns = [Column("object_id", made.object_id, None, "identifier in the survey", "meta.id;meta.main")]
    return columns + [
        Column(f"{made.task}_{name}", np.asarray(values, np.float32), None, about, "stat.value")
        for name, (values, about) in described.items()
    ]
